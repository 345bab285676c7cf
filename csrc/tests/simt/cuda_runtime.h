// Stands for CUDA's <cuda_runtime.h> where kernels are compiled for the processor (tests/simt/simt.hpp): the part of
// the language's built-ins and of the runtime that csrc/cuda uses, under the same names, with the same meaning.
//
// Rounding is that of IEEE 754 as on a device.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>

#include "tests/simt/runtime.hpp"
#include "tests/simt/simt.hpp"

#define __global__ inline  // several tests may include a kernel
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline void __syncthreads(std::source_location site = std::source_location::current()) {
  recsys::simt::Block::current().barrier(false, site);
}
inline int __syncthreads_or(int predicate, std::source_location site = std::source_location::current()) {
  return recsys::simt::Block::current().barrier(predicate != 0, site) != 0;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU, std::source_location site = std::source_location::current()) {
  recsys::simt::Block::current().exchange(mask, {}, site);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              std::source_location site = std::source_location::current()) {
  const unsigned self = recsys::simt::Block::current().lane();
  const auto group = self / static_cast<unsigned>(width) * static_cast<unsigned>(width);
  return recsys::simt::exchange(mask, value, site)[group + static_cast<unsigned>(lane) % static_cast<unsigned>(width)];
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int = 32,
                  std::source_location site = std::source_location::current()) {
  const unsigned self = recsys::simt::Block::current().lane();
  return recsys::simt::exchange(mask, value, site)[self ^ static_cast<unsigned>(lanes)];
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int = 32,
                 std::source_location site = std::source_location::current()) {
  const unsigned self = recsys::simt::Block::current().lane();
  return recsys::simt::exchange(mask, value, site)[self < delta ? self : self - delta];
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location site = std::source_location::current()) {
  const auto all = recsys::simt::exchange(mask, predicate, site);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) votes |= (mask >> lane & 1U) != 0 && all[lane] != 0 ? 1U << lane : 0U;
  return votes;
}

// Threads are switched at barriers only, so a plain update is an atomic one.
template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = before + value;
  return before;
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = value < before ? value : before;
  return before;
}
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = value > before ? value : before;
  return before;
}
template <typename T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = before & value;
  return before;
}
template <typename T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = before | value;
  return before;
}

inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyint(value)); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned value) { return std::bit_cast<float>(value); }
inline int __popc(unsigned value) { return std::popcount(value); }
inline int __ffsll(long long value) {
  return value == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(value)) + 1;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(a) * b) >> 32);
}
template <typename T>
T __ldg(const T* address) {
  return *address;
}
