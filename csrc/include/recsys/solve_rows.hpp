// Regularized least squares, one small system a row:
//
//   (P + lambda I + sum_i (c0 + c1 r_i) y_i y_i^T) x = sum_i (t0 + t1 r_i - o_i) y_i
//
// summed over the row's stored entries r_i; P is shared, and lambda the row's own or 0.  Fold-in of implicit ALS (Hu et
// al. 2008, eq. 4) is P = YtY + ridge I, c = (0, alpha), t = (1, alpha); ridge regression on the stored entries is P =
// ridge I, c = (1, 0), t = (0, 1). Where x must not be negative, it is the minimum of the quadratic function whose
// gradient is the difference of the two sides, by coordinate descent (cpu/non_negative.hpp).
//
// float32 throughout.  Cost per row: n f^2 / 2 + f^3 / 6 multiply-adds, or f^2 a sweep in place of f^3 / 6, and O(f^2)
// scratch a thread.  Rows are independent and every sum has a fixed order: the same bits whatever the number of
// threads.
#pragma once

#include <cstdint>
#include <span>

#include "recsys/views.hpp"

namespace recsys {

struct RowWeights {
  float confidence_base = 0.0F;   // c0
  float confidence_slope = 1.0F;  // c1
  float target_base = 1.0F;       // t0
  float target_slope = 1.0F;      // t1
};

// histories [n_rows, n_items], factors [n_items, f], prior [f, f] symmetric, item_offset [n_items] or empty,
// ridges [n_rows] or empty: each row's lambda, out [n_rows, f].  An empty row gives zeros.  Throws DataError naming the
// first number that is not finite, or the first row whose system is not positive definite to float32.  Numbers of
// `factors` and `item_offset` are looked at where a solution fails: those of items that no row has do no harm.
void solve_rows(const CsrView& histories, MatrixView<const float> factors, MatrixView<const float> prior,
                const RowWeights& weights, std::span<const float> item_offset, std::span<const float> ridges,
                MatrixView<float> out, bool non_negative, std::int64_t n_threads);

// The symmetric product factors^T factors, out [f, f].  The rows are cut into at most 64 blocks by their number alone;
// a block is summed in float32, the blocks in double and in order.  n f^2 / 2 multiply-adds.  Throws DataError where a
// factor is not finite, or a sum does not fit float32.
void gram(MatrixView<const float> factors, MatrixView<float> out, std::int64_t n_threads);

}  // namespace recsys
