// Least squares with coefficients that must not be negative, from the normal equations:
//
//   min_x 1/2 x^T A x - b^T x,   x >= 0
//
// by cyclic coordinate descent (Franc, Hlavac and Navara 2005, Algorithm 1): each coordinate goes to its minimum given
// the others, or to 0.  It ends once no move of a sweep changes its gradient by more than 1e-6 of the largest entry of
// b, or after 2,000 sweeps.  A sweep costs f multiply-adds for each coordinate that moves.
#pragma once

#include <cstdint>

#include "cpu/kernel_table.hpp"

namespace recsys::detail {

// matrix [f, ld]: A in its upper triangle, whose lower one is filled in.  b [f] becomes what is left of it, b - A x.
// Returns whether the diagonal is positive, and it and b are finite, without which x [f] is not written.
[[nodiscard]] bool solve_non_negative(const cpu::KernelTable& kernels, float* matrix, std::int64_t f, std::int64_t ld,
                                      float* b, float* x);

}  // namespace recsys::detail
