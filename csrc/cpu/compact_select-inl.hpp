// Selection among the items that a compact scan has found for a query: a few hundred at a time.
//
// Counting takes no branch that a processor could guess wrong, and all lanes: bisection by counting and ranks by
// counting beat nth_element and sort on so few.
#pragma once

#include "cpu/compact-inl.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

// How many lanes reach the threshold.
RECSYS_INLINE std::int64_t count_reaching(vfloat value, vfloat threshold) {
#if RECSYS_SIMD_BYTES == 64
  return __builtin_popcount(_mm512_cmp_ps_mask((__m512)value, (__m512)threshold, _CMP_GE_OQ));
#else
  return __builtin_popcountll(mask_negative(value >= threshold));
#endif
}

inline float reached_by(const float* values, std::int64_t n, std::int64_t rank) {
  const std::int64_t n_whole = n / lanes * lanes;
  float low = values[0];
  float high = values[0];
  if (n_whole > 0) {
    vfloat lows = load(values);
    vfloat highs = lows;
    for (std::int64_t i = lanes; i < n_whole; i += lanes) {
      const vfloat value = load(values + i);
      lows = value < lows ? value : lows;
      highs = value > highs ? value : highs;
    }
    for (std::int64_t i = 0; i < lanes; ++i) {
      low = lows[i] < low ? lows[i] : low;
      high = highs[i] > high ? highs[i] : high;
    }
  }
  for (std::int64_t i = n_whole; i < n; ++i) {
    low = values[i] < low ? values[i] : low;
    high = values[i] > high ? values[i] : high;
  }
  for (int step = 0; step < 16; ++step) {
    const float middle = low + (high - low) / 2;
    const vfloat middles = broadcast(middle);
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n_whole; i += lanes) count += count_reaching(load(values + i), middles);
    for (std::int64_t i = n_whole; i < n; ++i) count += values[i] >= middle ? 1 : 0;
    if (count < rank) {
      high = middle;
    } else {
      low = middle;
      if (count <= rank + rank / 32) break;
    }
  }
  return low;
}

inline void keep_reaching(CompactQuery* query, float threshold) {
  const std::int64_t last = query->n_found;
  std::int64_t i = 0;
  std::int64_t to = 0;
#if RECSYS_SIMD_BYTES == 64
  for (; i + lanes <= last; i += lanes) {
    const __m512 lower = _mm512_loadu_ps(query->lower + i);
    const __m512 upper = _mm512_loadu_ps(query->upper + i);
    const __m512i positions = _mm512_loadu_si512(query->positions + i);
    const __mmask16 kept = _mm512_cmp_ps_mask(upper, _mm512_set1_ps(threshold), _CMP_GE_OQ);
    // What is written beyond the kept lies before i + lanes, which has been read.
    _mm512_storeu_ps(query->lower + to, _mm512_maskz_compress_ps(kept, lower));
    _mm512_storeu_ps(query->upper + to, _mm512_maskz_compress_ps(kept, upper));
    _mm512_storeu_si512(query->positions + to, _mm512_maskz_compress_epi32(kept, positions));
    to += __builtin_popcount(kept);
  }
#endif
  for (; i < last; ++i) {
    const float upper = query->upper[i];
    query->lower[to] = query->lower[i];
    query->upper[to] = upper;
    query->positions[to] = query->positions[i];
    to += upper >= threshold ? 1 : 0;
  }
  query->n_found = to;
}

inline void rank_keys(const std::int64_t* keys, std::int64_t n, std::int64_t* rank) {
  typedef std::int64_t vlong __attribute__((vector_size(RECSYS_SIMD_BYTES)));
  constexpr std::int64_t width = RECSYS_SIMD_BYTES / 8;
  const std::int64_t n_whole = n / width * width;
  for (std::int64_t i = 0; i < n; ++i) {
    const vlong key = keys[i] - vlong{};
    vlong counts{};
    for (std::int64_t j = 0; j < n_whole; j += width) {
      vlong others;
      __builtin_memcpy(&others, keys + j, sizeof(others));
      counts -= others > key;
    }
    std::int64_t count = 0;
    for (std::int64_t lane = 0; lane < width; ++lane) count += counts[lane];
    for (std::int64_t j = n_whole; j < n; ++j) count += keys[j] > keys[i] ? 1 : 0;
    rank[i] = count;
  }
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
