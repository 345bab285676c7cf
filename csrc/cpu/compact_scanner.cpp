#include "cpu/compact_scanner.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace recsys::cpu {
namespace {

constexpr std::int64_t block_items = CompactItems::block_items;
constexpr float minus_infinity = TopSelector::initial_threshold;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

CompactScanner::CompactScanner(const CompactProblem& problem, std::int64_t first_query, std::int64_t n_queries)
    : problem_(problem),
      first_query_(first_query),
      exclusion_(problem.items, problem.filters, first_query, n_queries),
      scores_(static_cast<std::size_t>(n_queries * problem.capacity)),
      found_(scores_.size()),
      codes_(n_queries * problem.items.n_groups() * 4),
      unit_factors_(problem.index.metric() == Metric::cosine ? n_queries * problem.index.n_factors() : 0) {
  opens_.reserve(static_cast<std::size_t>(n_queries));  // pointers to them are kept
  for (std::int64_t slot = 0; slot < n_queries; ++slot) open(slot);
}

void CompactScanner::start_thresholds() {
  const CompactItems& items = problem_.items;
  // Four groups an item sought, and a few blocks a row of groups.
  const std::int64_t n_rows = divide_up(4 * problem_.k, compact_lanes);
  const std::int64_t n_full = problem_.index.n_items() / block_items;
  if (n_rows > n_full / 2 || opens_.empty()) return;
  const std::int64_t n_blocks = std::clamp(n_full / 8, n_rows, 8 * n_rows);
  const std::int64_t n_groups = n_rows * compact_lanes;
  std::vector<float> bounds(opens_.size() * static_cast<std::size_t>(n_groups),
                            -std::numeric_limits<float>::infinity());
  const CompactQuery* panel[compact_panel];
  alignas(64) std::int32_t maxima[compact_panel * compact_lanes];
  const auto n_opens = static_cast<std::int64_t>(opens_.size());
  for (std::int64_t b = 0; b < n_blocks; ++b) {
    const CompactBlock block = items.block(b);
    // In units of t and the largest s, since float32 need not hold s itself.
    const auto unit = static_cast<float>(1 / (block.inverse_scale * items.largest_scale()));
    for (std::int64_t first = 0; first < n_opens; first += compact_panel) {
      const std::int64_t n = std::min(compact_panel, n_opens - first);
      Open* opens = opens_.data() + first;
      for (std::int64_t q = 0; q < n; ++q) panel[q] = &opens[q].encoded.compact;
      problem_.kernels.block_maxima(&block, items.n_groups(), panel, n, maxima);
      for (std::int64_t q = 0; q < n; ++q) {
        const auto slack = static_cast<float>(block.code_norm * panel[q]->residual + block.error * panel[q]->norm +
                                              block.bias_slack * panel[q]->inverse_scale + 2);
        float* row = bounds.data() + (first + q) * n_groups + b % n_rows * compact_lanes;
        for (std::int64_t lane = 0; lane < compact_lanes; ++lane) {
          const float bound = (static_cast<float>(maxima[q * compact_lanes + lane]) - slack) * unit;
          row[lane] = std::max(row[lane], bound);
        }
      }
    }
  }
  for (std::int64_t at = 0; at < n_opens; ++at) {
    Open& open = opens_[static_cast<std::size_t>(at)];
    const std::int64_t rank = problem_.k + n_inadmissible(open, n_blocks);
    if (rank > n_groups) continue;
    const std::span<const float> of_query(bounds.data() + at * n_groups, static_cast<std::size_t>(n_groups));
    const double value = reached_by(of_query, rank) * items.largest_scale() / open.encoded.inverse_scale;
    const double slack = 0x1p-18 * (open.encoded.reach * items.norm_from(0) + items.largest_bias()) +
                         2 * absolute_rounding(problem_.index.n_factors());
    const auto threshold = static_cast<float>(value - slack);
    if (threshold > open.threshold) announce(open, threshold);
  }
}

void CompactScanner::scan(std::int64_t first_block, std::int64_t last_block) {
  active_.clear();
  for (Open& open : opens_) {
    if (!open.given_up) active_.push_back(&open);
  }
  std::uint64_t survivors[compact_panel];
  const CompactQuery* panel[compact_panel];
  for (std::int64_t b = first_block; b < last_block; ++b) {
    const std::uint64_t admissible = problem_.block_filter.word(b);
    if (b == first_block || b % blocks_a_check == 0) close_finished(b);
    if (active_.empty()) return;
    n_scanned_ += block_items;
    if (admissible == 0) continue;
    const CompactBlock block = problem_.items.block(b);
    const auto n_active = static_cast<std::int64_t>(active_.size());
    for (std::int64_t first = 0; first < n_active; first += compact_panel) {
      const std::int64_t n = std::min(compact_panel, n_active - first);
      Open* const* opens = active_.data() + first;
      for (std::int64_t q = 0; q < n; ++q) panel[q] = &opens[q]->encoded.compact;
      problem_.kernels.scan_block(&block, problem_.items.n_groups(), panel, n, survivors);
      for (std::int64_t q = 0; q < n; ++q) {
        if ((survivors[q] & admissible) != 0) take(*opens[q], b, survivors[q] & admissible);
      }
    }
  }
}

bool CompactScanner::any_open(std::int64_t b) {
  close_finished(b);
  return !active_.empty();
}

void CompactScanner::tighten() {
  for (Open& open : opens_) {
    rescore(open);
    open.selector.tighten();
    raise(open);
  }
}

void CompactScanner::open(std::int64_t slot) {
  const std::int64_t query = first_query_ + slot;
  const std::int64_t n_factors = problem_.index.n_factors();
  EncodedQuery encoded{};
  float* unit = problem_.index.metric() == Metric::cosine ? unit_factors_.data() + slot * n_factors : nullptr;
  if (!encode_query(problem_.index, problem_.items, problem_.queries.row(query), problem_.kernels.compact_limit,
                    codes_.data() + slot * problem_.items.n_groups() * 4, unit, encoded)) {
    left_.push_back(query);
    return;
  }
  const auto start = static_cast<std::size_t>(slot * problem_.capacity);
  const auto size = static_cast<std::size_t>(problem_.capacity);
  const AnyOrderSelector selector(std::span<float>(scores_).subspan(start, size),
                                  std::span<std::int32_t>(found_).subspan(start, size), problem_.k);
  opens_.push_back(Open{.encoded = encoded,
                        .lowered = 0,
                        .threshold = minus_infinity,
                        .selector = selector,
                        .query = query,
                        .slot = slot,
                        .given_up = false,
                        .n_rescored = 0,
                        .n_pushed = 0,
                        .n_pending = 0,
                        .pending = {}});
}

// Items of the first blocks that may not be returned, or more.
std::int64_t CompactScanner::n_inadmissible(const Open& open, std::int64_t n_blocks) const {
  std::int64_t n = exclusion_.count(open.slot, n_blocks);
  for (std::int64_t b = 0; b < n_blocks; ++b) n += block_items - std::popcount(problem_.block_filter.word(b));
  return n;
}

void CompactScanner::close_finished(std::int64_t b) {
  const double norm = problem_.items.norm_from(b);
  const double bias = problem_.items.bias_from(b);
  const std::int64_t budget = 1024 + 8 * problem_.k + n_scanned_ / 16;
  std::erase_if(active_, [&](Open* open) {
    if (!problem_.shared.empty()) adopt(*open);
    if (open->threshold > minus_infinity && open->lowered > round_up(open->encoded.reach * norm) + bias) return true;
    if (!problem_.may_give_up || open->n_rescored <= budget) return false;
    open->given_up = true;
    left_.push_back(open->query);
    return true;
  });
}

void CompactScanner::take(Open& open, std::int64_t b, std::uint64_t survivors) {
  survivors = exclusion_.remove(open.slot, b, survivors);
  for (; survivors != 0; survivors &= survivors - 1) {
    const std::int64_t position = b * block_items + std::countr_zero(survivors);
    const float* row = problem_.items.row(position);
    for (std::int64_t f = 0; f < problem_.index.n_factors(); f += 16) __builtin_prefetch(row + f);
    open.pending[open.n_pending++] = static_cast<std::int32_t>(position);
    if (open.n_pending == compact_batch) rescore(open);
  }
  if (open.threshold == minus_infinity) {
    rescore(open);
    open.selector.tighten();
    raise(open);
  }
}

void CompactScanner::rescore(Open& open) {
  const std::int64_t n = open.n_pending;
  if (n == 0) return;
  const float* rows[compact_batch];
  alignas(64) float scores[compact_batch];
  for (std::int64_t i = 0; i < compact_batch; ++i) rows[i] = problem_.items.row(open.pending[i < n ? i : 0]);
  problem_.kernels.score_rows(rows, open.encoded.factors, problem_.index.n_factors(), scores);
  open.n_pending = 0;
  open.n_rescored += n;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t item = problem_.items.item(open.pending[i]);
    if (problem_.index.has_bias()) {
      scores[i] += problem_.index.bias(item / ItemIndex::tile_items)[item % ItemIndex::tile_items];
    }
    if (scores[i] >= open.threshold) {
      open.selector.push({scores[i], item});
      ++open.n_pushed;
    }
  }
  if (open.n_pushed >= pushes_a_cut()) {
    open.selector.tighten();
    open.n_pushed = 0;
  }
  raise(open);
}

void CompactScanner::raise(Open& open) {
  if (!(open.selector.threshold() > open.threshold)) return;
  announce(open, open.selector.threshold());
}

// Sets a threshold and tells the other threads.
void CompactScanner::announce(Open& open, float threshold) {
  set_threshold(open, threshold);
  if (problem_.shared.empty()) return;
  std::atomic<float>& shared = problem_.shared[static_cast<std::size_t>(open.query)];
  float known = shared.load(std::memory_order_relaxed);
  while (known < open.threshold && !shared.compare_exchange_weak(known, open.threshold, std::memory_order_relaxed)) {
  }
}

// Takes over a threshold that another thread has reached with k items of its own.
void CompactScanner::adopt(Open& open) {
  const float known = problem_.shared[static_cast<std::size_t>(open.query)].load(std::memory_order_relaxed);
  if (known > open.threshold) set_threshold(open, known);
}

void CompactScanner::set_threshold(Open& open, float threshold) {
  const auto exact = static_cast<double>(threshold);
  open.threshold = threshold;
  open.lowered = exact - std::abs(exact) * 0x1p-22 - absolute_rounding(problem_.index.n_factors());
  open.encoded.compact.threshold = open.lowered * open.encoded.inverse_scale;
}

}  // namespace recsys::cpu
