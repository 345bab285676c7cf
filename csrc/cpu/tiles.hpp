// Copies into the layouts that score_tile multiplies (cpu/topk-inl.hpp).
#pragma once

#include <cstdint>
#include <span>

#include "cpu/unit_scale.hpp"
#include "recsys/item_index.hpp"

namespace recsys::cpu {

// Copies the queries of a panel to [d, width], scaled for cosine, padded with zeros.
inline void pack_panel(const ItemIndex& index, MatrixView<const float> queries, std::int64_t first, std::int64_t n,
                       std::int64_t width, float* panel) {
  const std::int64_t n_factors = index.n_factors();
  for (std::int64_t q = 0; q < width; ++q) {
    if (q >= n) {
      for (std::int64_t f = 0; f < n_factors; ++f) panel[f * width + q] = 0.0F;
      continue;
    }
    const float* row = queries.row(first + q);
    if (index.metric() == Metric::dot) {
      for (std::int64_t f = 0; f < n_factors; ++f) panel[f * width + q] = row[f];
    } else {
      const double scale = unit_scale(row, n_factors);
      for (std::int64_t f = 0; f < n_factors; ++f) panel[f * width + q] = static_cast<float>(row[f] * scale);
    }
  }
}

// Copies up to 32 items, wherever they are, into one tile.
inline void gather_tile(const ItemIndex& index, std::span<const std::int32_t> items, float* tile, float* bias) {
  for (std::size_t lane = 0; lane < items.size(); ++lane) {
    const std::int64_t from = items[lane] / ItemIndex::tile_items;
    const std::int64_t column = items[lane] % ItemIndex::tile_items;
    const float* source = index.tile(from) + column;
    for (std::int64_t f = 0; f < index.n_factors(); ++f) {
      tile[f * ItemIndex::tile_items + static_cast<std::int64_t>(lane)] = source[f * ItemIndex::tile_items];
    }
    if (index.has_bias()) bias[lane] = index.bias(from)[column];
  }
}

}  // namespace recsys::cpu
