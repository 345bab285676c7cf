#include "recsys/solve_rows.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

#include "cpu/row_systems.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {

void solve_rows(const CsrView& histories, MatrixView<const float> factors, MatrixView<const float> prior,
                const RowWeights& weights, std::span<const float> item_offset, std::span<const float> ridges,
                MatrixView<float> out, bool non_negative, std::int64_t n_threads) {
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
  if (!ridges.empty() && static_cast<std::int64_t>(ridges.size()) != histories.rows()) {
    throw ShapeError("ridge must have one entry for each row of histories, " + std::to_string(histories.rows()) +
                     ", got " + std::to_string(ridges.size()));
  }
  check_structure(histories, "histories");
  check_finite(histories, "histories");
  check_finite(ridges, "ridge");
  check_finite(prior, "prior");
  std::memset(out.data(), 0, static_cast<std::size_t>(out.size()) * sizeof(float));
  const detail::RowPlan plan = detail::plan_rows(histories, f, false);
  const detail::RowSystems systems{.rows = histories,
                                   .factors = {factors.data(), factors.rows(), f, f},
                                   .weights = weights,
                                   .item_offset = item_offset,
                                   .prior = {prior.data(), static_cast<std::size_t>(prior.size())},
                                   .non_negative = non_negative,
                                   .ridges = ridges};
  const std::int64_t failed = detail::solve_systems(systems, plan, out.data(), f, resolve_threads(n_threads));
  const std::int64_t at = find_nonfinite({out.data(), static_cast<std::size_t>(out.size())});
  if (failed < 0 && at < 0) return;
  // Looked at only now: all items' factors may be much more than what a few rows read.
  check_finite(factors, "item_factors");
  check_finite(item_offset, "item_offset");
  if (failed < 0) {
    throw DataError("the solution of row " + std::to_string(at / f) +
                    " of histories must be finite in float32, but is not; scale item_factors or the target down");
  }
  throw DataError("the system of row " + std::to_string(failed) +
                  " of histories must be positive definite in float32, but a pivot is not; raise the regularization "
                  "(the diagonal of prior, or ridge)");
}

void gram(MatrixView<const float> factors, MatrixView<float> out, std::int64_t n_threads) {
  if (factors.cols() < 1) throw ShapeError("item_factors must have at least one column, got 0");
  check_finite(factors, "item_factors");
  const std::vector<double> sums =
      detail::gram({factors.data(), factors.rows(), factors.cols(), factors.cols()}, resolve_threads(n_threads));
  std::transform(sums.begin(), sums.end(), out.data(), [](double sum) { return static_cast<float>(sum); });
  if (find_nonfinite({out.data(), static_cast<std::size_t>(out.size())}) < 0) return;
  throw DataError("item_factors must have products that fit float32, but their sums do not; scale them down");
}

}  // namespace recsys
