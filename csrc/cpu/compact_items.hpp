// A compact copy of the items of an index, for finding those that cannot be among the k best without reading the rest
// of the factors, and the proof that none is lost.
//
// Items are sorted, largest first, by norm (with a bias: by how high they may score) and cut into blocks of 64.  With
// v an item, q a query, b the bias, all as the float32 path sees them, and c, p vectors of whole numbers:
//
//   v = s c + r,  |c_f| <= 127, one s > 0 a block;      q = t p + w,  |p_f| <= compact_limit, one t > 0 a query
//   <q, v> = s t <p, c> + s <w, c> + <q, r> <= s t <p, c> + s ||w|| ||c|| + ||q|| ||r||            (Cauchy-Schwarz)
//
// The float32 path computes S = fl(<q, v>) with d roundings of at most u = 2^-24 each, and F = fl(S + b) with one more:
//
//   |S - <q, v>| <= g ||q|| ||v|| + h,  g = d u / (1 - d u),  h = d 2^-125      (g: Higham 2002, section 3.1, and
//                                          Cauchy-Schwarz; h covers underflow, also where results are flushed
//                                          to zero; a process that reads denormal inputs as zero is outside it)
//   F >= T  implies  S + b >= T - 2^-22 |T| - 2^-148
//
// So F >= T, T being the k-th best score known, implies for integer sums over the stored codes, c + 128 and p,
//
//   <p, c + 128> + b / (s t) >= (T - 2^-22 |T| - h - 2^-148) / (s t) - M ||w|| / t - E ||q|| / t + 128 sum p
//   M = max ||c||,  E = max (||r|| + g ||v||) / s    over the block
//
// and an item for which that is false scores strictly below T: it can be dropped whatever its index.  The kernel rounds
// the right side down to a whole number, and takes 4 off for the rounding of b / (s t) to a whole number (1), of the
// right side (1), and of float64 (below 1; norms are raised by 2^-40 of their size when computed).  b / (s t) itself is
// computed in float32 with two roundings: B = 2^-21 max |b| / s, over t, is taken off too.  Sums stay within 2^30:
// |b / (s t)| <= 2^28 and |<p, c + 128>| <= 2^27 are conditions of `answerable`; a query for which they fail, or whose
// scores could overflow, is left to the float32 path.
//
// Coarse codes have another s and c, -8 <= c <= 7, stored as c + 8, and keep all else.
//
// The same inequalities the other way round bound scores from below, F >= V - 2^-22 |V| - h - 2^-148 with
//
//   V = s t (<p, c> + b / (s t) - M ||w|| / t - E ||q|| / t - 1 - B / t),
//
// so that the k-th largest V of different items that may be returned is a threshold, whatever the others score.  The
// kernel keeps V, and the upper bound U with + for -, in float32 and in units of the scores: one exact sum of whole
// numbers, its conversion, the scale, one product and one sum.  |s t <p, c> + b| stays within 9 P and what is taken off
// or added within 7 P, P = ||q|| max ||v|| + max |b|, at 4096 factors and in coarse codes too, so these roundings come
// to less than R = 2^-18 P + 2^-117; the second term is for what underflows.  Thresholds taken from lower bounds are
// lowered by R, and an item is dropped where U < T - R.
//
// A query is through once  T - 2^-22 |T| - h - 2^-148 > (1 + g) ||q|| max ||v|| + max b  over all blocks to come.
//
// Memory: d bytes an item for the codes, d / 2 for coarse ones, and 4 d for the rows that items found are rescored
// from.  Built once, O(n d + n log n); immutable afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "recsys/aligned_buffer.hpp"
#include "recsys/item_index_arrays.hpp"
#include "recsys/topk.hpp"

namespace recsys::cpu {

class CompactItems {
 public:
  static constexpr std::int64_t block_items = compact_block_items;
  static constexpr std::int64_t max_factors = 4096;  // 4096 * 255 * 127 < 2^27

  explicit CompactItems(const ItemIndex& index);
  // Looks at arrays of the items of `index`, which `owner` keeps.  Throws DataError where a size or an index is wrong;
  // the other numbers are believed, and wrong ones make for wrong answers.
  CompactItems(const ItemIndex& index, const CompactArrays& arrays, std::shared_ptr<const void> owner);
  [[nodiscard]] CompactArrays arrays() const;

  [[nodiscard]] std::int64_t n_blocks() const { return static_cast<std::int64_t>(bounds_.size()); }
  [[nodiscard]] std::int64_t n_groups() const { return n_groups_; }

  [[nodiscard]] CompactBlock block(std::int64_t b) const {
    CompactBlock block = bounds_[static_cast<std::size_t>(b)];
    block.codes = codes_.data() + b * n_groups_ * 4 * block_items;
    block.bias = has_bias_ ? bias_.data() + b * block_items : nullptr;
    return block;
  }
  [[nodiscard]] std::int64_t n_items() const { return positions_.size(); }
  // The same items in 4 bits a factor, for a few queries, which wait for memory alone.  Only of many items.
  [[nodiscard]] bool has_coarse() const { return coarse_codes_.size() > 0; }
  [[nodiscard]] std::int64_t n_pairs() const { return (n_groups_ + 1) / 2; }
  [[nodiscard]] CompactBlock coarse_block(std::int64_t b) const {
    CompactBlock block = coarse_bounds_[static_cast<std::size_t>(b)];
    block.codes = coarse_codes_.data() + b * n_pairs() * 4 * block_items;
    block.bias = has_bias_ ? bias_.data() + b * block_items : nullptr;
    return block;
  }
  // block * 64 + lane of an item.
  [[nodiscard]] std::int64_t position(std::int64_t item) const { return positions_.data()[item]; }
  // One bit for every item there is.
  [[nodiscard]] std::uint64_t full_word(std::int64_t b) const {
    const std::int64_t n = n_items() - b * block_items;
    return n >= block_items ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
  }
  // Factors of the item at a position: those of a block lie together, since queries mostly ask for the same ones.
  [[nodiscard]] const float* row(std::int64_t position) const { return rows_.data() + position * row_stride_; }
  [[nodiscard]] std::int32_t item(std::int64_t position) const { return items_.data()[position]; }

  // Bounds of all items in block b and after it, rounded up.
  [[nodiscard]] double norm_from(std::int64_t b) const { return norm_from_[static_cast<std::size_t>(b)]; }
  [[nodiscard]] double bias_from(std::int64_t b) const { return bias_from_[static_cast<std::size_t>(b)]; }

  [[nodiscard]] double largest_bias() const { return largest_bias_; }  // in absolute value
  [[nodiscard]] double smallest_scale() const { return smallest_scale_; }
  [[nodiscard]] bool has_bias() const { return has_bias_; }

 private:
  CompactItems(std::int64_t n_factors, bool has_bias);
  void measure_items(const ItemIndex& index);
  void sort_items(const ItemIndex& index);
  void copy_rows(const ItemIndex& index);
  void encode_block(const ItemIndex& index, std::int64_t b);
  void encode_coarse_block(const ItemIndex& index, std::int64_t b);
  [[nodiscard]] double peak_of(const ItemIndex& index, std::int64_t b) const;
  [[nodiscard]] double bias_peak_of(const ItemIndex& index, std::int64_t b) const;

  std::int64_t n_factors_;
  std::int64_t n_groups_;    // of 4 factors
  std::int64_t row_stride_;  // a multiple of 4
  bool has_bias_;
  double largest_bias_ = 0;
  double largest_factor_ = 0;
  double smallest_scale_ = 0;
  AlignedBuffer<float> rows_;                 // [n, row_stride]
  AlignedBuffer<std::uint8_t> codes_;         // [n_blocks, n_groups, 64, 4]
  AlignedBuffer<std::uint8_t> coarse_codes_;  // [n_blocks, n_pairs, 64, 4]
  AlignedBuffer<float> bias_;                 // [n_blocks, 64]
  std::vector<double> norms_;                 // of items, in item order; dropped when built
  AlignedBuffer<std::int32_t> items_;         // at each position; -1 behind the last
  AlignedBuffer<std::int32_t> positions_;
  std::vector<CompactBlock> bounds_;
  std::vector<CompactBlock> coarse_bounds_;
  std::vector<double> norm_from_;
  std::vector<double> bias_from_;
  std::shared_ptr<const void> owner_;  // of arrays that are only looked at
};

// Raises a computed norm, or another sum of non-negative float64 terms, above what it would be without rounding.
inline double round_up(double value) { return value * (1 + 0x1p-40); }

// g and h above.
inline double relative_rounding(std::int64_t n_factors) {
  const double du = static_cast<double>(n_factors + 1) * 0x1p-24;
  return round_up(du / (1 - du));
}
inline double absolute_rounding(std::int64_t n_factors) { return static_cast<double>(n_factors + 1) * 0x1p-125; }

// R above, for scores up to `largest`.
inline double bound_rounding(double largest, std::int64_t n_factors) {
  return 0x1p-18 * largest + 0x1p-117 + 2 * absolute_rounding(n_factors);
}

}  // namespace recsys::cpu
