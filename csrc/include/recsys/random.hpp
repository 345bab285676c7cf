// Random numbers by counter: number m of stream s of a seed is a function of (seed, s, m) and of nothing else, so that
// results do not depend on which thread draws when.  Integer arithmetic only, the same on every machine.
//
//   key(seed, s) = mix(seed + (s + 1) g),   draw(m) = mix(key + (m + 1) g),   g = 0x9E3779B97F4A7C15
//
// with mix the output function of SplitMix64 (Steele, Lea and Flood 2014).
#pragma once

#include <cmath>
#include <cstdint>

#include "recsys/padded_matrix.hpp"

namespace recsys {

inline constexpr std::uint64_t golden_gamma = 0x9E3779B97F4A7C15ULL;

[[nodiscard]] constexpr std::uint64_t mix_bits(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

// One stream, from its beginning or read at any place.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::uint64_t stream) : key_(mix_bits(seed + (stream + 1) * golden_gamma)) {}

  [[nodiscard]] std::uint64_t at(std::uint64_t counter) const { return mix_bits(key_ + (counter + 1) * golden_gamma); }
  std::uint64_t next() { return at(counter_++); }

  // Uniform in [0, n) for 0 < n < 2^32, with a bias below n / 2^32.
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(((next() >> 32) * static_cast<std::uint64_t>(n)) >> 32);
  }

 private:
  std::uint64_t key_;
  std::uint64_t counter_ = 0;
};

// Entry m (row-major) of a starting matrix is uniform in (-s sqrt(3), s sqrt(3)) with s = 0.1 / sqrt(cols), the scale
// of Rendle et al. 2021 (arXiv 2110.14037): dot products of two such rows start near zero whatever their length.
// Rows are `ld` floats apart.
inline void fill_start(float* data, std::int64_t rows, std::int64_t cols, std::int64_t ld, std::uint64_t seed,
                       std::uint64_t stream) {
  const RandomStream draws(seed, stream);
  const auto scale = static_cast<float>(0.1 * std::sqrt(3.0 / static_cast<double>(cols)));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) {
      const std::uint64_t bits = draws.at(static_cast<std::uint64_t>(r * cols + c)) >> 40;
      data[r * ld + c] = static_cast<float>((static_cast<double>(bits) + 0.5) * 0x1p-23 - 1.0) * scale;
    }
  }
}

inline void fill_start(PaddedMatrix& matrix, std::uint64_t seed, std::uint64_t stream) {
  fill_start(matrix.data(), matrix.rows(), matrix.cols(), matrix.ld(), seed, stream);
}

}  // namespace recsys
