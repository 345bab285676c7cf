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

// How a stored entry enters a sum over y_k, given y_k . in: as part of the matrix, or of the residual it leaves.
enum class CgTerm { image, residual };

template <CgTerm term>
RECSYS_INLINE float coefficient(float scaled, float product) {
  return term == CgTerm::image ? scaled * product : 1.0F + scaled * (1.0F - product);
}

// out += sum_k coefficient(alpha r_k, y_k . in) y_k over the row's entries.  Four at a time, so that `in` and `out`
// pass through registers once for four rows of factors and four loads are under way at once.
template <CgTerm term>
RECSYS_INLINE void add_entries(const CgRow& row, const float* factors, std::int64_t ld, std::int64_t f, float alpha,
                               const float* in, float* out) {
  constexpr std::int64_t group = 4;
  constexpr std::int64_t ahead = 8;
  std::int64_t k = 0;
  for (; k + group <= row.n; k += group) {
    const std::int64_t stop = k + ahead + group < row.n ? k + ahead + group : row.n;
    for (std::int64_t next = k + ahead; next < stop; ++next) {
      for (std::int64_t j = 0; j < f; j += 16) __builtin_prefetch(factors + row.columns[next] * ld + j);
    }
    const float* y[group];
    vfloat sum[group];
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < group; ++i) {
      y[i] = factors + row.columns[k + i] * ld;
      sum[i] = zero();
    }
    for (std::int64_t j = 0; j < f; j += lanes) {
      const vfloat value = load(in + j);
#pragma GCC unroll 4
      for (std::int64_t i = 0; i < group; ++i) sum[i] += value * load(y[i] + j);
    }
    vfloat factor[group];
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < group; ++i) {
      factor[i] = broadcast(coefficient<term>(alpha * row.values[k + i], sum_lanes(sum[i])));
    }
    for (std::int64_t j = 0; j < f; j += lanes) {
      vfloat value = load(out + j);
#pragma GCC unroll 4
      for (std::int64_t i = 0; i < group; ++i) value += factor[i] * load(y[i] + j);
      store(out + j, value);
    }
  }
  for (; k < row.n; ++k) {
    const float* y = factors + row.columns[k] * ld;
    accumulate(out, coefficient<term>(alpha * row.values[k], dot(y, in, f)), y, f);
  }
}

// out[r] += Sign * P in[r] for all rows of the block.
template <int Sign>
RECSYS_INLINE void add_dense(const float* prior, std::int64_t ld, std::int64_t f, const float* in, float* out) {
  for (std::int64_t r = 0; r < cg_block; r += tile_rows) {
    update_row_block<Sign>(in + r * ld, 1, ld, prior, f, ld, 0, f, out + r * ld, ld);
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
    for (std::int64_t j = 0; j < ld; j += lanes) store(solution + r * ld + j, load(rows[r].x + j));
    add_entries<CgTerm::residual>(rows[r], factors, ld, f, alpha, solution + r * ld, residual + r * ld);
  }
  add_dense<-1>(prior, ld, f, solution, residual);
  for (std::int64_t i = 0; i < cg_block * ld; i += lanes) store(direction + i, load(residual + i));
  for (std::int64_t r = 0; r < n_rows; ++r) squared[r] = dot(residual + r * ld, residual + r * ld, f);

  for (std::int64_t step = 0; step < n_steps; ++step) {
    for (std::int64_t i = 0; i < cg_block * ld; i += lanes) store(image + i, zero());
    add_dense<+1>(prior, ld, f, direction, image);
    for (std::int64_t r = 0; r < n_rows; ++r) {
      add_entries<CgTerm::image>(rows[r], factors, ld, f, alpha, direction + r * ld, image + r * ld);
    }
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
