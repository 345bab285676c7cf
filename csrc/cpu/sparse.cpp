#include "recsys/sparse.hpp"

#include <algorithm>
#include <numeric>
#include <string>

namespace recsys {

CsrMatrix transpose(const CsrView& csr) {
  CsrMatrix out;
  out.cols = csr.rows();
  out.indptr.assign(static_cast<std::size_t>(csr.cols) + 1, 0);
  out.indices.resize(csr.indices.size());
  out.values.resize(csr.values.size());
  for (const std::int32_t column : csr.indices) ++out.indptr[static_cast<std::size_t>(column) + 1];
  std::partial_sum(out.indptr.begin(), out.indptr.end(), out.indptr.begin());
  std::vector<std::int64_t> next(out.indptr.begin(), out.indptr.end() - 1);
  for (std::int64_t row = 0; row < csr.rows(); ++row) {
    for (std::int64_t at = csr.begin(row); at < csr.end(row); ++at) {
      const auto from = static_cast<std::size_t>(at);
      const auto to = static_cast<std::size_t>(next[static_cast<std::size_t>(csr.indices[from])]++);
      out.indices[to] = static_cast<std::int32_t>(row);
      if (!csr.values.empty()) out.values[to] = csr.values[from];
    }
  }
  return out;
}

void check_sorted(const CsrView& csr, std::string_view name) {
  for (std::int64_t row = 0; row < csr.rows(); ++row) {
    const auto columns = csr.row_indices(row);
    for (std::size_t k = 1; k < columns.size(); ++k) {
      if (columns[k - 1] < columns[k]) continue;
      throw DataError(std::string(name) + " must have ascending column indices without repeats, but row " +
                      std::to_string(row) + " has " + std::to_string(columns[k]) + " after " +
                      std::to_string(columns[k - 1]) + "; call sum_duplicates() on it");
    }
  }
}

void check_not_empty(const CsrView& csr, std::string_view name) {
  if (csr.nnz() > 0) return;
  throw DataError(std::string(name) + " must hold at least one stored entry, got none; there is nothing to learn");
}

void check_weights(const CsrView& csr, std::string_view name) {
  check_not_empty(csr, name);
  if (csr.values.empty()) return;  // a pattern
  for (std::int64_t row = 0; row < csr.rows(); ++row) {
    const auto values = csr.row_values(row);
    for (std::size_t k = 0; k < values.size(); ++k) {
      if (values[k] >= 0.0F) continue;
      throw DataError(std::string(name) + " must hold weights of 0 or more, got " + std::to_string(values[k]) +
                      " at row " + std::to_string(row) + ", column " + std::to_string(csr.row_indices(row)[k]) +
                      "; drop or shift negative feedback first");
    }
  }
}

RowSchedule schedule_rows(const std::vector<std::int64_t>& costs, std::int64_t multiple) {
  constexpr std::int64_t most_tasks = 2048;  // small beside the rows' work, large beside the number of threads
  RowSchedule schedule;
  std::int64_t total = 0;
  for (std::size_t row = 0; row < costs.size(); ++row) {
    if (costs[row] == 0) continue;
    schedule.order.push_back(static_cast<std::int64_t>(row));
    total += costs[row];
  }
  std::stable_sort(schedule.order.begin(), schedule.order.end(), [&](std::int64_t a, std::int64_t b) {
    return costs[static_cast<std::size_t>(a)] > costs[static_cast<std::size_t>(b)];
  });
  const std::int64_t share = total / most_tasks + 1;
  std::int64_t cost = 0;
  schedule.starts.push_back(0);
  for (std::size_t place = 0; place < schedule.order.size(); ++place) {
    cost += costs[static_cast<std::size_t>(schedule.order[place])];
    const auto stop = static_cast<std::int64_t>(place) + 1;
    if (cost < share || stop % multiple != 0) continue;
    schedule.starts.push_back(stop);
    cost = 0;
  }
  const auto n_rows = static_cast<std::int64_t>(schedule.order.size());
  if (schedule.starts.back() != n_rows) schedule.starts.push_back(n_rows);
  return schedule;
}

std::vector<std::int64_t> row_costs(const CsrView& csr, std::int64_t per_row) {
  std::vector<std::int64_t> costs(static_cast<std::size_t>(csr.rows()));
  for (std::int64_t row = 0; row < csr.rows(); ++row) {
    const std::int64_t n = csr.row_size(row);
    costs[static_cast<std::size_t>(row)] = n > 0 ? n + per_row : 0;
  }
  return costs;
}

}  // namespace recsys
