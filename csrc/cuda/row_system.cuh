// One positive definite system in a block's shared memory: L L^T x = b.
//
// The matrix is the lower triangle of tiles of 4 x 4, entry by entry ([16, n_tiles]), so that threads with neighbouring
// tiles read neighbouring words.  Its last row is the right side: factorizing the augmented matrix leaves the
// forward-substituted right side there, and only the backward substitution remains.
//
// Every sum has a fixed order: the same bits in every run.  f^3 / 6 multiply-adds, and f^2 a pair of substitutions.
#pragma once

#include "cuda/gram.cuh"

namespace recsys::cuda {

struct SystemShape {
  static constexpr int panel = 16;  // gathered rows at a time

  // Rows of the augmented matrix, padded to whole tiles.
  [[nodiscard]] __host__ __device__ static constexpr int padded(int f) { return (f + 1 + 3) / 4 * 4; }
  [[nodiscard]] __host__ __device__ static constexpr int n_tiles(int f) {
    return padded(f) / 4 * (padded(f) / 4 + 1) / 2;
  }
  [[nodiscard]] __host__ __device__ static constexpr int matrix_floats(int f) { return 16 * n_tiles(f); }
  // matrix [16, n_tiles], left and right [panel, padded] (the former is the factorization's column too), the diagonal
  // and its reciprocal roots [padded], weights and targets [panel]
  [[nodiscard]] static constexpr std::int64_t shared_bytes(int f) {
    return std::int64_t{4} * (matrix_floats(f) + 2 * panel * padded(f) + 2 * padded(f) + 2 * panel);
  }
  [[nodiscard]] static constexpr int n_threads(std::int64_t f) { return f <= 32 ? 64 : (f <= 64 ? 128 : 256); }
};

__device__ inline int tile_index(int row, int column) { return row * (row + 1) / 2 + column; }

// Factorizes the 4 x 4 tile on the diagonal in registers; rows and columns from `f` on are the right side and padding.
// Returns whether all pivots are positive, beyond rounding.  Every thread does it, and gets the same.
__device__ inline bool factorize_tile(float (&tile)[4][4], float (&reciprocals)[4], const float* diagonal, int first,
                                      int f) {
  // As in cpu/solve-inl.hpp: what is left of a diagonal entry below this share of it is rounding error.
  constexpr float smallest_share = 5e-7F;
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    reciprocals[c] = 0;
    if (first + c >= f) continue;
    const float pivot = tile[c][c];
    if (!(pivot > smallest_share * diagonal[first + c])) return false;  // written so that a NaN fails too
    reciprocals[c] = 1.0F / sqrtf(pivot);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      if (r >= c) tile[r][c] *= reciprocals[c];
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        if (k > c && r >= k) tile[r][k] -= tile[r][c] * tile[k][c];
      }
    }
  }
  return true;
}

// What a block's threads do together with their system; each method ends with a barrier.
struct RowSystem {
  int f;
  int m;
  int n_tiles;
  float* matrix;
  float* left;   // [panel, m]: w_k y_k, and t_k in column f
  float* right;  // [panel, m]: y_k
  float* diagonal;
  float* reciprocal;
  float* weights;
  float* targets;

  __device__ RowSystem(float* memory, int n_factors)
      : f(n_factors),
        m(SystemShape::padded(n_factors)),
        n_tiles(SystemShape::n_tiles(n_factors)),
        matrix(memory),
        left(matrix + 16 * n_tiles),
        right(left + SystemShape::panel * m),
        diagonal(right + SystemShape::panel * m),
        reciprocal(diagonal + m),
        weights(reciprocal + m),
        targets(weights + SystemShape::panel) {}

  __device__ float& entry(int tile, int r, int c) const { return matrix[(r * 4 + c) * n_tiles + tile]; }
  // What the substitutions read and replace, once the matrix is factorized.
  __device__ float* solution() const { return diagonal; }

  // Returns, to all threads alike, whether the matrix is positive definite.
  __device__ bool factorize() const {
    const int thread = thread_index();
    float* const column = left;  // [m, 4], once the panels are done with
    for (int r = thread; r < m; r += n_threads()) diagonal[r] = entry(tile_index(r / 4, r / 4), r % 4, r % 4);
    __syncthreads();
    const int n_columns = (f + 3) / 4;  // of tiles
    for (int j = 0; j < n_columns; ++j) {
      const int corner = tile_index(j, j);
      float tile[4][4];
      float reciprocals[4];
#pragma unroll
      for (int i = 0; i < 16; ++i) tile[i / 4][i % 4] = entry(corner, i / 4, i % 4);
      const bool positive = factorize_tile(tile, reciprocals, diagonal, j * 4, f);
      __syncthreads();  // everybody has read the tile
      if (!positive) return false;
      if (thread == 0) {
#pragma unroll
        for (int i = 0; i < 16; ++i) entry(corner, i / 4, i % 4) = tile[i / 4][i % 4];
#pragma unroll
        for (int c = 0; c < 4; ++c) reciprocal[j * 4 + c] = reciprocals[c];
      }
      for (int r = j * 4 + 4 + thread; r < m; r += n_threads()) {
        const int at = tile_index(r / 4, j);
        float solved[4];
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          float value = entry(at, r % 4, c);
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            if (k < c) value -= solved[k] * tile[c][k];
          }
          solved[c] = value * reciprocals[c];
          entry(at, r % 4, c) = solved[c];
        }
        *reinterpret_cast<float4*>(column + r * 4) = make_float4(solved[0], solved[1], solved[2], solved[3]);
      }
      __syncthreads();
      const int first = tile_index(j + 1, 0);
      for (int t = first + thread; t < n_tiles; t += n_threads()) {
        const int2 place = triangle_place(t);
        if (place.y <= j) continue;
        float upper[4][4];
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const float4 value = *reinterpret_cast<const float4*>(column + (place.y * 4 + c) * 4);
          upper[c][0] = value.x;
          upper[c][1] = value.y;
          upper[c][2] = value.z;
          upper[c][3] = value.w;
        }
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const float4 value = *reinterpret_cast<const float4*>(column + (place.x * 4 + r) * 4);
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            entry(t, r, c) -=
                value.x * upper[c][0] + value.y * upper[c][1] + value.z * upper[c][2] + value.w * upper[c][3];
          }
        }
      }
      __syncthreads();
    }
    return true;
  }

  // Puts the forward-substituted right side, the matrix's last row, into the solution.
  __device__ void take_right_side() const {
    for (int c = thread_index(); c < m; c += n_threads()) {
      solution()[c] = c < f ? entry(tile_index(f / 4, c / 4), f % 4, c % 4) : 0.0F;
    }
    __syncthreads();
  }

  // solution = L^-1 solution, four unknowns at a time from above.
  __device__ void substitute_forward() const {
    for (int j = 0; j < (f + 3) / 4; ++j) {
      const int corner = tile_index(j, j);
      float z[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        float value = j * 4 + r < f ? solution()[j * 4 + r] : 0.0F;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          if (c < r && j * 4 + r < f) value -= entry(corner, r, c) * z[c];
        }
        z[r] = j * 4 + r < f ? value * reciprocal[j * 4 + r] : 0.0F;
      }
      __syncthreads();  // everybody has read the four
      for (int r = j * 4 + 4 + thread_index(); r < f; r += n_threads()) {
        float value = solution()[r];
        const int at = tile_index(r / 4, j);
#pragma unroll
        for (int c = 0; c < 4; ++c) value -= entry(at, r % 4, c) * z[c];
        solution()[r] = value;
      }
      put_four(j, z);
      __syncthreads();
    }
  }

  // solution = L^-T solution, four unknowns at a time from below.
  __device__ void substitute_back() const {
    for (int j = (f + 3) / 4 - 1; j >= 0; --j) {
      const int corner = tile_index(j, j);
      float x[4];
#pragma unroll
      for (int c = 3; c >= 0; --c) {
        float value = j * 4 + c < f ? solution()[j * 4 + c] : 0.0F;
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          if (r > c && j * 4 + r < f) value -= entry(corner, r, c) * x[r];
        }
        x[c] = value * reciprocal[j * 4 + c];
      }
      __syncthreads();  // everybody has read the four
      for (int c = thread_index(); c < j * 4; c += n_threads()) {
        float value = solution()[c];
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          if (j * 4 + r < f) value -= entry(tile_index(j, c / 4), r, c % 4) * x[r];
        }
        solution()[c] = value;
      }
      put_four(j, x);
      __syncthreads();
    }
  }

 private:
  __device__ void put_four(int j, const float (&values)[4]) const {
    if (thread_index() != 0) return;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (j * 4 + c < f) solution()[j * 4 + c] = values[c];
    }
  }
};

}  // namespace recsys::cuda
