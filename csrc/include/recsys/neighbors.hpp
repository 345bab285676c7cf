// For each row of a sparse matrix, the k other rows with the largest inner product: V V^T, its diagonal and its zeros
// left out, cut to k a row.  Ties go to the lower index.
//
// Row by row (Gustavson 1978) into a dense accumulator, so the product is never stored.  Sums run in the order of the
// row's columns, in float32: the same bits whatever the number of threads.
//
// Cost: sum over columns of (column length)^2 multiply-adds.  Memory: the transpose, n_rows k entries, and 2 n_rows
// numbers a thread.
#pragma once

#include <cstdint>

#include "recsys/sparse.hpp"
#include "recsys/views.hpp"

namespace recsys {

// vectors [n_rows, anything]; the result is [n_rows, n_rows], its columns ascending.  k may exceed n_rows.
[[nodiscard]] CsrMatrix row_neighbors(const CsrView& vectors, std::int64_t k, std::int64_t n_threads);

}  // namespace recsys
