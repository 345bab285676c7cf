// What an epoch of SGD on a device draws: the order of the entries, and the items j.
#pragma once

#include <bit>
#include <cstdint>

#include "cpu/negative_sampler.hpp"
#include "cuda/sorted_items.cuh"
#include "recsys/random.hpp"

namespace recsys::cuda {

// Number m of a stream (recsys/random.hpp).
__host__ __device__ inline std::uint64_t random_bits(std::uint64_t key, std::uint64_t m) {
  return mix_bits(key + (m + 1) * golden_gamma);
}

// A permutation of [0, n) by a key: four Feistel rounds over the next even power of two, repeated until the result is
// below n, which takes fewer than four turns on average.
struct Permutation {
  std::uint64_t key;
  std::uint64_t n;
  unsigned half_bits;

  [[nodiscard]] static Permutation of(std::uint64_t n, std::uint64_t key) {
    const auto bits = static_cast<unsigned>(std::bit_width(n > 1 ? n - 1 : 1));
    return {key, n, (bits + 1) / 2};
  }
  [[nodiscard]] __host__ __device__ std::uint64_t at(std::uint64_t m) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
    do {
      std::uint64_t left = m >> half_bits;
      std::uint64_t right = m & mask;
      for (std::uint64_t round = 0; round < 4; ++round) {
        const std::uint64_t mixed = left ^ (random_bits(key + round, right) >> 32 & mask);
        left = right;
        right = mixed;
      }
      m = left << half_bits | right;
    } while (m >= n);
    return m;
  }
};

// Uniform over the items that are not in liked [n] (ascending), n < n_items, by 32 random bits: the r-th of them is
// r + m, where m is the number of liked items before it, and liked[p] - p never falls.
__device__ inline std::int32_t draw_other(const std::int32_t* liked, std::int64_t n, std::int64_t n_items,
                                          std::uint64_t bits) {
  const auto rank = static_cast<std::int64_t>(((bits >> 32) * static_cast<std::uint64_t>(n_items - n)) >> 32);
  std::int64_t low = 0;
  std::int64_t high = n;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (liked[middle] - middle <= rank) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return static_cast<std::int32_t>(rank + low);
}

// How the items j are drawn: uniformly, or by the slots of a lottery (cpu/negative_sampler.hpp).
struct ItemDraws {
  std::uint64_t key;  // of the epoch's numbers
  std::int64_t n_items;
  const ItemLottery::Slot* slots;  // null: uniformly
  std::int64_t n_slots;
  std::int64_t n_drawable;  // items that can be drawn

  // The item of draw m that is not in liked [n], n < n_drawable; -1 where 64 draws of a lottery found none.
  [[nodiscard]] __device__ std::int32_t at(std::uint64_t m, const std::int32_t* liked, std::int64_t n) const {
    if (slots == nullptr) return draw_other(liked, n, n_items, random_bits(key, m));
    for (std::uint64_t attempt = 0; attempt < 64; ++attempt) {
      const std::uint64_t bits = random_bits(key, m * 64 + attempt);
      const ItemLottery::Slot& slot = slots[((bits >> 32) * static_cast<std::uint64_t>(n_slots)) >> 32];
      const std::int32_t item = static_cast<std::uint32_t>(bits) <= slot.keep_below ? slot.item : slot.other;
      if (!contains(liked, n, item)) return item;
    }
    return -1;
  }
};

}  // namespace recsys::cuda
