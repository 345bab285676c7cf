#include "cpu/compact_filters.hpp"

#include <algorithm>

namespace recsys::cpu {
namespace {

constexpr std::int64_t block_items = CompactItems::block_items;
constexpr std::int64_t largest_bitmap = 1 << 17;  // items

bool has_bitmaps(const CompactItems& items) { return items.n_blocks() * block_items <= largest_bitmap; }

}  // namespace

BlockFilter::BlockFilter(const CompactCopy& copy, const Filters& filters) : copy_(copy) {
  const CompactItems& items = copy.items();
  if (!filters.allow && filters.deny.empty()) return;
  words_.resize(static_cast<std::size_t>(items.n_blocks()));
  const auto word = [&](std::int64_t item) -> std::uint64_t& {
    return words_[static_cast<std::size_t>(items.position(item) / block_items)];
  };
  const auto bit = [&](std::int64_t item) { return std::uint64_t{1} << (items.position(item) % block_items); };
  if (filters.allow) {
    for (const std::int64_t item : *filters.allow) {
      if (item < items.n_items()) word(item) |= bit(item);
    }
    for (std::int64_t b = 0; b < items.n_blocks(); ++b) words_[static_cast<std::size_t>(b)] &= copy.word(b);
  } else {
    for (std::int64_t b = 0; b < items.n_blocks(); ++b) words_[static_cast<std::size_t>(b)] = copy.word(b);
  }
  for (const std::int64_t item : filters.deny) {
    if (item < items.n_items()) word(item) &= ~bit(item);
  }
}

std::int64_t Exclusion::bytes_a_query(const CompactItems& items, const Filters& filters) {
  if (!filters.exclude) return 0;
  const std::int64_t rows = std::max<std::int64_t>(filters.exclude->rows(), 1);
  return has_bitmaps(items) ? 8 * items.n_blocks()
                            : 4 * static_cast<std::int64_t>(filters.exclude->indices.size()) / rows;
}

Exclusion::Exclusion(const CompactItems& items, const Filters& filters, std::int64_t first_query,
                     std::int64_t n_queries)
    : n_queries_(n_queries) {
  if (!filters.exclude) return;
  const bool bitmaps = has_bitmaps(items);
  if (bitmaps) {
    words_.assign(static_cast<std::size_t>(items.n_blocks() * n_queries), 0);
  } else {
    rows_.resize(static_cast<std::size_t>(n_queries));
  }
  for (std::int64_t query = 0; query < n_queries; ++query) {
    const auto items_of_query = filters.exclude->row_indices(first_query + query);
    if (bitmaps) {
      for (const std::int32_t item : items_of_query) {
        if (item >= items.n_items()) continue;  // added since the copy was made
        const std::int64_t position = items.position(item);
        words_[static_cast<std::size_t>(position / block_items * n_queries + query)] |= std::uint64_t{1}
                                                                                        << (position % block_items);
      }
    } else {
      auto& positions = rows_[static_cast<std::size_t>(query)].positions;
      for (const std::int32_t item : items_of_query) {
        if (item < items.n_items()) positions.push_back(static_cast<std::int32_t>(items.position(item)));
      }
      std::sort(positions.begin(), positions.end());
    }
  }
}

std::uint64_t Exclusion::excluded(Row& row, std::int64_t b) {
  const std::int64_t first = b * block_items;
  if (row.next > 0 && row.positions[row.next - 1] >= first) {  // an earlier block than the last
    row.next = static_cast<std::size_t>(std::lower_bound(row.positions.begin(), row.positions.end(), first) -
                                        row.positions.begin());
  }
  std::uint64_t bits = 0;
  for (; row.next < row.positions.size(); ++row.next) {
    const std::int64_t lane = row.positions[row.next] - first;
    if (lane >= block_items) break;
    if (lane >= 0) bits |= std::uint64_t{1} << lane;
  }
  return bits;
}

}  // namespace recsys::cpu
