// Rows with fewer entries than factors, in coordinates where the prior is the identity:
//
//   (I + sum_k c_k z_k z_k^T) x = b,  b = sum_k t_k z_k,  c_k >= 0
//
// With the scaled rows s_k = sqrt(c_k) z_k as the rows of S, Woodbury's identity leaves a system of one unknown an
// entry:
//
//   (I + S S^T) q = S b,   x = b - S^T q
//
// n^2 f / 2 + n^3 / 6 + 3 n f multiply-adds instead of n f^2 / 2 + f^3 / 6.
#pragma once

#include "cpu/solve-inl.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

// Transposes a block of `lanes` vectors: after each interleaving of the halves, rows are one step of a perfect shuffle
// further, and log2(lanes) steps exchange rows and columns.
RECSYS_INLINE void transpose_block(vfloat (&rows)[lanes]) {
#pragma GCC unroll 4
  for (std::int64_t width = 1; width < lanes; width *= 2) {
    vfloat next[lanes];
#pragma GCC unroll 8
    for (std::int64_t i = 0; i < lanes / 2; ++i) {
      next[2 * i] = interleave_lower(rows[i], rows[i + lanes / 2]);
      next[2 * i + 1] = interleave_upper(rows[i], rows[i + lanes / 2]);
    }
#pragma GCC unroll 16
    for (std::int64_t i = 0; i < lanes; ++i) rows[i] = next[i];
  }
}

// columns_of [f, ld] = the gathered rows times `scales`, transposed; rhs += sum_k targets[k] factors[columns[k]].
// Rows of `factors` are padded to whole vectors with zeros; entries n up to a whole vector become zero.
inline void gather_transposed(const float* factors, std::int64_t stride, std::int64_t f, const std::int32_t* columns,
                              std::int64_t n, const float* scales, const float* targets, std::int64_t ld,
                              float* columns_of, float* rhs) {
  for (std::int64_t k = 0; k < n; ++k) {
    const float* row = factors + columns[k] * stride;
    for (std::int64_t j = 0; j < f; j += 16) __builtin_prefetch(row + j);
  }
  for (std::int64_t k = 0; k < n; k += lanes) {
    const std::int64_t count = n - k < lanes ? n - k : lanes;
    for (std::int64_t j = 0; j < f; j += lanes) {
      vfloat block[lanes];
      vfloat sum = load(rhs + j);
      if (count == lanes) {
#pragma GCC unroll 16
        for (std::int64_t i = 0; i < lanes; ++i) {
          const vfloat value = load(factors + columns[k + i] * stride + j);
          sum += broadcast(targets[k + i]) * value;
          block[i] = broadcast(scales[k + i]) * value;
        }
      } else {
        for (std::int64_t i = 0; i < lanes; ++i) block[i] = zero();
        for (std::int64_t i = 0; i < count; ++i) {
          const vfloat value = load(factors + columns[k + i] * stride + j);
          sum += broadcast(targets[k + i]) * value;
          block[i] = broadcast(scales[k + i]) * value;
        }
      }
      store(rhs + j, sum);
      transpose_block(block);
#pragma GCC unroll 16
      for (std::int64_t i = 0; i < lanes; ++i) store(columns_of + (j + i) * ld + k, block[i]);
    }
  }
}

// Solves the dual system of n entries.  x [f rounded up to whole vectors] receives the solution; columns_of is scratch
// [that, ld], matrix scratch [n rounded up to tiles, ld], rhs scratch [ld], scratch as for cholesky_solve.
inline void dual_solve(const float* factors, std::int64_t stride, std::int64_t f, const std::int32_t* columns,
                       std::int64_t n, const float* scales, const float* targets, std::int64_t ld, float* columns_of,
                       float* matrix, float* scratch, float* rhs, float* x) {
  const std::int64_t n_rows = (n + tile_rows - 1) / tile_rows * tile_rows;
  const std::int64_t width = (n + lanes - 1) / lanes * lanes;
  const std::int64_t height = (f + lanes - 1) / lanes * lanes;
  for (std::int64_t j = 0; j < height; j += lanes) store(x + j, zero());
  gather_transposed(factors, stride, f, columns, n, scales, targets, ld, columns_of, x);

  for (std::int64_t i = 0; i < n_rows; ++i) {
    for (std::int64_t j = i / lanes * lanes; j < width; j += lanes) store(matrix + i * ld + j, zero());
    matrix[i * ld + i] = 1.0F;
  }
  symmetric_update(columns_of, columns_of, f, n_rows, ld, matrix, ld);

  for (std::int64_t k = 0; k < width; k += lanes) store(rhs + k, zero());
  update_row_block<1, Into::replace>(x, 1, 0, columns_of, f, ld, 0, width, rhs, ld);
  cholesky_solve(matrix, n_rows, ld, scratch, rhs);  // I + S S^T has no pivot below 1

  for (std::int64_t j = 0; j < f; ++j) {
    vfloat sum = zero();
    for (std::int64_t k = 0; k < width; k += lanes) sum += load(columns_of + j * ld + k) * load(rhs + k);
    x[j] -= sum_lanes(sum);
  }
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
