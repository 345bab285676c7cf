#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "cpu/candidates.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/partial_rankings.hpp"
#include "cpu/selection.hpp"
#include "recsys/interrupt.hpp"
#include "recsys/thread_pool.hpp"
#include "recsys/topk.hpp"

namespace recsys {
namespace {

using cpu::Candidate;

constexpr std::int64_t block_items = 32;  // of the next_above kernel, and of a word of Admissible

// The rows of `weights` that some history names, ascending: the only ones that will be read.
std::vector<std::int32_t> rows_named(const CsrView& histories) {
  std::vector<bool> named(static_cast<std::size_t>(histories.cols));
  for (const std::int32_t item : histories.indices) named[static_cast<std::size_t>(item)] = true;
  std::vector<std::int32_t> rows;
  for (std::size_t row = 0; row < named.size(); ++row) {
    if (named[row]) rows.push_back(static_cast<std::int32_t>(row));
  }
  return rows;
}

// Both kinds of weights offer: size, check_row(row) and add_row(kernels, row, factor, first, n, sum), which adds the
// columns from `first` on to sum [n].  Where has_ranges is false those are all columns.
class SparseWeights {
 public:
  static constexpr bool has_ranges = false;

  explicit SparseWeights(const CsrView& weights) : weights_(weights) { check_indptr(weights, "weights"); }

  [[nodiscard]] std::int64_t rows() const { return weights_.rows(); }
  [[nodiscard]] std::int64_t cols() const { return weights_.cols; }

  void check_row(std::int64_t row) const {
    const auto columns = weights_.row_indices(row);
    for (const std::int32_t column : columns) {
      if (column < 0 || column >= weights_.cols) {
        throw DataError("weights must have column indices in [0, " + std::to_string(weights_.cols) + "), got " +
                        std::to_string(column) + " in row " + std::to_string(row));
      }
    }
    const auto values = weights_.row_values(row);
    const std::int64_t bad = find_nonfinite(values);
    if (bad >= 0) {
      const auto at = static_cast<std::size_t>(bad);
      throw_nonfinite("weights", row, columns[at], values[at]);
    }
  }

  void add_row(const cpu::KernelTable& kernels, std::int64_t row, float factor, std::int64_t, std::int64_t,
               float* sum) const {
    const auto columns = weights_.row_indices(row);
    kernels.add_scaled_sparse(sum, factor, columns.data(), weights_.row_values(row).data(),
                              static_cast<std::int64_t>(columns.size()));
  }

 private:
  CsrView weights_;
};

class DenseWeights {
 public:
  static constexpr bool has_ranges = true;

  explicit DenseWeights(MatrixView<const float> weights) : weights_(weights) {}

  [[nodiscard]] std::int64_t rows() const { return weights_.rows(); }
  [[nodiscard]] std::int64_t cols() const { return weights_.cols(); }

  void check_row(std::int64_t row) const {
    const std::span<const float> values(weights_.row(row), static_cast<std::size_t>(weights_.cols()));
    const std::int64_t bad = find_nonfinite(values);
    if (bad >= 0) throw_nonfinite("weights", row, bad, values[static_cast<std::size_t>(bad)]);
  }

  void add_row(const cpu::KernelTable& kernels, std::int64_t row, float factor, std::int64_t first, std::int64_t n,
               float* sum) const {
    kernels.add_scaled(sum, factor, weights_.row(row) + first, n);
  }

 private:
  MatrixView<const float> weights_;
};

// What one thread needs: the scores of all items for one query, and the candidates among them.
struct Scratch {
  std::vector<float> scores;
  std::vector<Candidate> candidates;
  std::vector<std::int32_t> sorted_exclude;
  std::vector<std::int32_t> sorted_allow;
};

// Into how many ranges the items of each query are cut: 1 where the queries alone occupy the threads.
std::int64_t ranges_a_query(const CsrView& histories, std::int64_t n_blocks, std::int64_t n_threads) {
  constexpr double too_little_to_share = 1 << 19;  // multiply-adds
  constexpr std::int64_t smallest_range = 32;      // blocks
  const double work = static_cast<double>(histories.nnz()) * static_cast<double>(n_blocks * block_items);
  const std::int64_t n_queries = std::max<std::int64_t>(histories.rows(), 1);
  if (work < too_little_to_share || n_queries >= 2 * n_threads) return 1;
  return std::clamp<std::int64_t>(n_blocks / smallest_range, 1, (2 * n_threads + n_queries - 1) / n_queries);
}

template <typename Weights>
void run(const CsrView& histories, const Weights& weights, const Filters& filters, std::int64_t n_threads,
         const RankingView& ranking) {
  const std::int64_t n_items = weights.cols();
  const std::int64_t n_queries = histories.rows();
  check_structure(histories, "histories");
  check_finite(histories, "histories");
  if (weights.rows() != histories.cols) {
    throw ShapeError("weights must have one row for each of the " + std::to_string(histories.cols) +
                     " columns of histories, got shape (" + std::to_string(weights.rows()) + ", " +
                     std::to_string(weights.cols()) + ")");
  }
  cpu::check_arguments(filters, ranking, n_queries, n_items);

  const std::int64_t width = resolve_threads(n_threads);
  const std::vector<std::int32_t> rows = rows_named(histories);
  parallel_for(static_cast<std::int64_t>(rows.size()), width,
               [&](std::int64_t task, std::int64_t) { weights.check_row(rows[static_cast<std::size_t>(task)]); });

  const auto& kernels = cpu::kernels();
  const std::int64_t k = ranking.indices.cols();
  const std::int64_t n_blocks = (n_items + block_items - 1) / block_items;
  const cpu::Admissible admissible(filters, n_items);
  const std::vector<std::int32_t> listed = admissible.is_list() ? admissible.items() : std::vector<std::int32_t>{};
  const std::int64_t n_ranges = Weights::has_ranges ? ranges_a_query(histories, n_blocks, width) : 1;
  const std::int64_t range = (n_blocks + n_ranges - 1) / n_ranges;
  cpu::PartialRankings partial(n_ranges > 1 ? n_queries : 0, n_ranges, std::min(k, range * block_items));
  std::vector<Scratch> scratches(static_cast<std::size_t>(width));
  parallel_for(n_queries * n_ranges, width, [&](std::int64_t task, std::int64_t thread) {
    const std::int64_t query = task / n_ranges;
    const std::int64_t first_block = std::min(n_blocks, task % n_ranges * range);
    const std::int64_t last_block = std::min(n_blocks, first_block + range);
    const std::int64_t first = first_block * block_items;
    const std::int64_t last = std::min(n_items, last_block * block_items);
    Scratch& scratch = scratches[static_cast<std::size_t>(thread)];
    scratch.scores.assign(static_cast<std::size_t>((last_block - first_block) * block_items), 0.0F);
    const std::int64_t n_candidates = std::min(admissible.count(), last - first);
    scratch.candidates.resize(static_cast<std::size_t>(cpu::TopSelector::capacity(k, n_candidates)));

    const auto items = histories.row_indices(query);
    const auto values = histories.row_values(query);
    constexpr std::size_t rows_a_checkpoint = 16;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i % rows_a_checkpoint == 0) checkpoint();
      weights.add_row(kernels, items[i], values[i], first, last - first, scratch.scores.data());
    }

    cpu::RowCursor excluded;
    if (filters.exclude) excluded = {filters.exclude->row_indices(query), first, scratch.sorted_exclude};
    cpu::TopSelector selector(scratch.candidates, k);
    const auto offer = [&](std::int64_t item) {
      const float score = scratch.scores[static_cast<std::size_t>(item - first)];
      if (!(score > selector.threshold()) || excluded.contains(item)) return;
      selector.push({score, static_cast<std::int32_t>(item)});
    };
    const auto offer_listed = [&](std::span<const std::int32_t> list) {
      for (auto at = std::lower_bound(list.begin(), list.end(), first); at != list.end() && *at < last; ++at) {
        if (admissible.contains(*at)) offer(*at);
      }
    };
    if (filters.allow_each) {
      offer_listed(cpu::ascending(filters.allow_each->row_indices(query), scratch.sorted_allow));
    } else if (admissible.is_list()) {
      offer_listed(listed);
    } else {
      std::uint32_t above = 0;
      for (std::int64_t block = 0;; ++block) {
        block =
            kernels.next_above(scratch.scores.data(), block, last_block - first_block, selector.threshold(), &above);
        if (block == last_block - first_block) break;
        for (above &= admissible.word(first_block + block); above != 0; above &= above - 1) {
          offer(first + block * block_items + std::countr_zero(above));
        }
      }
    }
    if (n_ranges > 1) {
      partial.put(query, task % n_ranges, selector.finish());
    } else {
      cpu::write_ranking(selector.finish(), ranking.indices.row(query), ranking.scores.row(query), k);
    }
  });
  for (std::int64_t query = 0; query < n_queries && n_ranges > 1; ++query) {
    cpu::write_ranking(partial.merge(query, k), ranking.indices.row(query), ranking.scores.row(query), k);
  }
}

}  // namespace

void item_item_topk(const CsrView& histories, const CsrView& weights, const Filters& filters, std::int64_t n_threads,
                    const RankingView& ranking) {
  run(histories, SparseWeights(weights), filters, n_threads, ranking);
}

void item_item_topk(const CsrView& histories, MatrixView<const float> weights, const Filters& filters,
                    std::int64_t n_threads, const RankingView& ranking) {
  run(histories, DenseWeights(weights), filters, n_threads, ranking);
}

}  // namespace recsys
