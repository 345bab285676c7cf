// Kernels of the compact scan (cpu/compact_items.hpp has the layout and the bound).
//
// scan_block multiplies up to 6 queries (int8) with a block of 64 items (uint8, item code + 128), 4 factors a 32-bit
// lane.  Accumulators start at minus the integer threshold, so that an item survives where its sum is not negative.
// avx512vnni has an instruction for four products and their sum in 32 bits.  avx2 and avx512 multiply pairs into 16
// bits that saturate at 32767: queries within +-64 keep the pairs, at most 2 * 255 * 64 = 32640, below that.
//
// score_rows sums the products of a query and 16 rows in the order of score_tile, one row a lane: the same bits.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

#if defined(__AVX512VNNI__) || !defined(__AVX2__)
inline constexpr std::int32_t compact_limit = 127;
#else
inline constexpr std::int32_t compact_limit = 64;
#endif
#if defined(__AVX2__)
inline constexpr bool compact_pays = true;
#else
inline constexpr bool compact_pays = false;
#endif

typedef std::int32_t vint __attribute__((vector_size(RECSYS_SIMD_BYTES)));

RECSYS_INLINE vint load_codes(const std::uint8_t* from) {
  vint value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

RECSYS_INLINE vint broadcast_codes(const std::int8_t* from) {
  std::int32_t four;
  __builtin_memcpy(&four, from, sizeof(four));
  return four - vint{};
}

// Lane by lane: sum + the four unsigned bytes of `items` times the four signed bytes of `query`.
RECSYS_INLINE vint add_products(vint sum, vint items, vint query) {
#if defined(__AVX512VNNI__) && RECSYS_SIMD_BYTES == 64
  return (vint)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)items, (__m512i)query);
#elif defined(__AVX512BW__) && RECSYS_SIMD_BYTES == 64
  const __m512i pairs = _mm512_maddubs_epi16((__m512i)items, (__m512i)query);
  return sum + (vint)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(__AVX2__) && RECSYS_SIMD_BYTES == 32
  const __m256i pairs = _mm256_maddubs_epi16((__m256i)items, (__m256i)query);
  return sum + (vint)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
#pragma GCC unroll 4
  for (int shift = 0; shift < 32; shift += 8) {
    sum += ((items >> shift) & 255) * ((query << (24 - shift)) >> 24);
  }
  return sum;
#endif
}

// Bit i is set where lane i is negative.
RECSYS_INLINE std::uint64_t mask_negative(vint value) {
#if defined(__AVX512DQ__) && RECSYS_SIMD_BYTES == 64
  return _mm512_movepi32_mask((__m512i)value);
#elif defined(__AVX__) && RECSYS_SIMD_BYTES == 32
  return static_cast<std::uint32_t>(_mm256_movemask_ps((__m256)value));
#elif defined(__SSE2__) && RECSYS_SIMD_BYTES == 16
  return static_cast<std::uint32_t>(_mm_movemask_ps((__m128)value));
#else
  std::uint64_t mask = 0;
  for (std::int64_t i = 0; i < lanes; ++i) mask |= static_cast<std::uint64_t>(value[i] < 0) << i;
  return mask;
#endif
}

// The integer threshold of a query in a block, lowered by more than its own rounding; see compact_items.hpp.
RECSYS_INLINE std::int32_t compact_threshold(const CompactBlock& block, const CompactQuery& query) {
  constexpr double limit = 1 << 29;
  double threshold = block.inverse_scale * query.threshold - block.code_norm * query.residual -
                     block.error * query.norm - block.bias_slack * query.inverse_scale + query.offset;
  threshold = threshold < limit ? threshold : limit;
  threshold = threshold > -limit ? threshold : -limit;
  return static_cast<std::int32_t>(threshold);
}

RECSYS_INLINE vint larger(vint a, vint b) { return a > b ? a : b; }

// Sums of a block for `width` queries, `n_vectors` vectors at a time: calls finish(q, first vector, sums) for each.
template <int width, int n_vectors, typename Finish>
RECSYS_INLINE void sum_panel(const CompactBlock& block, std::int64_t n_groups, const CompactQuery* const* queries,
                             const std::int32_t* start, Finish&& finish) {
  const std::int8_t* codes[width];
#pragma GCC unroll 6
  for (int q = 0; q < width; ++q) codes[q] = queries[q]->codes;
  for (std::int64_t first = 0; first < compact_block_items / lanes; first += n_vectors) {
    vint sum[width][n_vectors];
#pragma GCC unroll 6
    for (int q = 0; q < width; ++q) {
#pragma GCC unroll 4
      for (int v = 0; v < n_vectors; ++v) sum[q][v] = start[q] - vint{};
    }
    if (block.bias != nullptr) {
#pragma GCC unroll 6
      for (int q = 0; q < width; ++q) {
        const vfloat unit = broadcast(static_cast<float>(block.inverse_scale * queries[q]->inverse_scale));
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; ++v) {
          sum[q][v] += __builtin_convertvector(load(block.bias + (first + v) * lanes) * unit, vint);
        }
      }
    }
    const std::uint8_t* items = block.codes + first * RECSYS_SIMD_BYTES;
    for (std::int64_t at = 0; at < n_groups * 4; at += 4, items += compact_block_items * 4) {
      vint item[n_vectors];
#pragma GCC unroll 4
      for (int v = 0; v < n_vectors; ++v) item[v] = load_codes(items + v * RECSYS_SIMD_BYTES);
#pragma GCC unroll 6
      for (int q = 0; q < width; ++q) {
        const vint query = broadcast_codes(codes[q] + at);
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; ++v) sum[q][v] = add_products(sum[q][v], item[v], query);
      }
    }
#pragma GCC unroll 6
    for (int q = 0; q < width; ++q) finish(q, first, sum[q]);
  }
}

#if RECSYS_SIMD_BYTES == 64
inline constexpr int narrow_vectors = 4;
inline constexpr int wide_vectors = 4;
#else
inline constexpr int narrow_vectors = 4;  // for up to two queries
inline constexpr int wide_vectors = 2;
#endif

template <int width>
RECSYS_INLINE void scan_panel(const CompactBlock& block, std::int64_t n_groups, const CompactQuery* const* queries,
                              std::uint64_t* survivors) {
  constexpr int n_vectors = width <= 2 ? narrow_vectors : wide_vectors;
  std::int32_t start[width];
#pragma GCC unroll 6
  for (int q = 0; q < width; ++q) {
    start[q] = -compact_threshold(block, *queries[q]);
    survivors[q] = ~std::uint64_t{0};
  }
  sum_panel<width, n_vectors>(block, n_groups, queries, start,
                              [&](int q, std::int64_t first, const vint* sum) __attribute__((always_inline)) {
#pragma GCC unroll 4
                                for (int v = 0; v < n_vectors; ++v) {
                                  survivors[q] ^= mask_negative(sum[v]) << ((first + v) * lanes);
                                }
                              });
}

inline void scan_block(const CompactBlock* block, std::int64_t n_groups, const CompactQuery* const* queries,
                       std::int64_t n_queries, std::uint64_t* survivors) {
  switch (n_queries) {
    case 1:
      return scan_panel<1>(*block, n_groups, queries, survivors);
    case 2:
      return scan_panel<2>(*block, n_groups, queries, survivors);
    case 3:
      return scan_panel<3>(*block, n_groups, queries, survivors);
    case 4:
      return scan_panel<4>(*block, n_groups, queries, survivors);
    case 5:
      return scan_panel<5>(*block, n_groups, queries, survivors);
    default:
      return scan_panel<6>(*block, n_groups, queries, survivors);
  }
}

template <int width>
RECSYS_INLINE void maxima_panel(const CompactBlock& block, std::int64_t n_groups, const CompactQuery* const* queries,
                                std::int32_t* maxima) {
  constexpr int n_vectors = width <= 2 ? narrow_vectors : wide_vectors;
  std::int32_t start[width];
#pragma GCC unroll 6
  for (int q = 0; q < width; ++q) {
    start[q] = -queries[q]->code_shift;
    for (std::int64_t lane = 0; lane < compact_lanes; ++lane) maxima[q * compact_lanes + lane] = -(1 << 30);
  }
  sum_panel<width, n_vectors>(
      block, n_groups, queries, start, [&](int q, std::int64_t first, const vint* sum) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; ++v) {
          std::int32_t* place = maxima + q * compact_lanes + (first + v) * lanes % compact_lanes;
          vint known;
          __builtin_memcpy(&known, place, sizeof(known));
          known = larger(known, sum[v]);
          __builtin_memcpy(place, &known, sizeof(known));
        }
      });
}

inline void block_maxima(const CompactBlock* block, std::int64_t n_groups, const CompactQuery* const* queries,
                         std::int64_t n_queries, std::int32_t* maxima) {
  if (n_queries == compact_panel) return maxima_panel<6>(*block, n_groups, queries, maxima);
  for (std::int64_t q = 0; q < n_queries; ++q) {
    maxima_panel<1>(*block, n_groups, queries + q, maxima + q * compact_lanes);
  }
}

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
