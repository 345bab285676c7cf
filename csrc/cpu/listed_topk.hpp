// Top-k among the items that `allow_each` lists for each query.
//
// A query's items are scored alone, in float32: from the rows of the compact copy where there is one, which lie in one
// piece each; else, where the tiles have one factor of 32 items in a piece, copied together into a tile, or where they
// lie if a tile has several of them.  O(d) an entry, whatever n is; queries are shared out to threads.
#pragma once

#include <cstdint>

#include "cpu/compact_copy.hpp"
#include "recsys/topk.hpp"

namespace recsys::cpu {

// `copy` is the index's, or null.
void listed_topk(const ItemIndex& index, const CompactCopy* copy, MatrixView<const float> queries,
                 const Filters& filters, std::int64_t n_threads, const RankingView& ranking);

}  // namespace recsys::cpu
