#include "cpu/compact_scanner.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "recsys/interrupt.hpp"

namespace recsys::cpu {
namespace {

constexpr std::int64_t block_items = CompactItems::block_items;
constexpr float minus_infinity = TopSelector::initial_threshold;
constexpr std::int64_t overrun = 16;  // entries that a kernel may write behind the last

// Lanes for n queries, whole vectors at every level.
std::int64_t padded(std::int64_t n) { return (n + 7) / 8 * 8; }

// Items found between two selections.
std::int64_t interval(std::int64_t k) { return std::max<std::int64_t>(16, k); }

// Up to so many, the likeliest are scored at every selection: an exact threshold ends the scan sooner than a bound of
// it.
constexpr std::int64_t few_results = 32;

// As an integer that orders as scores do, then as ranks_before breaks ties.
std::int64_t key_of(const Candidate& candidate) {
  const auto bits = std::bit_cast<std::int32_t>(candidate.score + 0.0F);  // -0 ties with 0
  const std::int32_t order = bits ^ ((bits >> 31) & 0x7FFFFFFF);
  return static_cast<std::int64_t>(order) * (std::int64_t{1} << 32) + (0x7FFFFFFF - candidate.item);
}

}  // namespace

std::int64_t CompactProblem::roomy() const { return 4 * k + 64; }

std::int64_t CompactProblem::capacity() const {
  return std::min(roomy() + interval(k), items.n_blocks() * block_items) + block_items + overrun;
}

std::int64_t CompactProblem::bytes_a_query() const { return 12 * capacity() + 5 * index.n_factors(); }

CompactScanner::CompactScanner(const CompactProblem& problem, std::int64_t first_query, std::int64_t n_queries)
    : problem_(problem),
      first_query_(first_query),
      roomy_(problem.roomy()),
      capacity_(problem.capacity()),
      row_filter_(problem.items, problem.filters, first_query, n_queries),
      lower_(checked_product(n_queries, capacity_)),
      upper_(n_queries * capacity_),
      positions_(n_queries * capacity_),
      codes_(n_queries * problem.items.n_pairs() * 8),
      unit_factors_(problem.index.metric() == Metric::cosine ? n_queries * problem.index.n_factors() : 0),
      lane_numbers_(5 * padded(n_queries)),
      thresholds_(padded(n_queries)) {
  double* numbers = lane_numbers_.data();
  std::fill_n(numbers, lane_numbers_.size(), 0.0);
  for (double** lane : {&lanes_.threshold, &lanes_.residual, &lanes_.norm, &lanes_.inverse_scale, &lanes_.code_sum}) {
    *lane = numbers;
    numbers += padded(n_queries);
  }
  opens_.reserve(static_cast<std::size_t>(n_queries));  // pointers to them are kept
  for (std::int64_t slot = 0; slot < n_queries; ++slot) open(slot);
}

void CompactScanner::scan(std::int64_t first_block, std::int64_t last_block, bool coarse) {
  const auto scan_block = coarse ? problem_.kernels.scan_coarse_block : problem_.kernels.scan_block;
  const std::int64_t n_steps = coarse ? problem_.items.n_pairs() : problem_.items.n_groups();
  active_.clear();
  for (Open& open : opens_) {
    if (open.given_up) continue;
    if (coarse) open.n_selecting = std::min(open.n_selecting, open.encoded.compact.n_found + compact_batch);
    active_.push_back(&open);
  }
  lay_out();
  std::uint64_t words[compact_panel];
  for (std::int64_t b = first_block; b < last_block; ++b) {
    if (b == first_block || b % blocks_a_check == 0) close_finished(b);
    if (b % blocks_a_checkpoint == 0) checkpoint();
    if (active_.empty()) return;
    n_scanned_ += block_items;
    const std::uint64_t admissible = problem_.block_filter.word(b);
    if (admissible == 0) continue;
    const CompactBlock block = coarse ? problem_.items.coarse_block(b) : problem_.items.block(b);
    const auto n_active = static_cast<std::int64_t>(active_.size());
    problem_.kernels.block_thresholds(&block, &lanes_, n_active, thresholds_.data());
    std::fill_n(words, compact_panel, admissible);
    for (std::int64_t first = 0; first < n_active; first += compact_panel) {
      const std::int64_t n = std::min(compact_panel, n_active - first);
      Open* const* opens = active_.data() + first;
      std::uint32_t found = scan_block(&block, n_steps, panel_.data() + first, thresholds_.data() + first, n, words,
                                       static_cast<std::int32_t>(b * block_items));
      for (; found != 0; found &= found - 1) {
        Open& open = *opens[std::countr_zero(found)];
        if (row_filter_.any()) sift(open, b);
        if (open.encoded.compact.n_found >= open.n_selecting) select(open, coarse);
      }
    }
  }
}

// Drops of the items of block b, which were found last, those that the query may not have.  Few are found, so that
// filters cost next to nothing here.
void CompactScanner::sift(Open& open, std::int64_t b) {
  CompactQuery& compact = open.encoded.compact;
  const std::uint64_t admissible = row_filter_.word(open.slot, b);
  std::int64_t at = compact.n_found;
  while (at > 0 && compact.positions[at - 1] >= b * block_items) --at;
  std::int64_t n_kept = at;
  for (; at < compact.n_found; ++at) {
    compact.lower[n_kept] = compact.lower[at];
    compact.upper[n_kept] = compact.upper[at];
    compact.positions[n_kept] = compact.positions[at];
    n_kept += static_cast<std::int64_t>(admissible >> (compact.positions[at] % block_items) & 1);
  }
  compact.n_found = n_kept;
}

bool CompactScanner::any_open(std::int64_t b) {
  close_finished(b);
  return !active_.empty();
}

void CompactScanner::tighten() {
  for (Open& open : opens_) refine(open);
}

void CompactScanner::open(std::int64_t slot) {
  const std::int64_t query = first_query_ + slot;
  const std::int64_t n_factors = problem_.index.n_factors();
  EncodedQuery encoded{};
  float* unit = problem_.index.metric() == Metric::cosine ? unit_factors_.data() + slot * n_factors : nullptr;
  if (!encode_query(problem_.index, problem_.items, problem_.queries.row(query), problem_.kernels.compact_limit,
                    codes_.data() + slot * problem_.items.n_pairs() * 8, unit, encoded)) {
    left_.push_back(query);
    return;
  }
  encoded.compact.lower = lower_.data() + slot * capacity_;
  encoded.compact.upper = upper_.data() + slot * capacity_;
  encoded.compact.positions = positions_.data() + slot * capacity_;
  const double slack = bound_rounding(encoded.reach * problem_.items.norm_from(0) + problem_.items.largest_bias(),
                                      problem_.index.n_factors());
  opens_.push_back(Open{.encoded = encoded,
                        .lowered = -std::numeric_limits<double>::infinity(),
                        .threshold = minus_infinity,
                        .slack = slack,
                        .query = query,
                        .slot = slot,
                        .lane = 0,
                        .given_up = false,
                        .n_rescored = 0,
                        .n_selecting = std::min(roomy_, problem_.k + interval(problem_.k))});
}

void CompactScanner::close_finished(std::int64_t b) {
  const double norm = problem_.items.norm_from(b);
  const double bias = problem_.items.bias_from(b);
  // Rows that cost a fraction of scoring all items: some before any threshold is good, and a share of what is scanned.
  const std::int64_t budget = 1024 + 8 * problem_.k + problem_.items.n_items() / 32 + n_scanned_ / 16;
  const std::size_t n_closed = std::erase_if(active_, [&](Open* open) {
    if (!problem_.shared.empty()) adopt(*open);
    if (open->threshold > minus_infinity && open->lowered > round_up(open->encoded.reach * norm) + bias) return true;
    if (open->n_rescored <= budget) return false;
    open->given_up = true;
    left_.push_back(open->query);
    return true;
  });
  if (n_closed > 0) lay_out();
}

void CompactScanner::lay_out() {
  panel_.clear();
  for (Open* open : active_) {
    const CompactQuery& compact = open->encoded.compact;
    open->lane = static_cast<std::int64_t>(panel_.size());
    panel_.push_back(&open->encoded.compact);
    lanes_.residual[open->lane] = compact.residual;
    lanes_.norm[open->lane] = compact.norm;
    lanes_.inverse_scale[open->lane] = compact.inverse_scale;
    lanes_.code_sum[open->lane] = compact.code_sum;
    lanes_.threshold[open->lane] = open->lowered * compact.inverse_scale;
  }
}

// Makes room, at least for a block more.
void CompactScanner::select(Open& open, bool coarse) {
  const CompactQuery& compact = open.encoded.compact;
  const float reached = tighten(open);
  if (problem_.k <= few_results) {
    if (rescore(open, reached)) tighten(open);
  }
  if (coarse || compact.n_found > roomy_) refine(open);
  if (compact.n_found > roomy_) cut(open);
  open.n_selecting = compact.n_found + (coarse ? compact_batch : interval(problem_.k));
}

// Raises the threshold to about the k-th largest lower bound, which is returned, where there are as many.
float CompactScanner::tighten(Open& open) {
  CompactQuery& compact = open.encoded.compact;
  float reached = minus_infinity;
  if (compact.n_found >= problem_.k) {
    reached = problem_.kernels.reached_by(compact.lower, compact.n_found, problem_.k);
    const auto threshold = static_cast<float>(static_cast<double>(reached) - open.slack);
    if (threshold > open.threshold) announce(open, threshold);
  }
  problem_.kernels.keep_reaching(&compact, static_cast<float>(static_cast<double>(open.threshold) - open.slack));
  return reached;
}

// Scores all that still may be among the k best: first the most likely, since those raise the threshold that spares
// others.
void CompactScanner::refine(Open& open) {
  const float reached = tighten(open);
  if (rescore(open, reached)) tighten(open);
  if (rescore(open, minus_infinity)) tighten(open);
}

// Scores the items found whose lower bounds are not less; whether there were any.
bool CompactScanner::rescore(Open& open, float least) {
  const CompactQuery& compact = open.encoded.compact;
  const std::int64_t n_before = open.n_rescored;
  std::int64_t places[compact_batch];
  std::int64_t n = 0;
  for (std::int64_t place = 0; place < compact.n_found; ++place) {
    places[n] = place;
    n += compact.positions[place] >= 0 && compact.lower[place] >= least ? 1 : 0;
    if (n == compact_batch) {
      score_batch(open, places, n);
      n = 0;
    }
  }
  if (n > 0) score_batch(open, places, n);
  return open.n_rescored > n_before;
}

void CompactScanner::score_batch(Open& open, const std::int64_t* places, std::int64_t n) {
  const CompactQuery& compact = open.encoded.compact;
  const CompactItems& items = problem_.items;
  const float* rows[compact_batch];
  alignas(64) float scores[compact_batch];
  for (std::int64_t i = 0; i < compact_batch; ++i) rows[i] = items.row(compact.positions[places[i < n ? i : 0]]);
  problem_.kernels.score_rows(rows, open.encoded.factors, problem_.index.n_factors(), scores);
  for (std::int64_t i = 0; i < n; ++i) {
    std::int32_t& position = compact.positions[places[i]];
    const std::int64_t item = items.item(position);
    if (problem_.index.has_bias()) {
      scores[i] += problem_.index.bias(item / ItemIndex::tile_items)[item % ItemIndex::tile_items];
    }
    compact.lower[places[i]] = scores[i];
    compact.upper[places[i]] = scores[i];
    position = ~position;
  }
  open.n_rescored += n;
}

std::int64_t CompactScanner::position(const Open& open, std::int64_t place) const {
  const std::int32_t position = open.encoded.compact.positions[place];
  return position < 0 ? ~position : position;
}

// Exactly k, where many scores are equal, or nearly.
void CompactScanner::cut(Open& open) {
  CompactQuery& compact = open.encoded.compact;
  found_.resize(static_cast<std::size_t>(compact.n_found));
  for (std::int64_t i = 0; i < compact.n_found; ++i) {
    found_[static_cast<std::size_t>(i)] = {compact.lower[i], problem_.items.item(position(open, i))};
  }
  const auto last = found_.begin() + (problem_.k - 1);
  std::nth_element(found_.begin(), last, found_.end(), RanksBefore{});
  for (std::int64_t i = 0; i < problem_.k; ++i) {
    const Candidate& candidate = found_[static_cast<std::size_t>(i)];
    compact.lower[i] = candidate.score;
    compact.upper[i] = candidate.score;
    compact.positions[i] = ~static_cast<std::int32_t>(problem_.items.position(candidate.item));
  }
  compact.n_found = problem_.k;
  if (last->score > open.threshold) announce(open, last->score);
}

std::span<const Candidate> CompactScanner::best_of(Open& open) {
  const CompactQuery& compact = open.encoded.compact;
  refine(open);
  const auto n_found = static_cast<std::size_t>(compact.n_found);
  found_.resize(n_found);
  for (std::size_t i = 0; i < n_found; ++i) {
    found_[i] = {compact.lower[i], problem_.items.item(position(open, static_cast<std::int64_t>(i)))};
  }
  const std::size_t n = std::min(n_found, static_cast<std::size_t>(problem_.k));
  constexpr std::size_t most_ranked = 256;
  if (n_found > most_ranked) {
    sort_best(found_.begin(), found_.end(), static_cast<std::int64_t>(n));
    return std::span<const Candidate>(found_).first(n);
  }
  std::int64_t keys[most_ranked];
  std::int64_t ranks[most_ranked];
  for (std::size_t i = 0; i < n_found; ++i) keys[i] = key_of(found_[i]);
  problem_.kernels.rank_keys(keys, compact.n_found, ranks);
  best_.resize(n_found);
  for (std::size_t i = 0; i < n_found; ++i) best_[static_cast<std::size_t>(ranks[i])] = found_[i];
  return std::span<const Candidate>(best_).first(n);
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
  lanes_.threshold[open.lane] = open.lowered * open.encoded.compact.inverse_scale;
}

}  // namespace recsys::cpu
