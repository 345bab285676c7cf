// Filters in the order of CompactItems: 64 bits a block, bit i for the item at lane i.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/compact_items.hpp"

namespace recsys::cpu {

// The items that `allow` and `deny` let through, the same for every query.
class BlockFilter {
 public:
  BlockFilter(const CompactItems& items, const Filters& filters);

  [[nodiscard]] std::uint64_t word(std::int64_t b) const {
    return words_.empty() ? items_.full_word(b) : words_[static_cast<std::size_t>(b)];
  }

 private:
  const CompactItems& items_;
  std::vector<std::uint64_t> words_;  // empty where they let all through
};

// The items that `exclude` keeps from each query of a range: as bitmaps, or as sorted rows where those would be large.
class Exclusion {
 public:
  Exclusion(const CompactItems& items, const Filters& filters, std::int64_t first_query, std::int64_t n_queries);

  // Bits of block b that `query`, counted within the range, may have.
  [[nodiscard]] std::uint64_t remove(std::int64_t query, std::int64_t b, std::uint64_t bits) const;
  // Items of the first blocks that are excluded, or more.
  [[nodiscard]] std::int64_t count(std::int64_t query, std::int64_t n_blocks) const;

 private:
  static constexpr std::int64_t largest_bitmap = 1 << 17;  // items

  const CompactItems& items_;
  std::int64_t n_words_ = 0;                            // a query; 0 where there are no bitmaps
  std::vector<std::uint64_t> words_;                    // [n_queries, n_words]
  std::vector<std::span<const std::int32_t>> rows_;     // ascending
  std::vector<std::vector<std::int32_t>> sorted_rows_;  // of those rows that were not
};

}  // namespace recsys::cpu
