#include "cpu/compact_scan.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>

#include "cpu/selection.hpp"
#include "cpu/unit_scale.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys::cpu {
namespace {

constexpr std::int64_t block_items = CompactItems::block_items;
constexpr float minus_infinity = TopSelector::initial_threshold;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// The items that `allow` and `deny` let through, one word a block; empty where they let all through.
std::vector<std::uint64_t> block_words(const CompactItems& items, const Filters& filters) {
  std::vector<std::uint64_t> words;
  if (!filters.allow && filters.deny.empty()) return words;
  words.resize(static_cast<std::size_t>(items.n_blocks()));
  const auto word = [&](std::int64_t item) -> std::uint64_t& {
    return words[static_cast<std::size_t>(items.position(item) / block_items)];
  };
  const auto bit = [&](std::int64_t item) { return std::uint64_t{1} << (items.position(item) % block_items); };
  if (filters.allow) {
    for (const std::int64_t item : *filters.allow) word(item) |= bit(item);
  } else {
    for (std::int64_t b = 0; b < items.n_blocks(); ++b) words[static_cast<std::size_t>(b)] = items.full_word(b);
  }
  for (const std::int64_t item : filters.deny) word(item) &= ~bit(item);
  return words;
}

// What all threads read.
struct Problem {
  const ItemIndex& index;
  const CompactItems& items;
  MatrixView<const float> queries;
  const Filters& filters;
  const KernelTable& kernels;
  std::span<const std::uint64_t> words;
  std::int64_t k;
  std::int64_t capacity;
  bool may_give_up;
  // The best threshold that any thread has reached, one a query; empty where threads share no query.
  std::span<std::atomic<float>> shared;
};

// A query being answered by one thread.
struct Open {
  CompactQuery compact;
  const float* factors;  // as the float32 path sees them
  double inverse_scale;  // 1 / t
  double reach;          // (1 + g) ||q||
  double lowered;        // T less its slack, 0 at first
  float threshold;       // T
  AnyOrderSelector selector;
  std::int64_t query;
  std::int64_t n_rescored;
  std::int64_t n_pushed;  // since the threshold rose
  std::int64_t n_pending;
  std::int32_t pending[compact_batch];     // positions
  const std::uint64_t* excluded_words;     // one bit a position, or null
  std::span<const std::int32_t> excluded;  // ascending items, where there are no such words
};

// One thread's work: a range of queries against any ranges of blocks.
class Scanner {
 public:
  Scanner(const Problem& problem, std::int64_t first_query, std::int64_t n_queries)
      : problem_(problem),
        scores_(static_cast<std::size_t>(n_queries * problem.capacity)),
        found_(scores_.size()),
        codes_(n_queries * problem.items.n_groups() * 4),
        unit_factors_(problem.index.metric() == Metric::cosine ? n_queries * problem.index.n_factors() : 0) {
    opens_.reserve(static_cast<std::size_t>(n_queries));  // pointers to them are kept
    for (std::int64_t q = 0; q < n_queries; ++q) open(first_query + q, q);
    start_exclusion();
  }

  // Queries whose numbers the bound does not cover, and those given up.
  [[nodiscard]] const std::vector<std::int64_t>& left() const { return left_; }

  // Gives the queries a first threshold, from lower bounds of the scores in the first blocks.
  void start_thresholds() {
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
        for (std::int64_t q = 0; q < n; ++q) panel[q] = &opens[q].compact;
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
      const double value = reached_by(of_query, rank) * items.largest_scale() / open.inverse_scale;
      const double slack = 0x1p-18 * (open.reach * items.norm_from(0) + items.largest_bias()) +
                           2 * absolute_rounding(problem_.index.n_factors());
      const auto threshold = static_cast<float>(value - slack);
      if (threshold > open.threshold) announce(open, threshold);
    }
  }

  // Blocks may be scanned in any order, but only later ones allow to stop early.
  void scan(std::int64_t first_block, std::int64_t last_block) {
    active_.clear();
    for (Open& open : opens_) {
      if (!given_up_[static_cast<std::size_t>(&open - opens_.data())]) active_.push_back(&open);
    }
    std::uint64_t survivors[compact_panel];
    const CompactQuery* panel[compact_panel];
    for (std::int64_t b = first_block; b < last_block; ++b) {
      std::uint64_t admissible = problem_.items.full_word(b);
      if (!problem_.words.empty()) admissible = problem_.words[static_cast<std::size_t>(b)];
      if (b == first_block || b % blocks_a_check == 0) close_finished(b);
      if (active_.empty()) return;
      n_scanned_ += block_items;
      if (admissible == 0) continue;
      const CompactBlock block = problem_.items.block(b);
      const auto n_active = static_cast<std::int64_t>(active_.size());
      for (std::int64_t first = 0; first < n_active; first += compact_panel) {
        const std::int64_t n = std::min(compact_panel, n_active - first);
        Open* const* opens = active_.data() + first;
        for (std::int64_t q = 0; q < n; ++q) panel[q] = &opens[q]->compact;
        problem_.kernels.scan_block(&block, problem_.items.n_groups(), panel, n, survivors);
        for (std::int64_t q = 0; q < n; ++q) {
          if ((survivors[q] & admissible) != 0) take(*opens[q], b, survivors[q] & admissible);
        }
      }
    }
  }

  // Whether a query that was open at the end of the last scan still is at block b.
  [[nodiscard]] bool any_open(std::int64_t b) {
    close_finished(b);
    return !active_.empty();
  }

  // Calls done(query, best): once for every query answered.
  template <typename Done>
  void finish(Done&& done) {
    for (std::size_t at = 0; at < opens_.size(); ++at) {
      if (given_up_[at]) continue;
      rescore(opens_[at]);
      done(opens_[at].query, opens_[at].selector.finish(best_));
    }
  }

  // Makes the thresholds reached so far known to the other threads.
  void tighten() {
    for (Open& open : opens_) {
      rescore(open);
      open.selector.tighten();
      raise(open);
    }
  }

 private:
  static constexpr std::int64_t blocks_a_check = 4;
  static constexpr std::int64_t largest_bitmap = 1 << 17;  // items

  void open(std::int64_t query, std::int64_t slot) {
    const std::int64_t n_factors = problem_.index.n_factors();
    const CompactItems& items = problem_.items;
    const float* factors = problem_.queries.row(query);
    if (problem_.index.metric() == Metric::cosine) {
      const double scale = unit_scale(factors, n_factors);
      float* unit = unit_factors_.data() + slot * n_factors;
      for (std::int64_t f = 0; f < n_factors; ++f) unit[f] = static_cast<float>(factors[f] * scale);
      factors = unit;
    }
    double square = 0;
    double peak = 0;
    for (std::int64_t f = 0; f < n_factors; ++f) {
      const auto value = static_cast<double>(factors[f]);
      square += value * value;
      peak = std::max(peak, std::abs(value));
    }
    const double norm = round_up(std::sqrt(square));
    const double scale = peak / problem_.kernels.compact_limit;
    if (!answerable(norm, scale)) {
      left_.push_back(query);
      return;
    }

    const double inverse = 1 / scale;
    std::int8_t* codes = codes_.data() + slot * items.n_groups() * 4;
    double residual_square = 0;
    std::int64_t sum = 0;
    for (std::int64_t f = 0; f < items.n_groups() * 4; ++f) {
      const double value = f < n_factors ? static_cast<double>(factors[f]) : 0.0;
      const double shifted = value * inverse;
      const auto code = static_cast<std::int32_t>(shifted + (shifted < 0 ? -0.5 : 0.5));
      const double residual = value - scale * code;
      residual_square += residual * residual;
      sum += code;
      codes[f] = static_cast<std::int8_t>(code);
    }
    const double residual = round_up(std::sqrt(residual_square)) + norm * 0x1p-40;
    CompactQuery compact{};
    compact.codes = codes;
    compact.threshold = -std::numeric_limits<double>::infinity();
    compact.residual = round_up(residual * inverse);
    compact.norm = round_up(norm * inverse);
    compact.code_shift = static_cast<std::int32_t>(128 * sum);
    compact.offset = static_cast<double>(compact.code_shift) - 4;
    compact.inverse_scale = inverse;
    const auto start = static_cast<std::size_t>(slot * problem_.capacity);
    const auto size = static_cast<std::size_t>(problem_.capacity);
    const AnyOrderSelector selector(std::span<float>(scores_).subspan(start, size),
                                    std::span<std::int32_t>(found_).subspan(start, size), problem_.k);
    opens_.push_back(Open{.compact = compact,
                          .factors = factors,
                          .inverse_scale = inverse,
                          .reach = round_up(norm * (1 + relative_rounding(n_factors))),
                          .lowered = 0,
                          .threshold = minus_infinity,
                          .selector = selector,
                          .query = query,
                          .n_rescored = 0,
                          .n_pushed = 0,
                          .n_pending = 0,
                          .pending = {},
                          .excluded_words = nullptr,
                          .excluded = {}});
    given_up_.push_back(false);
  }

  // Whether no score can overflow and all sums of the kernel fit: the conditions of the proof.
  [[nodiscard]] bool answerable(double norm, double scale) const {
    const CompactItems& items = problem_.items;
    if (!(scale > 0) || norm * items.norm_from(0) + items.largest_bias() > 1e37) return false;
    const double unit = 1 / (scale * items.smallest_scale());
    return !items.has_bias() || (unit <= 1e38 && items.largest_bias() * unit <= 1 << 28);
  }

  void start_exclusion() {
    if (!problem_.filters.exclude) return;
    const bool bitmaps = problem_.index.n_items() <= largest_bitmap;
    const auto n_words = static_cast<std::size_t>(bitmaps ? problem_.items.n_blocks() : 0);
    excluded_words_.assign(n_words * opens_.size(), 0);
    sorted_rows_.resize(bitmaps ? 0 : opens_.size());
    for (std::size_t at = 0; at < opens_.size(); ++at) {
      const auto row = problem_.filters.exclude->row_indices(opens_[at].query);
      if (bitmaps) {
        std::uint64_t* words = excluded_words_.data() + at * n_words;
        for (const std::int32_t item : row) {
          const std::int64_t position = problem_.items.position(item);
          words[position / block_items] |= std::uint64_t{1} << (position % block_items);
        }
        opens_[at].excluded_words = words;
      } else if (std::is_sorted(row.begin(), row.end())) {
        opens_[at].excluded = row;
      } else {
        sorted_rows_[at].assign(row.begin(), row.end());
        std::sort(sorted_rows_[at].begin(), sorted_rows_[at].end());
        opens_[at].excluded = sorted_rows_[at];
      }
    }
  }

  // Items of the first blocks that may not be returned, or more.
  [[nodiscard]] std::int64_t n_inadmissible(const Open& open, std::int64_t n_blocks) const {
    auto n = static_cast<std::int64_t>(open.excluded.size());
    if (open.excluded_words == nullptr && problem_.words.empty()) return n;
    for (std::int64_t b = 0; b < n_blocks; ++b) {
      std::uint64_t admissible = ~std::uint64_t{0};
      if (!problem_.words.empty()) admissible = problem_.words[static_cast<std::size_t>(b)];
      if (open.excluded_words != nullptr) admissible &= ~open.excluded_words[b];
      n += std::popcount(~admissible);
    }
    return n;
  }

  void close_finished(std::int64_t b) {
    const double norm = problem_.items.norm_from(b);
    const double bias = problem_.items.bias_from(b);
    const std::int64_t budget = 1024 + 8 * problem_.k + n_scanned_ / 16;
    std::erase_if(active_, [&](Open* open) {
      if (!problem_.shared.empty()) adopt(*open);
      if (open->threshold > minus_infinity && open->lowered > round_up(open->reach * norm) + bias) return true;
      if (!problem_.may_give_up || open->n_rescored <= budget) return false;
      given_up_[static_cast<std::size_t>(open - opens_.data())] = true;
      left_.push_back(open->query);
      return true;
    });
  }

  void take(Open& open, std::int64_t b, std::uint64_t survivors) {
    if (open.excluded_words != nullptr) survivors &= ~open.excluded_words[b];
    for (; survivors != 0; survivors &= survivors - 1) {
      const std::int64_t position = b * block_items + std::countr_zero(survivors);
      if (!open.excluded.empty() &&
          std::binary_search(open.excluded.begin(), open.excluded.end(), problem_.items.item(position)))
        continue;
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

  void rescore(Open& open) {
    const std::int64_t n = open.n_pending;
    if (n == 0) return;
    const float* rows[compact_batch];
    alignas(64) float scores[compact_batch];
    for (std::int64_t i = 0; i < compact_batch; ++i) rows[i] = problem_.items.row(open.pending[i < n ? i : 0]);
    problem_.kernels.score_rows(rows, open.factors, problem_.index.n_factors(), scores);
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

  [[nodiscard]] std::int64_t pushes_a_cut() const { return std::max<std::int64_t>(8, problem_.k / 2); }

  void raise(Open& open) {
    if (!(open.selector.threshold() > open.threshold)) return;
    announce(open, open.selector.threshold());
  }

  // Sets a threshold and tells the other threads.
  void announce(Open& open, float threshold) {
    set_threshold(open, threshold);
    if (problem_.shared.empty()) return;
    std::atomic<float>& shared = problem_.shared[static_cast<std::size_t>(open.query)];
    float known = shared.load(std::memory_order_relaxed);
    while (known < open.threshold && !shared.compare_exchange_weak(known, open.threshold, std::memory_order_relaxed)) {
    }
  }

  // Takes over a threshold that another thread has reached with k items of its own.
  void adopt(Open& open) {
    const float known = problem_.shared[static_cast<std::size_t>(open.query)].load(std::memory_order_relaxed);
    if (known > open.threshold) set_threshold(open, known);
  }

  void set_threshold(Open& open, float threshold) {
    const auto exact = static_cast<double>(threshold);
    open.threshold = threshold;
    open.lowered = exact - std::abs(exact) * 0x1p-22 - absolute_rounding(problem_.index.n_factors());
    open.compact.threshold = open.lowered * open.inverse_scale;
  }

  const Problem& problem_;
  std::vector<float> scores_;
  std::vector<std::int32_t> found_;
  AlignedBuffer<std::int8_t> codes_;
  AlignedBuffer<float> unit_factors_;
  std::vector<Open> opens_;
  std::vector<bool> given_up_;
  std::vector<Open*> active_;
  std::vector<std::int64_t> left_;
  std::vector<Candidate> best_;
  std::vector<std::uint64_t> excluded_words_;
  std::vector<std::vector<std::int32_t>> sorted_rows_;
  std::int64_t n_scanned_ = 0;
};

// Few queries: chunks of blocks are handed out, and every thread keeps a selection of its own.
std::vector<std::int64_t> scan_by_chunks(Problem problem, std::int64_t n_threads, const RankingView& ranking) {
  const std::int64_t n_queries = problem.queries.rows();
  const std::int64_t n_blocks = problem.items.n_blocks();
  std::vector<std::atomic<float>> shared(static_cast<std::size_t>(n_queries));
  for (std::atomic<float>& threshold : shared) threshold.store(minus_infinity, std::memory_order_relaxed);
  problem.shared = shared;

  // The caller opens alone, so that no other thread starts without a threshold.
  std::vector<std::unique_ptr<Scanner>> scanners(static_cast<std::size_t>(n_threads));
  scanners[0] = std::make_unique<Scanner>(problem, 0, n_queries);
  const std::int64_t opening = std::min(n_blocks, std::max<std::int64_t>(32, divide_up(4 * problem.k, block_items)));
  scanners[0]->start_thresholds();
  scanners[0]->scan(0, opening);
  scanners[0]->tighten();
  constexpr std::int64_t chunk = 64;
  const std::int64_t n_chunks = divide_up(n_blocks - opening, chunk);
  if (n_chunks > 0 && scanners[0]->any_open(opening)) {
    parallel_for(n_chunks, n_threads, [&](std::int64_t task, std::int64_t thread) {
      auto& scanner = scanners[static_cast<std::size_t>(thread)];
      if (!scanner) scanner = std::make_unique<Scanner>(problem, 0, n_queries);
      const std::int64_t first = opening + task * chunk;
      scanner->scan(first, std::min(n_blocks, first + chunk));
    });
  }

  std::vector<std::int64_t> left;
  for (const auto& scanner : scanners) {
    if (scanner) left.insert(left.end(), scanner->left().begin(), scanner->left().end());
  }
  std::sort(left.begin(), left.end());
  left.erase(std::unique(left.begin(), left.end()), left.end());
  std::vector<std::vector<Candidate>> best(static_cast<std::size_t>(n_queries));
  for (const auto& scanner : scanners) {
    if (!scanner) continue;
    scanner->finish([&](std::int64_t query, std::span<const Candidate> found) {
      auto& all = best[static_cast<std::size_t>(query)];
      all.insert(all.end(), found.begin(), found.end());
    });
  }
  for (std::int64_t query = 0; query < n_queries; ++query) {
    auto& all = best[static_cast<std::size_t>(query)];
    const auto n = std::min<std::int64_t>(problem.k, static_cast<std::int64_t>(all.size()));
    sort_best(all.begin(), all.end(), n);
    all.resize(static_cast<std::size_t>(n));
    write_ranking(all, ranking.indices.row(query), ranking.scores.row(query), problem.k);
  }
  return left;
}

std::vector<std::int64_t> scan_by_queries(const Problem& problem, std::int64_t n_threads, const RankingView& ranking) {
  const std::int64_t n_queries = problem.queries.rows();
  constexpr std::int64_t buffer_bytes = 1 << 20;
  const std::int64_t by_buffers = buffer_bytes / (static_cast<std::int64_t>(sizeof(Candidate)) * problem.capacity);
  const std::int64_t largest = std::clamp<std::int64_t>(by_buffers, compact_panel, 240);
  // As many tasks on one thread as on another, where there are few.
  const std::int64_t rounds = divide_up(n_queries, n_threads * largest);
  const std::int64_t block =
      std::min(largest, divide_up(divide_up(n_queries, n_threads * rounds), compact_panel) * compact_panel);
  const std::int64_t n_tasks = divide_up(n_queries, block);
  std::vector<std::vector<std::int64_t>> left(static_cast<std::size_t>(n_tasks));
  parallel_for(n_tasks, n_threads, [&](std::int64_t task, std::int64_t) {
    Scanner scanner(problem, task * block, std::min(block, n_queries - task * block));
    scanner.start_thresholds();
    scanner.scan(0, problem.items.n_blocks());
    scanner.finish([&](std::int64_t query, std::span<const Candidate> best) {
      write_ranking(best, ranking.indices.row(query), ranking.scores.row(query), problem.k);
    });
    left[static_cast<std::size_t>(task)] = scanner.left();
  });
  std::vector<std::int64_t> all;
  for (const auto& some : left) all.insert(all.end(), some.begin(), some.end());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

std::vector<std::int64_t> compact_topk(const ItemIndex& index, const CompactItems& items,
                                       MatrixView<const float> queries, const Filters& filters,
                                       const Admissible& admissible, std::int64_t n_threads, bool may_give_up,
                                       const RankingView& ranking) {
  const std::int64_t k = ranking.indices.cols();
  const std::vector<std::uint64_t> words = block_words(items, filters);
  const Problem problem{.index = index,
                        .items = items,
                        .queries = queries,
                        .filters = filters,
                        .kernels = kernels(),
                        .words = words,
                        .k = k,
                        .capacity = TopSelector::capacity(k, std::max<std::int64_t>(admissible.count(), 1)),
                        .may_give_up = may_give_up,
                        .shared = {}};
  const std::int64_t work = queries.rows() * index.n_items() * std::max<std::int64_t>(index.n_factors(), 1);
  constexpr std::int64_t too_little_to_share = 1 << 21;  // as for the float32 path, at four times its speed
  const std::int64_t threads = work < too_little_to_share ? 1 : resolve_threads(n_threads);
  if (threads > 1 && queries.rows() < 2 * compact_panel * threads) return scan_by_chunks(problem, threads, ranking);
  return scan_by_queries(problem, threads, ranking);
}

}  // namespace recsys::cpu
