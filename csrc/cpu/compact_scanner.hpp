// One thread's share of a compact scan: a range of queries against any ranges of blocks.
//
// Blocks are in the outer loop, the queries still open in the inner one, 6 a kernel call.  Survivors are rescored 16 at
// a time in float32, which raises the query's threshold.
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
  std::int64_t capacity;
  bool may_give_up;
  // The best threshold that any thread has reached, one a query; empty where threads share no query.
  std::span<std::atomic<float>> shared;
};

class CompactScanner {
 public:
  CompactScanner(const CompactProblem& problem, std::int64_t first_query, std::int64_t n_queries);

  // Queries whose numbers the bound does not cover, and those given up.
  [[nodiscard]] const std::vector<std::int64_t>& left() const { return left_; }

  // Gives the queries a first threshold, from lower bounds of the scores in the first blocks.
  void start_thresholds();

  // Blocks may be scanned in any order, but only later ones allow to stop early.
  void scan(std::int64_t first_block, std::int64_t last_block);

  // Whether a query that was open at the end of the last scan still is at block b.
  [[nodiscard]] bool any_open(std::int64_t b);

  // Makes the thresholds reached so far known to the other threads.
  void tighten();

  // Calls done(query, best): once for every query answered.
  template <typename Done>
  void finish(Done&& done) {
    for (Open& open : opens_) {
      if (open.given_up) continue;
      rescore(open);
      done(open.query, open.selector.finish(best_));
    }
  }

 private:
  static constexpr std::int64_t blocks_a_check = 4;

  // A query being answered.
  struct Open {
    EncodedQuery encoded;
    double lowered;   // T less its slack, 0 at first
    float threshold;  // T
    AnyOrderSelector selector;
    std::int64_t query;
    std::int64_t slot;  // of the range
    bool given_up;
    std::int64_t n_rescored;
    std::int64_t n_pushed;  // since the threshold rose
    std::int64_t n_pending;
    std::int32_t pending[compact_batch];  // positions
  };

  void open(std::int64_t slot);
  [[nodiscard]] std::int64_t n_inadmissible(const Open& open, std::int64_t n_blocks) const;
  void close_finished(std::int64_t b);
  void take(Open& open, std::int64_t b, std::uint64_t survivors);
  void rescore(Open& open);
  [[nodiscard]] std::int64_t pushes_a_cut() const { return std::max<std::int64_t>(8, problem_.k / 2); }
  void raise(Open& open);
  void announce(Open& open, float threshold);
  void adopt(Open& open);
  void set_threshold(Open& open, float threshold);

  const CompactProblem& problem_;
  std::int64_t first_query_;
  Exclusion exclusion_;
  std::vector<float> scores_;
  std::vector<std::int32_t> found_;
  AlignedBuffer<std::int8_t> codes_;
  AlignedBuffer<float> unit_factors_;
  std::vector<Open> opens_;
  std::vector<Open*> active_;
  std::vector<std::int64_t> left_;
  std::vector<Candidate> best_;
  std::int64_t n_scanned_ = 0;
};

}  // namespace recsys::cpu
