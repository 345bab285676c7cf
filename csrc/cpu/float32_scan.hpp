// Top-k by computing every score in float32.
//
// Tiles of items in the outer loop, panels of queries in the inner one.  Many queries are cut into blocks whose panels
// and candidates stay in the cache; where that leaves threads without work, the items are cut too, and the winners of
// the ranges merged.
#pragma once

#include <cstdint>

#include "cpu/candidates.hpp"
#include "recsys/topk.hpp"

namespace recsys::cpu {

// `filters.allow` and `filters.deny` are not looked at: `admissible` stands for them.
void float32_topk(const ItemIndex& index, MatrixView<const float> queries, const Filters& filters,
                  const Admissible& admissible, std::int64_t n_threads, const RankingView& ranking);

}  // namespace recsys::cpu
