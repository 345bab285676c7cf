// Filters in the form that the scoring loops use: one bit an item for `allow` and `deny`, and a cursor over the sorted
// excluded items of a query.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "recsys/topk.hpp"

namespace recsys::cpu {

// The items that `allow` and `deny` let through, as words of 32 bits, one a tile.
class Admissible {
 public:
  // Throws DataError naming the position of an index outside [0, n_items).
  Admissible(const Filters& filters, std::int64_t n_items);

  [[nodiscard]] std::uint32_t word(std::int64_t tile) const {
    return words_.empty() ? full_word(tile) : words_[static_cast<std::size_t>(tile)];
  }
  [[nodiscard]] std::int64_t count() const { return count_; }
  // Tiles with an admissible item.
  [[nodiscard]] std::int64_t n_tiles_touched() const { return n_tiles_touched_; }
  // Ascending.
  [[nodiscard]] std::vector<std::int32_t> items() const;

 private:
  // All ones, but for the last tile's missing items.
  [[nodiscard]] std::uint32_t full_word(std::int64_t tile) const {
    const std::int64_t n = n_items_ - tile * 32;
    return n >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << n) - 1;
  }

  std::int64_t n_items_;
  std::int64_t count_;
  std::int64_t n_tiles_touched_;
  std::vector<std::uint32_t> words_;  // empty where nothing is filtered
};

// Answers "is this item excluded?" for items asked in ascending order.
class ExcludeCursor {
 public:
  ExcludeCursor() = default;
  // The row is sorted into `scratch` where it is not sorted yet; `first` is the lowest item that will be asked.
  ExcludeCursor(std::span<const std::int32_t> row, std::int64_t first, std::vector<std::int32_t>& scratch);

  [[nodiscard]] bool contains(std::int64_t item) {
    while (next_ != end_ && *next_ < item) ++next_;
    return next_ != end_ && *next_ == item;
  }

 private:
  const std::int32_t* next_ = nullptr;
  const std::int32_t* end_ = nullptr;
};

// Throws ShapeError or ConfigError where filters and ranking do not fit B queries over n items, DataError where the
// structure of `exclude` is broken.
void check_arguments(const Filters& filters, const RankingView& ranking, std::int64_t n_queries, std::int64_t n_items);

}  // namespace recsys::cpu
