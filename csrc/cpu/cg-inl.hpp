// Conjugate gradients for a block of ALS rows at once (Takacs, Pilaszy and Tikk 2011, section 4).
//
//   (P + sum_k alpha r_k y_k y_k^T) x = sum_k (1 + alpha r_k) y_k
//
// The matrix is applied, never formed: its dense part P to the whole block in register tiles, so that P is read once
// for eight rows, its sparse part row by row.  One step costs 2 f^2 + 4 nnz f operations a row.
#pragma once

#include "cpu/solve-inl.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

inline constexpr std::int64_t cg_block = 8;

RECSYS_INLINE float dot(const float* a, const float* b, std::int64_t n) {
  vfloat sum = zero();
  for (std::int64_t j = 0; j < n; j += lanes) sum += load(a + j) * load(b + j);
  return sum_lanes(sum);
}

// to += scale * from, over whole vectors.
RECSYS_INLINE void accumulate(float* to, float scale, const float* from, std::int64_t n) {
  const vfloat factor = broadcast(scale);
  for (std::int64_t j = 0; j < n; j += lanes) store(to + j, load(to + j) + factor * load(from + j));
}

// out[r] = P in[r] + sum_k alpha r_k (y_k . in[r]) y_k
RECSYS_INLINE void apply_normal_matrix(const CgRow* rows, std::int64_t n_rows, const float* factors, std::int64_t ld,
                                       std::int64_t f, const float* prior, float alpha, const float* in, float* out) {
  for (std::int64_t i = 0; i < cg_block * ld; i += lanes) store(out + i, zero());
  for (std::int64_t r = 0; r < cg_block; r += tile_rows) {
    update_row_block<+1>(in + r * ld, 1, ld, prior, f, ld, 0, f, out + r * ld, ld);
  }
  for (std::int64_t r = 0; r < n_rows; ++r) {
    const CgRow& row = rows[r];
    for (std::int64_t k = 0; k < row.n; ++k) {
      const float* y = factors + row.columns[k] * ld;
      accumulate(out + r * ld, alpha * row.values[k] * dot(y, in + r * ld, f), y, f);
    }
  }
}

// Runs n_steps steps from the solutions found in rows[r].x.  All rows of `factors`, `prior` and x are padded to ld with
// zeros; `scratch` holds 4 * cg_block * ld floats.
inline void cg_solve(const CgRow* rows, std::int64_t n_rows, const float* factors, std::int64_t ld, std::int64_t f,
                     const float* prior, float alpha, std::int64_t n_steps, float* scratch) {
  float* const solution = scratch;
  float* const residual = solution + cg_block * ld;
  float* const direction = residual + cg_block * ld;
  float* const image = direction + cg_block * ld;
  float squared[cg_block];

  for (std::int64_t i = 0; i < cg_block * ld; i += lanes) {
    store(solution + i, zero());
    store(residual + i, zero());
  }
  for (std::int64_t r = 0; r < n_rows; ++r) {
    const CgRow& row = rows[r];
    for (std::int64_t j = 0; j < ld; j += lanes) store(solution + r * ld + j, load(row.x + j));
    for (std::int64_t k = 0; k < row.n; ++k) {
      accumulate(residual + r * ld, 1.0F + alpha * row.values[k], factors + row.columns[k] * ld, f);
    }
  }
  apply_normal_matrix(rows, n_rows, factors, ld, f, prior, alpha, solution, image);
  for (std::int64_t i = 0; i < cg_block * ld; i += lanes) {
    const vfloat value = load(residual + i) - load(image + i);
    store(residual + i, value);
    store(direction + i, value);
  }
  for (std::int64_t r = 0; r < n_rows; ++r) squared[r] = dot(residual + r * ld, residual + r * ld, f);

  for (std::int64_t step = 0; step < n_steps; ++step) {
    apply_normal_matrix(rows, n_rows, factors, ld, f, prior, alpha, direction, image);
    for (std::int64_t r = 0; r < n_rows; ++r) {
      float* const p = direction + r * ld;
      const float curvature = dot(p, image + r * ld, f);
      if (!(curvature > 0.0F) || squared[r] < 1e-20F) continue;  // solved to float32: a further step is only noise
      const float length = squared[r] / curvature;
      accumulate(solution + r * ld, length, p, f);
      accumulate(residual + r * ld, -length, image + r * ld, f);
      const float left = dot(residual + r * ld, residual + r * ld, f);
      const vfloat momentum = broadcast(left / squared[r]);
      for (std::int64_t j = 0; j < f; j += lanes) store(p + j, load(residual + r * ld + j) + momentum * load(p + j));
      squared[r] = left;
    }
  }
  for (std::int64_t r = 0; r < n_rows; ++r) {
    for (std::int64_t j = 0; j < ld; j += lanes) store(rows[r].x + j, load(solution + r * ld + j));
  }
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
