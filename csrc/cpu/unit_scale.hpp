// Scaling to length 1, for the cosine metric.
#pragma once

#include <cmath>
#include <cstdint>

namespace recsys::cpu {

// 1 / ||row||, or 0 for a zero row.  In float64 the square of no finite float32 overflows or vanishes.
inline double unit_scale(const float* row, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(row[i]) * row[i];
  return sum > 0 ? 1 / std::sqrt(sum) : 0;
}

}  // namespace recsys::cpu
