// Conjugate gradients for one ALS row, in coordinates where the prior is the identity:
//
//   (I + D + sum_k c_k z_k z_k^T) x = sum_k t_k z_k,   c_k = c0 + c1 r_k,   t_k = t0 + t1 r_k
//
// The matrix is applied, never formed, 2 n f multiply-adds a step.  That the prior is the identity makes the dense part
// free, and it preconditions: what is left differs from the identity by a few directions (Takacs, Pilaszy and Tikk
// 2011, section 4, without it).  D = ridge * B, where it is not zero, costs f^2 more.
#pragma once

#include "cpu/solve-inl.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

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

// How a stored entry enters a sum over z_k, given z_k . in: as part of the matrix, or of the residual it leaves.
enum class CgTerm { image, residual };

template <CgTerm term>
RECSYS_INLINE float coefficient(const CgWeights& weights, float value, float product) {
  const float scaled = (weights.confidence_base + weights.confidence_slope * value) * product;
  return term == CgTerm::image ? scaled : weights.target_base + weights.target_slope * value - scaled;
}

// out += sum_k coefficient(r_k, z_k . in) z_k over the row's entries.  Four at a time, so that `in` and `out` pass
// through registers once for four rows of factors and four loads are under way at once.
template <CgTerm term>
RECSYS_INLINE void add_entries(const CgRow& row, const float* factors, std::int64_t ld, std::int64_t f,
                               const CgWeights& weights, const float* in, float* out) {
  constexpr std::int64_t group = 4;
  constexpr std::int64_t ahead = 8;
  std::int64_t k = 0;
  for (; k + group <= row.n; k += group) {
    if (term == CgTerm::residual) {  // the first pass over the row; the others find it in cache
      const std::int64_t stop = k + ahead + group < row.n ? k + ahead + group : row.n;
      for (std::int64_t next = k + ahead; next < stop; ++next) {
        for (std::int64_t j = 0; j < f; j += 16) __builtin_prefetch(factors + row.columns[next] * ld + j);
      }
    }
    const float* z[group];
    vfloat sum[group];
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < group; ++i) {
      z[i] = factors + row.columns[k + i] * ld;
      sum[i] = zero();
    }
    for (std::int64_t j = 0; j < f; j += lanes) {
      const vfloat value = load(in + j);
#pragma GCC unroll 4
      for (std::int64_t i = 0; i < group; ++i) sum[i] += value * load(z[i] + j);
    }
    vfloat factor[group];
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < group; ++i) {
      factor[i] = broadcast(coefficient<term>(weights, row.values[k + i], sum_lanes(sum[i])));
    }
    for (std::int64_t j = 0; j < f; j += lanes) {
      vfloat value = load(out + j);
#pragma GCC unroll 4
      for (std::int64_t i = 0; i < group; ++i) value += factor[i] * load(z[i] + j);
      store(out + j, value);
    }
  }
  for (; k < row.n; ++k) {
    const float* z = factors + row.columns[k] * ld;
    accumulate(out, coefficient<term>(weights, row.values[k], dot(z, in, f)), z, f);
  }
}

// out += scale * B in, for B [f, ld] symmetric.
RECSYS_INLINE void add_ridge(const float* B, std::int64_t ld, std::int64_t f, float scale, const float* in,
                             float* out) {
  for (std::int64_t i = 0; i < f; ++i) accumulate(out, scale * in[i], B + i * ld, f);
}

// Runs at most n_steps steps from the solution found in row.x.  Rows of `factors` and B, and x, are padded to ld with
// zeros; `scratch` holds 3 * ld floats.  B may be null where the ridge is zero.
inline void cg_solve(const CgRow& row, const float* factors, std::int64_t ld, std::int64_t f, const CgWeights& weights,
                     const float* B, float ridge, std::int64_t n_steps, float* scratch) {
  float* const residual = scratch;
  float* const direction = residual + ld;
  float* const image = direction + ld;

  for (std::int64_t j = 0; j < f; j += lanes) store(residual + j, zero() - load(row.x + j));
  if (B != nullptr) add_ridge(B, ld, f, -ridge, row.x, residual);
  add_entries<CgTerm::residual>(row, factors, ld, f, weights, row.x, residual);
  for (std::int64_t j = 0; j < f; j += lanes) store(direction + j, load(residual + j));
  float squared = dot(residual, residual, f);
  for (std::int64_t step = 0; step < n_steps; ++step) {
    if (!(squared > 1e-20F)) return;  // solved to float32: a further step is only noise
    for (std::int64_t j = 0; j < f; j += lanes) store(image + j, load(direction + j));
    if (B != nullptr) add_ridge(B, ld, f, ridge, direction, image);
    add_entries<CgTerm::image>(row, factors, ld, f, weights, direction, image);
    const float curvature = dot(direction, image, f);
    if (!(curvature > 0.0F)) return;
    const float length = squared / curvature;
    accumulate(row.x, length, direction, f);
    if (step + 1 == n_steps) return;
    accumulate(residual, -length, image, f);
    const float left = dot(residual, residual, f);
    const vfloat momentum = broadcast(left / squared);
    for (std::int64_t j = 0; j < f; j += lanes) {
      store(direction + j, load(residual + j) + momentum * load(direction + j));
    }
    squared = left;
  }
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
