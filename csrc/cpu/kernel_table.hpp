// The kernels of one ISA level, as a table of function pointers: one field a kernel, filled in by table() at the end of
// kernels-inl.hpp.
//
// An operation takes `kernels()` once, at its start, and uses that table throughout, so that one call never mixes
// levels.  This header is read by ISA translation units: it may declare plain types and no function bodies.
#pragma once

#include <cstdint>

namespace recsys::cpu {

struct KernelTable {
  // Top-k (topk-inl.hpp).  Most queries a panel, and the width to which a panel of so many queries is padded.
  std::int64_t panel_max;
  std::int64_t (*panel_width)(std::int64_t n_queries);
  // Scores of a panel [n_factors, width] with a tile [n_factors, 32]: scores [width, 32], and masks [width] whose bit i
  // says that item i scores above the query's threshold.  `bias` [32] may be null.
  void (*score_tile)(const float* tile, const float* bias, const float* panel, std::int64_t width,
                     std::int64_t n_factors, const float* thresholds, float* scores, std::uint32_t* masks);
  // sum [n] += factor * row [n].
  void (*add_scaled)(float* sum, float factor, const float* row, std::int64_t n);
  // sum[columns[i]] += factor * values[i], in order, rounded as add_scaled rounds.
  void (*add_scaled_sparse)(float* sum, float factor, const std::int32_t* columns, const float* values, std::int64_t n);
  // First block of 32 scores, from `block` on, with one above the threshold, and which: n_blocks where there is none.
  std::int64_t (*next_above)(const float* scores, std::int64_t block, std::int64_t n_blocks, float threshold,
                             std::uint32_t* mask);
};

// The table of the level in use (recsys/dispatch.hpp).
const KernelTable& kernels();

namespace baseline {
const KernelTable& table();
}
namespace avx2 {
const KernelTable& table();
}
namespace avx512 {
const KernelTable& table();
}
namespace neon {
const KernelTable& table();
}

}  // namespace recsys::cpu
