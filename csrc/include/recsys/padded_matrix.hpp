// Factors laid out for the kernels: on cache lines, and with rows padded so that whole vectors may be read.
#pragma once

#include <cstdint>
#include <cstring>

#include "recsys/aligned_buffer.hpp"
#include "recsys/views.hpp"

namespace recsys {

// Every ISA level's vector divides 16 floats, so that a layout does not depend on the level.
[[nodiscard]] inline std::int64_t padded_width(std::int64_t n_factors) { return (n_factors + 15) / 16 * 16; }

[[nodiscard]] inline AlignedBuffer<float> zeroed_floats(std::int64_t size) {
  AlignedBuffer<float> buffer(size);
  std::memset(buffer.data(), 0, static_cast<std::size_t>(size) * sizeof(float));
  return buffer;
}

// [rows, cols] with rows `ld` floats apart and zeros in between.
class PaddedMatrix {
 public:
  PaddedMatrix(std::int64_t rows, std::int64_t cols)
      : rows_(rows),
        cols_(cols),
        ld_(padded_width(cols)),
        data_(zeroed_floats(checked_product(rows, padded_width(cols)))) {}

  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t cols() const { return cols_; }
  [[nodiscard]] std::int64_t ld() const { return ld_; }
  [[nodiscard]] float* data() { return data_.data(); }
  [[nodiscard]] const float* data() const { return data_.data(); }
  [[nodiscard]] float* row(std::int64_t r) { return data_.data() + r * ld_; }
  [[nodiscard]] const float* row(std::int64_t r) const { return data_.data() + r * ld_; }

  void copy_to(MatrixView<float> out) const {
    for (std::int64_t r = 0; r < rows_; ++r) {
      std::memcpy(out.row(r), row(r), static_cast<std::size_t>(cols_) * sizeof(float));
    }
  }

 private:
  std::int64_t rows_;
  std::int64_t cols_;
  std::int64_t ld_;
  AlignedBuffer<float> data_;
};

}  // namespace recsys
