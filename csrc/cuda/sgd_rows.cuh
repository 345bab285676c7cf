// The embeddings that SGD on a device learns, and how a warp reads and moves them.
//
// A warp keeps a row in registers, `width` numbers a lane.  With features, what a row scores with is the sum of its own
// embedding and of those of its features, times the stored values; a step moves each of them.  All moves are atomic.
#pragma once

#include "cuda/warp_row.cuh"

namespace recsys::cuda {

struct SgdRows {
  float* vectors;       // [n, f]
  float* bias;          // [n], or null where there is none
  float* squares;       // [n], Adagrad's sums; null: all steps are as long
  float* bias_squares;  // [n], likewise
};

struct SgdSideView {
  SgdRows own;
  const std::int64_t* indptr;  // of the features [n, n_features]; null without
  const std::int32_t* features;
  const float* values;
  SgdRows shared;  // of the features
};

// A bias as all lanes agree on it: others change it meanwhile.
__device__ inline float load_bias(const float* bias, std::int64_t row) {
  return bias == nullptr ? 0.0F : __shfl_sync(all_lanes, bias[row], 0);
}

// What a row scores with; returns its bias.
template <bool with_features, int width>
__device__ inline float load_sum(float (&sum)[width], const SgdSideView& side, std::int64_t row, int f) {
  load_row(sum, side.own.vectors + row * f, f);
  float bias = load_bias(side.own.bias, row);
  if constexpr (with_features) {
    if (side.indptr == nullptr) return bias;
    for (std::int64_t at = side.indptr[row]; at < side.indptr[row + 1]; ++at) {
      float vector[width];
      load_row(vector, side.shared.vectors + static_cast<std::int64_t>(side.features[at]) * f, f);
#pragma unroll
      for (int v = 0; v < width; ++v) sum[v] = __fmaf_rn(side.values[at], vector[v], sum[v]);
      bias += side.values[at] * load_bias(side.shared.bias, side.features[at]);
    }
  }
  return bias;
}

// What is the same for all steps of an epoch.
struct SgdStepSize {
  float rate;
  float regularization;
  std::int32_t f;
};

// The rate of a row or bias whose mean squared gradient is now `square`; the same in all lanes.
__device__ inline float rate_of(float* squares, std::int64_t row, float square, float rate) {
  if (squares == nullptr) return rate;
  float sum = 0;
  if (lane_index() == 0) sum = atomicAdd(squares + row, square) + square;
  sum = __shfl_sync(all_lanes, sum, 0);
  return sum > 0.0F ? rate / sqrtf(sum) : 0.0F;
}

// A bias moves by `pull`.
__device__ inline void move_bias(const SgdRows& rows, std::int64_t row, float pull, const SgdStepSize& step) {
  if (rows.bias == nullptr) return;
  const float bias = load_bias(rows.bias, row);
  const float shrink = step.regularization * bias;
  const float rate = rate_of(rows.bias_squares, row, pull * pull + shrink * shrink, step.rate);
  if (lane_index() == 0) atomicAdd(rows.bias + row, rate * (pull - shrink));
}

// An embedding, which is `own`, moves by `amount` along `direction`, whose numbers have a mean square of `square`.
template <int width>
__device__ inline void move_embedding(const SgdRows& rows, std::int64_t row, const float (&own)[width], float amount,
                                      const float (&direction)[width], float square, const SgdStepSize& step) {
  float rate = step.rate;
  if (rows.squares != nullptr) {
    const float shrink = step.regularization * step.regularization * row_product(own, own);
    rate = rate_of(rows.squares, row, amount * amount * square + shrink / static_cast<float>(step.f), step.rate);
  }
  __syncwarp();  // the row is read by all lanes before one of them changes it
  float* const vector = rows.vectors + row * step.f;
#pragma unroll
  for (int v = 0; v < width; ++v) {
    const int c = v * warp_size + lane_index();
    if (c < step.f) atomicAdd(vector + c, rate * (amount * direction[v] - step.regularization * own[v]));
  }
}

// A row that scores with `sum` moves by `amount` along `direction`, and its bias by `amount`.
template <bool with_features, int width>
__device__ inline void move_row(const SgdSideView& side, std::int64_t row, const float (&sum)[width], float amount,
                                const float (&direction)[width], float square, const SgdStepSize& step) {
  move_bias(side.own, row, amount, step);
  if constexpr (with_features) {
    if (side.indptr != nullptr) {
      float own[width];
      load_row(own, side.own.vectors + row * step.f, step.f);
      move_embedding(side.own, row, own, amount, direction, square, step);
      for (std::int64_t at = side.indptr[row]; at < side.indptr[row + 1]; ++at) {
        const std::int64_t feature = side.features[at];
        const float own_amount = amount * side.values[at];
        load_row(own, side.shared.vectors + feature * step.f, step.f);
        move_embedding(side.shared, feature, own, own_amount, direction, square, step);
        move_bias(side.shared, feature, own_amount, step);
      }
      return;
    }
  }
  move_embedding(side.own, row, sum, amount, direction, square, step);
}

// One warp a row: out [n, f] and out_bias = own + sign times the features' share.  `out` may be what is own.
__global__ void add_features(SgdSideView side, std::int64_t n, int f, float sign, float* out, float* out_bias) {
  const std::int64_t row = global_thread() / warp_size;
  if (row >= n) return;
  for (int c = lane_index(); c < f; c += warp_size) {
    float sum = 0;
    for (std::int64_t at = side.indptr[row]; at < side.indptr[row + 1]; ++at) {
      sum = __fmaf_rn(side.values[at], side.shared.vectors[static_cast<std::int64_t>(side.features[at]) * f + c], sum);
    }
    out[row * f + c] = side.own.vectors[row * f + c] + sign * sum;
  }
  if (lane_index() != 0 || out_bias == nullptr) return;
  float sum = 0;
  for (std::int64_t at = side.indptr[row]; at < side.indptr[row + 1]; ++at) {
    sum = __fmaf_rn(side.values[at], side.shared.bias[side.features[at]], sum);
  }
  out_bias[row] = side.own.bias[row] + sign * sum;
}

}  // namespace recsys::cuda
