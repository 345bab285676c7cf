// Top-k by the compact scan: the same result as the float32 path, to the bit (compact_items.hpp has the proof).
//
// Many queries are cut into tasks by queries; a few have
// the blocks cut into chunks, and the threads tell each other the thresholds reached.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/compact_copy.hpp"

namespace recsys::cpu {

// Fills the rows of `ranking` that it can answer, among the items that are as the copy holds them, and returns the
// other queries, ascending: those whose numbers the bound does not cover, and those of which so many items survive, as
// of equal ones, that the float32 path is faster.
[[nodiscard]] std::vector<std::int64_t> compact_topk(const ItemIndex& index, const CompactCopy& copy,
                                                     MatrixView<const float> queries, const Filters& filters,
                                                     std::int64_t n_threads, const RankingView& ranking);

}  // namespace recsys::cpu
