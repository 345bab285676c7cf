#include "cpu/compact_copy.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace recsys::cpu {

CompactCopy::CompactCopy(const ItemIndex& index) : CompactCopy(index, std::make_shared<const CompactItems>(index)) {}

CompactCopy::CompactCopy(const ItemIndex& index, std::shared_ptr<const CompactItems> items) : items_(std::move(items)) {
  if (index.n_removed() == 0) return;
  for (std::int64_t item = 0; item < index.n_items(); ++item) {
    if (!index.is_present(item)) drop(item);
  }
}

CompactCopy::CompactCopy(const CompactCopy& before, std::span<const std::int64_t> changed,
                         std::span<const std::int64_t> removed)
    : items_(before.items_), words_(before.words_) {
  std::set_union(before.stale_.begin(), before.stale_.end(), changed.begin(), changed.end(),
                 std::back_inserter(stale_));
  for (const std::int64_t item : changed) drop(item);
  for (const std::int64_t item : removed) drop(item);
}

void CompactCopy::drop(std::int64_t item) {
  if (item >= items_->n_items()) return;
  if (words_.empty()) {
    words_.resize(static_cast<std::size_t>(items_->n_blocks()));
    for (std::int64_t b = 0; b < items_->n_blocks(); ++b) words_[static_cast<std::size_t>(b)] = items_->full_word(b);
  }
  const std::int64_t position = items_->position(item);
  words_[static_cast<std::size_t>(position / CompactItems::block_items)] &=
      ~(std::uint64_t{1} << (position % CompactItems::block_items));
}

}  // namespace recsys::cpu
