// A row of factors over the lanes of a warp: lane l holds its numbers l, l + 32, ..., and zeros beyond its end.
#pragma once

#include "cuda/threads.cuh"

namespace recsys::cuda {

// width: numbers a lane, at least f / 32.
template <int width>
__device__ inline void load_row(float (&row)[width], const float* from, int f) {
#pragma unroll
  for (int v = 0; v < width; ++v) {
    const int c = v * warp_size + lane_index();
    row[v] = c < f ? from[c] : 0.0F;
  }
}

// The inner product, the same bits in each lane.
template <int width>
__device__ inline float row_product(const float (&a)[width], const float (&b)[width]) {
  float sum = 0;
#pragma unroll
  for (int v = 0; v < width; ++v) sum = __fmaf_rn(a[v], b[v], sum);
  return warp_sum(sum);
}

}  // namespace recsys::cuda
