// Coordinate descent for one SLIM column on the Gram matrix (Ning and Karypis 2011; covariance updates of Friedman,
// Hastie and Tibshirani 2010, section 2.2).
//
//   min_w 1/2 w^T G w - G_j^T w + l2/2 |w|^2 + l1 |w|_1,  w_j = 0 (and w >= 0)
//
// Kept up to date is pull = G_j - G w, so a coordinate that stays at zero costs a compare, done a vector at a time, and
// one that moves costs one pass over its row of G.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

// What coordinate k should be, everything else held: soft-thresholding.
RECSYS_INLINE float shrink(float pull, float l1, bool positive_only) {
  if (pull > l1) return pull - l1;
  if (!positive_only && pull < -l1) return pull + l1;
  return 0.0F;
}

// Whether any of the `lanes` coordinates from k may move.  Written as arithmetic on bits that the compiler vectorizes.
RECSYS_INLINE bool may_move(const float* weights, const float* pull, float l1, bool positive_only) {
  const vfloat w = load(weights);
  const vfloat p = load(pull);
  const vfloat limit = broadcast(l1);
  std::uint32_t moving = mask_greater(w, zero()) | mask_greater(p, limit);
  if (!positive_only) moving |= mask_greater(zero(), w) | mask_greater(zero() - limit, p);
  return moving != 0;
}

// pull -= step * row, over n entries.
RECSYS_INLINE void subtract_row(float* pull, float step, const float* row, std::int64_t n) {
  const vfloat factor = broadcast(step);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(pull + i, load(pull + i) - factor * load(row + i));
  for (; i < n; ++i) pull[i] -= step * row[i];
}

// One sweep over all coordinates of a column in ascending order, with pull = G_column - G weights.  Both vectors hold n
// entries and are padded with zeros to a multiple of 16.  Returns twice what the best move lowered the objective by.
inline float slim_sweep(const float* gram, std::int64_t n, std::int64_t column, float l1, float l2, bool positive_only,
                        float* weights, float* pull) {
  float largest = 0.0F;
  for (std::int64_t block = 0; block < n; block += lanes) {
    if (!may_move(weights + block, pull + block, l1, positive_only)) continue;
    const std::int64_t stop = block + lanes < n ? block + lanes : n;
    for (std::int64_t k = block; k < stop; ++k) {
      const float square = gram[k * n + k];
      if (k == column || square == 0.0F) continue;
      const float step = shrink(pull[k] + square * weights[k], l1, positive_only) / (square + l2) - weights[k];
      if (step == 0.0F) continue;
      weights[k] += step;
      subtract_row(pull, step, gram + k * n, n);
      const float gain = step * step * (square + l2);
      largest = gain > largest ? gain : largest;
    }
  }
  return largest;
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
