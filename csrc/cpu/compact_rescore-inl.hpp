// Exact scores of what the compact scan could not rule out.
//
// score_rows sums the products of a query and 16 rows in the order of score_tile, one row a lane: the same bits.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

// Four floats of a row.
typedef float quad __attribute__((vector_size(16)));

RECSYS_INLINE quad load_quad(const float* from) {
  quad value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

// Four factors of rows i, i + 4, ... side by side.
RECSYS_INLINE vfloat load_quads(const float* const* rows, std::int64_t at) {
#if RECSYS_SIMD_BYTES == 64
  const auto left = __builtin_shufflevector(load_quad(rows[0] + at), load_quad(rows[4] + at), 0, 1, 2, 3, 4, 5, 6, 7);
  const auto right = __builtin_shufflevector(load_quad(rows[8] + at), load_quad(rows[12] + at), 0, 1, 2, 3, 4, 5, 6, 7);
  return __builtin_shufflevector(left, right, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif RECSYS_SIMD_BYTES == 32
  return __builtin_shufflevector(load_quad(rows[0] + at), load_quad(rows[4] + at), 0, 1, 2, 3, 4, 5, 6, 7);
#else
  return load_quad(rows[0] + at);
#endif
}

// The first, or second, half of every four lanes of a and b, alternating: singly, or in pairs.
#if RECSYS_SIMD_BYTES == 64
#define RECSYS_ZIP(a, b, i, j, k, l)                                                                                \
  __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4, i + 8, j + 8, k + 8, l + 8, i + 12, j + 12, \
                          k + 12, l + 12)
#elif RECSYS_SIMD_BYTES == 32
#define RECSYS_ZIP(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l, i + 4, j + 4, k + 4, l + 4)
#else
#define RECSYS_ZIP(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#endif

// Four factors of `lanes` rows, as four vectors of one factor each.
RECSYS_INLINE void load_transposed(const float* const* rows, std::int64_t at, vfloat* factors) {
  constexpr int n = lanes;
  const vfloat part0 = load_quads(rows, at);
  const vfloat part1 = load_quads(rows + 1, at);
  const vfloat part2 = load_quads(rows + 2, at);
  const vfloat part3 = load_quads(rows + 3, at);
  const vfloat low01 = RECSYS_ZIP(part0, part1, 0, n, 1, n + 1);
  const vfloat high01 = RECSYS_ZIP(part0, part1, 2, n + 2, 3, n + 3);
  const vfloat low23 = RECSYS_ZIP(part2, part3, 0, n, 1, n + 1);
  const vfloat high23 = RECSYS_ZIP(part2, part3, 2, n + 2, 3, n + 3);
  factors[0] = RECSYS_ZIP(low01, low23, 0, 1, n, n + 1);
  factors[1] = RECSYS_ZIP(low01, low23, 2, 3, n + 2, n + 3);
  factors[2] = RECSYS_ZIP(high01, high23, 0, 1, n, n + 1);
  factors[3] = RECSYS_ZIP(high01, high23, 2, 3, n + 2, n + 3);
}
#undef RECSYS_ZIP

inline void score_rows(const float* const* rows, const float* query, std::int64_t n_factors, float* scores) {
  for (std::int64_t first = 0; first < compact_batch; first += lanes) {
    vfloat sum = zero();
    std::int64_t f = 0;
    vfloat item[4];
    for (; f + 4 <= n_factors; f += 4) {
      load_transposed(rows + first, f, item);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum += broadcast(query[f + i]) * item[i];
    }
    // Rows are padded to a multiple of four, but adding the padding could turn -0 into 0.
    if (f < n_factors) {
      load_transposed(rows + first, f, item);
      for (int i = 0; f + i < n_factors; ++i) sum += broadcast(query[f + i]) * item[i];
    }
    store(scores + first, sum);
  }
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
