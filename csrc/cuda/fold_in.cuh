// The order of the kernels of solve_rows, which folds in.
#pragma once

#include "cuda/als.hpp"
#include "cuda/als_settings.cuh"
#include "cuda/finite.cuh"
#include "cuda/row_block.cuh"

namespace recsys::cuda {

void solve_rows(const CsrView& histories, MatrixView<const float> factors, const RowTerms& terms, MatrixView<float> out,
                Stream stream, double memory_share) {
  const std::int64_t f = factors.cols();
  if (f < 1) throw ShapeError("item_factors must have at least one column, got 0");
  if (histories.cols != factors.rows()) {
    throw ShapeError("histories must have one column for each row of item_factors, got " +
                     std::to_string(histories.cols) + " columns and " + std::to_string(factors.rows()) + " rows");
  }
  if (!terms.ridges.empty() && std::ssize(terms.ridges) != histories.rows()) {
    throw ShapeError("ridge must have one entry for each of the " + std::to_string(histories.rows()) +
                     " rows of histories, got " + std::to_string(terms.ridges.size()));
  }
  check_finite(terms.ridges, "ridge");
  (void)detail::resolve_solver_for_device(AlsSolver::cholesky, f, 0);
  check_structure(histories, "histories");
  check_finite(histories, "histories");
  const float* prior = terms.prior;
  DeviceBuffer<float> computed_prior;
  if (prior == nullptr) {
    require_memory("the Gram matrix of item_factors", GramChunks(factors.rows(), f).bytes(f) + 12 * f * f);
    const DeviceBuffer<double> gram(f * f, stream);
    computed_prior = DeviceBuffer<float>(f * f, stream);
    add_gram(factors.data(), factors.rows(), f, false, gram.data(), stream);
    make_prior_on_device(gram.data(), f, terms.gram_weight, terms.ridge, computed_prior.data(), stream);
    prior = computed_prior.data();
  }
  if (out.size() > 0) {
    check(cudaMemsetAsync(out.data(), 0, static_cast<std::size_t>(out.size()) * sizeof(float), stream.handle),
          "clearing device memory");
  }
  DeviceBuffer<std::int32_t> failed(1, stream);
  failed.set_bytes(0x7F, stream);
  const auto room = static_cast<std::int64_t>(memory_share * static_cast<double>(free_memory()));
  for (const Range& rows : cut_rows(histories, RowBlock::a_row + 12, RowBlock::an_entry, room, "row")) {
    const RowBlock block(histories, rows, {0, histories.cols}, stream);
    const std::span<const float> own =
        terms.ridges.empty()
            ? terms.ridges
            : terms.ridges.subspan(static_cast<std::size_t>(rows.first), static_cast<std::size_t>(rows.size()));
    const DeviceBuffer<float> ridges = cuda::upload(own.data(), std::ssize(own), stream);
    launch_solve_rows({.indptr = block.indptr.data(),
                       .columns = block.columns.data(),
                       .values = block.values.data(),
                       .order = block.order.data(),
                       .factors = factors.data(),
                       .stride = f,
                       .f = static_cast<std::int32_t>(f),
                       .prior = prior,
                       .ridge_matrix = nullptr,
                       .prior_stride = f,
                       .ridges = ridges.data(),
                       .right_side = nullptr,
                       .offset = terms.item_offset,
                       .scores = nullptr,
                       .weights = terms.weights,
                       .systems = nullptr,
                       .begins = true,
                       .ends = true,
                       .out = out.row(rows.first),
                       .failed = failed.data(),
                       .first_row = rows.first},
                      block.order.size(), false, stream);
  }
  const std::int32_t lowest = download(failed, stream)[0];
  NonfinitePlace nonfinite(stream);
  nonfinite.look(out.data(), out.size());
  const std::int64_t at = nonfinite.get();
  const bool all_solved = lowest == 0x7F7F7F7F;
  if (all_solved && at < 0) return;
  // Looked at only now: all items' factors may be much more than what a few rows read.
  check_finite_on_device(factors.data(), factors.rows(), f, "item_factors", stream);
  check_finite_on_device(prior, f, f, "prior", stream);
  if (terms.item_offset != nullptr) {
    std::vector<float> offset(static_cast<std::size_t>(factors.rows()));
    check(cudaMemcpyAsync(offset.data(), terms.item_offset, offset.size() * sizeof(float), cudaMemcpyDeviceToHost,
                          stream.handle),
          "copying from the device");
    stream.synchronize();
    check_finite(std::span<const float>(offset), "item_offset");
  }
  if (all_solved) {
    throw DataError("the solution of row " + std::to_string(at / f) +
                    " of histories must be finite in float32, but is not; scale item_factors or the target down");
  }
  throw DataError("the system of row " + std::to_string(lowest) +
                  " of histories must be positive definite in float32, but a pivot is not; raise the regularization "
                  "(the diagonal of prior, or ridge)");
}

}  // namespace recsys::cuda
