// The filters of a top-k request: to the device, those of queries batch by batch.
#pragma once

#include "cuda/item_index.cuh"
#include "cuda/topk.hpp"

namespace recsys::cuda::detail {

// Rows of items on the device, ascending and each once.
struct ItemLists {
  DeviceBuffer<std::int64_t> indptr;
  DeviceBuffer<std::int32_t> items;

  ItemLists() = default;
  // Of n rows from `first`.  Copies from the host, and waits until that is done.
  ItemLists(const CsrView& rows, std::int64_t first, std::int64_t n, Stream stream) {
    std::vector<std::int64_t> ends{0};
    std::vector<std::int32_t> sorted;
    for (std::int64_t row = first; row < first + n; ++row) {
      const auto given = rows.row_indices(row);
      const auto begin = static_cast<std::ptrdiff_t>(sorted.size());
      sorted.insert(sorted.end(), given.begin(), given.end());
      if (!std::is_sorted(sorted.begin() + begin, sorted.end())) std::sort(sorted.begin() + begin, sorted.end());
      sorted.erase(std::unique(sorted.begin() + begin, sorted.end()), sorted.end());
      ends.push_back(std::ssize(sorted));
    }
    indptr = cuda::upload(ends.data(), std::ssize(ends), stream);
    items = cuda::upload(sorted.data(), std::ssize(sorted), stream);
    stream.synchronize();
  }
};

// The filters that are the same for all queries, on the device.
struct SharedFilters {
  DeviceBuffer<unsigned> allowed;  // a bit a position; empty where all are
  std::int64_t n_allowed = 0;
};

// Those of a batch of queries.
struct BatchFilters {
  ItemLists exclude;
  ItemLists allow_each;

  BatchFilters(const TopkRequest& request, std::int64_t first, std::int64_t n, Stream stream) {
    if (request.exclude) exclude = ItemLists(*request.exclude, first, n, stream);
    if (request.allow_each) allow_each = ItemLists(*request.allow_each, first, n, stream);
  }
  // Bytes of a query's.
  [[nodiscard]] static std::int64_t bytes(const TopkRequest& request, std::int64_t query) {
    std::int64_t sum = 0;
    if (request.exclude) sum += 8 + 4 * request.exclude->row_size(query);
    if (request.allow_each) sum += 8 + 4 * request.allow_each->row_size(query);
    return sum;
  }
  [[nodiscard]] FilterView view(const SharedFilters& shared) const {
    return {exclude.indptr.data(), exclude.items.data(), shared.allowed.data()};
  }
};

inline void check_items(std::span<const std::int64_t> items, std::int64_t n_items, const char* name) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i] >= 0 && items[i] < n_items) continue;
    throw DataError(std::string(name) + " must hold item indices in [0, " + std::to_string(n_items) + "), got " +
                    std::to_string(items[i]) + " at position " + std::to_string(i));
  }
}

inline SharedFilters upload_filters(const ItemIndex& index, const TopkRequest& request, Stream stream) {
  SharedFilters filters;
  const std::int64_t n_items = index.n_items();
  filters.n_allowed = n_items;
  if (!request.allow && request.deny.empty()) return filters;
  constexpr int n_threads = 256;
  filters.allowed = DeviceBuffer<unsigned>(divide_up(n_items, 32), stream);
  filters.allowed.set_bytes(request.allow ? 0 : 0xFF, stream);
  const auto mark = [&](std::span<const std::int64_t> items, const char* name, auto kernel) {
    check_items(items, n_items, name);
    if (items.empty()) return;
    const DeviceBuffer<std::int64_t> given = cuda::upload(items.data(), std::ssize(items), stream);
    launch(name, kernel, blocks(divide_up(given.size(), n_threads)), n_threads, 0, stream, given.data(), given.size(),
           index.positions(), filters.allowed.data());
  };
  if (request.allow) mark(*request.allow, "allow", set_bits);
  mark(request.deny, "deny", clear_bits);
  if (request.allow) filters.n_allowed = std::min(n_items, std::ssize(*request.allow));
  filters.n_allowed -= std::min(filters.n_allowed, std::ssize(request.deny));
  return filters;
}

}  // namespace recsys::cuda::detail
