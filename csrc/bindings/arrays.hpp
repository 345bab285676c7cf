// NumPy arrays in and out of the core, without copies.
//
// recsys_core.ops converts what users pass; these functions only check, with the argument's name in the message, since
// a wrong pointer or length here would read foreign memory.  Views borrow from the array, which the caller of the
// bound function keeps alive; take them before releasing the GIL.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "recsys/errors.hpp"
#include "recsys/sparse.hpp"
#include "recsys/views.hpp"

namespace recsys::bindings {

namespace py = pybind11;

// (indptr int64, indices int32, data float32, n_columns)
using CsrArrays = std::tuple<py::array, py::array, py::array, std::int64_t>;
// (indptr int64, indices int32, n_columns), where only the structure counts
using CsrPattern = std::tuple<py::array, py::array, std::int64_t>;

template <typename T>
void require(const py::array& array, int n_dimensions, const std::string& name) {
  if (!array.dtype().equal(py::dtype::of<T>())) {
    throw DTypeError(name + " must be an array of " + py::str(py::dtype::of<T>()).cast<std::string>() + ", got " +
                     py::str(array.dtype()).cast<std::string>());
  }
  if (array.ndim() != n_dimensions) {
    throw ShapeError(name + " must have " + std::to_string(n_dimensions) + " dimension(s), got " +
                     std::to_string(array.ndim()));
  }
  if ((array.flags() & py::array::c_style) == 0) throw DTypeError(name + " must be C-contiguous");
}

template <typename T>
std::span<const T> vector_view(const py::array& array, const std::string& name) {
  require<T>(array, 1, name);
  return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size())};
}

template <typename T>
MatrixView<const T> matrix_view(const py::array& array, const std::string& name) {
  require<T>(array, 2, name);
  return {static_cast<const T*>(array.data()), array.shape(0), array.shape(1)};
}

// Types are checked here, and that there is an indptr at all, without which a view has no number of rows; the rest by
// check_structure or check_indptr (recsys/views.hpp).
inline std::span<const std::int64_t> indptr_view(const py::array& indptr, const std::string& name) {
  const auto view = vector_view<std::int64_t>(indptr, name + ".indptr");
  if (view.empty()) {
    throw DataError(name +
                    ".indptr must have one entry more than there are rows, got none; build the matrix with "
                    "scipy.sparse");
  }
  return view;
}

inline CsrView csr_view(const CsrArrays& arrays, const std::string& name) {
  const auto& [indptr, indices, data, n_columns] = arrays;
  return {indptr_view(indptr, name), vector_view<std::int32_t>(indices, name + ".indices"),
          vector_view<float>(data, name + ".data"), n_columns};
}

inline CsrView pattern_view(const CsrPattern& arrays, const std::string& name) {
  const auto& [indptr, indices, n_columns] = arrays;
  return {.indptr = indptr_view(indptr, name),
          .indices = vector_view<std::int32_t>(indices, name + ".indices"),
          .values = {},
          .cols = n_columns,
          .pattern = true};
}

template <typename T>
py::array_t<T> new_matrix(std::int64_t rows, std::int64_t cols) {
  checked_product(checked_product(rows, cols), static_cast<std::int64_t>(sizeof(T)));
  return py::array_t<T>({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(cols)});
}

template <typename T>
MatrixView<T> mutable_view(py::array_t<T>& array) {
  return {array.mutable_data(), array.shape(0), array.shape(1)};
}

// Hands a vector's memory to a NumPy array, which frees it.
template <typename T>
py::array_t<T> take_vector(std::vector<T>&& values) {
  auto owner = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owner->data();
  const auto size = static_cast<py::ssize_t>(owner->size());
  const py::capsule free(owner.get(), [](void* held) { delete static_cast<std::vector<T>*>(held); });
  owner.release();
  return py::array_t<T>(size, data, free);
}

inline CsrArrays take_csr(CsrMatrix&& matrix) {
  const std::int64_t n_columns = matrix.cols;
  return {take_vector(std::move(matrix.indptr)), take_vector(std::move(matrix.indices)),
          take_vector(std::move(matrix.values)), n_columns};
}

}  // namespace recsys::bindings
