// The constants of the bound's proof (cpu/compact_items.hpp), on both sides of the bus.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace recsys::cuda {

// Raises a computed sum of non-negative float64 terms above what it would be without rounding.
__host__ __device__ inline double raised(double value) { return value * (1 + 0x1p-40); }

// g: a float32 sum of d products is within g ||q|| ||v|| + h of the exact one.
__host__ __device__ inline double relative_rounding(int n_factors) {
  const double du = (n_factors + 1) * 0x1p-24;
  return raised(du / (1 - du));
}

// h.
__host__ __device__ inline double absolute_rounding(int n_factors) { return (n_factors + 1) * 0x1p-125; }

// The nearest 8-bit code, given that |value| <= 127 up to rounding.
__host__ __device__ inline int nearest_code(double value) { return static_cast<int>(value + (value < 0 ? -0.5 : 0.5)); }

// 1 / ||row||, or 0 for a zero row: the bits of cpu/unit_scale.hpp.  The products are exact in float64, so that it does
// not matter whether they are fused with the sum.
__device__ inline double unit_scale(const float* row, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
  return sum > 0 ? 1 / sqrt(sum) : 0;
}

// A float32 number as the metric wants it.
__device__ inline float scaled(float value, double scale) {
  return static_cast<float>(static_cast<double>(value) * scale);
}

__device__ inline bool is_finite(float value) { return (__float_as_uint(value) & 0x7F800000U) != 0x7F800000U; }

}  // namespace recsys::cuda
