#include "recsys/neighbors.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

using Neighbor = std::pair<std::int32_t, float>;

// One thread's accumulator: sums [n_rows], and which of them the row at hand has touched.
struct Accumulator {
  std::vector<float> sums;
  std::vector<char> touched;
  std::vector<std::int32_t> places;

  void prepare(std::int64_t n_rows) {
    if (!sums.empty()) return;
    sums.assign(static_cast<std::size_t>(n_rows), 0.0F);
    touched.assign(static_cast<std::size_t>(n_rows), 0);
  }
};

// Inner products of row i with all rows that share a column with it.
void accumulate_row(const CsrView& vectors, const CsrView& by_column, std::int64_t i, Accumulator& into) {
  const auto columns = vectors.row_indices(i);
  const auto values = vectors.row_values(i);
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const auto rows = by_column.row_indices(columns[c]);
    const auto others = by_column.row_values(columns[c]);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const auto place = static_cast<std::size_t>(rows[r]);
      if (into.touched[place] == 0) {
        into.touched[place] = 1;
        into.places.push_back(rows[r]);
      }
      into.sums[place] += values[c] * others[r];
    }
  }
}

// The best k of the accumulator, columns ascending; leaves it clean.
std::vector<Neighbor> take_best(std::int64_t i, std::int64_t k, Accumulator& from) {
  std::vector<Neighbor> found;
  for (const std::int32_t row : from.places) {
    const auto place = static_cast<std::size_t>(row);
    if (row != i && from.sums[place] != 0.0F) found.emplace_back(row, from.sums[place]);
    from.sums[place] = 0.0F;
    from.touched[place] = 0;
  }
  from.places.clear();
  if (static_cast<std::int64_t>(found.size()) > k) {
    const auto better = [](const Neighbor& a, const Neighbor& b) {
      return a.second > b.second || (a.second == b.second && a.first < b.first);
    };
    std::nth_element(found.begin(), found.begin() + k, found.end(), better);
    found.resize(static_cast<std::size_t>(k));
  }
  std::sort(found.begin(), found.end());
  found.shrink_to_fit();
  return found;
}

}  // namespace

CsrMatrix row_neighbors(const CsrView& vectors, std::int64_t k, std::int64_t n_threads) {
  if (k < 1) throw ConfigError("k must be 1 or more, got " + std::to_string(k));
  check_structure(vectors, "item_vectors");
  check_finite(vectors, "item_vectors");
  const std::int64_t n = vectors.rows();
  const CsrMatrix transposed = transpose(vectors);
  const CsrView by_column = transposed.view();

  std::vector<std::int64_t> costs(static_cast<std::size_t>(n), 0);
  for (std::int64_t i = 0; i < n; ++i) {
    for (const std::int32_t column : vectors.row_indices(i)) {
      costs[static_cast<std::size_t>(i)] += by_column.row_size(column);
    }
  }
  const RowSchedule schedule = schedule_rows(costs);
  std::vector<std::vector<Neighbor>> best(static_cast<std::size_t>(n));
  const std::int64_t width = resolve_threads(n_threads);
  std::vector<Accumulator> accumulators(static_cast<std::size_t>(width));
  parallel_for(schedule.n_tasks(), width, [&](std::int64_t task, std::int64_t thread) {
    Accumulator& sums = accumulators[static_cast<std::size_t>(thread)];
    sums.prepare(n);
    const std::int64_t stop = schedule.starts[static_cast<std::size_t>(task) + 1];
    for (std::int64_t place = schedule.starts[static_cast<std::size_t>(task)]; place < stop; ++place) {
      const std::int64_t i = schedule.order[static_cast<std::size_t>(place)];
      accumulate_row(vectors, by_column, i, sums);
      best[static_cast<std::size_t>(i)] = take_best(i, k, sums);
    }
  });

  CsrMatrix out;
  out.cols = n;
  out.indptr.push_back(0);
  for (const auto& row : best) {
    out.indptr.push_back(out.indptr.back() + static_cast<std::int64_t>(row.size()));
  }
  out.indices.reserve(static_cast<std::size_t>(out.indptr.back()));
  out.values.reserve(static_cast<std::size_t>(out.indptr.back()));
  for (const auto& row : best) {
    for (const auto& [column, value] : row) {
      out.indices.push_back(column);
      out.values.push_back(value);
    }
  }
  return out;
}

}  // namespace recsys
