// Coordinates in which a positive definite matrix P is the identity.
//
// With P = U^T U (U upper) and W = U^-1, the substitution x = W x' turns
//
//   (P + sum_k c_k y_k y_k^T) x = sum_k t_k y_k   into   (I + sum_k c_k z_k z_k^T) x' = sum_k t_k z_k,   z = W^T y
//
// U and W are computed in double, once for all rows that share P, and used in float: what rounding W costs grows with
// the condition of U, the square root of that of P.  f^3 / 3 multiply-adds, then f^2 / 2 a vector each way.
#pragma once

#include <optional>
#include <span>

#include "cpu/kernel_table.hpp"
#include "recsys/padded_matrix.hpp"

namespace recsys::detail {

class Whitening {
 public:
  // P [f, f], its upper triangle; nothing where P is not positive definite in float.
  [[nodiscard]] static std::optional<Whitening> of(std::span<const double> P, std::int64_t f);

  [[nodiscard]] std::int64_t size() const { return inverse_.cols(); }

  // n vectors in rows `ld` floats apart and padded with zeros: z = W^T y, x' = U x and x = W x'.
  void whiten(const cpu::KernelTable& kernels, const float* y, std::int64_t ld, std::int64_t n, float* z,
              std::int64_t z_ld) const {
    kernels.multiply_triangle(y, ld, n, inverse_.data(), size(), inverse_.ld(), true, z, z_ld);
  }
  void enter(const cpu::KernelTable& kernels, const float* x, std::int64_t ld, std::int64_t n, float* inside) const {
    kernels.multiply_triangle(x, ld, n, factor_transposed_.data(), size(), inverse_.ld(), false, inside, ld);
  }
  void leave(const cpu::KernelTable& kernels, const float* inside, std::int64_t ld, std::int64_t n, float* x) const {
    kernels.multiply_triangle(inside, ld, n, inverse_transposed_.data(), size(), inverse_.ld(), false, x, ld);
  }

  // W, its transpose, and U^T, for those who multiply elsewhere: z = y W, x' = x U^T and x = x' W^T by rows.
  [[nodiscard]] const PaddedMatrix& inverse() const { return inverse_; }
  [[nodiscard]] const PaddedMatrix& inverse_transposed() const { return inverse_transposed_; }
  [[nodiscard]] const PaddedMatrix& factor_transposed() const { return factor_transposed_; }

  // W^T W: what adding the identity to P adds inside.  Both triangles.
  [[nodiscard]] PaddedMatrix ridge() const;

 private:
  explicit Whitening(std::int64_t f) : inverse_(f, f), inverse_transposed_(f, f), factor_transposed_(f, f) {}

  PaddedMatrix inverse_, inverse_transposed_, factor_transposed_;
};

}  // namespace recsys::detail
