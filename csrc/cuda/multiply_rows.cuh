// Products of many rows with one small matrix, in float32:
//
//   out[r] = b base[r] + s_r (in[r] M),   in [n, k], M [k, n_columns], base and out [n, n_columns]
//
// A block has 64 x 64 of the result; sums run over k in order: the same bits in every run.  n k n_columns
// multiply-adds.
#pragma once

#include "cuda/runtime.cuh"
#include "cuda/threads.cuh"

namespace recsys::cuda {

struct ProductShape {
  static constexpr int tile = 64;        // rows and columns
  static constexpr int depth = 16;       // of k in shared memory at once
  static constexpr int n_threads = 256;  // each 4 x 4 sums

  struct Shared {
    float in[depth][tile + 1];  // transposed; the odd width spreads a column over the banks
    float matrix[depth][tile];
  };
};

struct ProductArguments {
  const float* in;  // rows k apart
  std::int64_t n;
  std::int32_t k;
  const float* matrix;  // rows `matrix_stride` apart
  std::int64_t matrix_stride;
  std::int32_t n_columns;
  const float* scales;  // s [n], or null for ones
  float sign;           // of s
  const float* base;    // rows `base_stride` apart, or null
  std::int64_t base_stride;
  float base_factor;  // b
  float* out;         // rows n_columns apart; may be base, not in
};

__global__ void __launch_bounds__(ProductShape::n_threads, 3) multiply_rows(ProductArguments a) {
  using S = ProductShape;
  auto& shared = *shared_memory<S::Shared>();
  const std::int64_t first_row = block_x() * S::tile;
  const int first_column = static_cast<int>(block_y()) * S::tile;
  const int thread = thread_index();
  const int row = thread / 16 * 4;
  const int column = thread % 16 * 4;
  float sums[4][4] = {};
  for (int start = 0; start < a.k; start += S::depth) {
    for (int i = thread; i < S::depth * S::tile; i += S::n_threads) {
      const int r = i / S::depth;
      const int d = i % S::depth;
      const bool inside = first_row + r < a.n && start + d < a.k;
      shared.in[d][r] = inside ? a.in[(first_row + r) * a.k + start + d] : 0.0F;
    }
    for (int i = thread; i < S::depth * S::tile; i += S::n_threads) {
      const int d = i / S::tile;
      const int c = i % S::tile;
      const bool inside = start + d < a.k && first_column + c < a.n_columns;
      shared.matrix[d][c] = inside ? a.matrix[(start + d) * a.matrix_stride + first_column + c] : 0.0F;
    }
    __syncthreads();
#pragma unroll
    for (int d = 0; d < S::depth; ++d) {
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        sums[i / 4][i % 4] = __fmaf_rn(shared.in[d][row + i / 4], shared.matrix[d][column + i % 4], sums[i / 4][i % 4]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const std::int64_t r = first_row + row + i / 4;
    const int c = first_column + column + i % 4;
    if (r >= a.n || c >= a.n_columns) continue;
    float value = sums[i / 4][i % 4] * (a.scales == nullptr ? a.sign : a.sign * a.scales[r]);
    if (a.base != nullptr) value = __fmaf_rn(a.base_factor, a.base[r * a.base_stride + c], value);
    a.out[r * a.n_columns + c] = value;
  }
}

inline void launch_multiply_rows(const ProductArguments& arguments, Stream stream) {
  if (arguments.n == 0) return;
  using S = ProductShape;
  launch("multiply_rows", multiply_rows,
         dim3(static_cast<unsigned>(divide_up(arguments.n, S::tile)),
              static_cast<unsigned>(divide_up(arguments.n_columns, S::tile))),
         S::n_threads, static_cast<std::int64_t>(sizeof(S::Shared)), stream, arguments);
}

}  // namespace recsys::cuda
