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
// Where few items are allowed, those alone are scored; where each query has its own but many, all are scanned and the
// others left out (cpu/topk_plan.hpp).
//
// Cost: topk O(B n d), or O(entries d) where few items are allowed, with scratch of O(k) a
// query in flight and no score matrix; item_item_topk O(B n + entries read).  Thread safety: all functions may run
// concurrently, on one index too; somebody who writes to the arrays of a call meanwhile must see to it themselves.
// Both look for interruptions (recsys/interrupt.hpp) every few milliseconds.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "recsys/item_index.hpp"
#include "recsys/views.hpp"

namespace recsys {

// automatic takes what it expects to be faster, and changes over for queries that turn out otherwise.
enum class Method { automatic, float32, compact };

// Which items may be returned.  Of CSR only the structure counts, columns in any order.
struct Filters {
  std::optional<CsrView> exclude;                      // [B, n]: per query
  std::optional<std::span<const std::int64_t>> allow;  // item indices; absent: all
  std::optional<CsrView> allow_each;                   // [B, n]: per query, instead of `allow`
  std::span<const std::int64_t> deny;                  // item indices
};

// [B, k] each; k = indices.cols().
struct RankingView {
  MatrixView<std::int64_t> indices;
  MatrixView<float> scores;
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
