#include <string>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "bindings/callback.hpp"
#include "recsys/bpr.hpp"

namespace recsys::bindings {
namespace {

py::tuple bind_bpr_fit(const CsrArrays& interactions, std::int64_t n_factors, float learning_rate, float regularization,
                       std::int64_t n_epochs, std::uint64_t random_state, std::int64_t n_threads, bool deterministic,
                       const py::object& callback) {
  const CsrView view = csr_view(interactions, "interactions");
  if (n_factors < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(n_factors));
  auto user_factors = new_matrix<float>(view.rows(), n_factors);
  auto item_factors = new_matrix<float>(view.cols, n_factors);
  py::array_t<float> item_bias(static_cast<py::ssize_t>(view.cols));
  const MatrixView<float> users = mutable_view(user_factors);
  const MatrixView<float> items = mutable_view(item_factors);
  const std::span<float> bias(item_bias.mutable_data(), static_cast<std::size_t>(view.cols));
  const BprOptions options{.learning_rate = learning_rate,
                           .regularization = regularization,
                           .n_epochs = n_epochs,
                           .seed = random_state,
                           .n_threads = n_threads,
                           .deterministic = deterministic};
  {
    const py::gil_scoped_release release;
    bpr(view, options, users, items, bias, progress_callback(callback));
  }
  return py::make_tuple(user_factors, item_factors, item_bias);
}

}  // namespace

void bind_bpr(py::module_& module) {
  module.def("bpr", &bind_bpr_fit, py::arg("interactions"), py::arg("n_factors"), py::kw_only(),
             py::arg("learning_rate"), py::arg("regularization"), py::arg("n_epochs"), py::arg("random_state"),
             py::arg("n_threads"), py::arg("deterministic"), py::arg("callback"));
}

}  // namespace recsys::bindings
