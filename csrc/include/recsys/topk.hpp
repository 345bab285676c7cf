// The k best items of each query, exactly.
//
//   topk:            s[q, i] = <query_q, item_i> + bias_i                 queries [B, d], items [n, d], bias [n]
//                    (cosine: both vectors scaled to length 1 first; a zero vector scores 0, plus the bias)
//   item_item_topk:  s[q, i] = sum over j in history q of h[q, j] W[j, i]   histories CSR [B, n], W [n, n]
//
// Order: score descending, then item index ascending.  An item is returned only if it passes every filter and its
// score is greater than -inf: a NaN, as inf - inf gives, ranks with -inf and never appears.  Rows with fewer than k
// such items are padded with index -1 and score -inf.
//
// Scores are float32, summed over factors (or over the history, in stored order) one after the other, so a score
// depends on its query and its item alone: not on the batch, the blocking or the number of threads.  Equal items get
// equal bits. Where the processor fuses multiply and add, every level above baseline gives the same bits.
//
// topk has two ways to the same result, to the bit.  float32 computes every score.  compact first bounds the scores by
// 8-bit whole numbers and computes those alone that may be among the k best (cpu/compact_items.hpp proves that none is
// lost); it needs a copy of the factors, built at the first use.
//
// Cost: topk O(B n d), with scratch of O(k) a query in flight and no score matrix; item_item_topk O(B n + entries
// read). Thread safety: an ItemIndex is immutable, but for copies that it builds once, under a lock, when first needed;
// all functions may run concurrently.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "recsys/aligned_buffer.hpp"
#include "recsys/views.hpp"

namespace recsys {

enum class Metric { dot, cosine };

// automatic takes what it expects to be faster, and changes over for queries that turn out otherwise.
enum class Method { automatic, float32, compact };

namespace cpu {
class CompactItems;
}

// Which items may be returned.
struct Filters {
  std::optional<CsrView> exclude;                      // [B, n]: per query; only the structure counts, any order
  std::optional<std::span<const std::int64_t>> allow;  // item indices; absent: all
  std::span<const std::int64_t> deny;                  // item indices
};

// [B, k] each; k = indices.cols().
struct RankingView {
  MatrixView<std::int64_t> indices;
  MatrixView<float> scores;
};

// Item factors, packed for scoring: tiles of `tile_items` items, each [d, tile_items], so that a vector register holds
// one factor of neighbouring items.  The layout is the same at every ISA level.  Memory 4 n d bytes (n rounded up).
class ItemIndex {
 public:
  static constexpr std::int64_t tile_items = 32;

  // Throws DataError on NaN or infinity, ShapeError where `item_bias` has neither 0 nor n entries.
  ItemIndex(MatrixView<const float> item_factors, std::span<const float> item_bias, Metric metric);
  ItemIndex(ItemIndex&&) noexcept;
  ItemIndex& operator=(ItemIndex&&) noexcept;
  ~ItemIndex();

  [[nodiscard]] std::int64_t n_items() const { return n_items_; }
  [[nodiscard]] std::int64_t n_factors() const { return n_factors_; }
  [[nodiscard]] Metric metric() const { return metric_; }
  [[nodiscard]] bool has_bias() const { return bias_.size() > 0; }
  [[nodiscard]] std::int64_t n_tiles() const { return (n_items_ + tile_items - 1) / tile_items; }

  [[nodiscard]] const float* tile(std::int64_t t) const { return factors_.data() + t * n_factors_ * tile_items; }
  // Null where there is no bias.
  [[nodiscard]] const float* bias(std::int64_t t) const { return has_bias() ? bias_.data() + t * tile_items : nullptr; }

  // Built at the first call.
  [[nodiscard]] const cpu::CompactItems& compact() const;

  // What Method::automatic remembers of earlier calls; it decides speed only.
  struct Experience;
  [[nodiscard]] Experience& experience() const { return *experience_; }

 private:
  std::int64_t n_items_;
  std::int64_t n_factors_;
  Metric metric_;
  AlignedBuffer<float> factors_;
  AlignedBuffer<float> bias_;
  std::unique_ptr<Experience> experience_;
};

// Throws DataError on NaN or infinity in `queries` or on an index outside [0, n), ShapeError on unequal shapes,
// ConfigError on k < 1 or n_threads < 0.
void topk(const ItemIndex& index, MatrixView<const float> queries, const Filters& filters, std::int64_t n_threads,
          const RankingView& ranking, Method method = Method::automatic);

// Only the rows of `weights` that some history names are read, and so checked.  Errors as for topk.
void item_item_topk(const CsrView& histories, const CsrView& weights, const Filters& filters, std::int64_t n_threads,
                    const RankingView& ranking);
void item_item_topk(const CsrView& histories, MatrixView<const float> weights, const Filters& filters,
                    std::int64_t n_threads, const RankingView& ranking);

}  // namespace recsys
