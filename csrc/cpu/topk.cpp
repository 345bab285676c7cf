#include "recsys/topk.hpp"

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "cpu/candidates.hpp"
#include "cpu/compact_scan.hpp"
#include "cpu/experience.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/selection.hpp"
#include "cpu/unit_scale.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

using cpu::Candidate;

constexpr std::int64_t tile_items = ItemIndex::tile_items;
constexpr std::int64_t panel_limit = 16;  // no level's panel is wider

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// How the work is cut into tasks: blocks of queries by ranges of tile positions.  It decides speed only.
struct Plan {
  std::int64_t block;        // queries a task
  std::int64_t n_blocks;     //
  std::int64_t range;        // tile positions a task
  std::int64_t n_ranges;     //
  std::int64_t n_threads;    //
  std::int64_t capacity;     // candidates buffered a query
  bool gather;               // pack the admissible items into tiles of their own
  std::int64_t n_positions;  // tiles to run through: the index's, or the packed ones
};

Plan make_plan(const ItemIndex& index, const cpu::Admissible& admissible, std::int64_t n_queries, std::int64_t k,
               std::int64_t n_threads, std::int64_t panel_max) {
  Plan plan{};
  plan.capacity = cpu::TopSelector::capacity(k, std::max<std::int64_t>(admissible.count(), 1));
  const std::int64_t work =
      n_queries * admissible.n_tiles_touched() * tile_items * std::max<std::int64_t>(index.n_factors(), 1);
  constexpr std::int64_t too_little_to_share = 1 << 19;  // about the time it takes to wake a thread, a few times over
  plan.n_threads = work < too_little_to_share ? 1 : resolve_threads(n_threads);

  // A block's panels and candidate buffers stay in the second-level cache while the tiles stream by.
  constexpr std::int64_t panel_bytes = 128 << 10;
  constexpr std::int64_t buffer_bytes = 512 << 10;
  const std::int64_t by_panels = panel_bytes / (4 * std::max<std::int64_t>(index.n_factors(), 1));
  const std::int64_t by_buffers = buffer_bytes / (static_cast<std::int64_t>(sizeof(Candidate)) * plan.capacity);
  const std::int64_t by_threads = plan.n_threads == 1 ? n_queries : divide_up(n_queries, 4 * plan.n_threads);
  std::int64_t block = std::min({by_panels, by_buffers, std::max<std::int64_t>(by_threads, 4 * panel_max)});
  block = std::clamp<std::int64_t>(block / panel_max * panel_max, panel_max, 256);
  plan.block = std::min(block, n_queries);
  plan.n_blocks = divide_up(n_queries, plan.block);

  // Few admissible items strewn over many tiles: with enough queries to share the copying, packing them saves most of
  // the arithmetic.  A few queries rather read the tiles where they lie.
  plan.gather = plan.block >= 2 * panel_max && admissible.count() * 4 <= admissible.n_tiles_touched() * tile_items;
  plan.n_positions = plan.gather ? divide_up(admissible.count(), tile_items) : index.n_tiles();

  // Where blocks alone do not occupy the threads, the items are cut too, and the ranges' winners merged.
  constexpr std::int64_t smallest_range = 32;
  const std::int64_t wanted = plan.n_threads == 1 ? 1 : divide_up(2 * plan.n_threads, plan.n_blocks);
  const bool enough_blocks = plan.n_blocks >= 2 * plan.n_threads;
  plan.n_ranges = enough_blocks ? 1 : std::clamp<std::int64_t>(plan.n_positions / smallest_range, 1, wanted);
  plan.range = divide_up(plan.n_positions, plan.n_ranges);
  return plan;
}

// Copies the queries of a panel to [d, width], scaled for cosine, padded with zeros.
void pack_panel(const ItemIndex& index, MatrixView<const float> queries, std::int64_t first, std::int64_t n,
                std::int64_t width, float* panel) {
  const std::int64_t n_factors = index.n_factors();
  for (std::int64_t q = 0; q < width; ++q) {
    if (q >= n) {
      for (std::int64_t f = 0; f < n_factors; ++f) panel[f * width + q] = 0.0F;
      continue;
    }
    const float* row = queries.row(first + q);
    if (index.metric() == Metric::dot) {
      for (std::int64_t f = 0; f < n_factors; ++f) panel[f * width + q] = row[f];
    } else {
      const double scale = cpu::unit_scale(row, n_factors);
      for (std::int64_t f = 0; f < n_factors; ++f) panel[f * width + q] = static_cast<float>(row[f] * scale);
    }
  }
}

// Copies up to 32 items, wherever they are, into one tile.
void gather_tile(const ItemIndex& index, std::span<const std::int32_t> items, float* tile, float* bias) {
  for (std::size_t lane = 0; lane < items.size(); ++lane) {
    const std::int64_t from = items[lane] / tile_items;
    const std::int64_t column = items[lane] % tile_items;
    const float* source = index.tile(from) + column;
    for (std::int64_t f = 0; f < index.n_factors(); ++f) {
      tile[f * tile_items + static_cast<std::int64_t>(lane)] = source[f * tile_items];
    }
    if (index.has_bias()) bias[lane] = index.bias(from)[column];
  }
}

struct Panel {
  std::int64_t first;  // query, counted within the block
  std::int64_t n;
  std::int64_t width;
  const float* factors;
};

// One task: a block of queries against a range of tile positions.
class BlockScorer {
 public:
  BlockScorer(const ItemIndex& index, MatrixView<const float> queries, const Filters& filters,
              const cpu::Admissible& admissible, std::span<const std::int32_t> gathered, const Plan& plan,
              const cpu::KernelTable& kernels, std::int64_t first_query, std::int64_t n_queries, std::int64_t k)
      : index_(index),
        filters_(filters),
        admissible_(admissible),
        gathered_(gathered),
        kernels_(kernels),
        first_query_(first_query),
        buffers_(static_cast<std::size_t>(n_queries * plan.capacity)),
        thresholds_(static_cast<std::size_t>(n_queries + panel_limit), cpu::TopSelector::initial_threshold),
        factors_(divide_up(n_queries, kernels.panel_max) * kernels.panel_max * index.n_factors()) {
    const std::span<Candidate> buffers(buffers_);
    for (std::int64_t q = 0; q < n_queries; ++q) {
      selectors_.emplace_back(
          buffers.subspan(static_cast<std::size_t>(q * plan.capacity), static_cast<std::size_t>(plan.capacity)), k);
    }
    float* packed = factors_.data();
    for (std::int64_t first = 0; first < n_queries; first += kernels.panel_max) {
      const std::int64_t n = std::min(kernels.panel_max, n_queries - first);
      const std::int64_t width = kernels.panel_width(n);
      pack_panel(index, queries, first_query + first, n, width, packed);
      panels_.push_back({first, n, width, packed});
      packed += width * index.n_factors();
    }
  }

  void run(std::int64_t first_position, std::int64_t last_position) {
    if (first_position >= last_position) return;
    const bool gather = !gathered_.empty();
    const std::int64_t first_item =
        gather ? gathered_[static_cast<std::size_t>(first_position * tile_items)] : first_position * tile_items;
    start_cursors(first_item);
    AlignedBuffer<float> tile(gather ? index_.n_factors() * tile_items : 0);
    if (gather) std::fill(tile.data(), tile.data() + tile.size(), 0.0F);
    float bias[tile_items] = {};

    std::int32_t items[tile_items];
    for (std::int64_t position = first_position; position < last_position; ++position) {
      if (gather) {
        const auto start = static_cast<std::size_t>(position * tile_items);
        const std::size_t n = std::min<std::size_t>(tile_items, gathered_.size() - start);
        gather_tile(index_, gathered_.subspan(start, n), tile.data(), bias);
        const std::uint32_t mask = n == tile_items ? ~std::uint32_t{0} : (std::uint32_t{1} << n) - 1;
        score(tile.data(), index_.has_bias() ? bias : nullptr, mask, gathered_.data() + start);
      } else if (const std::uint32_t mask = admissible_.word(position); mask != 0) {
        for (std::int64_t lane = 0; lane < tile_items; ++lane) {
          items[lane] = static_cast<std::int32_t>(position * tile_items + lane);
        }
        score(index_.tile(position), index_.bias(position), mask, items);
      }
    }
  }

  std::span<const Candidate> finish(std::int64_t query) { return selectors_[static_cast<std::size_t>(query)].finish(); }

 private:
  void start_cursors(std::int64_t first_item) {
    if (!filters_.exclude) return;
    cursors_.resize(selectors_.size());
    sorted_rows_.resize(selectors_.size());
    for (std::size_t q = 0; q < selectors_.size(); ++q) {
      const auto row = filters_.exclude->row_indices(first_query_ + static_cast<std::int64_t>(q));
      cursors_[q] = cpu::ExcludeCursor(row, first_item, sorted_rows_[q]);
    }
  }

  void score(const float* tile, const float* bias, std::uint32_t admissible, const std::int32_t* items) {
    alignas(64) float scores[panel_limit * tile_items];
    std::uint32_t masks[panel_limit];
    for (const Panel& panel : panels_) {
      kernels_.score_tile(tile, bias, panel.factors, panel.width, index_.n_factors(), thresholds_.data() + panel.first,
                          scores, masks);
      for (std::int64_t q = 0; q < panel.n; ++q) {
        const std::uint32_t above = masks[q] & admissible;
        if (above != 0) select(static_cast<std::size_t>(panel.first + q), above, scores + q * tile_items, items);
      }
    }
  }

  void select(std::size_t query, std::uint32_t above, const float* scores, const std::int32_t* items) {
    cpu::TopSelector& selector = selectors_[query];
    for (; above != 0; above &= above - 1) {
      const int lane = std::countr_zero(above);
      if (filters_.exclude && cursors_[query].contains(items[lane])) continue;
      if (scores[lane] > selector.threshold()) selector.push({scores[lane], items[lane]});
    }
    thresholds_[query] = selector.threshold();
  }

  const ItemIndex& index_;
  const Filters& filters_;
  const cpu::Admissible& admissible_;
  std::span<const std::int32_t> gathered_;
  const cpu::KernelTable& kernels_;
  std::int64_t first_query_;
  std::vector<Candidate> buffers_;
  std::vector<cpu::TopSelector> selectors_;
  std::vector<float> thresholds_;
  std::vector<cpu::ExcludeCursor> cursors_;
  std::vector<std::vector<std::int32_t>> sorted_rows_;
  AlignedBuffer<float> factors_;
  std::vector<Panel> panels_;
};

// The winners of every range of items, for the queries whose items were cut into several.
class PartialRankings {
 public:
  PartialRankings(std::int64_t n_queries, std::int64_t n_ranges, std::int64_t k)
      : n_ranges_(n_ranges),
        k_(k),
        candidates_(static_cast<std::size_t>(checked_product(checked_product(n_queries, n_ranges), k))),
        sizes_(static_cast<std::size_t>(n_queries * n_ranges)) {}

  void put(std::int64_t query, std::int64_t range, std::span<const Candidate> best) {
    const std::int64_t slot = query * n_ranges_ + range;
    std::copy(best.begin(), best.end(), candidates_.begin() + slot * k_);
    sizes_[static_cast<std::size_t>(slot)] = static_cast<std::int64_t>(best.size());
  }

  // Closes the gaps between a query's lists, and sorts.
  std::span<const Candidate> merge(std::int64_t query) {
    const auto begin = candidates_.begin() + query * n_ranges_ * k_;
    auto end = begin;
    for (std::int64_t range = 0; range < n_ranges_; ++range) {
      const auto list = begin + range * k_;
      end = std::copy(list, list + sizes_[static_cast<std::size_t>(query * n_ranges_ + range)], end);
    }
    const auto n = std::min<std::int64_t>(end - begin, k_);
    cpu::sort_best(begin, end, n);
    return {begin, begin + n};
  }

 private:
  std::int64_t n_ranges_;
  std::int64_t k_;
  std::vector<Candidate> candidates_;
  std::vector<std::int64_t> sizes_;
};

// Every score in float32.
void float32_topk(const ItemIndex& index, MatrixView<const float> queries, const Filters& filters,
                  const cpu::Admissible& admissible, std::int64_t n_threads, const RankingView& ranking) {
  const std::int64_t n_queries = queries.rows();
  const auto& kernels = cpu::kernels();
  const std::int64_t k = ranking.indices.cols();
  const Plan plan = make_plan(index, admissible, n_queries, k, n_threads, kernels.panel_max);
  const std::vector<std::int32_t> gathered = plan.gather ? admissible.items() : std::vector<std::int32_t>{};
  const auto write = [&](std::int64_t query, std::span<const Candidate> best) {
    cpu::write_ranking(best, ranking.indices.row(query), ranking.scores.row(query), k);
  };

  // A range holds at most `capacity` candidates for a query, which is less than k where k exceeds the items.
  const std::int64_t k_reachable = std::min(k, plan.capacity);
  PartialRankings partial(plan.n_ranges > 1 ? n_queries : 0, plan.n_ranges, k_reachable);
  parallel_for(plan.n_blocks * plan.n_ranges, plan.n_threads, [&](std::int64_t task, std::int64_t) {
    const std::int64_t first = task / plan.n_ranges * plan.block;
    const std::int64_t range = task % plan.n_ranges;
    const std::int64_t n = std::min(plan.block, n_queries - first);
    BlockScorer scorer(index, queries, filters, admissible, gathered, plan, kernels, first, n, k);
    scorer.run(range * plan.range, std::min(plan.n_positions, (range + 1) * plan.range));
    for (std::int64_t q = 0; q < n; ++q) {
      if (plan.n_ranges == 1) {
        write(first + q, scorer.finish(q));
      } else {
        partial.put(first + q, range, scorer.finish(q));
      }
    }
  });
  if (plan.n_ranges > 1) {
    for (std::int64_t query = 0; query < n_queries; ++query) write(query, partial.merge(query));
  }
}

// float32_topk for some of the queries.
void float32_topk_of(std::span<const std::int64_t> chosen, const ItemIndex& index, MatrixView<const float> queries,
                     const Filters& filters, const cpu::Admissible& admissible, std::int64_t n_threads,
                     const RankingView& ranking) {
  const std::int64_t k = ranking.indices.cols();
  const auto n = static_cast<std::int64_t>(chosen.size());
  std::vector<float> rows;
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> excluded;
  for (const std::int64_t query : chosen) {
    rows.insert(rows.end(), queries.row(query), queries.row(query) + queries.cols());
    if (!filters.exclude) continue;
    const auto row = filters.exclude->row_indices(query);
    excluded.insert(excluded.end(), row.begin(), row.end());
    indptr.push_back(static_cast<std::int64_t>(excluded.size()));
  }
  Filters some = filters;
  if (filters.exclude) some.exclude = CsrView{indptr, excluded, {}, filters.exclude->cols};
  std::vector<std::int64_t> indices(static_cast<std::size_t>(checked_product(n, k)));
  std::vector<float> scores(indices.size());
  float32_topk(index, {rows.data(), n, queries.cols()}, some, admissible, n_threads,
               {{indices.data(), n, k}, {scores.data(), n, k}});
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t query = chosen[static_cast<std::size_t>(i)];
    std::copy_n(indices.data() + i * k, k, ranking.indices.row(query));
    std::copy_n(scores.data() + i * k, k, ranking.scores.row(query));
  }
}

// Whether the compact scan is expected to be faster.  Its copy of the items costs about as much as float32 scores for
// `queries_a_copy` queries, so it is built once so many have been asked.
bool compact_expected_faster(const ItemIndex& index, const cpu::Admissible& admissible, std::int64_t n_queries,
                             std::int64_t k) {
  constexpr std::int64_t fewest_items = 1024;
  constexpr std::int64_t fewest_factors = 4;
  // Rescoring is left where few items a result are, the more so without an instruction for 8-bit products.
  const bool fast_products = cpu::kernels().compact_limit == 127;
  const std::int64_t items_a_result = 16 + (fast_products ? 0 : index.n_factors() / 4);
  constexpr std::int64_t queries_a_copy = 64;
  if (!cpu::kernels().compact_pays || index.n_items() < fewest_items || index.n_factors() < fewest_factors ||
      k > index.n_items() / items_a_result || admissible.count() * 2 < index.n_items()) {
    return false;
  }
  ItemIndex::Experience& experience = index.experience();
  const std::int64_t asked = experience.n_asked.fetch_add(n_queries, std::memory_order_relaxed) + n_queries;
  if (asked < queries_a_copy) return false;
  // Of data that defeats the bound every query would be scored twice.
  const std::int64_t scanned = experience.n_scanned.load(std::memory_order_relaxed);
  return scanned < 64 || experience.n_given_up.load(std::memory_order_relaxed) < scanned / 8;
}

}  // namespace

void topk(const ItemIndex& index, MatrixView<const float> queries, const Filters& filters, std::int64_t n_threads,
          const RankingView& ranking, Method method) {
  if (queries.cols() != index.n_factors()) {
    throw ShapeError("queries must have one column a factor, " + std::to_string(index.n_factors()) + ", got " +
                     std::to_string(queries.cols()));
  }
  const std::int64_t n_queries = queries.rows();
  cpu::check_arguments(filters, ranking, n_queries, index.n_items());
  check_finite(queries, "queries");
  (void)resolve_threads(n_threads);  // refuses a negative number even where the plan will not ask
  const cpu::Admissible admissible(filters, index.n_items());
  if (n_queries == 0) return;

  const bool compact =
      index.n_factors() <= cpu::CompactItems::max_factors &&
      (method == Method::compact ||
       (method == Method::automatic && compact_expected_faster(index, admissible, n_queries, ranking.indices.cols())));
  if (!compact) {
    float32_topk(index, queries, filters, admissible, n_threads, ranking);
    return;
  }
  const std::vector<std::int64_t> left =
      cpu::compact_topk(index, index.compact(), queries, filters, n_threads, method == Method::automatic, ranking);
  if (method == Method::automatic) {
    index.experience().n_scanned.fetch_add(n_queries, std::memory_order_relaxed);
    index.experience().n_given_up.fetch_add(static_cast<std::int64_t>(left.size()), std::memory_order_relaxed);
  }
  if (!left.empty()) float32_topk_of(left, index, queries, filters, admissible, n_threads, ranking);
}

}  // namespace recsys
