// Non-owning views of the arrays that the core reads and writes.
//
//   MatrixView<T>   [rows, cols] row-major, contiguous
//   CsrView         compressed sparse rows: row r holds columns indices[indptr[r] .. indptr[r + 1])
//
// Sizes are int64 and products of sizes are checked for overflow.  A view costs nothing to copy and never outlives
// the array it looks at; reading one from several threads is safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "recsys/errors.hpp"

namespace recsys {

// a * b for sizes; throws ShapeError where the product exceeds int64.
inline std::int64_t checked_product(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    throw ShapeError("an array of " + std::to_string(a) + " x " + std::to_string(b) +
                     " elements is too large to address");
  }
  return product;
}

template <typename T>
class MatrixView {
 public:
  MatrixView() = default;
  MatrixView(T* data, std::int64_t rows, std::int64_t cols) : data_(data), rows_(rows), cols_(cols) {
    checked_product(checked_product(rows, cols), static_cast<std::int64_t>(sizeof(T)));
  }

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t cols() const { return cols_; }
  [[nodiscard]] std::int64_t size() const { return rows_ * cols_; }
  [[nodiscard]] T* row(std::int64_t r) const { return data_ + r * cols_; }
  [[nodiscard]] T& operator()(std::int64_t r, std::int64_t c) const { return data_[r * cols_ + c]; }

  operator MatrixView<const T>() const  // NOLINT: a writable view is a readable one
    requires(!std::is_const_v<T>)
  {
    return {data_, rows_, cols_};
  }

 private:
  T* data_ = nullptr;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
};

struct CsrView {
  std::span<const std::int64_t> indptr;   // [rows + 1]
  std::span<const std::int32_t> indices;  // [nnz]
  std::span<const float> values;          // [nnz]; not read in a pattern
  std::int64_t cols = 0;
  bool pattern = false;  // only the structure counts

  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(indptr.size()) - 1; }
  [[nodiscard]] std::int64_t nnz() const { return static_cast<std::int64_t>(indices.size()); }
  [[nodiscard]] std::int64_t begin(std::int64_t row) const { return indptr[static_cast<std::size_t>(row)]; }
  [[nodiscard]] std::int64_t end(std::int64_t row) const { return indptr[static_cast<std::size_t>(row) + 1]; }
  [[nodiscard]] std::int64_t row_size(std::int64_t row) const { return end(row) - begin(row); }
  [[nodiscard]] std::span<const std::int32_t> row_indices(std::int64_t row) const {
    return indices.subspan(static_cast<std::size_t>(begin(row)), static_cast<std::size_t>(row_size(row)));
  }
  [[nodiscard]] std::span<const float> row_values(std::int64_t row) const {
    return values.subspan(static_cast<std::size_t>(begin(row)), static_cast<std::size_t>(row_size(row)));
  }
};

// Makes every later access through `csr` safe: indptr starts at 0, never falls and ends at nnz, every entry has a
// value unless it is a pattern, and every column lies in [0, cols).  Throws DataError naming the argument, the row and
// the value, and ShapeError on the number of values.  Cost O(rows + nnz).
void check_structure(const CsrView& csr, std::string_view name);

// As check_structure, without reading the columns: O(rows), for matrices of which few rows are going to be read.
void check_indptr(const CsrView& csr, std::string_view name);

// Throws DataError naming the first row and column that hold NaN or an infinity.
void check_finite(MatrixView<const float> matrix, std::string_view name);
void check_finite(std::span<const float> vector, std::string_view name);
void check_finite(const CsrView& csr, std::string_view name);

// For callers that check piece by piece: the position of the first NaN or infinity or -1, and the error to throw.
[[nodiscard]] std::int64_t find_nonfinite(std::span<const float> values);
[[noreturn]] void throw_nonfinite(std::string_view name, std::int64_t row, std::int64_t column, float value);

}  // namespace recsys
