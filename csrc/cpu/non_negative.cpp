#include "cpu/non_negative.hpp"

#include <algorithm>
#include <cmath>

namespace recsys::detail {
namespace {

constexpr int most_sweeps = 2000;
constexpr float settled = 1e-6F;

}  // namespace

bool solve_non_negative(const cpu::KernelTable& kernels, float* matrix, std::int64_t f, std::int64_t ld, float* b,
                        float* x) {
  float largest = 0.0F;
  for (std::int64_t i = 0; i < f; ++i) {
    // Coordinates that are not finite would be taken for zeros below.
    if (!(matrix[i * ld + i] > 0.0F) || !std::isfinite(matrix[i * ld + i]) || !std::isfinite(b[i])) return false;
    for (std::int64_t j = 0; j < i; ++j) matrix[i * ld + j] = matrix[j * ld + i];
    largest = std::max(largest, std::abs(b[i]));
  }
  std::fill_n(x, f, 0.0F);
  for (int sweep = 0; sweep < most_sweeps; ++sweep) {
    float moved = 0.0F;
    for (std::int64_t i = 0; i < f; ++i) {
      const float* const row = matrix + i * ld;
      const float next = std::max(0.0F, x[i] + b[i] / row[i]);
      const float step = next - x[i];
      if (step == 0.0F) continue;
      x[i] = next;
      kernels.add_scaled(b, -step, row, f);
      moved = std::max(moved, std::abs(step) * row[i]);
    }
    if (!(moved > settled * largest)) break;
  }
  return true;
}

}  // namespace recsys::detail
