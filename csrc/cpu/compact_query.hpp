// A query as the compact scan reads it: whole numbers, and the lengths that the bound needs (compact_items.hpp).
#pragma once

#include <cstdint>

#include "cpu/compact_items.hpp"

namespace recsys::cpu {

struct EncodedQuery {
  CompactQuery compact;
  const float* factors;  // as the float32 path sees them
  double reach;          // (1 + g) ||q||
};

// The query `row`: its codes [n_pairs * 8] and, for cosine, its factors of length 1 [n_factors] are written to where
// the pointers say.  False where its numbers do not meet the conditions of the proof: a score could overflow, or a sum
// of the kernel would not fit.
bool encode_query(const ItemIndex& index, const CompactItems& items, const float* row, std::int32_t compact_limit,
                  std::int8_t* codes, float* unit_factors, EncodedQuery& encoded);

}  // namespace recsys::cpu
