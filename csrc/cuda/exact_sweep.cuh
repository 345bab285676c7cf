// A batch of rows of ALS, solved exactly, from factors that lie on the device at once or come tile by tile.
#pragma once

#include "cuda/als_sides.cuh"
#include "cuda/refined_rows.cuh"

namespace recsys::cuda::detail {

class ExactBatch {
 public:
  // prior [f, f]; x [rows of the batch, f] is written, but for rows without entries; `failed` as in SolveArguments.
  ExactBatch(const RowBatch& batch, FactorTiles& tiles, std::int64_t f, const float* prior, const RowWeights& weights,
             float* x, std::int32_t* failed, Stream stream)
      : batch_(batch),
        tiles_(tiles),
        f_(f),
        prior_(prior),
        weights_(weights),
        x_(x),
        failed_(failed),
        stream_(stream),
        systems_(tiles.n() > 1 ? batch.rows().size() * SystemShape::matrix_floats(static_cast<int>(f)) : 0, stream) {}

  void solve(bool mixed) {
    const DeviceBuffer<std::int32_t>& order = batch_.block(0).order;
    if (mixed && tiles_.n() > 1) {
      solve_by_refinement(order);
    } else {
      solve_at_once(order, mixed);
    }
  }

 private:
  void solve_at_once(const DeviceBuffer<std::int32_t>& order, bool mixed) {
    tiles_.for_each([&](std::int64_t t, const float* factors) {
      launch_solve_rows(arguments(t, factors, order), order.size(), mixed, stream_);
    });
  }

  [[nodiscard]] SolveArguments arguments(std::int64_t t, const float* factors,
                                         const DeviceBuffer<std::int32_t>& order) const {
    const RowBlock& block = batch_.block(t);
    return {.indptr = block.indptr.data(),
            .columns = block.columns.data(),
            .values = block.values.data(),
            .order = order.data(),
            .factors = factors,
            .stride = f_,
            .f = static_cast<std::int32_t>(f_),
            .prior = prior_,
            .ridge_matrix = nullptr,
            .prior_stride = f_,
            .ridges = batch_.ridges(),
            .right_side = nullptr,
            .offset = nullptr,
            .scores = nullptr,
            .weights = weights_,
            .systems = systems_.data(),
            .begins = t == 0,
            .ends = t + 1 == tiles_.n(),
            .out = x_,
            .failed = failed_,
            .first_row = batch_.rows().first};
  }

  void solve_by_refinement(const DeviceBuffer<std::int32_t>& order) {
    const std::int64_t n = batch_.rows().size();
    DeviceBuffer<float> residual(n * f_, stream_);
    DeviceBuffer<float> before(n, stream_);
    DeviceBuffer<RowState> states(n, stream_);
    states.set_bytes(0, stream_);  // rows without entries are done
    const RefineArguments refinement{order.data(),    static_cast<std::int32_t>(f_),
                                     systems_.data(), batch_.ridges(),
                                     residual.data(), x_,
                                     before.data(),   states.data()};
    tiles_.for_each([&](std::int64_t t, const float* factors) {
      launch_refinement("sum_rounded_rows", sum_rounded_rows, arguments(t, factors, order), order.size(), stream_);
    });
    launch_refinement("factorize_rows", factorize_rows, refinement, order.size(), stream_);
    std::vector<std::int32_t> left;
    for (int step = 0; step < most_corrections; ++step) {
      take_residuals(n, residual.data());
      launch_refinement("correct_rows", correct_rows, refinement, order.size(), stream_);
      const std::vector<RowState> found = download(states, stream_);
      const auto is_in = [&](RowState state) { return std::find(found.begin(), found.end(), state) != found.end(); };
      if (is_in(RowState::open) && step + 1 < most_corrections) continue;
      for (std::size_t row = 0; row < found.size(); ++row) {
        if (found[row] != RowState::refined) left.push_back(static_cast<std::int32_t>(row));
      }
      break;
    }
    if (left.empty()) return;
    const DeviceBuffer<std::int32_t> again = cuda::upload(left.data(), std::ssize(left), stream_);
    solve_at_once(again, false);
    stream_.synchronize();  // `left` is read until then
  }

  // What the rows' right sides are off by at x, but for their ridges.
  void take_residuals(std::int64_t n, float* residual) {
    launch_multiply_rows({.in = x_,
                          .n = n,
                          .k = static_cast<std::int32_t>(f_),
                          .matrix = prior_,
                          .matrix_stride = f_,
                          .n_columns = static_cast<std::int32_t>(f_),
                          .scales = nullptr,
                          .sign = -1.0F,
                          .base = nullptr,
                          .base_stride = 0,
                          .base_factor = 0.0F,
                          .out = residual},
                         stream_);
    tiles_.for_each([&](std::int64_t t, const float* factors) {
      const RowBlock& block = batch_.block(t);
      add_cg_entries(block, block.n_long, factors, f_, weights_, true, x_, residual, stream_);
    });
  }

  const RowBatch& batch_;
  FactorTiles& tiles_;
  std::int64_t f_;
  const float* prior_;
  RowWeights weights_;
  float* x_;
  std::int32_t* failed_;
  Stream stream_;
  DeviceBuffer<float> systems_;
};

}  // namespace recsys::cuda::detail
