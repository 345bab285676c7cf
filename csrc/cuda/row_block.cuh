// A block of a sparse matrix on the device: rows [first_row, first_row + n_rows), and of them the entries in some range
// of columns, which are counted from its first.
#pragma once

#include "cuda/runtime.cuh"

namespace recsys::cuda {

struct Range {
  std::int64_t first;
  std::int64_t last;
  [[nodiscard]] std::int64_t size() const { return last - first; }
  bool operator==(const Range&) const = default;
};

// Entries from which a row gets a block of threads to itself where others get a warp.
inline constexpr std::int64_t long_row = 1024;

struct RowBlock {
  DeviceBuffer<std::int64_t> indptr;   // [n_rows + 1]
  DeviceBuffer<std::int32_t> columns;  // [n]
  DeviceBuffer<float> values;          // [n]
  // The rows that have entries in any column, longest first, so that none of the long ones is left to the end.
  DeviceBuffer<std::int32_t> order;
  std::int64_t n_long = 0;  // at the front of the order

  // Bytes of a row, and of an entry, on the device.
  static constexpr std::int64_t a_row = 12;
  static constexpr std::int64_t an_entry = 8;

  // Columns ascending within a row where not all are taken.  Copies from the host, and waits until that is done.
  RowBlock(const CsrView& csr, const Range& rows, const Range& taken, Stream stream) {
    std::vector<std::int64_t> ends{0};
    std::vector<std::int32_t> places;
    const bool all = taken == Range{0, csr.cols};
    std::vector<std::int32_t> some_columns;
    std::vector<float> some_values;
    for (std::int64_t row = rows.first; row < rows.last; ++row) {
      const std::span<const std::int32_t> in = csr.row_indices(row);
      if (!in.empty()) places.push_back(static_cast<std::int32_t>(row - rows.first));
      if (all) {
        ends.push_back(ends.back() + std::ssize(in));
        continue;
      }
      const auto begin = std::lower_bound(in.begin(), in.end(), taken.first);
      const auto end = std::lower_bound(begin, in.end(), taken.last);
      const std::span<const float> numbers = csr.row_values(row);
      for (auto at = begin; at != end; ++at) {
        some_columns.push_back(static_cast<std::int32_t>(*at - taken.first));
        some_values.push_back(numbers[static_cast<std::size_t>(at - in.begin())]);
      }
      ends.push_back(std::ssize(some_columns));
    }
    const auto size_of = [&](std::int32_t place) { return csr.row_size(rows.first + place); };
    std::stable_sort(places.begin(), places.end(),
                     [&](std::int32_t a, std::int32_t b) { return size_of(a) > size_of(b); });
    n_long = std::count_if(places.begin(), places.end(), [&](std::int32_t row) { return size_of(row) >= long_row; });
    const auto begin = static_cast<std::size_t>(csr.begin(rows.first));
    const std::int32_t* const from = all ? csr.indices.data() + begin : some_columns.data();
    const float* const numbers = all ? csr.values.data() + begin : some_values.data();
    indptr = cuda::upload(ends.data(), std::ssize(ends), stream);
    columns = cuda::upload(from, ends.back(), stream);
    values = cuda::upload(numbers, ends.back(), stream);
    order = cuda::upload(places.data(), std::ssize(places), stream);
    stream.synchronize();
  }
};

// Cuts rows into ranges that take at most `room` bytes each: a_row a row and an_entry an entry.
inline std::vector<Range> cut_rows(const CsrView& csr, std::int64_t a_row, std::int64_t an_entry, std::int64_t room,
                                   const std::string& what) {
  std::vector<Range> ranges;
  std::int64_t first = 0;
  std::int64_t bytes = 0;
  for (std::int64_t row = 0; row < csr.rows(); ++row) {
    const std::int64_t own = a_row + an_entry * csr.row_size(row);
    if (own > room) throw_too_little_memory(what + " " + std::to_string(row) + " and what it needs", own, room);
    if (bytes + own > room) {
      ranges.push_back({first, row});
      first = row;
      bytes = 0;
    }
    bytes += own;
  }
  if (csr.rows() > first) ranges.push_back({first, csr.rows()});
  return ranges;
}

}  // namespace recsys::cuda
