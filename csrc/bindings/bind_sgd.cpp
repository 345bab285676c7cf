#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "bindings/callback.hpp"
#include "bindings/interruptible.hpp"
#include "bindings/sgd_options.hpp"
#include "recsys/sgd.hpp"

namespace recsys::bindings {
namespace {

using Floats = py::array_t<float>;

// A C-contiguous float32 array that the core is going to write to.
float* writable(py::array& array, int n_dimensions, const std::string& name) {
  require<float>(array, n_dimensions, name);
  return static_cast<float*>(array.mutable_data());
}

MatrixView<float> writable_matrix(py::array& array, const std::string& name) {
  float* const data = writable(array, 2, name);
  return {data, array.shape(0), array.shape(1)};
}

std::span<float> writable_vector(py::array& array, std::int64_t size, const std::string& name) {
  float* const data = writable(array, 1, name);
  if (array.size() != size) {
    throw ShapeError(name + " must have " + std::to_string(size) + " entries, got " + std::to_string(array.size()));
  }
  return {data, static_cast<std::size_t>(size)};
}

void bind_sgd_fit(const CsrArrays& interactions, py::array user_factors, py::array item_factors, py::array user_bias,
                  py::array item_bias, const std::optional<CsrArrays>& user_features, py::array user_feature_factors,
                  const std::optional<CsrArrays>& item_features, py::array item_feature_factors,
                  py::array item_feature_bias, const py::dict& steps, std::int64_t n_threads, bool deterministic,
                  bool warm_start, bool wants_factors, const py::object& callback) {
  const CsrView view = csr_view(interactions, "interactions");
  SgdSide users{.factors = writable_matrix(user_factors, "user_factors"),
                .bias = {},
                .features = {},
                .feature_factors = {},
                .feature_bias = {}};
  SgdSide items{.factors = writable_matrix(item_factors, "item_factors"),
                .bias = writable_vector(item_bias, view.cols, "item_bias"),
                .features = {},
                .feature_factors = {},
                .feature_bias = {}};
  if (user_bias.size() > 0) users.bias = writable_vector(user_bias, view.rows(), "user_bias");
  if (user_features.has_value()) {
    users.features = csr_view(*user_features, "user_features");
    users.feature_factors = writable_matrix(user_feature_factors, "user_feature_factors");
  }
  if (item_features.has_value()) {
    items.features = csr_view(*item_features, "item_features");
    items.feature_factors = writable_matrix(item_feature_factors, "item_feature_factors");
    items.feature_bias = writable_vector(item_feature_bias, items.features.cols, "item_feature_bias");
  }
  SgdOptions options = sgd_options(steps);
  options.n_threads = n_threads;
  options.deterministic = deterministic;
  options.warm_start = warm_start;
  const SgdMonitor monitor{.wants_factors = wants_factors, .after_epoch = progress_callback(callback)};
  const Interruptible interruptible;
  sgd(view, options, users, items, monitor);
}

}  // namespace

void bind_sgd(py::module_& module) {
  module.def("sgd", &bind_sgd_fit, py::arg("interactions"), py::arg("user_factors"), py::arg("item_factors"),
             py::arg("user_bias"), py::arg("item_bias"), py::arg("user_features"), py::arg("user_feature_factors"),
             py::arg("item_features"), py::arg("item_feature_factors"), py::arg("item_feature_bias"), py::kw_only(),
             py::arg("steps"), py::arg("n_threads"), py::arg("deterministic"), py::arg("warm_start"),
             py::arg("wants_factors"), py::arg("callback"));
}

}  // namespace recsys::bindings
