// The product F^T F of a factor matrix [n, f] with itself, and from it the part of a row's system that all rows share.
//
// The rows are cut into at most 64 chunks by their number alone; a block sums a tile of 64 x 64 of the product over one
// chunk in float32, and the chunks are added in float64 in order, so that the result has the same bits in every run.
// n f^2 / 2 multiply-adds; memory chunks * f^2 floats, with fewer chunks for wide factors.  Factors that do not fit the
// device are added tile by tile.
#pragma once

#include "cuda/runtime.cuh"
#include "cuda/threads.cuh"

namespace recsys::cuda {

struct GramShape {
  static constexpr int tile = 64;        // columns of either side
  static constexpr int depth = 16;       // rows in shared memory at once
  static constexpr int n_threads = 256;  // each 4 x 4 sums

  struct Shared {
    float left[depth][tile];
    float right[depth][tile];
  };
};

// Tile t of the lower triangle (row by row) as (row, column).
__device__ inline int2 triangle_place(int t) {
  int row = static_cast<int>((sqrtf(8.0F * static_cast<float>(t) + 1.0F) - 1.0F) * 0.5F);
  while ((row + 1) * (row + 2) / 2 <= t) ++row;
  while (row * (row + 1) / 2 > t) --row;
  return {row, t - row * (row + 1) / 2};
}

// Grid: tiles of the lower triangle x chunks.  partial [n_chunks, f, f], of which the tiles' entries are written.
__global__ void __launch_bounds__(GramShape::n_threads)
    gram_chunks(const float* factors, std::int64_t n_rows, int f, std::int64_t rows_a_chunk, float* partial) {
  using S = GramShape;
  auto& shared = *shared_memory<S::Shared>();
  const int2 place = triangle_place(static_cast<int>(block_x()));
  const int first_left = place.x * S::tile;
  const int first_right = place.y * S::tile;
  const std::int64_t begin = block_y() * rows_a_chunk;
  const std::int64_t end = begin + rows_a_chunk < n_rows ? begin + rows_a_chunk : n_rows;
  const int thread = thread_index();
  const int left = thread / 16 * 4;
  const int right = thread % 16 * 4;
  float sums[4][4] = {};
  for (std::int64_t start = begin; start < end; start += S::depth) {
    for (int i = thread; i < S::depth * S::tile; i += S::n_threads) {
      const int row = i / S::tile;
      const int column = i % S::tile;
      const bool inside = start + row < end;
      const float* const from = factors + (start + row) * f;
      shared.left[row][column] = inside && first_left + column < f ? from[first_left + column] : 0.0F;
      shared.right[row][column] = inside && first_right + column < f ? from[first_right + column] : 0.0F;
    }
    __syncthreads();
#pragma unroll
    for (int row = 0; row < S::depth; ++row) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          sums[i][j] = __fmaf_rn(shared.left[row][left + i], shared.right[row][right + j], sums[i][j]);
        }
      }
    }
    __syncthreads();
  }
  float* const out = partial + block_y() * f * f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = first_left + left + i;
      const int column = first_right + right + j;
      if (row < f && column < f) out[static_cast<std::int64_t>(row) * f + column] = sums[i][j];
    }
  }
}

// One thread an entry: gram, in float64, is what the chunks add up to, and what it holds already if it goes on.
__global__ void add_chunks(const float* partial, int n_chunks, int f, bool goes_on, double* gram) {
  const std::int64_t at = global_thread();
  const std::int64_t size = static_cast<std::int64_t>(f) * f;
  if (at >= size) return;
  const std::int64_t row = at / f;
  const std::int64_t column = at % f;
  const std::int64_t lower = row >= column ? at : column * f + row;
  double sum = goes_on ? gram[at] : 0;
  for (int chunk = 0; chunk < n_chunks; ++chunk) sum += static_cast<double>(partial[chunk * size + lower]);
  gram[at] = sum;
}

// One thread an entry: prior = weight gram + ridge I, in float32.
__global__ void make_prior(const double* gram, int f, float weight, float ridge, float* prior) {
  const std::int64_t at = global_thread();
  if (at >= static_cast<std::int64_t>(f) * f) return;
  const double scaled = static_cast<double>(weight) * gram[at];
  prior[at] = static_cast<float>(at / f == at % f ? scaled + static_cast<double>(ridge) : scaled);
}

struct GramChunks {
  std::int64_t rows;  // of one
  std::int64_t n;

  GramChunks(std::int64_t n_rows, std::int64_t f) {
    constexpr std::int64_t most_floats = 1 << 24;
    const std::int64_t most_chunks = std::clamp<std::int64_t>(most_floats / (f * f), 1, 64);
    rows = std::max<std::int64_t>(256, divide_up(n_rows, most_chunks));
    n = divide_up(n_rows, rows);
  }
  [[nodiscard]] std::int64_t bytes(std::int64_t f) const { return 4 * n * f * f; }
};

// Adds factors [n_rows, f] to gram [f, f], or begins it with them, all on the device.
inline void add_gram(const float* factors, std::int64_t n_rows, std::int64_t f, bool goes_on, double* gram,
                     Stream stream) {
  const GramChunks chunks(n_rows, f);
  const std::int64_t n_tiles = divide_up(f, GramShape::tile);
  DeviceBuffer<float> partial(chunks.n * f * f, stream);
  if (chunks.n > 0) {
    launch("gram_chunks", gram_chunks,
           dim3(static_cast<unsigned>(n_tiles * (n_tiles + 1) / 2), static_cast<unsigned>(chunks.n)),
           GramShape::n_threads, static_cast<std::int64_t>(sizeof(GramShape::Shared)), stream, factors, n_rows,
           static_cast<int>(f), chunks.rows, partial.data());
  }
  launch("add_chunks", add_chunks, blocks(divide_up(f * f, 256)), 256, 0, stream, partial.data(),
         static_cast<int>(chunks.n), static_cast<int>(f), goes_on, gram);
}

// prior [f, f] = weight gram + ridge I.
inline void make_prior_on_device(const double* gram, std::int64_t f, float weight, float ridge, float* prior,
                                 Stream stream) {
  launch("make_prior", make_prior, blocks(divide_up(f * f, 256)), 256, 0, stream, gram, static_cast<int>(f), weight,
         ridge, prior);
}

}  // namespace recsys::cuda
