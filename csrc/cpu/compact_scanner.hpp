// One thread's share of a compact scan: a range of queries against any ranges of blocks.
//
// Blocks are in the outer loop, the queries still open in the inner one, 6 a kernel call.  What the kernel cannot rule
// out is kept with a lower and an upper bound of its score.  Once enough has come together, the k-th largest lower
// bound is a threshold: it rules out what reaches it with no bound, here and in the blocks to come.  Only what is left
// at the end is scored in float32; earlier where the bounds are too loose to tell items apart.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "cpu/compact_filters.hpp"
#include "cpu/compact_items.hpp"
#include "cpu/compact_query.hpp"
#include "cpu/selection.hpp"

namespace recsys::cpu {

// What all threads read.
struct CompactProblem {
  const ItemIndex& index;
  const CompactItems& items;
  MatrixView<const float> queries;
  const Filters& filters;
  const BlockFilter& block_filter;
  const KernelTable& kernels;
  std::int64_t k;
  // The best threshold that any thread has reached, one a query; empty where threads share no query.
  std::span<std::atomic<float>> shared;

  // Items found that a query has room for between selections, and in all.
  [[nodiscard]] std::int64_t roomy() const;
  [[nodiscard]] std::int64_t capacity() const;
  // Bytes that one query takes while it is open, but for a bitmap of its items.
  [[nodiscard]] std::int64_t bytes_a_query() const;
};

class CompactScanner {
 public:
  CompactScanner(const CompactProblem& problem, std::int64_t first_query, std::int64_t n_queries);

  // Queries whose numbers the bound does not cover, and those given up.
  [[nodiscard]] const std::vector<std::int64_t>& left() const { return left_; }

  // Blocks may be scanned in any order, but only later ones allow to stop early.  Coarse codes serve queries that have
  // a threshold: so much passes them that it is scored at once.
  void scan(std::int64_t first_block, std::int64_t last_block, bool coarse);

  // Whether a query that was open at the end of the last scan still is at block b.
  [[nodiscard]] bool any_open(std::int64_t b);

  // Makes the thresholds reached so far known to the other threads.
  void tighten();

  // Calls done(query, best): once for every query answered, the best k or fewer in order.
  template <typename Done>
  void finish(Done&& done) {
    for (Open& open : opens_) {
      if (!open.given_up) done(open.query, best_of(open));
    }
  }

 private:
  static constexpr std::int64_t blocks_a_check = 4;
  static constexpr std::int64_t blocks_a_checkpoint = 64;

  // A query being answered.
  struct Open {
    EncodedQuery encoded;
    double lowered;   // T less its slack
    float threshold;  // T
    double slack;     // of bounds kept in float32
    std::int64_t query;
    std::int64_t slot;  // of the range
    std::int64_t lane;  // among the active
    bool given_up;
    std::int64_t n_rescored;   //
    std::int64_t n_selecting;  // items found that make it worth to select among them
  };

  void open(std::int64_t slot);
  void close_finished(std::int64_t b);
  void lay_out();
  void sift(Open& open, std::int64_t b);
  void select(Open& open, bool coarse);
  float tighten(Open& open);
  void refine(Open& open);
  bool rescore(Open& open, float least);
  void score_batch(Open& open, const std::int64_t* places, std::int64_t n);
  void cut(Open& open);
  std::span<const Candidate> best_of(Open& open);
  std::int64_t position(const Open& open, std::int64_t place) const;
  void announce(Open& open, float threshold);
  void adopt(Open& open);
  void set_threshold(Open& open, float threshold);

  const CompactProblem& problem_;
  std::int64_t first_query_;
  std::int64_t roomy_;
  std::int64_t capacity_;
  RowFilter row_filter_;
  AlignedBuffer<float> lower_;
  AlignedBuffer<float> upper_;
  AlignedBuffer<std::int32_t> positions_;
  AlignedBuffer<std::int8_t> codes_;
  AlignedBuffer<float> unit_factors_;
  std::vector<Open> opens_;
  std::vector<Open*> active_;
  // Of the active ones, as the kernels read them.
  std::vector<CompactQuery*> panel_;
  AlignedBuffer<double> lane_numbers_;
  CompactLanes lanes_{};
  AlignedBuffer<std::int32_t> thresholds_;
  std::vector<std::int64_t> left_;
  std::vector<Candidate> found_;
  std::vector<Candidate> best_;
  std::int64_t n_scanned_ = 0;
};

}  // namespace recsys::cpu
