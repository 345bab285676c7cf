// Dense kernels of the per-row least-squares solves: gather, symmetric update, Cholesky, and the stored cells' loss.
//
// Layout.  A row of f factors is kept padded to `ld`, a multiple of 16 floats (at least f), with zeros beyond f.  A
// symmetric matrix is [at least round_up(f, 8), ld] row-major; its upper triangle counts, what lies below is scratch.
//
// Every sum runs in an order fixed by the sizes alone, so a result depends on the ISA level but not on threads.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

// Rows of a register tile: 8 x 2 accumulators of the 32 registers of AVX-512, 4 x 2 of 16 elsewhere.
inline constexpr std::int64_t tile_rows = lanes == 16 ? 8 : 4;

// tile[i, j] += sign * sum_k left[k * step_k + i * step_i] * right[k * ld + j]
// for i in [0, tile_rows), j in [0, Vectors * lanes).
template <int Vectors, int Sign>
RECSYS_INLINE void update_tile(const float* left, std::int64_t step_k, std::int64_t step_i, const float* right,
                               std::int64_t n, std::int64_t ld, float* tile, std::int64_t tile_ld) {
  vfloat sum[tile_rows][Vectors] = {};
  for (std::int64_t k = 0; k < n; ++k) {
    vfloat from_right[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) from_right[v] = load(right + k * ld + v * lanes);
#pragma GCC unroll 8
    for (std::int64_t i = 0; i < tile_rows; ++i) {
      const vfloat from_left = broadcast(left[k * step_k + i * step_i]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sum[i][v] += from_left * from_right[v];
    }
  }
#pragma GCC unroll 8
  for (std::int64_t i = 0; i < tile_rows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      float* to = tile + i * tile_ld + v * lanes;
      store(to, Sign > 0 ? load(to) + sum[i][v] : load(to) - sum[i][v]);
    }
  }
}

// One block of tile_rows rows of the tile update, columns [first, f) rounded out to whole vectors.
template <int Sign>
RECSYS_INLINE void update_row_block(const float* left, std::int64_t step_k, std::int64_t step_i, const float* right,
                                    std::int64_t n, std::int64_t ld, std::int64_t first, std::int64_t f, float* rows,
                                    std::int64_t rows_ld) {
  std::int64_t j = first;
  for (; j + lanes < f; j += 2 * lanes) {
    update_tile<2, Sign>(left, step_k, step_i, right + j, n, ld, rows + j, rows_ld);
  }
  if (j < f) update_tile<1, Sign>(left, step_k, step_i, right + j, n, ld, rows + j, rows_ld);
}

// panel[k] = factors[columns[k]], scaled[k] = weights[k] * panel[k], rhs += sum_k targets[k] * panel[k].
// The rows of `factors` are `stride` apart; columns beyond f of panel and scaled must be zero and stay so.
inline void gather_rows(const float* factors, std::int64_t stride, std::int64_t f, const std::int32_t* columns,
                        std::int64_t n, const float* weights, const float* targets, std::int64_t ld, float* panel,
                        float* scaled, float* rhs) {
  constexpr std::int64_t ahead = 8;  // rows are scattered: the hardware cannot foresee them
  const std::int64_t whole = f / lanes * lanes;
  for (std::int64_t k = 0; k < n; ++k) {
    if (k + ahead < n) {
      const float* next = factors + columns[k + ahead] * stride;
      for (std::int64_t j = 0; j < f; j += 16) __builtin_prefetch(next + j);
    }
    const float* from = factors + columns[k] * stride;
    float* to = panel + k * ld;
    for (std::int64_t j = 0; j < whole; j += lanes) store(to + j, load(from + j));
    for (std::int64_t j = whole; j < f; ++j) to[j] = from[j];
    const vfloat weight = broadcast(weights[k]);
    const vfloat target = broadcast(targets[k]);
    for (std::int64_t j = 0; j < f; j += lanes) {
      const vfloat value = load(to + j);
      store(scaled + k * ld + j, weight * value);
      store(rhs + j, load(rhs + j) + target * value);
    }
  }
}

// Upper triangle of matrix += left^T right, for left, right [n, ld] with equal columns up to a scale of the rows.
inline void symmetric_update(const float* left, const float* right, std::int64_t n, std::int64_t f, std::int64_t ld,
                             float* matrix, std::int64_t matrix_ld) {
  for (std::int64_t i = 0; i < f; i += tile_rows) {
    update_row_block<+1>(left + i, ld, 1, right, n, ld, i / lanes * lanes, f, matrix + i * matrix_ld, matrix_ld);
  }
}

// Factors rows [first, first + rows) of U in place, given that the rows above are done and subtracted.  The pivots'
// reciprocals replace the entries of `diagonal`, which holds the diagonal of the original matrix.
RECSYS_INLINE std::int64_t factor_row_block(float* matrix, std::int64_t first, std::int64_t rows, std::int64_t f,
                                            std::int64_t ld, float* diagonal) {
  // A pivot is what is left of a diagonal entry after subtracting numbers of its own size: below a few units in the
  // last place of that entry it is rounding error, and the matrix is singular to float32.
  constexpr float smallest_share = 5e-7F;
  for (std::int64_t r = first; r < first + rows; ++r) {
    float* row = matrix + r * ld;
    float above[tile_rows];
    for (std::int64_t p = first; p < r; ++p) above[p - first] = matrix[p * ld + r];
    for (std::int64_t j = r / lanes * lanes; j < f; j += lanes) {
      vfloat value = load(row + j);
      for (std::int64_t p = first; p < r; ++p) value -= broadcast(above[p - first]) * load(matrix + p * ld + j);
      store(row + j, value);
    }
    const float pivot = row[r];
    if (!(pivot > smallest_share * diagonal[r])) return r;  // written so that a NaN fails too
    const float reciprocal = 1.0F / __builtin_sqrtf(pivot);
    for (std::int64_t j = r / lanes * lanes; j < f; j += lanes) store(row + j, load(row + j) * broadcast(reciprocal));
    diagonal[r] = reciprocal;
  }
  return -1;
}

// Solves U^T z = x for rows [first, first + rows) and takes them out of the entries below.
RECSYS_INLINE void substitute_forward(const float* matrix, std::int64_t first, std::int64_t rows, std::int64_t f,
                                      std::int64_t ld, const float* diagonal, float* x) {
  const std::int64_t last = first + rows;
  float solved[tile_rows];
  for (std::int64_t r = first; r < last; ++r) {
    x[r] *= diagonal[r];
    solved[r - first] = x[r];
    for (std::int64_t j = r + 1; j < last; ++j) x[j] -= matrix[r * ld + j] * x[r];
  }
  std::int64_t j = last;
  for (; j < f && j % lanes != 0; ++j) {
    for (std::int64_t r = first; r < last; ++r) x[j] -= matrix[r * ld + j] * solved[r - first];
  }
  for (; j < f; j += lanes) {
    vfloat value = load(x + j);
    for (std::int64_t r = first; r < last; ++r) value -= load(matrix + r * ld + j) * broadcast(solved[r - first]);
    store(x + j, value);
  }
}

// Solves U x = z for rows [first, first + rows), given the entries below.
RECSYS_INLINE void substitute_backward(const float* matrix, std::int64_t first, std::int64_t rows, std::int64_t f,
                                       std::int64_t ld, const float* diagonal, float* x) {
  const std::int64_t last = first + rows;
  for (std::int64_t r = last - 1; r >= first; --r) {
    const float* row = matrix + r * ld;
    float sum = 0.0F;
    std::int64_t j = r + 1;
    for (; j < f && j % lanes != 0; ++j) sum += row[j] * x[j];
    vfloat tail = zero();
    for (; j < f; j += lanes) tail += load(row + j) * load(x + j);
    x[r] = (x[r] - sum - sum_lanes(tail)) * diagonal[r];
  }
}

// Solves matrix x = rhs by U^T U factorization, in place: x holds rhs before and the solution after.  `diagonal` is
// scratch of f floats.  Returns -1, or the index of the first pivot that is not positive.  f^3 / 6 multiply-adds.
// Left-looking: each tile is loaded and stored once, whatever f.
inline std::int64_t cholesky_solve(float* matrix, std::int64_t f, std::int64_t ld, float* diagonal, float* x) {
  for (std::int64_t i = 0; i < f; ++i) diagonal[i] = matrix[i * ld + i];
  for (std::int64_t i = 0; i < f; i += tile_rows) {
    const std::int64_t rows = i + tile_rows < f ? tile_rows : f - i;
    if (i > 0) update_row_block<-1>(matrix + i, ld, 1, matrix, i, ld, i / lanes * lanes, f, matrix + i * ld, ld);
    const std::int64_t failed = factor_row_block(matrix, i, rows, f, ld, diagonal);
    if (failed >= 0) return failed;
    substitute_forward(matrix, i, rows, f, ld, diagonal, x);
  }
  for (std::int64_t i = (f - 1) / tile_rows * tile_rows; i >= 0; i -= tile_rows) {
    substitute_backward(matrix, i, i + tile_rows < f ? tile_rows : f - i, f, ld, diagonal, x);
  }
  return -1;
}

// sum_k (1 + alpha r_k) (1 - s_k)^2 - s_k^2 with s_k = x . factors[columns[k]]: what the stored cells of one row add
// to the loss beyond the sum of squares over all cells.  Rows of `factors` are padded to ld.
inline double stored_loss(const float* x, const float* factors, std::int64_t ld, std::int64_t f,
                          const std::int32_t* columns, const float* values, std::int64_t n, float alpha) {
  double loss = 0.0;
  for (std::int64_t k = 0; k < n; ++k) {
    const float* y = factors + columns[k] * ld;
    vfloat sum = zero();
    for (std::int64_t j = 0; j < f; j += lanes) sum += load(x + j) * load(y + j);
    const double score = sum_lanes(sum);
    const double confidence = 1.0 + static_cast<double>(alpha) * static_cast<double>(values[k]);
    loss += confidence * (1.0 - score) * (1.0 - score) - score * score;
  }
  return loss;
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
