// Filters in the form that the scoring loops use: the items that `allow` and `deny` let through, as bits or as a list,
// and a cursor over the sorted items that a filter names for one query.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "recsys/topk.hpp"

namespace recsys::cpu {

// The items that `allow` and `deny` let through, of those present: the same for every query.
//
// Words of 32 bits, one a tile; a list where `allow` names few items, so that the others cost nothing.
class Admissible {
 public:
  // `present` as ItemIndex::present().  Throws DataError naming the position of an index outside [0, n_items).
  Admissible(const Filters& filters, std::int64_t n_items, std::span<const std::uint32_t> present = {});
  // Those of `items`, ascending, that `whole` has.
  Admissible(const Admissible& whole, std::span<const std::int32_t> items);

  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] bool contains(std::int64_t item) const;

  // Whether the items are a list, and so have no words.
  [[nodiscard]] bool is_list() const { return is_list_; }
  // Ascending.
  [[nodiscard]] std::vector<std::int32_t> items() const;
  [[nodiscard]] std::uint32_t word(std::int64_t tile) const {
    return words_.empty() ? full_word(tile) : words_[static_cast<std::size_t>(tile)];
  }
  // Tiles with an admissible item, or that a list would fill.
  [[nodiscard]] std::int64_t n_tiles_touched() const { return n_tiles_touched_; }

 private:
  // All ones, but for the last tile's missing items.
  [[nodiscard]] std::uint32_t full_word(std::int64_t tile) const {
    const std::int64_t n = n_items_ - tile * 32;
    return n >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << n) - 1;
  }
  void list(const Filters& filters, std::span<const std::uint32_t> present);
  void mark(const Filters& filters, std::span<const std::uint32_t> present);

  std::int64_t n_items_;
  std::int64_t count_;
  std::int64_t n_tiles_touched_;
  bool is_list_ = false;
  std::vector<std::int32_t> listed_;
  std::vector<std::uint32_t> words_;  // empty where nothing is filtered
};

// The items that `deny` names or that are not present, asked one at a time: in proportion to `deny`, whatever n is.
class Barred {
 public:
  // Throws DataError as Admissible does.
  Barred(const Filters& filters, std::int64_t n_items, std::span<const std::uint32_t> present);
  [[nodiscard]] bool contains(std::int64_t item) const;

 private:
  std::span<const std::uint32_t> present_;
  std::vector<std::int64_t> denied_;  // ascending
};

// Answers "is this item in the row?" for items asked in ascending order.
class RowCursor {
 public:
  RowCursor() = default;
  // The row is sorted into `scratch` where it is not sorted yet; `first` is the lowest item that will be asked.
  RowCursor(std::span<const std::int32_t> row, std::int64_t first, std::vector<std::int32_t>& scratch);

  [[nodiscard]] bool contains(std::int64_t item) {
    while (next_ != end_ && *next_ < item) ++next_;
    return next_ != end_ && *next_ == item;
  }

 private:
  const std::int32_t* next_ = nullptr;
  const std::int32_t* end_ = nullptr;
};

// A row without repeats in ascending order: itself, or sorted into `scratch`.
[[nodiscard]] std::span<const std::int32_t> ascending(std::span<const std::int32_t> row,
                                                      std::vector<std::int32_t>& scratch);

// The filters of queries [first, first + n) alone.
[[nodiscard]] Filters filters_of(const Filters& filters, std::int64_t first, std::int64_t n);

// Throws ShapeError or ConfigError where filters and ranking do not fit B queries over n items, DataError where the
// structure of `exclude` or `allow_each` is broken.
void check_arguments(const Filters& filters, const RankingView& ranking, std::int64_t n_queries, std::int64_t n_items);

}  // namespace recsys::cpu
