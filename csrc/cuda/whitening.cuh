// Coordinates in which the part of the systems that all rows share is the identity, on a device (cpu/whitening.hpp has
// the mathematics).  The matrices are made on the host, in float64, f^3 / 2 multiply-adds once a half-sweep.
#pragma once

#include "cpu/whitening.hpp"
#include "cuda/multiply_rows.cuh"

namespace recsys::cuda {

class DeviceWhitening {
 public:
  // With the matrix of own ridges only where rows have ridges of their own.
  DeviceWhitening(const recsys::detail::Whitening& whitening, bool with_ridge, Stream stream)
      : f_(whitening.size()),
        ld_(whitening.inverse().ld()),
        inverse_(send(whitening.inverse(), stream)),
        inverse_transposed_(send(whitening.inverse_transposed(), stream)),
        factor_transposed_(send(whitening.factor_transposed(), stream)) {
    const PaddedMatrix ridge = with_ridge ? whitening.ridge() : PaddedMatrix(0, f_);
    if (with_ridge) ridge_ = send(ridge, stream);
    stream.synchronize();  // they are read until then
  }

  [[nodiscard]] std::int64_t ld() const { return ld_; }
  // W^T W [f, ld], or null without own ridges.
  [[nodiscard]] const float* ridge() const { return ridge_.data(); }

  // n vectors in packed rows: z = W^T y, x' = U x and x = W x'.
  void whiten(const float* y, std::int64_t n, float* z, Stream stream) const { multiply(y, n, inverse_, z, stream); }
  void enter(const float* x, std::int64_t n, float* inside, Stream stream) const {
    multiply(x, n, factor_transposed_, inside, stream);
  }
  void leave(const float* inside, std::int64_t n, float* x, Stream stream) const {
    multiply(inside, n, inverse_transposed_, x, stream);
  }

  // out [n, n_columns] = sign (I + D) x, columns [first, first + n_columns), where D = ridge_r W^T W of a row's own.
  // x [n, f] and out are different arrays.
  void apply_identity(const float* x, std::int64_t n, const float* ridges, std::int64_t first, std::int64_t n_columns,
                      float sign, float* out, Stream stream) const {
    const bool own = ridge_.data() != nullptr;
    launch_multiply_rows({.in = x,
                          .n = n,
                          .k = own ? static_cast<std::int32_t>(f_) : 0,
                          .matrix = own ? ridge_.data() + first : nullptr,
                          .matrix_stride = ld_,
                          .n_columns = static_cast<std::int32_t>(n_columns),
                          .scales = own ? ridges : nullptr,
                          .sign = sign,
                          .base = x + first,
                          .base_stride = f_,
                          .base_factor = sign,
                          .out = out},
                         stream);
  }

  [[nodiscard]] static std::int64_t bytes(std::int64_t f) { return 4 * 4 * f * padded_width(f); }

 private:
  static DeviceBuffer<float> send(const PaddedMatrix& matrix, Stream stream) {
    return cuda::upload(matrix.data(), matrix.rows() * matrix.ld(), stream);
  }
  void multiply(const float* in, std::int64_t n, const DeviceBuffer<float>& matrix, float* out, Stream stream) const {
    launch_multiply_rows({.in = in,
                          .n = n,
                          .k = static_cast<std::int32_t>(f_),
                          .matrix = matrix.data(),
                          .matrix_stride = ld_,
                          .n_columns = static_cast<std::int32_t>(f_),
                          .scales = nullptr,
                          .sign = 1.0F,
                          .base = nullptr,
                          .base_stride = 0,
                          .base_factor = 0.0F,
                          .out = out},
                         stream);
  }

  std::int64_t f_;
  std::int64_t ld_;
  DeviceBuffer<float> inverse_, inverse_transposed_, factor_transposed_, ridge_;
};

}  // namespace recsys::cuda
