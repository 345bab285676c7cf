// Items that a user has no entry for, drawn uniformly or by popularity from a block of items.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "recsys/random.hpp"
#include "recsys/views.hpp"

namespace recsys {

// Whether a user has an entry for an item.  A Bloom filter a row, with the two bits of an item in one word, says no for
// 99 of 100 items that are not there, at the cost of that word; what it does not rule out is looked up in the row.
// Borrows the matrix.
class SeenItems {
 public:
  explicit SeenItems(const CsrView& interactions);

  [[nodiscard]] bool contains(std::int32_t user, std::int32_t item) const {
    const std::uint64_t key = hash(item);
    const std::uint64_t bits = bits_of(key);
    return (words_[word_of(user, key)] & bits) == bits && is_stored(user, item);
  }

  // Asks for what contains(user, item) is going to read.
  void prefetch(std::int32_t user, std::int32_t item) const {
    __builtin_prefetch(words_.data() + word_of(user, hash(item)));
  }

 private:
  struct Filter {
    std::int64_t start;  // in words
    std::int64_t shift;  // leaves the number of a word
  };

  static std::uint64_t hash(std::int32_t item) { return static_cast<std::uint64_t>(item) * golden_gamma; }
  static std::uint64_t bits_of(std::uint64_t key) {
    return (std::uint64_t{1} << ((key >> 26) & 63)) | (std::uint64_t{1} << ((key >> 32) & 63));
  }
  [[nodiscard]] std::size_t word_of(std::int32_t user, std::uint64_t key) const {
    const Filter& filter = filters_[static_cast<std::size_t>(user)];
    return static_cast<std::size_t>(filter.start) + static_cast<std::size_t>((key >> 1) >> filter.shift);
  }
  [[nodiscard]] bool is_stored(std::int32_t user, std::int32_t item) const;

  CsrView interactions_;
  std::vector<Filter> filters_;
  std::vector<std::uint64_t> words_;
};

// Number of items that a lottery over all would draw from: those with a weight above 0, or all without weights.
[[nodiscard]] std::int64_t count_drawable(std::int64_t n_items, std::span<const float> weights);

// Weights to draw items by: (number of entries)^power, [n_items].
[[nodiscard]] std::vector<float> item_weights(const CsrView& interactions, float power);

// A table for draws from a few items in proportion to their weights, in constant time (Vose 1991).  Without weights
// draws are uniform.
class ItemLottery {
 public:
  // One is drawn uniformly, and then one of its two items.
  struct Slot {
    std::int32_t item;
    std::int32_t other;
    std::uint32_t keep_below;  // of 2^32
  };

  ItemLottery() = default;
  // Weights are by item, not by position, and may be empty for uniform draws.  An item of weight 0 is never drawn.
  ItemLottery(std::span<const std::int32_t> items, std::span<const float> weights);

  [[nodiscard]] bool empty() const { return slots_.empty(); }
  [[nodiscard]] std::span<const Slot> slots() const { return slots_; }

  // Needs a lottery that is not empty.
  std::int32_t draw(RandomStream& random) const {
    const std::uint64_t bits = random.next();
    const Slot& slot = slots_[((bits >> 32) * slots_.size()) >> 32];
    return static_cast<std::uint32_t>(bits) <= slot.keep_below ? slot.item : slot.other;
  }

 private:
  std::vector<Slot> slots_;
};

// `item` if the user has no entry for it, else one drawn until that holds; -1 where 64 draws found none.  Users who
// have more than half of the items are better served by UnseenItems.
inline std::int32_t unless_seen(std::int32_t item, const ItemLottery& lottery, const SeenItems& seen, std::int32_t user,
                                RandomStream& random) {
  for (int attempt = 0; attempt < 64; ++attempt) {
    if (!seen.contains(user, item)) return item;
    item = lottery.draw(random);
  }
  return -1;
}

}  // namespace recsys
