// Top-k among the items that `allow_each` lists for each query.
//
// A query's items are scored alone, 32 at a time: copied together into a tile, or where they lie if a tile has several
// of them.  O(d) an entry, whatever n is; queries are shared out to threads.
#pragma once

#include <cstdint>

#include "recsys/topk.hpp"

namespace recsys::cpu {

void listed_topk(const ItemIndex& index, MatrixView<const float> queries, const Filters& filters,
                 std::int64_t n_threads, const RankingView& ranking);

}  // namespace recsys::cpu
