// Kernels of the compact scan (cpu/compact_items.hpp has the layout and the bound).
//
// scan_block multiplies up to 6 queries (int8) with a block of 64 items (uint8, item code + 128), 4 factors a 32-bit
// lane.  Accumulators start at minus the integer threshold, so that an item survives where its sum is not negative; of
// those few the sums become bounds of their scores.
// avx512vnni and neondot have an instruction for four products and their sum in 32 bits.  avx2 and avx512 multiply
// pairs into 16 bits that saturate at 32767: queries within +-64 keep the pairs, at most 2 * 255 * 64 = 32640, below
// that. The instruction of neondot takes signed bytes on both sides, so there items are read as their codes, without
// the 128, and accumulators start at 128 sum_f p_f more: the sums are the same.  So are they without any such
// instruction.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

#if defined(__AVX512VNNI__) || !defined(__AVX2__)
inline constexpr std::int32_t compact_limit = 127;
#else
inline constexpr std::int32_t compact_limit = 64;
#endif
#if defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)
inline constexpr bool compact_pays = true;
#else
inline constexpr bool compact_pays = false;
#endif
#if defined(__AVX2__)
inline constexpr bool signed_items = false;
#else
inline constexpr bool signed_items = true;
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

// Lane by lane: sum + the four bytes of `items`, signed as `signed_items` says, times the four signed bytes of `query`.
RECSYS_INLINE vint add_products(vint sum, vint items, vint query) {
#if defined(__AVX512VNNI__) && RECSYS_SIMD_BYTES == 64
  return (vint)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)items, (__m512i)query);
#elif defined(__AVX512BW__) && RECSYS_SIMD_BYTES == 64
  const __m512i pairs = _mm512_maddubs_epi16((__m512i)items, (__m512i)query);
  return sum + (vint)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(__AVX2__) && RECSYS_SIMD_BYTES == 32
  const __m256i pairs = _mm256_maddubs_epi16((__m256i)items, (__m256i)query);
  return sum + (vint)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD) && RECSYS_SIMD_BYTES == 16
  return (vint)vdotq_s32((int32x4_t)sum, (int8x16_t)items, (int8x16_t)query);
#else
#pragma GCC unroll 4
  for (int shift = 0; shift < 32; shift += 8) {
    sum += ((items << (24 - shift)) >> 24) * ((query << (24 - shift)) >> 24);
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

// How far a sum may be off in a block, both ways, in units of s t; see compact_items.hpp.
RECSYS_INLINE double compact_slack(const CompactBlock& block, const CompactQuery& query) {
  return block.code_norm * query.residual + block.error * query.norm + block.bias_slack * query.inverse_scale;
}

// The integer thresholds of queries in a block, lowered by more than their own rounding.
inline void block_thresholds(const CompactBlock* block, const CompactLanes* lanes_of, std::int64_t n,
                             std::int32_t* thresholds) {
  typedef double vdouble __attribute__((vector_size(RECSYS_SIMD_BYTES)));
  typedef std::int32_t vhalf __attribute__((vector_size(RECSYS_SIMD_BYTES / 2)));
  constexpr std::int64_t width = RECSYS_SIMD_BYTES / 8;
  const auto all = [](double value) { return value - vdouble{}; };
  const vdouble limit = all(1 << 29);
  for (std::int64_t q = 0; q < n; q += width) {
    const auto lane = [q](const double* values) {
      vdouble value;
      __builtin_memcpy(&value, values + q, sizeof(value));
      return value;
    };
    const vdouble slack = all(block->code_norm) * lane(lanes_of->residual) + all(block->error) * lane(lanes_of->norm) +
                          all(block->bias_slack) * lane(lanes_of->inverse_scale);
    vdouble threshold = all(block->inverse_scale) * lane(lanes_of->threshold) - slack - all(4) +
                        all(block->offset) * lane(lanes_of->code_sum);
    threshold = threshold < limit ? threshold : limit;
    threshold = threshold > -limit ? threshold : -limit;
    const vhalf whole = __builtin_convertvector(threshold, vhalf);
    __builtin_memcpy(thresholds + q, &whole, sizeof(whole));
  }
}

// Codes of 4 factors in 32 bits, or of 8: a lane of the sums takes 4 at a time.
// Those of 8 bits are stored with 128 added, which signed items take off again.
struct FineCodes {
  static constexpr int factors = 4;
  static constexpr std::int32_t taken_off = signed_items ? 128 : 0;
  static RECSYS_INLINE vint part(vint codes, int) {
    return signed_items ? codes ^ static_cast<std::int32_t>(0x80808080) : codes;
  }
};
struct CoarseCodes {
  static constexpr int factors = 8;
  static constexpr std::int32_t taken_off = 0;
  static RECSYS_INLINE vint part(vint codes, int part) { return (codes >> (4 * part)) & 0x0F0F0F0F; }
};

// Sums of a block for `width` queries, `n_vectors` vectors at a time: calls finish(q, first vector, sums) for each.
template <typename Codes, int width, int n_vectors, typename Finish>
RECSYS_INLINE void sum_panel(const CompactBlock& block, std::int64_t n_steps, CompactQuery* const* queries,
                             const std::int32_t* thresholds, Finish&& finish) {
  const std::int8_t* codes[width];
#pragma GCC unroll 6
  for (int q = 0; q < width; ++q) codes[q] = queries[q]->codes;
  for (std::int64_t first = 0; first < compact_block_items / lanes; first += n_vectors) {
    vint sum[width][n_vectors];
#pragma GCC unroll 6
    for (int q = 0; q < width; ++q) {
      const std::int32_t start = Codes::taken_off * queries[q]->code_sum - thresholds[q];
#pragma GCC unroll 4
      for (int v = 0; v < n_vectors; ++v) sum[q][v] = start - vint{};
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
    for (std::int64_t at = 0; at < n_steps * Codes::factors; at += Codes::factors, items += compact_block_items * 4) {
      vint item[n_vectors];
#pragma GCC unroll 4
      for (int v = 0; v < n_vectors; ++v) item[v] = load_codes(items + v * RECSYS_SIMD_BYTES);
#pragma GCC unroll 2
      for (int part = 0; part < Codes::factors / 4; ++part) {
#pragma GCC unroll 6
        for (int q = 0; q < width; ++q) {
          const vint query = broadcast_codes(codes[q] + at + 4 * part);
#pragma GCC unroll 4
          for (int v = 0; v < n_vectors; ++v) sum[q][v] = add_products(sum[q][v], Codes::part(item[v], part), query);
        }
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
// The lanes of so many vectors.
template <int n_vectors>
inline constexpr std::uint64_t all_lanes = ~std::uint64_t{0} >> (64 - n_vectors * lanes);

// Appends the items of `alive`, lanes of `sums`, to what a query has found.  Not inlined, so that the registers stay
// with the sums of all the queries.
template <int n_vectors>
__attribute__((noinline)) void append(const CompactBlock& block, CompactQuery& query, const vint* sums,
                                      std::int32_t threshold, std::uint64_t alive, std::int32_t position) {
  const double unit = block.scale * query.scale;
  const auto slack = static_cast<float>((compact_slack(block, query) + 2) * unit);
  const auto scale = static_cast<float>(unit);
  const std::int32_t shift = threshold - block.offset * query.code_sum;
  std::int64_t n = query.n_found;
  for (int v = 0; v < n_vectors; ++v, alive >>= lanes, position += lanes) {
    std::uint64_t bits = alive & ((std::uint64_t{1} << lanes) - 1);
    if (bits == 0) continue;
    const vfloat middle = __builtin_convertvector(sums[v] + shift, vfloat) * scale;
#if RECSYS_SIMD_BYTES == 64
    const auto mask = static_cast<__mmask16>(bits);
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i place = _mm512_add_epi32(lane, _mm512_set1_epi32(position));
    _mm512_storeu_ps(query.lower + n, _mm512_maskz_compress_ps(mask, (__m512)(middle - slack)));
    _mm512_storeu_ps(query.upper + n, _mm512_maskz_compress_ps(mask, (__m512)(middle + slack)));
    _mm512_storeu_si512(query.positions + n, _mm512_maskz_compress_epi32(mask, place));
    n += __builtin_popcountll(bits);
#else
    for (; bits != 0; bits &= bits - 1) {
      const int i = __builtin_ctzll(bits);
      query.lower[n] = middle[i] - slack;
      query.upper[n] = middle[i] + slack;
      query.positions[n++] = position + i;
    }
#endif
  }
  query.n_found = n;
}

template <typename Codes, int width>
RECSYS_INLINE std::uint32_t scan_panel(const CompactBlock& block, std::int64_t n_steps, CompactQuery* const* queries,
                                       const std::int32_t* thresholds, const std::uint64_t* words,
                                       std::int32_t position) {
  constexpr int n_vectors = width <= 2 ? narrow_vectors : wide_vectors;
  std::uint32_t found = 0;
  sum_panel<Codes, width, n_vectors>(block, n_steps, queries, thresholds,
                                     [&](int q, std::int64_t first, const vint* sum) __attribute__((always_inline)) {
                                       vint all = sum[0];
#pragma GCC unroll 4
                                       for (int v = 1; v < n_vectors; ++v) all &= sum[v];
                                       if (mask_negative(all) == all_lanes<1>) return;  // as nearly always
                                       std::uint64_t dead = 0;
#pragma GCC unroll 4
                                       for (int v = 0; v < n_vectors; ++v) dead |= mask_negative(sum[v]) << (v * lanes);
                                       const std::uint64_t alive =
                                           (words[q] >> (first * lanes)) & ~dead & all_lanes<n_vectors>;
                                       if (alive == 0) return;
                                       vint sums[n_vectors];
#pragma GCC unroll 4
                                       for (int v = 0; v < n_vectors; ++v) sums[v] = sum[v];
                                       append<n_vectors>(block, *queries[q], sums, thresholds[q], alive,
                                                         position + static_cast<std::int32_t>(first * lanes));
                                       found |= std::uint32_t{1} << q;
                                     });
  return found;
}

template <typename Codes>
RECSYS_INLINE std::uint32_t scan_panels(const CompactBlock& block, std::int64_t n_steps, CompactQuery* const* queries,
                                        const std::int32_t* thresholds, std::int64_t n_queries,
                                        const std::uint64_t* words, std::int32_t position) {
  switch (n_queries) {
    case 1:
      return scan_panel<Codes, 1>(block, n_steps, queries, thresholds, words, position);
    case 2:
      return scan_panel<Codes, 2>(block, n_steps, queries, thresholds, words, position);
    case 3:
      return scan_panel<Codes, 3>(block, n_steps, queries, thresholds, words, position);
    case 4:
      return scan_panel<Codes, 4>(block, n_steps, queries, thresholds, words, position);
    case 5:
      return scan_panel<Codes, 5>(block, n_steps, queries, thresholds, words, position);
    default:
      return scan_panel<Codes, 6>(block, n_steps, queries, thresholds, words, position);
  }
}

inline std::uint32_t scan_block(const CompactBlock* block, std::int64_t n_groups, CompactQuery* const* queries,
                                const std::int32_t* thresholds, std::int64_t n_queries, const std::uint64_t* words,
                                std::int32_t position) {
  return scan_panels<FineCodes>(*block, n_groups, queries, thresholds, n_queries, words, position);
}

inline std::uint32_t scan_coarse_block(const CompactBlock* block, std::int64_t n_pairs, CompactQuery* const* queries,
                                       const std::int32_t* thresholds, std::int64_t n_queries,
                                       const std::uint64_t* words, std::int32_t position) {
  return scan_panels<CoarseCodes>(*block, n_pairs, queries, thresholds, n_queries, words, position);
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
