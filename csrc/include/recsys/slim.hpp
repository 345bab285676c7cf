// Sparse linear item models (Ning and Karypis 2011, eq. 4), one elastic net a column:
//
//   min_w 1/2 |a_j - A w|^2 + l2/2 |w|^2 + l1 |w|_1,  w_j = 0 (and w >= 0)
//
// by cyclic coordinate descent on the Gram matrix G = A^T A (covariance updates, Friedman et al. 2010, section 2.2).
// Columns are independent and every sum has a fixed order: the same bits whatever the number of threads.
//
// Memory: G, n_items^2 float32 (400 MB at 10,000 items, 2.9 GB at 27,000), and 2 n_items floats a thread.
// Cost: sum over users of (row length)^2 / 2 for G, then n_items a changed coordinate and n_items / vector width a
// sweep for each column.
#pragma once

#include <cstdint>
#include <functional>

#include "recsys/sparse.hpp"
#include "recsys/views.hpp"

namespace recsys {

struct SlimOptions {
  float l1 = 1.0F;
  float l2 = 1.0F;
  std::int64_t n_iterations = 100;  // sweeps over the coordinates, at most, for each column
  float tolerance = 1e-4F;
  bool positive_only = true;
  std::int64_t n_threads = 0;
};

// Called with the number of columns done and their total, on the calling thread, some 50 times in all; true stops, and
// leaves the columns to come without weights.
using SlimMonitor = std::function<bool(std::int64_t n_done, std::int64_t n_columns)>;

// weights [n_items, n_items]: rows the items interacted with, columns ascending, no stored zeros, an empty diagonal.
struct SlimResult {
  CsrMatrix weights;
  std::int64_t n_unsettled = 0;  // columns that n_iterations sweeps did not bring within the tolerance
};

// interactions [n_users, n_items], columns ascending.
[[nodiscard]] SlimResult slim(const CsrView& interactions, const SlimOptions& options,
                              const SlimMonitor& after_columns);

}  // namespace recsys
