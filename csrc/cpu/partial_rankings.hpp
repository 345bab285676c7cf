// The winners of every range of items, for queries whose items were cut into several.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "cpu/selection.hpp"
#include "recsys/views.hpp"

namespace recsys::cpu {

// Memory 8 bytes an entry.  Slots of different (query, range) may be filled by different threads.
class PartialRankings {
 public:
  // A range has at most `n_best` winners: the smaller of k and the items of a range.
  PartialRankings(std::int64_t n_queries, std::int64_t n_ranges, std::int64_t n_best)
      : n_ranges_(n_ranges),
        n_best_(n_best),
        candidates_(static_cast<std::size_t>(checked_product(checked_product(n_queries, n_ranges), n_best))),
        sizes_(static_cast<std::size_t>(n_queries * n_ranges)) {}

  void put(std::int64_t query, std::int64_t range, std::span<const Candidate> best) {
    const std::int64_t slot = query * n_ranges_ + range;
    std::copy(best.begin(), best.end(), candidates_.begin() + slot * n_best_);
    sizes_[static_cast<std::size_t>(slot)] = static_cast<std::int64_t>(best.size());
  }

  // The k best of a query, or fewer.
  std::span<const Candidate> merge(std::int64_t query, std::int64_t k) {
    const auto begin = candidates_.begin() + query * n_ranges_ * n_best_;
    auto end = begin;
    for (std::int64_t range = 0; range < n_ranges_; ++range) {
      const auto list = begin + range * n_best_;
      end = std::copy(list, list + sizes_[static_cast<std::size_t>(query * n_ranges_ + range)], end);
    }
    const auto n = std::min<std::int64_t>(end - begin, k);
    sort_best(begin, end, n);
    return {begin, begin + n};
  }

 private:
  std::int64_t n_ranges_;
  std::int64_t n_best_;
  std::vector<Candidate> candidates_;
  std::vector<std::int64_t> sizes_;
};

}  // namespace recsys::cpu
