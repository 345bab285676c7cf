// The parts of the objective of ALS that are summed row by row, on a device.
#pragma once

#include "cuda/row_block.cuh"
#include "cuda/threads.cuh"

namespace recsys::cuda {

struct StoredLossArguments {
  const std::int64_t* indptr;
  const std::int32_t* columns;
  const float* values;
  std::int64_t n_rows;
  const float* x;        // [n_rows, f]
  const float* factors;  // y
  std::int32_t f;
  float alpha;
  float unobserved_weight;  // w
  bool begins;              // else the losses are added to
  double* losses;           // [n_rows]
};

// One warp a row: sum_k (1 + alpha r_k) (1 - s_k)^2 - w s_k^2 with s_k = x . y_k, in float64 beyond the products.
__global__ void stored_loss(StoredLossArguments a) {
  const std::int64_t row = global_thread() / warp_size;
  if (row >= a.n_rows) return;
  double loss = a.begins ? 0 : a.losses[row];
  for (std::int64_t k = a.indptr[row]; k < a.indptr[row + 1]; ++k) {
    const float* const y = a.factors + static_cast<std::int64_t>(a.columns[k]) * a.f;
    float sum = 0;
    for (int c = lane_index(); c < a.f; c += warp_size) sum = __fmaf_rn(a.x[row * a.f + c], y[c], sum);
    const double score = static_cast<double>(warp_sum(sum));
    const double confidence = 1 + static_cast<double>(a.alpha) * static_cast<double>(a.values[k]);
    loss += confidence * (1 - score) * (1 - score) - static_cast<double>(a.unobserved_weight) * score * score;
  }
  if (lane_index() == 0) a.losses[row] = loss;
}

// One warp a row: its own lambda times the square of its length.
__global__ void row_penalties(const float* x, std::int64_t n_rows, int f, const float* lambdas, double* penalties) {
  const std::int64_t row = global_thread() / warp_size;
  if (row >= n_rows) return;
  double sum = 0;
  for (int c = lane_index(); c < f; c += warp_size) {
    const auto value = static_cast<double>(x[row * f + c]);
    sum += value * value;
  }
  sum = warp_sum(sum);
  if (lane_index() == 0) penalties[row] = static_cast<double>(lambdas[row]) * sum;
}

inline void launch_stored_loss(const StoredLossArguments& arguments, Stream stream) {
  constexpr int n_threads = 128;
  launch("stored_loss", stored_loss, blocks(divide_up(arguments.n_rows * warp_size, n_threads)), n_threads, 0, stream,
         arguments);
}

// The sum over rows [n_rows, f] of their penalties.  Waits for the stream.
inline double sum_penalties(const float* x, std::int64_t n_rows, std::int64_t f, const float* lambdas, Stream stream) {
  DeviceBuffer<double> penalties(n_rows, stream);
  constexpr int n_threads = 128;
  launch("row_penalties", row_penalties, blocks(divide_up(n_rows * warp_size, n_threads)), n_threads, 0, stream, x,
         n_rows, static_cast<int>(f), lambdas, penalties.data());
  double sum = 0;
  for (const double part : download(penalties, stream)) sum += part;
  return sum;
}

}  // namespace recsys::cuda
