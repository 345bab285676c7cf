// Kernels of topk and item_item_topk.
//
// score_tile multiplies a panel of up to 12 queries [d, width] with a tile of 32 items [d, 32], accumulators in
// registers.  Each (query, item) pair owns one lane of one accumulator and is summed over d in order, whichever width
// or part of the tile it is computed in: that is what makes scores independent of the blocking.
#pragma once

#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

inline constexpr std::int64_t tile_items = 32;

// Two vectors by `panel_max` queries, and what they are multiplied with, fill the register file.
#if RECSYS_SIMD_BYTES == 64
inline constexpr std::int64_t panel_max = 12;
#else
inline constexpr std::int64_t panel_max = 6;
#endif

// The panel widths that are compiled; a panel is padded with zero queries to the next one.
RECSYS_INLINE std::int64_t panel_width(std::int64_t n_queries) {
  if (n_queries <= 2) return n_queries;
  if (n_queries <= 4) return 4;
  if (n_queries <= 6 || panel_max == 6) return 6;
  return n_queries <= 8 ? 8 : 12;
}

inline std::int64_t panel_width_of(std::int64_t n_queries) { return panel_width(n_queries); }

template <int width>
RECSYS_INLINE void score_panel(const float* tile, const float* bias, const float* panel, std::int64_t n_factors,
                               const float* thresholds, float* scores, std::uint32_t* masks) {
  // A lone query has no second one to share the tile's loads with, so it takes the whole tile at once.
  constexpr std::int64_t n_vectors =
      width == 1 ? tile_items / lanes : (lanes * 2 < tile_items ? 2 : tile_items / lanes);
  for (int q = 0; q < width; ++q) masks[q] = 0;
  for (std::int64_t first = 0; first < tile_items; first += n_vectors * lanes) {
    vfloat sum[width][n_vectors];
#pragma GCC unroll 12
    for (int q = 0; q < width; ++q) {
#pragma GCC unroll 8
      for (int v = 0; v < n_vectors; ++v) sum[q][v] = zero();
    }
    const float* factors = tile + first;
    const float* query = panel;
    for (std::int64_t f = 0; f < n_factors; ++f, factors += tile_items, query += width) {
      vfloat item[n_vectors];
#pragma GCC unroll 8
      for (int v = 0; v < n_vectors; ++v) item[v] = load(factors + v * lanes);
#pragma GCC unroll 12
      for (int q = 0; q < width; ++q) {
        const vfloat factor = broadcast(query[q]);
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; ++v) sum[q][v] += factor * item[v];
      }
    }
    if (bias != nullptr) {
#pragma GCC unroll 12
      for (int q = 0; q < width; ++q) {
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; ++v) sum[q][v] += load(bias + first + v * lanes);
      }
    }
#pragma GCC unroll 12
    for (int q = 0; q < width; ++q) {
      const vfloat threshold = broadcast(thresholds[q]);
#pragma GCC unroll 8
      for (int v = 0; v < n_vectors; ++v) {
        masks[q] |= mask_greater(sum[q][v], threshold) << (first + v * lanes);
        store(scores + q * tile_items + first + v * lanes, sum[q][v]);
      }
    }
  }
}

inline void score_tile(const float* tile, const float* bias, const float* panel, std::int64_t width,
                       std::int64_t n_factors, const float* thresholds, float* scores, std::uint32_t* masks) {
  switch (width) {
    case 1:
      return score_panel<1>(tile, bias, panel, n_factors, thresholds, scores, masks);
    case 2:
      return score_panel<2>(tile, bias, panel, n_factors, thresholds, scores, masks);
    case 4:
      return score_panel<4>(tile, bias, panel, n_factors, thresholds, scores, masks);
    case 6:
      return score_panel<6>(tile, bias, panel, n_factors, thresholds, scores, masks);
#if RECSYS_SIMD_BYTES == 64
    case 8:
      return score_panel<8>(tile, bias, panel, n_factors, thresholds, scores, masks);
    case 12:
      return score_panel<12>(tile, bias, panel, n_factors, thresholds, scores, masks);
#endif
    default:
      __builtin_unreachable();
  }
}

inline void add_scaled(float* sum, float factor, const float* row, std::int64_t n) {
  const vfloat factors = broadcast(factor);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(sum + i, load(sum + i) + factors * load(row + i));
  if (i == n) return;
  // The tail goes through a vector too, so that it is fused, or not, as the rest is.
  float sums[lanes] = {};
  float values[lanes] = {};
  for (std::int64_t lane = 0; lane < n - i; ++lane) {
    sums[lane] = sum[i + lane];
    values[lane] = row[i + lane];
  }
  store(sums, load(sums) + factors * load(values));
  for (std::int64_t lane = 0; lane < n - i; ++lane) sum[i + lane] = sums[lane];
}

inline void add_scaled_sparse(float* sum, float factor, const std::int32_t* columns, const float* values,
                              std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) sum[columns[i]] += factor * values[i];
}

inline std::int64_t next_above(const float* scores, std::int64_t block, std::int64_t n_blocks, float threshold,
                               std::uint32_t* mask) {
  const vfloat limit = broadcast(threshold);
  for (; block < n_blocks; ++block) {
    std::uint32_t found = 0;
#pragma GCC unroll 8
    for (std::int64_t i = 0; i < tile_items; i += lanes) {
      found |= mask_greater(load(scores + block * tile_items + i), limit) << i;
    }
    if (found != 0) {
      *mask = found;
      return block;
    }
  }
  return n_blocks;
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
