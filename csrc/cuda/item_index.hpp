// Item factors on a device, packed for top-k: the counterpart of recsys::ItemIndex and cpu::CompactItems.
//
// Items are sorted, largest first, by how high they may score, and cut into blocks of 64 that share a scale.  Kept are,
// in that order, the float32 rows and their 8-bit codes, with what the bound of cpu/compact_items.hpp needs of a block.
// The letters there (s, t, M, E, g, h, ...) are those used here.  Memory: 5 bytes a factor and 20 an item.
//
// An index is built once and immutable afterwards.  It belongs to the device that was current when it was built.
#pragma once

#include <cstdint>
#include <span>

#include "cuda/runtime.cuh"
#include "recsys/topk.hpp"

namespace recsys::cuda {

// What the bound needs of a block of 64 items, in units of its scale s; `coarseness` is the largest scale over s.
struct BlockBound {
  float coarseness;
  float code_norm;   // M
  float error;       // E
  float bias_slack;  // 2^-21 max |b| / s, times the largest scale
};

// What kernels read of an index.
struct IndexView {
  const float* rows;          // [n_padded, row_stride]
  const std::int8_t* codes;   // [n_padded, code_stride]
  const float* bias;          // [n_padded], or null
  const std::int32_t* items;  // the item at a position; -1 behind the last
  const BlockBound* bounds;   // [n_padded / 64]
  const double* norm_from;    // largest norm, and largest bias, of a block and all after it
  const double* bias_from;
  std::int64_t n_items;
  std::int32_t n_factors;
  std::int32_t row_stride;   // a multiple of 4
  std::int32_t code_stride;  // a multiple of 32
};

class ItemIndex {
 public:
  static constexpr int block_items = 64;
  static constexpr int tile_items = 128;    // of the scan; the items are padded to whole tiles
  static constexpr int max_factors = 4096;  // 4096 * 127 * 127 < 2^27

  // `item_factors` [n, d] and `item_bias` [n] or null, both on the host or both on the device.  Waits for the stream.
  // Throws DataError on NaN or infinity, ShapeError where there are more items than int32 counts.
  ItemIndex(MatrixView<const float> item_factors, const float* item_bias, bool on_device, Metric metric, Stream stream);

  [[nodiscard]] std::int64_t n_items() const { return n_items_; }
  [[nodiscard]] std::int64_t n_factors() const { return n_factors_; }
  [[nodiscard]] Metric metric() const { return metric_; }
  [[nodiscard]] bool has_bias() const { return bias_.size() > 0; }
  [[nodiscard]] std::int64_t n_tiles() const { return divide_up(n_items_, tile_items); }
  [[nodiscard]] const std::int32_t* positions() const { return positions_.data(); }
  [[nodiscard]] IndexView view() const;

  // Over all items.
  [[nodiscard]] double largest_norm() const { return largest_norm_; }
  [[nodiscard]] double largest_bias() const { return largest_bias_; }  // in absolute value
  [[nodiscard]] double largest_scale() const { return largest_scale_; }
  [[nodiscard]] double smallest_scale() const { return smallest_scale_; }

 private:
  std::int64_t n_items_;
  std::int64_t n_factors_;
  Metric metric_;
  double largest_norm_ = 0;
  double largest_bias_ = 0;
  double largest_scale_ = 1;
  double smallest_scale_ = 1;
  DeviceBuffer<float> rows_;
  DeviceBuffer<std::int8_t> codes_;
  DeviceBuffer<float> bias_;
  DeviceBuffer<std::int32_t> items_;
  DeviceBuffer<std::int32_t> positions_;
  DeviceBuffer<BlockBound> bounds_;
  DeviceBuffer<double> norm_from_;
  DeviceBuffer<double> bias_from_;
};

}  // namespace recsys::cuda
