// What the iterative solvers of als do to a side's rows: improve them instead of solving them.
#pragma once

#include "cpu/row_systems.hpp"

namespace recsys::detail {

// Conjugate gradient steps, or, where block_size is not 0, one pass over blocks of so many coordinates.
struct Refinement {
  std::int64_t n_cg_steps;
  std::int64_t block_size;
};

// As plan_rows, for rows whose cost grows with their entries alone; none is cut into parts.
[[nodiscard]] RowPlan plan_iterative_rows(const CsrView& rows, std::int64_t f);

// Writes whitened copies of all vectors into the first rows of `out`, as wide as they, and returns these rows.
[[nodiscard]] Strided whiten_all(const Whitening& whitening, const Strided& vectors, PaddedMatrix& out,
                                 std::int64_t n_threads);

// Improves the scheduled rows of `out`, rows out_ld apart and padded; the systems' factors are whitened.
void refine_rows(const RowSystems& systems, const RowSchedule& schedule, const Refinement& refinement, float* out,
                 std::int64_t out_ld, std::int64_t n_threads);

}  // namespace recsys::detail
