// The vector type that kernels are written over, as wide as the ISA level being compiled.
//
// No include guard beyond #pragma once is needed, since each translation unit compiles one level: it defines
// RECSYS_ISA_NS (the namespace) and RECSYS_SIMD_BYTES (the vector width) first.
//
// One-definition rule: an isa_<level>.cpp is compiled with wider instructions than the machine may have.  An inline or
// template function that it shares with other files, and that the compiler does not inline, would be kept once by the
// linker, perhaps in the wide version, and crash older machines.  So *-inl.hpp files put every function into
// recsys::cpu::RECSYS_ISA_NS, and include nothing but this header, kernel_table.hpp, <cstdint> and <cstddef>: no
// <vector>, no <span>, no <algorithm>, no <cmath>.  Kernels take raw pointers and sizes and allocate nothing.
#pragma once

#if !defined(RECSYS_ISA_NS) || !defined(RECSYS_SIMD_BYTES)
#error "define RECSYS_ISA_NS and RECSYS_SIMD_BYTES before including simd.hpp"
#endif

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>  // every function in it is always inlined
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define RECSYS_INLINE inline __attribute__((always_inline))

namespace recsys::cpu::RECSYS_ISA_NS {

// Vector of floats; + - * / and comparisons work lane by lane, and a * b + c becomes one FMA where there is one.
typedef float vfloat __attribute__((vector_size(RECSYS_SIMD_BYTES)));
inline constexpr std::int64_t lanes = RECSYS_SIMD_BYTES / 4;

RECSYS_INLINE vfloat load(const float* from) {
  vfloat value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

RECSYS_INLINE void store(float* to, vfloat value) { __builtin_memcpy(to, &value, sizeof(value)); }

// Subtracting zero keeps the sign of -0, which adding it would not.
RECSYS_INLINE vfloat broadcast(float value) { return value - vfloat{}; }

RECSYS_INLINE vfloat zero() { return vfloat{}; }

#if RECSYS_SIMD_BYTES == 64
#define RECSYS_LANES(M) \
  M(0), M(1), M(2), M(3), M(4), M(5), M(6), M(7), M(8), M(9), M(10), M(11), M(12), M(13), M(14), M(15)
#elif RECSYS_SIMD_BYTES == 32
#define RECSYS_LANES(M) M(0), M(1), M(2), M(3), M(4), M(5), M(6), M(7)
#else
#define RECSYS_LANES(M) M(0), M(1), M(2), M(3)
#endif

// All lanes take lane i.
template <int i>
RECSYS_INLINE vfloat broadcast_lane(vfloat value) {
#define RECSYS_LANE(l) i
  return __builtin_shufflevector(value, value, RECSYS_LANES(RECSYS_LANE));
#undef RECSYS_LANE
}

// Lane i of a, the others of b.
template <int i>
RECSYS_INLINE vfloat select_lane(vfloat a, vfloat b) {
#define RECSYS_LANE(l) l == i ? l : l + lanes
  return __builtin_shufflevector(a, b, RECSYS_LANES(RECSYS_LANE));
#undef RECSYS_LANE
}

// The first half of a's lanes, the second half of b's.
RECSYS_INLINE vfloat first_half(vfloat a, vfloat b) {
#define RECSYS_LANE(l) l < lanes / 2 ? l : l + lanes
  return __builtin_shufflevector(a, b, RECSYS_LANES(RECSYS_LANE));
#undef RECSYS_LANE
}

// The second half of the lanes, moved to the front, and zeros.
RECSYS_INLINE vfloat second_half_first(vfloat value) {
#define RECSYS_LANE(l) l < lanes / 2 ? l + lanes / 2 : l + lanes
  return __builtin_shufflevector(value, zero(), RECSYS_LANES(RECSYS_LANE));
#undef RECSYS_LANE
}

// 1 in lane i, 0 elsewhere.
template <int i>
RECSYS_INLINE vfloat unit() {
#define RECSYS_LANE(l) l == i ? 1.0F : 0.0F
  return vfloat{RECSYS_LANES(RECSYS_LANE)};
#undef RECSYS_LANE
}

// a0 b0 a1 b1 ..., from the lower or the upper halves of the lanes.
RECSYS_INLINE vfloat interleave_lower(vfloat a, vfloat b) {
#define RECSYS_LANE(l) (l % 2) * lanes + l / 2
  return __builtin_shufflevector(a, b, RECSYS_LANES(RECSYS_LANE));
#undef RECSYS_LANE
}
RECSYS_INLINE vfloat interleave_upper(vfloat a, vfloat b) {
#define RECSYS_LANE(l) (l % 2) * lanes + l / 2 + lanes / 2
  return __builtin_shufflevector(a, b, RECSYS_LANES(RECSYS_LANE));
#undef RECSYS_LANE
}

RECSYS_INLINE vfloat square_root(vfloat value) {
#if RECSYS_SIMD_BYTES == 64
  return (vfloat)_mm512_maskz_sqrt_ps(0xFFFF, (__m512)value);  // GCC warns of the form without a mask
#elif RECSYS_SIMD_BYTES == 32
  return (vfloat)_mm256_sqrt_ps((__m256)value);
#elif defined(__SSE2__)
  return (vfloat)_mm_sqrt_ps((__m128)value);
#elif defined(__aarch64__)
  return (vfloat)vsqrtq_f32((float32x4_t)value);
#else
  vfloat root;
  for (std::int64_t i = 0; i < lanes; ++i) root[i] = __builtin_sqrtf(value[i]);
  return root;
#endif
}

// Sum of the lanes by halving, always in the same order: lane i takes lane i + width for width = lanes / 2, ... 1.
RECSYS_INLINE float sum_lanes(vfloat value) {
#if RECSYS_SIMD_BYTES == 64
  const auto half = __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7) +
                    __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  const auto half = value;
#endif
#if RECSYS_SIMD_BYTES >= 32
  const auto quarter =
      __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#else
  const auto quarter = half;
#endif
  return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

// The sums of the lanes of a, c, b and d, in this order, in the first four lanes.
RECSYS_INLINE vfloat sums_of_four(vfloat a, vfloat b, vfloat c, vfloat d) {
  const vfloat ab = interleave_lower(a, b) + interleave_upper(a, b);
  const vfloat cd = interleave_lower(c, d) + interleave_upper(c, d);
  vfloat sums = interleave_lower(ab, cd) + interleave_upper(ab, cd);
#if RECSYS_SIMD_BYTES == 64
  sums += __builtin_shufflevector(sums, sums, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  sums += __builtin_shufflevector(sums, sums, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
#elif RECSYS_SIMD_BYTES == 32
  sums += __builtin_shufflevector(sums, sums, 4, 5, 6, 7, 0, 1, 2, 3);
#endif
  return sums;
}

// Bit i is set where a[i] > b[i]; a NaN is never greater.
RECSYS_INLINE std::uint32_t mask_greater(vfloat a, vfloat b) {
#if defined(__AVX512F__) && RECSYS_SIMD_BYTES == 64
  return static_cast<std::uint32_t>(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ));
#elif defined(__AVX__) && RECSYS_SIMD_BYTES == 32
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ)));
#elif defined(__SSE2__) && RECSYS_SIMD_BYTES == 16
  return static_cast<std::uint32_t>(_mm_movemask_ps(_mm_cmpgt_ps((__m128)a, (__m128)b)));
#elif defined(__aarch64__) && RECSYS_SIMD_BYTES == 16
  const uint32x4_t bit = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(vcgtq_f32((float32x4_t)a, (float32x4_t)b), bit));
#else
  std::uint32_t mask = 0;
  for (std::int64_t i = 0; i < lanes; ++i) mask |= static_cast<std::uint32_t>(a[i] > b[i]) << i;
  return mask;
#endif
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
