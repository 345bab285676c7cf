// Filters in the order of CompactItems: 64 bits a block, bit i for the item at lane i.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/compact_copy.hpp"
#include "recsys/aligned_buffer.hpp"

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

// The items that `allow_each` and `exclude` leave to each query of a range.
//
// As a bitmap, O(n / 64) words, or as sorted positions of what is excluded, whichever is made sooner: so the cost goes
// with the entries, and a row of many does not cost more than a bitmap.
class RowFilter {
 public:
  RowFilter(const CompactItems& items, const Filters& filters, std::int64_t first_query, std::int64_t n_queries);

  [[nodiscard]] bool any() const { return !rows_.empty(); }

  // What `query`, counted within the range, may have of block b.  Fastest where the blocks asked for ascend.
  [[nodiscard]] std::uint64_t word(std::int64_t query, std::int64_t b) {
    Row& row = rows_[static_cast<std::size_t>(query)];
    return row.words != nullptr ? row.words[b] : ~excluded(row, b);
  }

  // Bytes of the bitmap that the longest row of these filters asks for, if it asks for one; read in the order of
  // blocks.
  [[nodiscard]] static std::int64_t bitmap_bytes(const CompactItems& items, const Filters& filters);

 private:
  struct Row {
    const std::uint64_t* words = nullptr;  // of its bitmap: one a block
    // Without one: what is excluded, ascending, and the first that lies behind the blocks asked for so far.
    std::vector<std::int32_t> positions;
    std::size_t next = 0;
  };

  void fill_bitmap(const Filters& filters, std::int64_t query, std::uint64_t* words) const;
  void list_positions(std::span<const std::int32_t> excluded, std::vector<std::int32_t>& positions) const;
  [[nodiscard]] static std::uint64_t excluded(Row& row, std::int64_t b);

  const CompactItems& items_;
  AlignedBuffer<std::uint64_t> words_;
  std::vector<Row> rows_;
};

}  // namespace recsys::cpu
