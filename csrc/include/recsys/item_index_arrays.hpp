// What an item index is made of, as arrays: ItemIndex::arrays hands them out to be written to a file, and
// ItemIndex::from_arrays makes an index that looks at them where they are, for example in a mapped file.
//
// Layouts are those of item_index.hpp and cpu/compact_items.hpp, the same at every ISA level.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "recsys/item_index.hpp"

namespace recsys {

// Of a compact copy of all items as they are.  What is large is looked at, what is small is copied.
struct CompactArrays {
  static constexpr std::int64_t bound_numbers = 5;

  std::span<const float> rows;                 // [n_items, n_groups * 4]
  std::span<const std::uint8_t> codes;         // [n_blocks, n_groups, 64, 4]
  std::span<const std::uint8_t> coarse_codes;  // [n_blocks, n_pairs, 64, 4], or empty
  std::span<const float> bias;                 // [n_blocks, 64], or empty
  std::span<const std::int32_t> items;         // [n_blocks * 64]
  std::span<const std::int32_t> positions;     // [n_items]
  std::vector<double> bounds;                  // [n_blocks, 5]: scale, its inverse, code norm, error, bias slack
  std::vector<double> coarse_bounds;           // the same, or empty
  std::vector<double> norm_from;               // [n_blocks + 1]
  std::vector<double> bias_from;               // [n_blocks + 1]
  std::vector<double> limits;                  // [2]: largest bias in absolute value, smallest scale
};

struct ItemIndexArrays {
  // Spans that follow one another, since the pages of an index that has changed lie apart.
  template <typename T>
  using Parts = std::vector<std::span<const T>>;

  std::int64_t n_items = 0;
  std::int64_t n_factors = 0;
  Metric metric = Metric::dot;
  Parts<float> factors;                    // [n_pages, page_tiles, n_factors, tile_items]
  std::optional<Parts<float>> bias;        // [n_pages, page_tiles, tile_items]
  std::span<const std::uint32_t> present;  // [n_tiles], or empty
  std::optional<CompactArrays> compact;
  std::shared_ptr<const void> owner;  // of the memory, but for that of an index that `arrays` was called on
};

}  // namespace recsys
