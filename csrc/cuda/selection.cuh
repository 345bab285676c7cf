// The order rule as whole numbers, and a block's selection and sorting by it.
//
// A candidate is a 64-bit key: the score's bits, turned so that a higher score is a smaller number, above the item.
// Ascending keys are "score descending, then item ascending", and no two are equal, so that a set of keys, and all that
// is computed from it, does not depend on the order in which threads put them there.
//
// Cost of selecting k of n: at most 8 passes over the keys, 256 counters in shared memory.
#pragma once

#include "cuda/threads.cuh"

namespace recsys::cuda {

using Key = unsigned long long;

inline constexpr float minus_infinity = -__builtin_huge_valf();

__device__ inline Key make_key(float score, int item) {
  const unsigned bits = __float_as_uint(score + 0.0F);  // -0 ranks with 0
  const unsigned ascending = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return static_cast<Key>(~ascending) << 32 | static_cast<unsigned>(item);
}

__device__ inline float key_score(Key key) {
  const unsigned ascending = ~static_cast<unsigned>(key >> 32);
  return __uint_as_float((ascending & 0x80000000U) != 0 ? ascending & 0x7FFFFFFFU : ~ascending);
}

__device__ inline int key_item(Key key) { return static_cast<int>(key & 0xFFFFFFFFU); }

struct SelectionScratch {
  Key largest;
  int counts[256];
  int chosen;
  int before;
  int n_kept;
};

// A bound that exactly k of the keys do not exceed, 1 <= k <= n.  By all threads of a block.
__device__ inline Key bound_of_smallest(const Key* keys, int n, int k, SelectionScratch& scratch) {
  Key prefix = 0;
  Key known = 0;
  int rank = k;  // among the keys that begin with the prefix
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (int digit = thread_index(); digit < 256; digit += n_threads()) scratch.counts[digit] = 0;
    __syncthreads();
    for (int i = thread_index(); i < n; i += n_threads()) {
      const Key key = keys[i];
      if ((key & known) == prefix) atomicAdd(&scratch.counts[key >> shift & 255], 1);
    }
    __syncthreads();
    if (warp_index() == 0) {
      const int first = lane_index() * 8;
      int sum = 0;
      for (int digit = first; digit < first + 8; ++digit) sum += scratch.counts[digit];
      int before = warp_scan(sum) - sum;
      if (before < rank && rank <= before + sum) {
        int digit = first;
        while (before + scratch.counts[digit] < rank) before += scratch.counts[digit++];
        scratch.chosen = digit;
        scratch.before = before;
      }
    }
    __syncthreads();
    prefix |= static_cast<Key>(scratch.chosen) << shift;
    known |= static_cast<Key>(255) << shift;
    rank -= scratch.before;
    const bool all_of_them = scratch.counts[scratch.chosen] == rank;
    __syncthreads();  // the counters are read before they are cleared again
    if (all_of_them) break;
  }
  return prefix | ~known;
}

// Moves the k smallest of n keys to the front, in any order, and returns the largest of them; k <= n.
__device__ inline Key select_smallest(Key* keys, int n, int k, SelectionScratch& scratch) {
  const Key bound = bound_of_smallest(keys, n, k, scratch);
  if (thread_index() == 0) {
    scratch.n_kept = 0;
    scratch.largest = 0;
  }
  for (int start = 0; start < n; start += n_threads()) {
    const int at = start + thread_index();
    const Key key = at < n ? keys[at] : ~Key{0};
    __syncthreads();  // what is written now lies before what is still to be read
    if (at < n && key <= bound) {
      keys[atomicAdd(&scratch.n_kept, 1)] = key;
      atomicMax(&scratch.largest, key);
    }
  }
  __syncthreads();
  return scratch.largest;
}

// Sorts ascending, by a bitonic network whose comparisons all point one way, so that n need not be a power of two.
__device__ inline void sort_keys(Key* keys, int n) {
  const auto exchange = [keys, n](int low, int high) {
    if (high >= n || keys[low] <= keys[high]) return;
    const Key key = keys[low];
    keys[low] = keys[high];
    keys[high] = key;
  };
  int padded = 1;
  while (padded < n) padded *= 2;
  __syncthreads();
  for (int size = 2; size <= padded; size *= 2) {
    for (int i = thread_index(); i < padded / 2; i += n_threads()) {
      const int group = i / (size / 2) * size;
      const int place = i % (size / 2);
      exchange(group + place, group + size - 1 - place);
    }
    __syncthreads();
    for (int stride = size / 4; stride > 0; stride /= 2) {
      for (int i = thread_index(); i < padded / 2; i += n_threads()) {
        const int low = i / stride * stride * 2 + i % stride;
        exchange(low, low + stride);
      }
      __syncthreads();
    }
  }
}

}  // namespace recsys::cuda
