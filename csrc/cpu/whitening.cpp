#include "cpu/whitening.hpp"

#include <cmath>
#include <vector>

namespace recsys::detail {
namespace {

// U^T U factorization of the upper triangle of `matrix` in place, by rows; false where a pivot is rounding error of the
// float sums that P was made of.
bool factorize(std::vector<double>& matrix, std::int64_t f) {
  constexpr double smallest_share = 5e-7;
  for (std::int64_t i = 0; i < f; ++i) {
    double* const row = matrix.data() + i * f;
    const double diagonal = row[i];
    for (std::int64_t p = 0; p < i; ++p) {
      const double* const above = matrix.data() + p * f;
      const double factor = above[i];
      for (std::int64_t j = i; j < f; ++j) row[j] -= factor * above[j];
    }
    if (!(row[i] > smallest_share * diagonal)) return false;
    const double reciprocal = 1.0 / std::sqrt(row[i]);
    for (std::int64_t j = i; j < f; ++j) row[j] *= reciprocal;
  }
  return true;
}

// The inverse of the upper triangle U, by rows from the last.
std::vector<double> invert(const std::vector<double>& U, std::int64_t f) {
  std::vector<double> W(U.size(), 0.0);
  for (std::int64_t i = f - 1; i >= 0; --i) {
    double* const row = W.data() + i * f;
    const double reciprocal = 1.0 / U[static_cast<std::size_t>(i * f + i)];
    row[i] = reciprocal;
    for (std::int64_t k = i + 1; k < f; ++k) {
      const double factor = U[static_cast<std::size_t>(i * f + k)] * reciprocal;
      const double* const below = W.data() + k * f;
      for (std::int64_t j = k; j < f; ++j) row[j] -= factor * below[j];
    }
  }
  return W;
}

}  // namespace

std::optional<Whitening> Whitening::of(std::span<const double> P, std::int64_t f) {
  std::vector<double> U(P.begin(), P.end());
  if (!factorize(U, f)) return std::nullopt;
  const std::vector<double> W = invert(U, f);
  Whitening out(f);
  for (std::int64_t i = 0; i < f; ++i) {
    for (std::int64_t j = i; j < f; ++j) {
      const auto at = static_cast<std::size_t>(i * f + j);
      out.inverse_.row(i)[j] = static_cast<float>(W[at]);
      out.inverse_transposed_.row(j)[i] = static_cast<float>(W[at]);
      out.factor_transposed_.row(j)[i] = static_cast<float>(U[at]);
    }
  }
  return out;
}

PaddedMatrix Whitening::ridge() const {
  const std::int64_t f = size();
  std::vector<double> sums(static_cast<std::size_t>(f * f), 0.0);
  for (std::int64_t k = 0; k < f; ++k) {
    const float* const row = inverse_.row(k);
    for (std::int64_t i = k; i < f; ++i) {
      const auto factor = static_cast<double>(row[i]);
      for (std::int64_t j = k; j < f; ++j)
        sums[static_cast<std::size_t>(i * f + j)] += factor * static_cast<double>(row[j]);
    }
  }
  PaddedMatrix out(f, f);
  for (std::int64_t i = 0; i < f; ++i) {
    for (std::int64_t j = 0; j < f; ++j) out.row(i)[j] = static_cast<float>(sums[static_cast<std::size_t>(i * f + j)]);
  }
  return out;
}

}  // namespace recsys::detail
