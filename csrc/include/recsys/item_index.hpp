// Item factors, packed for scoring, and how they change.
//
// Layout: tiles of `tile_items` items, each [d, tile_items], so that a vector register holds one factor of neighbouring
// items; the same at every ISA level.  Memory 4 n d bytes (n rounded up), and about as much again and d bytes an item
// once the compact copy is built (cpu/compact_items.hpp).
//
// An index is a value that never changes: `updated`, `appended` and `removed` make another one.  The two share every
// page of `page_tiles` tiles without a changed row, and the compact copy: the rows that it no longer holds as they are
// are listed as stale, left out of the compact scan and scored in float32.  The copy is made anew when a sixteenth of
// the items is stale, by whoever makes that change.
//
// Scores depend on a query and an item's factors alone, so a changed index gives the bits of one built from the same
// rows.
//
// Cost: making an index O(n d).  Changing m rows O(m d), plus n / 4 bytes of bits copied, plus 16 times O(d) a row in
// the long run for the compact copy where there is one.
//
// Thread safety: any number of threads may read an index and make others from it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "recsys/views.hpp"

namespace recsys {

enum class Metric { dot, cosine };

namespace cpu {
class CompactCopy;
}

struct ItemIndexArrays;

class ItemIndex {
 public:
  static constexpr std::int64_t tile_items = 32;
  static constexpr std::int64_t page_tiles = 4;

  // Throws DataError on NaN or infinity, ShapeError where `item_bias` has other than n entries.
  ItemIndex(MatrixView<const float> item_factors, std::optional<std::span<const float>> item_bias, Metric metric);
  ItemIndex(ItemIndex&&) noexcept;
  ItemIndex& operator=(ItemIndex&&) noexcept;
  ~ItemIndex();

  // With these rows in place of those.  Without `item_bias` the biases stay.  A removed row comes back.
  // Throws DataError on a row outside [0, n) or given twice, and as the constructor does.
  [[nodiscard]] ItemIndex updated(std::span<const std::int64_t> rows, MatrixView<const float> item_factors,
                                  std::optional<std::span<const float>> item_bias) const;
  // With these rows as items n, n + 1, ...  An index with a bias needs theirs.
  [[nodiscard]] ItemIndex appended(MatrixView<const float> item_factors,
                                   std::optional<std::span<const float>> item_bias) const;
  // Without these rows, whose indices stay unused.  Throws DataError on a row outside [0, n).
  [[nodiscard]] ItemIndex removed(std::span<const std::int64_t> rows) const;
  // Of the items that are not removed, numbered anew in their order.
  [[nodiscard]] ItemIndex without_removed() const;

  // What to write to a file; it depends on the items alone, not on how they came to be.  With the compact copy, which
  // is made where there is none of all items as they are, except of more than 4096 factors.  The arrays live as long
  // as both the index and their owner.
  [[nodiscard]] ItemIndexArrays arrays(bool with_compact) const;
  // An index that looks at such arrays, kept by their owner and never written to; each has to be of one part.
  // Throws DataError where a size or an index is wrong.  Cost O(n), whatever d is.
  [[nodiscard]] static ItemIndex from_arrays(const ItemIndexArrays& arrays);

  // Indices of the items that are not removed, ascending.
  [[nodiscard]] std::vector<std::int64_t> present_items() const;

  // Removed ones too.
  [[nodiscard]] std::int64_t n_items() const { return n_items_; }
  [[nodiscard]] std::int64_t n_removed() const { return n_removed_; }
  [[nodiscard]] std::int64_t n_factors() const { return n_factors_; }
  [[nodiscard]] Metric metric() const { return metric_; }
  [[nodiscard]] bool has_bias() const { return has_bias_; }
  [[nodiscard]] std::int64_t n_tiles() const { return (n_items_ + tile_items - 1) / tile_items; }

  [[nodiscard]] const float* tile(std::int64_t t) const {
    return pages_[static_cast<std::size_t>(t / page_tiles)].factors.get() + t % page_tiles * n_factors_ * tile_items;
  }
  // Null where there is no bias.
  [[nodiscard]] const float* bias(std::int64_t t) const {
    return has_bias_ ? pages_[static_cast<std::size_t>(t / page_tiles)].bias.get() + t % page_tiles * tile_items
                     : nullptr;
  }
  // Bit i of word t says that item i of tile t is there; empty where no item is removed.
  [[nodiscard]] std::span<const std::uint32_t> present() const { return present_; }
  [[nodiscard]] bool is_present(std::int64_t item) const {
    return present_.empty() || (present_[static_cast<std::size_t>(item / 32)] >> (item % 32) & 1) != 0;
  }

  // Made at the first call.
  [[nodiscard]] const cpu::CompactCopy& compact() const;
  [[nodiscard]] bool has_compact() const;

  // What Method::automatic remembers of earlier calls, also of the indices that this one was made from; it decides
  // speed only.
  struct Experience;
  [[nodiscard]] Experience& experience() const { return *experience_; }

 private:
  // The last page is padded with zeros.
  struct Page {
    std::shared_ptr<const float> factors;  // [page_tiles, d, tile_items]
    std::shared_ptr<const float> bias;     // [page_tiles, tile_items], null without a bias
  };
  struct LazyCopy;
  class Editor;

  ItemIndex(std::int64_t n_factors, Metric metric, bool has_bias);
  // As this one, sharing all of it.
  [[nodiscard]] ItemIndex twin() const;
  void set_compact(std::unique_ptr<const cpu::CompactCopy> copy);
  void adopt_compact(const ItemIndex& before, std::span<const std::int64_t> changed,
                     std::span<const std::int64_t> removed);

  std::int64_t n_items_ = 0;
  std::int64_t n_removed_ = 0;
  std::int64_t n_factors_;
  Metric metric_;
  bool has_bias_;
  std::vector<Page> pages_;
  std::vector<std::uint32_t> present_;
  std::unique_ptr<LazyCopy> compact_;
  std::shared_ptr<Experience> experience_;
};

}  // namespace recsys
