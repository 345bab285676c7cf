#include "recsys/views.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace recsys {
namespace {

std::string describe(float value) {
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "inf" : "-inf";
}

[[noreturn]] void throw_nonfinite(std::string_view name, const std::string& place, float value) {
  throw DataError(std::string(name) + " must hold finite numbers only, got " + describe(value) + " at " + place +
                  "; clean or drop such values first");
}

}  // namespace

// Blocks are tested by an OR of bits, which the compiler vectorizes; only a bad block is looked at value by value.
std::int64_t find_nonfinite(std::span<const float> values) {
  constexpr std::uint32_t exponent = 0x7F800000U;
  constexpr std::size_t block = 256;
  for (std::size_t start = 0; start < values.size(); start += block) {
    const std::size_t stop = std::min(values.size(), start + block);
    std::uint32_t bad = 0;
    for (std::size_t i = start; i < stop; ++i) {
      bad |= static_cast<std::uint32_t>((std::bit_cast<std::uint32_t>(values[i]) & exponent) == exponent);
    }
    if (bad == 0) continue;
    for (std::size_t i = start; i < stop; ++i) {
      if (!std::isfinite(values[i])) return static_cast<std::int64_t>(i);
    }
  }
  return -1;
}

void throw_nonfinite(std::string_view name, std::int64_t row, std::int64_t column, float value) {
  throw_nonfinite(name, "row " + std::to_string(row) + ", column " + std::to_string(column), value);
}

void check_finite(MatrixView<const float> matrix, std::string_view name) {
  const std::int64_t at = find_nonfinite({matrix.data(), static_cast<std::size_t>(matrix.size())});
  if (at >= 0) throw_nonfinite(name, at / matrix.cols(), at % matrix.cols(), matrix.data()[at]);
}

void check_finite(std::span<const float> vector, std::string_view name) {
  const std::int64_t at = find_nonfinite(vector);
  if (at >= 0) throw_nonfinite(name, "position " + std::to_string(at), vector[static_cast<std::size_t>(at)]);
}

void check_finite(const CsrView& csr, std::string_view name) {
  const std::int64_t at = find_nonfinite(csr.values);
  if (at < 0) return;
  std::int64_t row = 0;
  while (csr.end(row) <= at) ++row;
  const auto position = static_cast<std::size_t>(at);
  throw_nonfinite(name, row, csr.indices[position], csr.values[position]);
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
  if (!csr.pattern && csr.values.size() != csr.indices.size()) {
    throw ShapeError(argument + " must have as many values as column indices, got " +
                     std::to_string(csr.values.size()) + " and " + std::to_string(csr.indices.size()));
  }
}

// By blocks, as for find_nonfinite: a negative column is a large unsigned one.
void check_structure(const CsrView& csr, std::string_view name) {
  check_indptr(csr, name);
  const auto n_columns = static_cast<std::uint32_t>(std::clamp<std::int64_t>(csr.cols, 0, std::int64_t{1} << 31));
  const auto is_outside = [n_columns](std::int32_t column) { return static_cast<std::uint32_t>(column) >= n_columns; };
  constexpr std::size_t block = 256;
  for (std::size_t start = 0; start < csr.indices.size(); start += block) {
    const auto columns = csr.indices.subspan(start, std::min(block, csr.indices.size() - start));
    std::uint32_t any = 0;
    for (const std::int32_t column : columns) any |= static_cast<std::uint32_t>(is_outside(column));
    if (any == 0) continue;
    const auto bad = std::find_if(columns.begin(), columns.end(), is_outside);
    const std::int64_t at = static_cast<std::int64_t>(start) + (bad - columns.begin());
    std::int64_t row = 0;
    while (csr.end(row) <= at) ++row;
    throw DataError(std::string(name) + " must have column indices in [0, " + std::to_string(csr.cols) + "), got " +
                    std::to_string(*bad) + " in row " + std::to_string(row));
  }
}

}  // namespace recsys
