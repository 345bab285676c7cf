// Looking up an item in an ascending list of them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace recsys::cuda {

// Whether the ascending items [n] hold an item.
__device__ inline bool contains(const std::int32_t* items, std::int64_t n, std::int32_t item) {
  std::int64_t low = 0;
  std::int64_t high = n;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (items[middle] < item) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < n && items[low] == item;
}

}  // namespace recsys::cuda
