// The compact copy of an index that may have changed since the copy was made.
//
// CompactItems cost O(n d) and are shared by an index and those made from it.  What each has of its own is which of
// their items are still as they were, one bit an item, and which items are stale: changed or added since.  Stale items
// are scored in float32, so a proof about the others is all that is needed.
//
// Immutable.  Cost of a change of m rows: O(m log m + stale), and n / 8 bytes copied.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cpu/compact_items.hpp"

namespace recsys::cpu {

class CompactCopy {
 public:
  // Of every item, as it is.
  explicit CompactCopy(const ItemIndex& index);
  CompactCopy(const ItemIndex& index, std::shared_ptr<const CompactItems> items);
  // What is left of `before` when the rows `changed`, ascending, have other factors, or are new, and others are gone.
  CompactCopy(const CompactCopy& before, std::span<const std::int64_t> changed, std::span<const std::int64_t> removed);

  [[nodiscard]] const CompactItems& items() const { return *items_; }
  [[nodiscard]] std::shared_ptr<const CompactItems> share() const { return items_; }
  // Items of block b that may be found by their codes.
  [[nodiscard]] std::uint64_t word(std::int64_t b) const {
    return words_.empty() ? items_->full_word(b) : words_[static_cast<std::size_t>(b)];
  }
  // Whether the item is as the copy holds it.
  [[nodiscard]] bool holds(std::int64_t item) const {
    if (item >= items_->n_items()) return false;
    const std::int64_t position = items_->position(item);
    return (word(position / CompactItems::block_items) >> (position % CompactItems::block_items) & 1) != 0;
  }
  [[nodiscard]] bool is_whole() const { return words_.empty(); }
  // Ascending; removed ones may be among them.
  [[nodiscard]] std::span<const std::int32_t> stale() const { return stale_; }

 private:
  void drop(std::int64_t item);

  std::shared_ptr<const CompactItems> items_;
  std::vector<std::uint64_t> words_;  // empty where all items are as they were
  std::vector<std::int32_t> stale_;
};

}  // namespace recsys::cpu
