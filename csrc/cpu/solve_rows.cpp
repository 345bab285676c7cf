#include "recsys/solve_rows.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "cpu/kernel_table.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

// Rows gathered at a time: enough to hide loading and storing the matrix's tiles, few enough that both copies of the
// panel stay in a core's second-level cache.
constexpr std::int64_t panel_rows = 64;

// Row stride of matrix and panel.  Strides that are multiples of 256 bytes would map a column to a few cache sets.
std::int64_t scratch_width(std::int64_t f) {
  const std::int64_t width = padded_width(f);
  return width % 64 == 0 ? width + 16 : width;
}

std::int64_t matrix_rows(std::int64_t f) { return (f + 7) / 8 * 8; }  // whole register tiles at every ISA level

// One thread's workspace.
struct Workspace {
  AlignedBuffer<float> matrix, panel, scaled, rhs, diagonal, weights, targets;

  void prepare(std::int64_t f) {
    if (matrix.size() > 0) return;
    allocate(f);
  }

  // The padding must be zero, and a singular row may have left infinities or NaN in it: start afresh.
  void allocate(std::int64_t f) {
    const std::int64_t ld = scratch_width(f);
    matrix = zeroed_floats(checked_product(matrix_rows(f), ld));
    panel = zeroed_floats(panel_rows * ld);
    scaled = zeroed_floats(panel_rows * ld);
    rhs = zeroed_floats(ld);
    diagonal = zeroed_floats(ld);
    weights = zeroed_floats(panel_rows);
    targets = zeroed_floats(panel_rows);
  }
};

// Forms and solves the system of one row; false where a pivot is not positive.
bool solve_row(const cpu::KernelTable& kernels, std::span<const std::int32_t> columns, std::span<const float> values,
               const detail::Strided& factors, std::span<const float> prior, const RowWeights& weights,
               std::span<const float> item_offset, Workspace& work, float* out) {
  const std::int64_t f = factors.cols;
  const std::int64_t ld = scratch_width(f);
  const auto n = static_cast<std::int64_t>(columns.size());
  for (std::int64_t i = 0; i < f; ++i) {
    std::memcpy(work.matrix.data() + i * ld, prior.data() + i * f, static_cast<std::size_t>(f) * sizeof(float));
  }
  std::memset(work.rhs.data(), 0, static_cast<std::size_t>(ld) * sizeof(float));
  for (std::int64_t start = 0; start < n; start += panel_rows) {
    const std::int64_t count = std::min(panel_rows, n - start);
    for (std::int64_t k = 0; k < count; ++k) {
      const auto at = static_cast<std::size_t>(start + k);
      work.weights.data()[k] = weights.confidence_base + weights.confidence_slope * values[at];
      const float offset = item_offset.empty() ? 0.0F : item_offset[static_cast<std::size_t>(columns[at])];
      work.targets.data()[k] = weights.target_base + weights.target_slope * values[at] - offset;
    }
    kernels.gather_rows(factors.data, factors.ld, f, columns.data() + start, count, work.weights.data(),
                        work.targets.data(), ld, work.panel.data(), work.scaled.data(), work.rhs.data());
    kernels.symmetric_update(work.panel.data(), work.scaled.data(), count, f, ld, work.matrix.data(), ld);
  }
  const std::int64_t failed = kernels.cholesky_solve(work.matrix.data(), f, ld, work.diagonal.data(), work.rhs.data());
  std::memcpy(out, work.rhs.data(), static_cast<std::size_t>(f) * sizeof(float));
  return failed < 0;
}

void lower(std::atomic<std::int64_t>& smallest, std::int64_t value) {
  std::int64_t seen = smallest.load(std::memory_order_relaxed);
  while (value < seen && !smallest.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

namespace detail {

std::int64_t solve_scheduled(const CsrView& rows, const RowSchedule& schedule, const Strided& factors,
                             std::span<const float> prior, const RowWeights& weights,
                             std::span<const float> item_offset, float* out, std::int64_t out_ld,
                             std::int64_t n_threads) {
  const cpu::KernelTable& kernels = cpu::kernels();
  std::vector<Workspace> workspaces(static_cast<std::size_t>(n_threads));
  std::atomic<std::int64_t> failed{rows.rows()};
  parallel_for(schedule.n_tasks(), n_threads, [&](std::int64_t task, std::int64_t thread) {
    Workspace& work = workspaces[static_cast<std::size_t>(thread)];
    work.prepare(factors.cols);
    const auto stop = schedule.starts[static_cast<std::size_t>(task) + 1];
    for (std::int64_t place = schedule.starts[static_cast<std::size_t>(task)]; place < stop; ++place) {
      const std::int64_t row = schedule.order[static_cast<std::size_t>(place)];
      float* const to = out + row * out_ld;
      if (!solve_row(kernels, rows.row_indices(row), rows.row_values(row), factors, prior, weights, item_offset, work,
                     to)) {
        std::memset(to, 0, static_cast<std::size_t>(factors.cols) * sizeof(float));
        lower(failed, row);
        work.allocate(factors.cols);
      }
    }
  });
  const std::int64_t lowest = failed.load();
  return lowest < rows.rows() ? lowest : -1;
}

std::vector<double> gram(const Strided& factors, std::int64_t n_threads) {
  constexpr std::int64_t most_blocks = 64;
  constexpr std::int64_t least_rows = 512;
  const cpu::KernelTable& kernels = cpu::kernels();
  const std::int64_t f = factors.cols;
  const std::int64_t ld = scratch_width(f);
  const std::int64_t block_rows = std::max(least_rows, (factors.rows + most_blocks - 1) / most_blocks);
  const std::int64_t n_blocks = (factors.rows + block_rows - 1) / block_rows;
  const std::int64_t block_size = checked_product(matrix_rows(f), ld);
  const bool in_place = factors.ld % 16 == 0;  // padded rows can be read where they are
  AlignedBuffer<float> partial = zeroed_floats(checked_product(n_blocks, block_size));
  std::vector<AlignedBuffer<float>> panels(static_cast<std::size_t>(n_threads));

  parallel_for(n_blocks, n_threads, [&](std::int64_t block, std::int64_t thread) {
    AlignedBuffer<float>& panel = panels[static_cast<std::size_t>(thread)];
    const std::int64_t width = padded_width(f);
    if (!in_place && panel.size() == 0) panel = zeroed_floats(panel_rows * width);
    const std::int64_t stop = std::min(factors.rows, (block + 1) * block_rows);
    for (std::int64_t row = block * block_rows; row < stop; row += panel_rows) {
      const std::int64_t count = std::min(panel_rows, stop - row);
      const float* from = factors.data + row * factors.ld;
      if (!in_place) {
        for (std::int64_t k = 0; k < count; ++k) {
          std::memcpy(panel.data() + k * width, from + k * factors.ld, static_cast<std::size_t>(f) * sizeof(float));
        }
        from = panel.data();
      }
      kernels.symmetric_update(from, from, count, f, in_place ? factors.ld : width, partial.data() + block * block_size,
                               ld);
    }
  });

  std::vector<double> out(static_cast<std::size_t>(checked_product(f, f)));
  for (std::int64_t i = 0; i < f; ++i) {
    for (std::int64_t j = i; j < f; ++j) {
      double sum = 0.0;
      for (std::int64_t block = 0; block < n_blocks; ++block) {
        sum += static_cast<double>(partial.data()[block * block_size + i * ld + j]);
      }
      out[static_cast<std::size_t>(i * f + j)] = sum;
      out[static_cast<std::size_t>(j * f + i)] = sum;
    }
  }
  return out;
}

}  // namespace detail

void solve_rows(const CsrView& histories, MatrixView<const float> factors, MatrixView<const float> prior,
                const RowWeights& weights, std::span<const float> item_offset, MatrixView<float> out,
                std::int64_t n_threads) {
  const std::int64_t f = factors.cols();
  if (f < 1) throw ShapeError("item_factors must have at least one column, got 0");
  if (histories.cols != factors.rows()) {
    throw ShapeError("histories must have one column for each row of item_factors, got " +
                     std::to_string(histories.cols) + " columns and " + std::to_string(factors.rows()) + " rows");
  }
  if (prior.rows() != f || prior.cols() != f) {
    throw ShapeError("prior must have shape (" + std::to_string(f) + ", " + std::to_string(f) + "), got (" +
                     std::to_string(prior.rows()) + ", " + std::to_string(prior.cols()) + ")");
  }
  if (!item_offset.empty() && static_cast<std::int64_t>(item_offset.size()) != factors.rows()) {
    throw ShapeError("item_offset must have one entry for each row of item_factors, " + std::to_string(factors.rows()) +
                     ", got " + std::to_string(item_offset.size()));
  }
  check_structure(histories, "histories");
  check_finite(histories, "histories");
  std::memset(out.data(), 0, static_cast<std::size_t>(out.size()) * sizeof(float));
  const RowSchedule schedule = schedule_rows(row_costs(histories, detail::factorization_cost(f)));
  const std::int64_t failed = detail::solve_scheduled(histories, schedule, {factors.data(), factors.rows(), f, f},
                                                      {prior.data(), static_cast<std::size_t>(prior.size())}, weights,
                                                      item_offset, out.data(), f, resolve_threads(n_threads));
  if (failed < 0) return;
  throw DataError("the system of row " + std::to_string(failed) +
                  " of histories must be positive definite in float32, but a pivot is not; raise the regularization "
                  "(the diagonal of prior)");
}

void gram(MatrixView<const float> factors, MatrixView<float> out, std::int64_t n_threads) {
  if (factors.cols() < 1) throw ShapeError("factors must have at least one column, got 0");
  const std::vector<double> sums =
      detail::gram({factors.data(), factors.rows(), factors.cols(), factors.cols()}, resolve_threads(n_threads));
  std::transform(sums.begin(), sums.end(), out.data(), [](double sum) { return static_cast<float>(sum); });
}

}  // namespace recsys
