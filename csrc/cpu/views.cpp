#include "recsys/views.hpp"

#include <bit>
#include <cmath>

namespace recsys {
namespace {

// Index of the first value that is NaN or infinite, or -1.  Blocks are tested by an OR of bits, which the compiler
// vectorizes; only a bad block is looked at value by value.
std::int64_t find_nonfinite(const float* values, std::int64_t n) {
  constexpr std::uint32_t exponent = 0x7F800000U;
  constexpr std::int64_t block = 256;
  for (std::int64_t start = 0; start < n; start += block) {
    const std::int64_t stop = start + block < n ? start + block : n;
    std::uint32_t bad = 0;
    for (std::int64_t i = start; i < stop; ++i) {
      bad |= static_cast<std::uint32_t>((std::bit_cast<std::uint32_t>(values[i]) & exponent) == exponent);
    }
    if (bad == 0) continue;
    for (std::int64_t i = start; i < stop; ++i) {
      if (!std::isfinite(values[i])) return i;
    }
  }
  return -1;
}

std::string describe(float value) {
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "inf" : "-inf";
}

[[noreturn]] void throw_nonfinite(std::string_view name, const std::string& place, float value) {
  throw DataError(std::string(name) + " must hold finite numbers only, got " + describe(value) + " at " + place +
                  "; clean or drop such values first");
}

}  // namespace

void check_finite(MatrixView<const float> matrix, std::string_view name) {
  const std::int64_t at = find_nonfinite(matrix.data(), matrix.size());
  if (at < 0) return;
  throw_nonfinite(name, "row " + std::to_string(at / matrix.cols()) + ", column " + std::to_string(at % matrix.cols()),
                  matrix.data()[at]);
}

void check_finite(std::span<const float> vector, std::string_view name) {
  const std::int64_t at = find_nonfinite(vector.data(), static_cast<std::int64_t>(vector.size()));
  if (at < 0) return;
  throw_nonfinite(name, "position " + std::to_string(at), vector[static_cast<std::size_t>(at)]);
}

void check_finite(const CsrView& csr, std::string_view name) {
  const std::int64_t at = find_nonfinite(csr.values.data(), static_cast<std::int64_t>(csr.values.size()));
  if (at < 0) return;
  std::int64_t row = 0;
  while (csr.end(row) <= at) ++row;
  const auto position = static_cast<std::size_t>(at);
  throw_nonfinite(name, "row " + std::to_string(row) + ", column " + std::to_string(csr.indices[position]),
                  csr.values[position]);
}

void check_indptr(const CsrView& csr, std::string_view name) {
  const std::string argument(name);
  if (csr.indptr.empty() || csr.indptr.front() != 0) {
    throw DataError(argument + ".indptr must start with 0; build the matrix with scipy.sparse");
  }
  for (std::int64_t row = 0; row < csr.rows(); ++row) {
    if (csr.end(row) < csr.begin(row)) {
      throw DataError(argument + ".indptr must never fall, but does after row " + std::to_string(row) +
                      "; build the matrix with scipy.sparse");
    }
  }
  if (csr.indptr.back() != csr.nnz()) {
    throw DataError(argument + ".indptr must end at the number of stored entries, " + std::to_string(csr.nnz()) +
                    ", got " + std::to_string(csr.indptr.back()));
  }
  if (!csr.values.empty() && csr.values.size() != csr.indices.size()) {
    throw ShapeError(argument + " must have as many values as column indices, got " +
                     std::to_string(csr.values.size()) + " and " + std::to_string(csr.indices.size()));
  }
}

void check_structure(const CsrView& csr, std::string_view name) {
  check_indptr(csr, name);
  for (std::int64_t row = 0; row < csr.rows(); ++row) {
    for (const std::int32_t column : csr.row_indices(row)) {
      if (column < 0 || column >= csr.cols) {
        throw DataError(std::string(name) + " must have column indices in [0, " + std::to_string(csr.cols) + "), got " +
                        std::to_string(column) + " in row " + std::to_string(row));
      }
    }
  }
}

}  // namespace recsys
