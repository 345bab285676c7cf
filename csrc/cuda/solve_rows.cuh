// Regularized least squares, one small system a row and one block a system: recsys/solve_rows.hpp on a device.
//
//   (P + sum_k w_k y_k y_k^T) x = sum_k t_k y_k,   w_k = c0 + c1 r_k,  t_k = t0 + t1 r_k - o_k
//
// The matrix stays in shared memory as the lower triangle of tiles of 4 x 4, entry by entry ([16, n_tiles]), so that
// threads with neighbouring tiles read neighbouring words.  Its last row is the right side: factorizing the augmented
// matrix leaves the forward-substituted right side there, and only the backward substitution remains.
//
// Every sum has a fixed order: the same bits in every run, whatever the other rows.  n f^2 / 2 + f^3 / 6 multiply-adds
// a row; shared memory 2 f^2 + 130 f bytes and a little.
#pragma once

#include "cuda/gram.cuh"
#include "recsys/solve_rows.hpp"

namespace recsys::cuda {

struct SolveShape {
  static constexpr int panel = 16;  // gathered rows at a time

  // Rows of the augmented matrix, padded to whole tiles.
  [[nodiscard]] __host__ __device__ static constexpr int padded(int f) { return (f + 1 + 3) / 4 * 4; }
  [[nodiscard]] __host__ __device__ static constexpr int n_tiles(int f) {
    return padded(f) / 4 * (padded(f) / 4 + 1) / 2;
  }
  // matrix [16, n_tiles], left and right [panel, padded] (the former is the factorization's column too), the diagonal
  // and its reciprocal roots [padded], weights and targets [panel]
  [[nodiscard]] static constexpr std::int64_t shared_bytes(int f) {
    return std::int64_t{4} * (16 * n_tiles(f) + 2 * panel * padded(f) + 2 * padded(f) + 2 * panel);
  }
  [[nodiscard]] static constexpr int n_threads(std::int64_t f) { return f <= 32 ? 64 : (f <= 64 ? 128 : 256); }
};

struct SolveArguments {
  const std::int64_t* indptr;
  const std::int32_t* columns;
  const float* values;
  const std::int32_t* order;  // the rows to solve, one a block
  const float* factors;       // [n_items, f]
  const float* prior;         // [f, f]
  const float* ridges;        // [n_rows]: what a row adds to its diagonal, or null
  const float* offset;        // [n_items], or null
  RowWeights weights;
  std::int32_t f;
  float* out;            // [n_rows, f]
  std::int32_t* failed;  // the lowest row whose system is not positive definite
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

__global__ void solve_rows_kernel(SolveArguments a) {
  using S = SolveShape;
  const int f = a.f;
  const int m = S::padded(f);
  const int n_tiles = S::n_tiles(f);
  auto* const matrix = shared_memory<float>();
  float* const left = matrix + 16 * n_tiles;  // w_k y_k, and t_k in column f
  float* const right = left + S::panel * m;   // y_k
  float* const diagonal = right + S::panel * m;
  float* const reciprocal = diagonal + m;
  float* const weights = reciprocal + m;
  float* const targets = weights + S::panel;
  float* const column = left;  // [m, 4], once the panels are done with
  const int thread = thread_index();
  const auto entry = [=](int tile, int r, int c) -> float& { return matrix[(r * 4 + c) * n_tiles + tile]; };

  const std::int64_t row = a.order[block_x()];
  const std::int64_t begin = a.indptr[row];
  const std::int64_t end = a.indptr[row + 1];
  const float ridge = a.ridges == nullptr ? 0.0F : a.ridges[row];

  for (int t = thread; t < n_tiles; t += n_threads()) {
    const int2 place = triangle_place(t);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int r = place.x * 4 + i / 4;
      const int c = place.y * 4 + i % 4;
      const float value = r < f && c < f ? a.prior[static_cast<std::int64_t>(r) * f + c] : 0.0F;
      entry(t, i / 4, i % 4) = r == c && r < f ? value + ridge : value;
    }
  }
  for (std::int64_t start = begin; start < end; start += S::panel) {
    const int count = static_cast<int>(end - start < S::panel ? end - start : std::int64_t{S::panel});
    if (thread < S::panel) {
      const bool inside = thread < count;
      const float value = inside ? a.values[start + thread] : 0.0F;
      const float offset = inside && a.offset != nullptr ? a.offset[a.columns[start + thread]] : 0.0F;
      weights[thread] = inside ? a.weights.confidence_base + a.weights.confidence_slope * value : 0.0F;
      targets[thread] = inside ? a.weights.target_base + a.weights.target_slope * value - offset : 0.0F;
    }
    __syncthreads();
    for (int i = thread; i < S::panel * m; i += n_threads()) {
      const int k = i / m;
      const int c = i % m;
      float value = 0;
      if (k < count && c < f) value = a.factors[static_cast<std::int64_t>(a.columns[start + k]) * f + c];
      right[i] = value;
      left[i] = c == f ? targets[k] : weights[k] * value;
    }
    __syncthreads();
    for (int t = thread; t < n_tiles; t += n_threads()) {
      const int2 place = triangle_place(t);
      float sums[4][4] = {};
#pragma unroll 4
      for (int k = 0; k < S::panel; ++k) {
        const float4 l = *reinterpret_cast<const float4*>(left + k * m + place.x * 4);
        const float4 r = *reinterpret_cast<const float4*>(right + k * m + place.y * 4);
        const float ls[4] = {l.x, l.y, l.z, l.w};
        const float rs[4] = {r.x, r.y, r.z, r.w};
#pragma unroll
        for (int i = 0; i < 16; ++i) sums[i / 4][i % 4] = __fmaf_rn(ls[i / 4], rs[i % 4], sums[i / 4][i % 4]);
      }
#pragma unroll
      for (int i = 0; i < 16; ++i) entry(t, i / 4, i % 4) += sums[i / 4][i % 4];
    }
    __syncthreads();
  }
  __syncthreads();  // also where there was nothing to gather
  for (int r = thread; r < m; r += n_threads()) diagonal[r] = entry(tile_index(r / 4, r / 4), r % 4, r % 4);
  __syncthreads();

  const int n_columns = (f + 3) / 4;  // of tiles
  for (int j = 0; j < n_columns; ++j) {
    const int corner = tile_index(j, j);
    float tile[4][4];
    float reciprocals[4];
#pragma unroll
    for (int i = 0; i < 16; ++i) tile[i / 4][i % 4] = entry(corner, i / 4, i % 4);
    if (!factorize_tile(tile, reciprocals, diagonal, j * 4, f)) {
      if (thread == 0) atomicMin(a.failed, static_cast<std::int32_t>(row));
      for (int c = thread; c < f; c += n_threads()) a.out[row * f + c] = 0.0F;
      return;
    }
    __syncthreads();  // everybody has read the tile
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

  // L^T x = z, four unknowns at a time, from below; z is the matrix's last row.
  float* const solution = diagonal;
  for (int c = thread; c < m; c += n_threads()) {
    solution[c] = c < f ? entry(tile_index(f / 4, c / 4), f % 4, c % 4) : 0.0F;
  }
  __syncthreads();
  for (int j = n_columns - 1; j >= 0; --j) {
    const int corner = tile_index(j, j);
    float x[4];
#pragma unroll
    for (int c = 3; c >= 0; --c) {
      float value = j * 4 + c < f ? solution[j * 4 + c] : 0.0F;
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        if (r > c && j * 4 + r < f) value -= entry(corner, r, c) * x[r];
      }
      x[c] = value * reciprocal[j * 4 + c];
    }
    __syncthreads();  // everybody has read the four
    for (int c = thread; c < j * 4; c += n_threads()) {
      float value = solution[c];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        if (j * 4 + r < f) value -= entry(tile_index(j, c / 4), r, c % 4) * x[r];
      }
      solution[c] = value;
    }
    if (thread == 0) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (j * 4 + c < f) a.out[row * f + j * 4 + c] = x[c];
      }
    }
    __syncthreads();
  }
}

namespace detail {

// The rows with entries, longest first, so that none of the long ones is left to the end.
inline std::vector<std::int32_t> longest_first(const CsrView& rows) {
  std::vector<std::int32_t> order;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    if (rows.row_size(row) > 0) order.push_back(static_cast<std::int32_t>(row));
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return rows.row_size(a) > rows.row_size(b); });
  return order;
}

// The widest factors whose system fits a block's shared memory on the current device.
inline std::int64_t widest_system() {
  const std::int64_t room = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  int f = 1;
  while (SolveShape::shared_bytes(f + 1) <= room) ++f;
  return f;
}

}  // namespace detail

// Rows on the device, with the order in which blocks take them.
struct DeviceRows {
  DeviceBuffer<std::int64_t> indptr;
  DeviceBuffer<std::int32_t> columns;
  DeviceBuffer<float> values;
  DeviceBuffer<std::int32_t> order;

  // Copies from the host, and waits until that is done.
  DeviceRows(const CsrView& rows, const std::vector<std::int32_t>& ordered, Stream stream)
      : indptr(cuda::upload(rows.indptr.data(), std::ssize(rows.indptr), stream)),
        columns(cuda::upload(rows.indices.data(), rows.nnz(), stream)),
        values(cuda::upload(rows.values.data(), rows.nnz(), stream)),
        order(cuda::upload(ordered.data(), std::ssize(ordered), stream)) {
    stream.synchronize();
  }
};

// Solves the rows of `order` into out [n_rows, f]; the others are not touched.  `failed` [1] gets the lowest row whose
// system is not positive definite to float32; that row is zeros.
inline void solve_rows_on_device(const DeviceRows& rows, const float* factors, std::int64_t f, const float* prior,
                                 const float* ridges, const RowWeights& weights, const float* offset, float* out,
                                 std::int32_t* failed, Stream stream) {
  if (rows.order.size() == 0) return;
  launch("solve_rows", solve_rows_kernel, blocks(rows.order.size()), SolveShape::n_threads(f),
         SolveShape::shared_bytes(static_cast<int>(f)), stream,
         SolveArguments{rows.indptr.data(), rows.columns.data(), rows.values.data(), rows.order.data(), factors, prior,
                        ridges, offset, weights, static_cast<std::int32_t>(f), out, failed});
}

}  // namespace recsys::cuda
