#include "recsys/slim.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "recsys/interrupt.hpp"
#include "recsys/padded_matrix.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

// One solved column: its weights other than zero, rows ascending.
struct Column {
  bool settled = true;
  std::vector<std::int32_t> rows;
  std::vector<float> weights;
};

void check_options(const SlimOptions& options) {
  if (!(options.l1 >= 0.0F)) throw ConfigError("l1 must be 0 or more, got " + std::to_string(options.l1));
  if (!(options.l2 >= 0.0F)) throw ConfigError("l2 must be 0 or more, got " + std::to_string(options.l2));
  if (!(options.tolerance >= 0.0F)) {
    throw ConfigError("tolerance must be 0 or more, got " + std::to_string(options.tolerance));
  }
  if (options.n_iterations < 1) {
    throw ConfigError("n_iterations must be 1 or more, got " + std::to_string(options.n_iterations));
  }
}

// G [n, n], both triangles.  Entry (i, j >= i) sums over users in ascending order; a task owns row i.
AlignedBuffer<float> gram_of_columns(const CsrView& interactions, std::int64_t n_threads) {
  const std::int64_t n = interactions.cols;
  const CsrMatrix by_item = transpose(interactions);
  const CsrView items = by_item.view();
  AlignedBuffer<float> gram(checked_product(n, n));
  parallel_for(n, n_threads, [&](std::int64_t i, std::int64_t) {
    float* const row = gram.data() + i * n;
    std::memset(row, 0, static_cast<std::size_t>(n) * sizeof(float));
    const auto users = items.row_indices(i);
    const auto values = items.row_values(i);
    for (std::size_t u = 0; u < users.size(); ++u) {
      const auto columns = interactions.row_indices(users[u]);
      const auto others = interactions.row_values(users[u]);
      const auto first = std::lower_bound(columns.begin(), columns.end(), static_cast<std::int32_t>(i));
      for (auto k = static_cast<std::size_t>(first - columns.begin()); k < columns.size(); ++k) {
        row[columns[k]] += values[u] * others[k];
      }
    }
  });
  constexpr std::int64_t side = 64;  // a square of both triangles stays in cache
  const std::int64_t n_strips = (n + side - 1) / side;
  parallel_for(n_strips, n_threads, [&](std::int64_t strip, std::int64_t) {
    const std::int64_t stop = std::min(n, (strip + 1) * side);
    for (std::int64_t block = 0; block <= strip * side; block += side) {
      for (std::int64_t r = strip * side; r < stop; ++r) {
        for (std::int64_t c = block; c < std::min(block + side, r); ++c)
          gram.data()[r * n + c] = gram.data()[c * n + r];
      }
    }
  });
  return gram;
}

// The weights of one column, of n zeros, become its solution; pull is scratch.  Sweeps until no move lowered the
// objective by more than tolerance^2 G_jj / 2.  Returns whether that came within the options' number of sweeps.
bool solve_column(const float* gram, std::int64_t n, std::int64_t j, const SlimOptions& options, float* weights,
                  float* pull) {
  const auto sweep = cpu::kernels().slim_sweep;
  std::memcpy(pull, gram + j * n, static_cast<std::size_t>(n) * sizeof(float));
  const float small = options.tolerance * options.tolerance * gram[j * n + j];
  for (std::int64_t i = 0; i < options.n_iterations; ++i) {
    checkpoint();
    if (sweep(gram, n, j, options.l1, options.l2, options.positive_only, weights, pull) <= small) return true;
  }
  return false;
}

// Row-major form of the columns.
CsrMatrix assemble(const std::vector<Column>& columns) {
  CsrMatrix by_column;
  by_column.cols = static_cast<std::int64_t>(columns.size());
  by_column.indptr.push_back(0);
  for (const Column& column : columns) {
    by_column.indices.insert(by_column.indices.end(), column.rows.begin(), column.rows.end());
    by_column.values.insert(by_column.values.end(), column.weights.begin(), column.weights.end());
    by_column.indptr.push_back(static_cast<std::int64_t>(by_column.indices.size()));
  }
  return transpose(by_column.view());
}

}  // namespace

SlimResult slim(const CsrView& interactions, const SlimOptions& options, const SlimMonitor& after_columns) {
  check_options(options);
  check_structure(interactions, "interactions");
  check_sorted(interactions, "interactions");
  check_finite(interactions, "interactions");
  if (interactions.nnz() == 0) {
    throw DataError("interactions must hold at least one stored entry, got none; there is nothing to learn");
  }
  const std::int64_t n = interactions.cols;
  const std::int64_t n_threads = resolve_threads(options.n_threads);
  const AlignedBuffer<float> gram = gram_of_columns(interactions, n_threads);
  std::vector<Column> columns(static_cast<std::size_t>(n));
  // Weights and pull of the column at hand, one pair a thread.
  const std::int64_t width = padded_width(n);
  std::vector<AlignedBuffer<float>> scratch(static_cast<std::size_t>(n_threads));

  const std::int64_t step = std::max<std::int64_t>(64, (n + 49) / 50);
  for (std::int64_t first = 0; first < n; first += step) {
    const std::int64_t count = std::min(step, n - first);
    parallel_for(count, n_threads, [&](std::int64_t task, std::int64_t thread) {
      AlignedBuffer<float>& work = scratch[static_cast<std::size_t>(thread)];
      if (work.size() == 0) work = zeroed_floats(checked_product(2, width));
      float* const weights = work.data();
      float* const pull = weights + width;
      const std::int64_t j = first + task;
      std::memset(weights, 0, static_cast<std::size_t>(n) * sizeof(float));
      Column& column = columns[static_cast<std::size_t>(j)];
      column.settled = solve_column(gram.data(), n, j, options, weights, pull);
      for (std::int64_t k = 0; k < n; ++k) {
        if (weights[k] == 0.0F) continue;
        column.rows.push_back(static_cast<std::int32_t>(k));
        column.weights.push_back(weights[k]);
      }
    });
    if (after_columns && after_columns(first + count, n)) break;
  }
  const auto unsettled =
      std::count_if(columns.begin(), columns.end(), [](const Column& column) { return !column.settled; });
  return {assemble(columns), unsettled};
}

}  // namespace recsys
