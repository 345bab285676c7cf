#include "cpu/compact_filters.hpp"

#include <algorithm>
#include <bit>

namespace recsys::cpu {
namespace {

constexpr std::int64_t block_items = CompactItems::block_items;

// Whether the query's items are a bitmap: allowed ones always are, excluded ones where m log m steps of sorting would
// take longer than the n / 64 words.
bool wants_bitmap(const CompactItems& items, const Filters& filters, std::int64_t query) {
  if (filters.allow_each) return true;
  const std::int64_t n = filters.exclude->row_size(query);
  const auto log_n = static_cast<std::int64_t>(std::bit_width(static_cast<std::uint64_t>(n)));
  constexpr std::int64_t words_a_step = 4;
  return n * log_n * words_a_step > items.n_blocks();
}

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

RowFilter::RowFilter(const CompactItems& items, const Filters& filters, std::int64_t first_query,
                     std::int64_t n_queries)
    : items_(items) {
  if (!filters.exclude && !filters.allow_each) return;
  rows_.resize(static_cast<std::size_t>(n_queries));
  std::int64_t n_bitmaps = 0;
  for (std::int64_t query = 0; query < n_queries; ++query)
    n_bitmaps += wants_bitmap(items, filters, first_query + query);
  words_ = AlignedBuffer<std::uint64_t>(n_bitmaps * items.n_blocks());
  std::uint64_t* words = words_.data();
  for (std::int64_t query = 0; query < n_queries; ++query) {
    Row& row = rows_[static_cast<std::size_t>(query)];
    if (!wants_bitmap(items, filters, first_query + query)) {
      list_positions(filters.exclude->row_indices(first_query + query), row.positions);
      continue;
    }
    fill_bitmap(filters, first_query + query, words);
    row.words = words;
    words += items.n_blocks();
  }
}

std::int64_t RowFilter::bitmap_bytes(const CompactItems& items, const Filters& filters) {
  const std::int64_t bytes = 8 * items.n_blocks();
  if (filters.allow_each) return bytes;
  if (!filters.exclude) return 0;
  for (std::int64_t query = 0; query < filters.exclude->rows(); ++query) {
    if (wants_bitmap(items, filters, query)) return bytes;
  }
  return 0;
}

void RowFilter::fill_bitmap(const Filters& filters, std::int64_t query, std::uint64_t* words) const {
  const auto bit = [](std::int64_t position) { return std::uint64_t{1} << (position % block_items); };
  std::fill_n(words, items_.n_blocks(), filters.allow_each ? 0 : ~std::uint64_t{0});
  if (filters.allow_each) {
    for (const std::int32_t item : filters.allow_each->row_indices(query)) {
      if (item >= items_.n_items()) continue;  // added since the copy was made
      const std::int64_t position = items_.position(item);
      words[position / block_items] |= bit(position);
    }
  }
  if (!filters.exclude) return;
  for (const std::int32_t item : filters.exclude->row_indices(query)) {
    if (item >= items_.n_items()) continue;
    const std::int64_t position = items_.position(item);
    words[position / block_items] &= ~bit(position);
  }
}

void RowFilter::list_positions(std::span<const std::int32_t> excluded, std::vector<std::int32_t>& positions) const {
  for (const std::int32_t item : excluded) {
    if (item < items_.n_items()) positions.push_back(static_cast<std::int32_t>(items_.position(item)));
  }
  std::sort(positions.begin(), positions.end());
}

std::uint64_t RowFilter::excluded(Row& row, std::int64_t b) {
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
