// Filters in the order of CompactItems: 64 bits a block, bit i for the item at lane i.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/compact_copy.hpp"

namespace recsys::cpu {

// The items that `allow` and `deny` let through, of those that the copy holds: the same for every query.
class BlockFilter {
 public:
  BlockFilter(const CompactCopy& copy, const Filters& filters);

  [[nodiscard]] std::uint64_t word(std::int64_t b) const {
    return words_.empty() ? copy_.word(b) : words_[static_cast<std::size_t>(b)];
  }

 private:
  const CompactCopy& copy_;
  std::vector<std::uint64_t> words_;  // empty where they let all through
};

// The items that `exclude` keeps from each query of a range: as bitmaps, or as sorted positions where those would be
// large.
class Exclusion {
 public:
  Exclusion(const CompactItems& items, const Filters& filters, std::int64_t first_query, std::int64_t n_queries);

  [[nodiscard]] bool any() const { return !words_.empty() || !rows_.empty(); }

  // Bits of block b less those that `query`, counted within the range, may not have.  Fastest where the blocks asked
  // for ascend.
  [[nodiscard]] std::uint64_t remove(std::int64_t query, std::int64_t b, std::uint64_t bits) {
    if (!words_.empty()) return bits & ~words_[static_cast<std::size_t>(b * n_queries_ + query)];
    return rows_.empty() ? bits : bits & ~excluded(rows_[static_cast<std::size_t>(query)], b);
  }

  [[nodiscard]] static std::int64_t bytes_a_query(const CompactItems& items, const Filters& filters);

 private:
  // Ascending positions, and the first that lies behind the blocks asked for so far.
  struct Row {
    std::vector<std::int32_t> positions;
    std::size_t next = 0;
  };

  [[nodiscard]] static std::uint64_t excluded(Row& row, std::int64_t b);

  std::int64_t n_queries_;
  std::vector<std::uint64_t> words_;  // [n_blocks, n_queries]: a block's lie together, as they are read
  std::vector<Row> rows_;
};

}  // namespace recsys::cpu
