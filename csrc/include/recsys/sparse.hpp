// Sparse matrices that own their memory, their transposes, and the order in which their rows are best handed out.
#pragma once

#include <cstdint>
#include <vector>

#include "recsys/views.hpp"

namespace recsys {

struct CsrMatrix {
  std::vector<std::int64_t> indptr;
  std::vector<std::int32_t> indices;
  std::vector<float> values;
  std::int64_t cols = 0;

  [[nodiscard]] CsrView view() const { return {indptr, indices, values, cols}; }
};

// The transpose, its columns ascending.  O(nnz + rows + cols), one thread.
[[nodiscard]] CsrMatrix transpose(const CsrView& csr);

// Throws DataError unless each row's columns ascend without repeats.
void check_sorted(const CsrView& csr, std::string_view name);

// Throws DataError where there is no stored entry.
void check_not_empty(const CsrView& csr, std::string_view name);

// Throws DataError where there is no stored entry, or a negative one.  NaN is for check_finite, before.
void check_weights(const CsrView& csr, std::string_view name);

// Rows, most expensive first, cut into tasks of comparable cost.  Task t is rows order[starts[t] .. starts[t + 1]).
//
// Expensive rows first lets dynamic scheduling fill the end with cheap ones; the order is by (cost descending, row
// ascending) and the cuts depend on the costs alone, so the schedule is the same whatever the number of threads.
struct RowSchedule {
  std::vector<std::int64_t> order;
  std::vector<std::int64_t> starts;

  [[nodiscard]] std::int64_t n_tasks() const { return static_cast<std::int64_t>(starts.size()) - 1; }
};

// Costs are in any unit; a row of cost 0 is left out.  Every cut is at a multiple of `multiple` rows.
[[nodiscard]] RowSchedule schedule_rows(const std::vector<std::int64_t>& costs, std::int64_t multiple = 1);

// Cost of a row with n entries: n + per_row where n > 0, else 0.
[[nodiscard]] std::vector<std::int64_t> row_costs(const CsrView& csr, std::int64_t per_row);

}  // namespace recsys
