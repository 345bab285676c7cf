#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "cpu/candidates.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/selection.hpp"
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

// Both kinds of weights offer: size, check_row(row) and add_row(kernels, row, factor, sum).
class SparseWeights {
 public:
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

  void add_row(const cpu::KernelTable& kernels, std::int64_t row, float factor, float* sum) const {
    const auto columns = weights_.row_indices(row);
    kernels.add_scaled_sparse(sum, factor, columns.data(), weights_.row_values(row).data(),
                              static_cast<std::int64_t>(columns.size()));
  }

 private:
  CsrView weights_;
};

class DenseWeights {
 public:
  explicit DenseWeights(MatrixView<const float> weights) : weights_(weights) {}

  [[nodiscard]] std::int64_t rows() const { return weights_.rows(); }
  [[nodiscard]] std::int64_t cols() const { return weights_.cols(); }

  void check_row(std::int64_t row) const {
    const std::span<const float> values(weights_.row(row), static_cast<std::size_t>(weights_.cols()));
    const std::int64_t bad = find_nonfinite(values);
    if (bad >= 0) throw_nonfinite("weights", row, bad, values[static_cast<std::size_t>(bad)]);
  }

  void add_row(const cpu::KernelTable& kernels, std::int64_t row, float factor, float* sum) const {
    kernels.add_scaled(sum, factor, weights_.row(row), weights_.cols());
  }

 private:
  MatrixView<const float> weights_;
};

// What one thread needs: the scores of all items for one query, and the candidates among them.
struct Scratch {
  std::vector<float> scores;
  std::vector<Candidate> candidates;
  std::vector<std::int32_t> sorted_row;
};

template <typename Weights>
void run(const CsrView& histories, const Weights& weights, const Filters& filters, std::int64_t n_threads,
         const RankingView& ranking) {
  const std::int64_t n_items = histories.cols;
  const std::int64_t n_queries = histories.rows();
  check_structure(histories, "histories");
  check_finite(histories, "histories");
  if (weights.rows() != n_items || weights.cols() != n_items) {
    throw ShapeError("weights must have one row and one column an item of histories, " + std::to_string(n_items) +
                     ", got shape (" + std::to_string(weights.rows()) + ", " + std::to_string(weights.cols()) + ")");
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
  std::vector<Scratch> scratches(static_cast<std::size_t>(width));
  parallel_for(n_queries, width, [&](std::int64_t query, std::int64_t thread) {
    Scratch& scratch = scratches[static_cast<std::size_t>(thread)];
    scratch.scores.assign(static_cast<std::size_t>(n_blocks * block_items), 0.0F);
    scratch.candidates.resize(static_cast<std::size_t>(cpu::TopSelector::capacity(k, admissible.count())));

    const auto items = histories.row_indices(query);
    const auto values = histories.row_values(query);
    for (std::size_t i = 0; i < items.size(); ++i) {
      weights.add_row(kernels, items[i], values[i], scratch.scores.data());
    }

    cpu::ExcludeCursor excluded;
    if (filters.exclude) excluded = {filters.exclude->row_indices(query), 0, scratch.sorted_row};
    cpu::TopSelector selector(scratch.candidates, k);
    const float* scores = scratch.scores.data();
    std::uint32_t above = 0;
    for (std::int64_t block = 0;; ++block) {
      block = kernels.next_above(scores, block, n_blocks, selector.threshold(), &above);
      if (block == n_blocks) break;
      for (above &= admissible.word(block); above != 0; above &= above - 1) {
        const std::int64_t item = block * block_items + std::countr_zero(above);
        if (excluded.contains(item) || !(scores[item] > selector.threshold())) continue;
        selector.push({scores[item], static_cast<std::int32_t>(item)});
      }
    }
    cpu::write_ranking(selector.finish(), ranking.indices.row(query), ranking.scores.row(query), k);
  });
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
