// Adds gathered rows to a system in shared memory: matrix += sum_k left_k right_k^T over a panel of 16 rows.
//
// In float32, a thread has tiles of 4 x 4 of the lower triangle.  On tensor cores (tf32: the operands are rounded to 11
// bits, the sums are float32) a warp has tiles of 16 x 16; what that loses is won back by refinement (solve_rows.cuh).
#pragma once

#include "cuda/row_system.cuh"
#include "cuda/tensor_core.cuh"

namespace recsys::cuda {

__device__ inline void add_panel(const RowSystem& system) {
  const int m = system.m;
  for (int t = thread_index(); t < system.n_tiles; t += n_threads()) {
    const int2 place = triangle_place(t);
    float sums[4][4] = {};
#pragma unroll 4
    for (int k = 0; k < SystemShape::panel; ++k) {
      const float4 l = *reinterpret_cast<const float4*>(system.left + k * m + place.x * 4);
      const float4 r = *reinterpret_cast<const float4*>(system.right + k * m + place.y * 4);
      const float ls[4] = {l.x, l.y, l.z, l.w};
      const float rs[4] = {r.x, r.y, r.z, r.w};
#pragma unroll
      for (int i = 0; i < 16; ++i) sums[i / 4][i % 4] = __fmaf_rn(ls[i / 4], rs[i % 4], sums[i / 4][i % 4]);
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) system.entry(t, i / 4, i % 4) += sums[i / 4][i % 4];
  }
}

__device__ inline void add_panel_by_tensor_cores(const RowSystem& system) {
  const int m = system.m;
  const int n_rows = (m + 15) / 16;
  const int group = lane_index() / 4;
  const int place_in_group = lane_index() % 4;
  const auto rounded = [m](const float* panel, int k, int column) {
    return round_to_tf32(column < m ? panel[k * m + column] : 0.0F);
  };
  for (int t = warp_index(); t < n_rows * (n_rows + 1) / 2; t += n_warps()) {
    const int2 place = triangle_place(t);
    float sums[2][4] = {};
#pragma unroll
    for (int start = 0; start < SystemShape::panel; start += 8) {
      const int k = start + place_in_group;
      const int row = place.x * 16 + group;
      const unsigned a[4] = {rounded(system.left, k, row), rounded(system.left, k, row + 8),
                             rounded(system.left, k + 4, row), rounded(system.left, k + 4, row + 8)};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int column = place.y * 16 + half * 8 + group;
        const unsigned b[2] = {rounded(system.right, k, column), rounded(system.right, k + 4, column)};
        multiply_add_tf32(sums[half], a, b);
      }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = place.x * 16 + group + i % 4 / 2 * 8;
      const int column = place.y * 16 + i / 4 * 8 + place_in_group * 2 + i % 2;
      if (row < m && row / 4 >= column / 4) {
        system.entry(tile_index(row / 4, column / 4), row % 4, column % 4) += sums[i / 4][i % 4];
      }
    }
  }
}

}  // namespace recsys::cuda
