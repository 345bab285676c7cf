#include "cpu/listed_topk.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "cpu/candidates.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/selection.hpp"
#include "cpu/tiles.hpp"
#include "recsys/aligned_buffer.hpp"
#include "recsys/interrupt.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys::cpu {
namespace {

constexpr std::int64_t tile_items = ItemIndex::tile_items;
// Items of a tile that make up for reading its others, too: one reads every second cache line of it already.
constexpr int fewest_in_place = 3;
constexpr int fewest_in_place_of_rows = 16;

// What one thread needs to answer one query after another.
class ListScorer {
 public:
  ListScorer(const ItemIndex& index, const CompactCopy* copy, const Filters& filters, const Barred& barred,
             const KernelTable& kernels)
      : index_(index),
        copy_(copy),
        filters_(filters),
        barred_(barred),
        kernels_(kernels),
        panel_(index.n_factors()),
        tile_(index.n_factors() * tile_items) {
    std::fill_n(tile_.data(), tile_.size(), 0.0F);
  }

  std::span<const Candidate> best(MatrixView<const float> queries, std::int64_t query, std::int64_t k) {
    pack_panel(index_, queries, query, 1, 1, panel_.data());
    const std::span<const std::int32_t> listed = ascending(filters_.allow_each->row_indices(query), sorted_list_);
    RowCursor excluded;
    if (filters_.exclude) excluded = {filters_.exclude->row_indices(query), 0, sorted_exclude_};
    const auto n_listed = static_cast<std::int64_t>(listed.size());
    buffer_.resize(static_cast<std::size_t>(TopSelector::capacity(k, std::max<std::int64_t>(n_listed, 1))));
    TopSelector selector(buffer_, k);

    n_packed_ = 0;
    n_rows_ = 0;
    const int fewest = copy_ == nullptr ? fewest_in_place : fewest_in_place_of_rows;
    for (std::size_t at = 0; at < listed.size();) {
      const std::int64_t t = listed[at] / tile_items;
      std::uint32_t mask = 0;
      for (; at < listed.size() && listed[at] / tile_items == t; ++at) {
        if (excluded.contains(listed[at]) || barred_.contains(listed[at])) continue;
        mask |= std::uint32_t{1} << (listed[at] % tile_items);
      }
      if (std::popcount(mask) >= fewest) {
        flush(selector);  // items reach the selector in ascending order
        std::int32_t items[tile_items];
        for (std::int32_t lane = 0; lane < tile_items; ++lane) {
          items[lane] = static_cast<std::int32_t>(t * tile_items) + lane;
        }
        score(index_.tile(t), index_.bias(t), mask, items, selector);
        continue;
      }
      for (; mask != 0; mask &= mask - 1) {
        add(static_cast<std::int32_t>(t * tile_items + std::countr_zero(mask)), selector);
      }
    }
    flush(selector);
    return selector.finish();
  }

 private:
  void add(std::int32_t item, TopSelector& selector) {
    if (copy_ != nullptr && copy_->holds(item)) {
      if (n_packed_ > 0) flush(selector);
      rows_[n_rows_++] = item;
      if (n_rows_ == compact_batch) flush(selector);
    } else {
      if (n_rows_ > 0) flush(selector);
      packed_[n_packed_++] = item;
      if (n_packed_ == tile_items) flush(selector);
    }
  }

  // At most one of the two has items.
  void flush(TopSelector& selector) {
    if (n_rows_ > 0) score_rows(selector);
    if (n_packed_ > 0) score_packed(selector);
  }

  void score_rows(TopSelector& selector) {
    const float* rows[compact_batch];
    alignas(64) float scores[compact_batch];
    const CompactItems& items = copy_->items();
    for (std::int64_t i = 0; i < compact_batch; ++i) rows[i] = items.row(items.position(rows_[i < n_rows_ ? i : 0]));
    kernels_.score_rows(rows, panel_.data(), index_.n_factors(), scores);
    for (std::int64_t i = 0; i < n_rows_; ++i) {
      const std::int32_t item = rows_[i];
      if (index_.has_bias()) scores[i] += index_.bias(item / tile_items)[item % tile_items];
      if (scores[i] > selector.threshold()) selector.push({scores[i], item});
    }
    n_rows_ = 0;
    count_for_checkpoint();
  }

  void score_packed(TopSelector& selector) {
    float bias[tile_items] = {};
    const std::span<const std::int32_t> items(packed_, static_cast<std::size_t>(n_packed_));
    gather_tile(index_, items, tile_.data(), bias);
    const std::uint32_t mask = n_packed_ == tile_items ? ~std::uint32_t{0} : (std::uint32_t{1} << n_packed_) - 1;
    score(tile_.data(), index_.has_bias() ? bias : nullptr, mask, packed_, selector);
    n_packed_ = 0;
  }

  void score(const float* tile, const float* bias, std::uint32_t mask, const std::int32_t* items,
             TopSelector& selector) {
    alignas(64) float scores[tile_items];
    std::uint32_t above = 0;
    const float threshold = selector.threshold();
    kernels_.score_tile(tile, bias, panel_.data(), 1, index_.n_factors(), &threshold, scores, &above);
    for (above &= mask; above != 0; above &= above - 1) {
      const int lane = std::countr_zero(above);
      if (scores[lane] > selector.threshold()) selector.push({scores[lane], items[lane]});
    }
    count_for_checkpoint();
  }

  void count_for_checkpoint() {
    if (++n_scored_ % tiles_a_checkpoint == 0) checkpoint();
  }

  static constexpr std::int64_t tiles_a_checkpoint = 256;

  const ItemIndex& index_;
  const CompactCopy* copy_;
  const Filters& filters_;
  const Barred& barred_;
  const KernelTable& kernels_;
  AlignedBuffer<float> panel_;
  AlignedBuffer<float> tile_;
  std::int32_t packed_[tile_items];
  std::int64_t n_packed_ = 0;
  std::int32_t rows_[compact_batch];
  std::int64_t n_rows_ = 0;
  std::int64_t n_scored_ = 0;
  std::vector<Candidate> buffer_;
  std::vector<std::int32_t> sorted_list_;
  std::vector<std::int32_t> sorted_exclude_;
};

}  // namespace

void listed_topk(const ItemIndex& index, const CompactCopy* copy, MatrixView<const float> queries,
                 const Filters& filters, std::int64_t n_threads, const RankingView& ranking) {
  const Barred barred(filters, index.n_items(), index.present());
  const KernelTable& table = kernels();
  const std::int64_t n_queries = queries.rows();
  constexpr double too_little_to_share = 1 << 19;  // as for the float32 scan
  const double work = static_cast<double>(filters.allow_each->nnz()) * static_cast<double>(index.n_factors());
  const std::int64_t threads = work < too_little_to_share ? 1 : resolve_threads(n_threads);
  const std::int64_t block = std::clamp<std::int64_t>(n_queries / (8 * threads), 1, 256);
  parallel_for((n_queries + block - 1) / block, threads, [&](std::int64_t task, std::int64_t) {
    ListScorer scorer(index, copy, filters, barred, table);
    for (std::int64_t query = task * block; query < std::min(n_queries, (task + 1) * block); ++query) {
      write_ranking(scorer.best(queries, query, ranking.indices.cols()), ranking.indices.row(query),
                    ranking.scores.row(query), ranking.indices.cols());
    }
  });
}

}  // namespace recsys::cpu
