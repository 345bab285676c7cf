// Small dense systems in register tiles: gathered Gram matrices, Cholesky factorization, products with triangles.
//
// Matrices are [n, ld] row-major with whole vectors in a row, upper triangles only; n counts padded rows, a multiple of
// tile_rows, whose padding has 1 on the diagonal and 0 elsewhere.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

// Rows of a register tile: 8 x 2 accumulators of the 32 registers of AVX-512, 4 x 2 of 16 elsewhere.
inline constexpr std::int64_t tile_rows = lanes == 16 ? 8 : 4;

// What happens to a tile's old values.
enum class Into { add, subtract, replace };

// tile[i, j] (+|-)= sum_k left[k * step_k + i * step_i] * right[k * ld + j]
// for i in [0, Rows), j in [0, Vectors * lanes).
template <std::int64_t Rows, int Vectors, Into into>
RECSYS_INLINE void update_tile(const float* left, std::int64_t step_k, std::int64_t step_i, const float* right,
                               std::int64_t n, std::int64_t ld, float* tile, std::int64_t tile_ld) {
  vfloat sum[Rows][Vectors] = {};
  for (std::int64_t k = 0; k < n; ++k) {
    vfloat from_right[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) from_right[v] = load(right + k * ld + v * lanes);
#pragma GCC unroll 8
    for (std::int64_t i = 0; i < Rows; ++i) {
      const vfloat from_left = broadcast(left[k * step_k + i * step_i]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sum[i][v] += from_left * from_right[v];
    }
  }
#pragma GCC unroll 8
  for (std::int64_t i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      float* to = tile + i * tile_ld + v * lanes;
      if constexpr (into == Into::add) sum[i][v] = load(to) + sum[i][v];
      if constexpr (into == Into::subtract) sum[i][v] = load(to) - sum[i][v];
      store(to, sum[i][v]);
    }
  }
}

// Rows rows of the tile update, columns [first, last) rounded out to whole vectors.
template <std::int64_t Rows, Into into>
RECSYS_INLINE void update_row_block(const float* left, std::int64_t step_k, std::int64_t step_i, const float* right,
                                    std::int64_t n, std::int64_t ld, std::int64_t first, std::int64_t last, float* rows,
                                    std::int64_t rows_ld) {
  std::int64_t j = first;
  for (; j + lanes < last; j += 2 * lanes) {
    update_tile<Rows, 2, into>(left, step_k, step_i, right + j, n, ld, rows + j, rows_ld);
  }
  if (j < last) update_tile<Rows, 1, into>(left, step_k, step_i, right + j, n, ld, rows + j, rows_ld);
}

// panel[k] = scales[k] * factors[columns[k]], rhs += sum_k targets[k] * factors[columns[k]].
// The rows of `factors` are `stride` apart; columns beyond f of the panel must be zero and stay so.
inline void gather_rows(const float* factors, std::int64_t stride, std::int64_t f, const std::int32_t* columns,
                        std::int64_t n, const float* scales, const float* targets, std::int64_t ld, float* panel,
                        float* rhs) {
  constexpr std::int64_t ahead = 8;  // rows are scattered: the hardware cannot foresee them
  const std::int64_t whole = f / lanes * lanes;
  for (std::int64_t k = 0; k < n; ++k) {
    if (k + ahead < n) {
      const float* next = factors + columns[k + ahead] * stride;
      for (std::int64_t j = 0; j < f; j += 16) __builtin_prefetch(next + j);
    }
    const float* from = factors + columns[k] * stride;
    float* to = panel + k * ld;
    const vfloat scale = broadcast(scales[k]);
    const vfloat target = broadcast(targets[k]);
    for (std::int64_t j = 0; j < whole; j += lanes) {
      const vfloat value = load(from + j);
      store(to + j, scale * value);
      store(rhs + j, load(rhs + j) + target * value);
    }
    for (std::int64_t j = whole; j < f; ++j) {
      to[j] = scales[k] * from[j];
      rhs[j] += targets[k] * from[j];
    }
  }
}

// Upper triangle of matrix += left^T right, for left, right [n, ld] whose product is symmetric.
inline void symmetric_update(const float* left, const float* right, std::int64_t n, std::int64_t f, std::int64_t ld,
                             float* matrix, std::int64_t matrix_ld) {
  for (std::int64_t i = 0; i < f; i += tile_rows) {
    update_row_block<tile_rows, Into::add>(left + i, ld, 1, right, n, ld, i / lanes * lanes, f, matrix + i * matrix_ld,
                                           matrix_ld);
  }
}

// out[r] = in[r] * triangle for n rows; the triangle [f, ld] is upper, or lower, with zeros in the other half.
inline void multiply_triangle(const float* in, std::int64_t in_ld, std::int64_t n, const float* triangle,
                              std::int64_t f, std::int64_t ld, bool upper, float* out, std::int64_t out_ld) {
  for (std::int64_t j = 0; j < f; j += 2 * lanes) {
    const std::int64_t last = j + 2 * lanes < f ? j + 2 * lanes : f;
    const std::int64_t first_k = upper ? 0 : j;
    const std::int64_t n_k = (upper ? last : f) - first_k;
    const float* right = triangle + first_k * ld;
    std::int64_t r = 0;
    for (; r + tile_rows <= n; r += tile_rows) {
      update_row_block<tile_rows, Into::replace>(in + r * in_ld + first_k, 1, in_ld, right, n_k, ld, j, last,
                                                 out + r * out_ld, out_ld);
    }
    for (; r < n; ++r) {
      update_row_block<1, Into::replace>(in + r * in_ld + first_k, 1, in_ld, right, n_k, ld, j, last, out + r * out_ld,
                                         out_ld);
    }
  }
}

// A diagonal block next to an identity, [D | I]: eliminating D turns it into [R | T] with D = R^T R and T = R^-T.
struct DiagonalBlock {
  static constexpr int parts = lanes >= 2 * tile_rows ? 1 : 2;  // vectors a row
  vfloat row[tile_rows][parts];
  vfloat pivots;  // lane p holds pivot p

  // From the tile_rows rows at `rows`, [., ld], whose block starts in column i.
  template <int r>
  RECSYS_INLINE void read(const float* rows, std::int64_t i, std::int64_t ld) {
    if constexpr (r < tile_rows) {
      // The whole vector that the block lies in: one from column i on could reach beyond the last row.
      const std::int64_t first = i / lanes * lanes;
      vfloat own = load(rows + r * ld + first);
      if (first != i) own = second_half_first(own);
      if constexpr (parts == 1) {
        row[r][0] = first_half(own, unit<static_cast<int>(tile_rows) + r>());
      } else {
        row[r][0] = own;
        row[r][1] = unit<r>();
      }
      read<r + 1>(rows, i, ld);
    }
  }

  // Only the reciprocal of a pivot is on the way to the next one; the square roots are taken together at the end.
  template <int p>
  RECSYS_INLINE void eliminate() {
    if constexpr (p < tile_rows) {
      const vfloat pivot = broadcast_lane<p>(row[p][0]);
      pivots = select_lane<p>(pivot, pivots);
      subtract_from<p, p + 1>(broadcast(1.0F) / pivot);
      eliminate<p + 1>();
    }
  }

  template <int p, int r>
  RECSYS_INLINE void subtract_from(vfloat reciprocal) {
    if constexpr (r < tile_rows) {
      const vfloat factor = broadcast_lane<r>(row[p][0]) * reciprocal;
      for (int part = 0; part < parts; ++part) row[r][part] -= factor * row[p][part];
      subtract_from<p, r + 1>(reciprocal);
    }
  }

  // Writes T, its rows `lanes` apart.
  template <int r>
  RECSYS_INLINE void write_inverse(vfloat scales, float* inverse) const {
    if constexpr (r < tile_rows) {
      const vfloat scaled = broadcast_lane<r>(scales) * row[r][parts - 1];
      store(inverse + r * lanes, parts == 1 ? second_half_first(scaled) : scaled);
      write_inverse<r + 1>(scales, inverse);
    }
  }
};

// rows [tile_rows] = T rows over columns [first, n), the block's own at its left end `i`; takes the new rows times the
// solved part z out of the entries of x beyond the block.
RECSYS_INLINE void apply_inverse(const float* inverse, std::int64_t i, std::int64_t n, std::int64_t ld, float* rows,
                                 const float* z, float* x) {
  const std::int64_t first = i / lanes * lanes;
  for (std::int64_t j = first; j < n; j += lanes) {
    vfloat old[tile_rows];
#pragma GCC unroll 8
    for (std::int64_t p = 0; p < tile_rows; ++p) old[p] = load(rows + p * ld + j);
    vfloat change = zero();
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < tile_rows; ++r) {
      vfloat value = zero();
#pragma GCC unroll 8
      for (std::int64_t p = 0; p <= r; ++p) value += broadcast(inverse[r * lanes + p]) * old[p];
      store(rows + r * ld + j, value);
      change += broadcast(z[r]) * value;
    }
    if (j > first) {
      store(x + j, load(x + j) - change);
    } else if (lanes > tile_rows && i == first) {
      store(x + j, load(x + j) - first_half(zero(), change));
    }
  }
}

// The block's part of x, from z = T (..) above it: R x = z - (rows beyond the block) x.
RECSYS_INLINE void substitute_backward(const float* inverse, std::int64_t i, std::int64_t n, std::int64_t ld,
                                       const float* rows, float* x) {
  vfloat sums[tile_rows] = {};
  std::int64_t j = i + tile_rows;
  if (j % lanes != 0) {  // the vector that starts in the block
    const vfloat beyond = first_half(zero(), load(x + i));
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < tile_rows; ++r) sums[r] += load(rows + r * ld + i) * beyond;
    j += lanes - tile_rows;
  }
  for (; j < n; j += lanes) {
    const vfloat value = load(x + j);
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < tile_rows; ++r) sums[r] += load(rows + r * ld + j) * value;
  }
  vfloat solved = zero();
#pragma GCC unroll 8
  for (std::int64_t r = 0; r < tile_rows; ++r) {
    solved += broadcast(x[i + r] - sum_lanes(sums[r])) * load(inverse + r * lanes);
  }
  float values[lanes];
  store(values, solved);
  __builtin_memcpy(x + i, values, tile_rows * sizeof(float));
}

// Solves matrix x = rhs by R^T R factorization, in place: x holds rhs before and the solution after.  n^3 / 6
// multiply-adds; cholesky_scratch floats of scratch a row.  Returns -1, or the index of the first pivot that is not
// positive.  Left-looking: each tile is loaded and stored once, whatever n.
inline std::int64_t cholesky_solve(float* matrix, std::int64_t n, std::int64_t ld, float* scratch, float* x) {
  // A pivot is what is left of a diagonal entry after subtracting numbers of its own size: below a few units in the
  // last place of that entry it is rounding error, and the matrix is singular to float32.
  constexpr float smallest_share = 5e-7F;
  for (std::int64_t i = 0; i < n; i += tile_rows) {
    float* const rows = matrix + i * ld;
    float* const inverse = scratch + i * lanes;
    float diagonal[lanes];
    for (std::int64_t r = 0; r < tile_rows; ++r) diagonal[r] = rows[r * ld + i + r];
    if (i > 0) {
      update_row_block<tile_rows, Into::subtract>(matrix + i, ld, 1, matrix, i, ld, i / lanes * lanes, n, rows, ld);
    }
    DiagonalBlock block;
    block.read<0>(rows, i, ld);
    block.pivots = broadcast(1.0F);
    block.eliminate<0>();
    float pivots[lanes];
    store(pivots, block.pivots);
    for (std::int64_t r = 0; r < tile_rows; ++r) {
      if (!(pivots[r] > smallest_share * diagonal[r])) return i + r;  // written so that a NaN fails too
    }
    block.write_inverse<0>(broadcast(1.0F) / square_root(block.pivots), inverse);
    float z[tile_rows];
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < tile_rows; ++r) {
      z[r] = 0.0F;
#pragma GCC unroll 8
      for (std::int64_t p = 0; p <= r; ++p) z[r] += inverse[r * lanes + p] * x[i + p];
    }
    apply_inverse(inverse, i, n, ld, rows, z, x);
    for (std::int64_t r = 0; r < tile_rows; ++r) x[i + r] = z[r];
  }
  for (std::int64_t i = n - tile_rows; i >= 0; i -= tile_rows) {
    substitute_backward(scratch + i * lanes, i, n, ld, matrix + i * ld, x);
  }
  return -1;
}

// products[k] += x . factors[columns[k]].  Rows of `factors` start on any multiple of a float.
inline void add_products(const float* factors, std::int64_t ld, std::int64_t f, const std::int32_t* columns,
                         std::int64_t n, const float* x, float* products) {
  const std::int64_t whole = f / lanes * lanes;
  for (std::int64_t k = 0; k < n; ++k) {
    const float* y = factors + columns[k] * ld;
    vfloat sum = zero();
    for (std::int64_t j = 0; j < whole; j += lanes) sum += load(x + j) * load(y + j);
    float product = sum_lanes(sum);
    for (std::int64_t j = whole; j < f; ++j) product += x[j] * y[j];
    products[k] += product;
  }
}

// sum_k (1 + alpha r_k) (1 - s_k)^2 - w s_k^2 with s_k = x . factors[columns[k]]: what the stored cells of one row add
// to the loss beyond w times the sum of squares over all cells.  Rows of `factors` are padded to ld.
inline double stored_loss(const float* x, const float* factors, std::int64_t ld, std::int64_t f,
                          const std::int32_t* columns, const float* values, std::int64_t n, float alpha, float weight) {
  double loss = 0.0;
  for (std::int64_t k = 0; k < n; ++k) {
    const float* y = factors + columns[k] * ld;
    vfloat sum = zero();
    for (std::int64_t j = 0; j < f; j += lanes) sum += load(x + j) * load(y + j);
    const double score = sum_lanes(sum);
    const double confidence = 1.0 + static_cast<double>(alpha) * static_cast<double>(values[k]);
    loss += confidence * (1.0 - score) * (1.0 - score) - static_cast<double>(weight) * score * score;
  }
  return loss;
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
