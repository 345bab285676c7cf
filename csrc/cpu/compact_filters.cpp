#include "cpu/compact_filters.hpp"

#include <algorithm>
#include <bit>

namespace recsys::cpu {
namespace {

constexpr std::int64_t block_items = CompactItems::block_items;

}  // namespace

BlockFilter::BlockFilter(const CompactItems& items, const Filters& filters) : items_(items) {
  if (!filters.allow && filters.deny.empty()) return;
  words_.resize(static_cast<std::size_t>(items.n_blocks()));
  const auto word = [&](std::int64_t item) -> std::uint64_t& {
    return words_[static_cast<std::size_t>(items.position(item) / block_items)];
  };
  const auto bit = [&](std::int64_t item) { return std::uint64_t{1} << (items.position(item) % block_items); };
  if (filters.allow) {
    for (const std::int64_t item : *filters.allow) word(item) |= bit(item);
  } else {
    for (std::int64_t b = 0; b < items.n_blocks(); ++b) words_[static_cast<std::size_t>(b)] = items.full_word(b);
  }
  for (const std::int64_t item : filters.deny) word(item) &= ~bit(item);
}

Exclusion::Exclusion(const CompactItems& items, const Filters& filters, std::int64_t first_query,
                     std::int64_t n_queries)
    : items_(items) {
  if (!filters.exclude) return;
  const auto n = static_cast<std::size_t>(n_queries);
  const bool bitmaps = filters.exclude->cols <= largest_bitmap;
  if (bitmaps) {
    n_words_ = items.n_blocks();
    words_.assign(n * static_cast<std::size_t>(n_words_), 0);
  } else {
    rows_.resize(n);
    sorted_rows_.resize(n);
  }
  for (std::size_t q = 0; q < n; ++q) {
    const auto row = filters.exclude->row_indices(first_query + static_cast<std::int64_t>(q));
    if (bitmaps) {
      std::uint64_t* words = words_.data() + q * static_cast<std::size_t>(n_words_);
      for (const std::int32_t item : row) {
        const std::int64_t position = items.position(item);
        words[position / block_items] |= std::uint64_t{1} << (position % block_items);
      }
    } else if (std::is_sorted(row.begin(), row.end())) {
      rows_[q] = row;
    } else {
      sorted_rows_[q].assign(row.begin(), row.end());
      std::sort(sorted_rows_[q].begin(), sorted_rows_[q].end());
      rows_[q] = sorted_rows_[q];
    }
  }
}

std::uint64_t Exclusion::remove(std::int64_t query, std::int64_t b, std::uint64_t bits) const {
  if (n_words_ > 0) return bits & ~words_[static_cast<std::size_t>(query * n_words_ + b)];
  if (rows_.empty()) return bits;
  const auto row = rows_[static_cast<std::size_t>(query)];
  for (std::uint64_t rest = bits; rest != 0; rest &= rest - 1) {
    const std::int64_t position = b * block_items + std::countr_zero(rest);
    if (std::binary_search(row.begin(), row.end(), items_.item(position))) bits &= ~(rest & -rest);
  }
  return bits;
}

std::int64_t Exclusion::count(std::int64_t query, std::int64_t n_blocks) const {
  if (!rows_.empty()) return static_cast<std::int64_t>(rows_[static_cast<std::size_t>(query)].size());
  if (n_words_ == 0) return 0;
  std::int64_t n = 0;
  const std::uint64_t* words = words_.data() + query * n_words_;
  for (std::int64_t b = 0; b < n_blocks; ++b) n += std::popcount(words[b]);
  return n;
}

}  // namespace recsys::cpu
