#include "cpu/float32_scan.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "cpu/partial_rankings.hpp"
#include "cpu/selection.hpp"
#include "cpu/tiles.hpp"
#include "recsys/aligned_buffer.hpp"
#include "recsys/interrupt.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys::cpu {
namespace {

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

Plan make_plan(const ItemIndex& index, const Admissible& admissible, std::int64_t n_queries, std::int64_t k,
               std::int64_t n_threads, std::int64_t panel_max) {
  Plan plan{};
  plan.capacity = TopSelector::capacity(k, std::max<std::int64_t>(admissible.count(), 1));
  // In float64, since the product may exceed int64.
  const double work = static_cast<double>(n_queries) * static_cast<double>(admissible.n_tiles_touched() * tile_items) *
                      static_cast<double>(std::max<std::int64_t>(index.n_factors(), 1));
  constexpr double too_little_to_share = 1 << 19;  // about the time it takes to wake a thread, a few times over
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
  // the arithmetic.  A few queries rather read the tiles where they lie, unless they are so few that they were listed.
  plan.gather = admissible.is_list() ||
                (plan.block >= 2 * panel_max && admissible.count() * 4 <= admissible.n_tiles_touched() * tile_items);
  plan.n_positions = plan.gather ? divide_up(admissible.count(), tile_items) : index.n_tiles();

  // Where blocks alone do not occupy the threads, the items are cut too, and the ranges' winners merged.
  constexpr std::int64_t smallest_range = 32;
  const std::int64_t wanted = plan.n_threads == 1 ? 1 : divide_up(2 * plan.n_threads, plan.n_blocks);
  const bool enough_blocks = plan.n_blocks >= 2 * plan.n_threads;
  plan.n_ranges = enough_blocks ? 1 : std::clamp<std::int64_t>(plan.n_positions / smallest_range, 1, wanted);
  plan.range = divide_up(plan.n_positions, plan.n_ranges);
  return plan;
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
              const Admissible& admissible, std::span<const std::int32_t> gathered, const Plan& plan,
              const KernelTable& kernels, std::int64_t first_query, std::int64_t n_queries, std::int64_t k)
      : index_(index),
        filters_(filters),
        admissible_(admissible),
        gathered_(gathered),
        kernels_(kernels),
        first_query_(first_query),
        buffers_(static_cast<std::size_t>(n_queries * plan.capacity)),
        thresholds_(static_cast<std::size_t>(n_queries + panel_limit), TopSelector::initial_threshold),
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
    constexpr std::int64_t positions_a_checkpoint = 32;
    for (std::int64_t position = first_position; position < last_position; ++position) {
      if (position % positions_a_checkpoint == 0) checkpoint();
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
  // What a filter names for each query.
  struct Rows {
    std::vector<RowCursor> cursors;
    std::vector<std::vector<std::int32_t>> sorted;
  };

  void start_cursors(std::int64_t first_item) {
    start_cursors(filters_.exclude, first_item, excluded_);
    start_cursors(filters_.allow_each, first_item, allowed_);
  }

  void start_cursors(const std::optional<CsrView>& filter, std::int64_t first_item, Rows& rows) {
    if (!filter) return;
    rows.cursors.resize(selectors_.size());
    rows.sorted.resize(selectors_.size());
    for (std::size_t q = 0; q < selectors_.size(); ++q) {
      const auto row = filter->row_indices(first_query_ + static_cast<std::int64_t>(q));
      rows.cursors[q] = RowCursor(row, first_item, rows.sorted[q]);
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
    TopSelector& selector = selectors_[query];
    for (; above != 0; above &= above - 1) {
      const int lane = std::countr_zero(above);
      if (filters_.exclude && excluded_.cursors[query].contains(items[lane])) continue;
      if (filters_.allow_each && !allowed_.cursors[query].contains(items[lane])) continue;
      if (scores[lane] > selector.threshold()) selector.push({scores[lane], items[lane]});
    }
    thresholds_[query] = selector.threshold();
  }

  const ItemIndex& index_;
  const Filters& filters_;
  const Admissible& admissible_;
  std::span<const std::int32_t> gathered_;
  const KernelTable& kernels_;
  std::int64_t first_query_;
  std::vector<Candidate> buffers_;
  std::vector<TopSelector> selectors_;
  std::vector<float> thresholds_;
  Rows excluded_;
  Rows allowed_;
  AlignedBuffer<float> factors_;
  std::vector<Panel> panels_;
};

}  // namespace

void float32_topk(const ItemIndex& index, MatrixView<const float> queries, const Filters& filters,
                  const Admissible& admissible, std::int64_t n_threads, const RankingView& ranking) {
  const std::int64_t n_queries = queries.rows();
  const KernelTable& kernels = cpu::kernels();
  const std::int64_t k = ranking.indices.cols();
  const Plan plan = make_plan(index, admissible, n_queries, k, n_threads, kernels.panel_max);
  const std::vector<std::int32_t> gathered = plan.gather ? admissible.items() : std::vector<std::int32_t>{};
  const auto write = [&](std::int64_t query, std::span<const Candidate> best) {
    write_ranking(best, ranking.indices.row(query), ranking.scores.row(query), k);
  };

  PartialRankings partial(plan.n_ranges > 1 ? n_queries : 0, plan.n_ranges, std::min(k, plan.range * tile_items));
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
    for (std::int64_t query = 0; query < n_queries; ++query) write(query, partial.merge(query, k));
  }
}

}  // namespace recsys::cpu
