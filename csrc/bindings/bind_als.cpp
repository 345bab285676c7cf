#include <string>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "bindings/callback.hpp"
#include "bindings/choices.hpp"
#include "bindings/interruptible.hpp"
#include "recsys/als.hpp"
#include "recsys/solve_rows.hpp"

namespace recsys::bindings {
namespace {

void bind_als_fit(const CsrArrays& interactions, py::array_t<float>& user_factors, py::array_t<float>& item_factors,
                  float regularization, float regularization_exponent, float alpha, float unobserved_weight,
                  std::int64_t n_iterations, const std::string& solver, std::int64_t n_cg_steps,
                  std::int64_t block_size, bool warm_start, double tolerance, std::uint64_t random_state,
                  std::int64_t n_threads, const py::object& callback, bool compute_loss, bool write_factors) {
  const CsrView view = csr_view(interactions, "interactions");
  require<float>(user_factors, 2, "user_factors");
  require<float>(item_factors, 2, "item_factors");
  const MatrixView<float> users = mutable_view(user_factors);
  const MatrixView<float> items = mutable_view(item_factors);
  const AlsOptions options{.regularization = regularization,
                           .regularization_exponent = regularization_exponent,
                           .alpha = alpha,
                           .unobserved_weight = unobserved_weight,
                           .n_iterations = n_iterations,
                           .solver = parse_solver(solver),
                           .n_cg_steps = n_cg_steps,
                           .block_size = block_size,
                           .warm_start = warm_start,
                           .tolerance = tolerance,
                           .seed = random_state,
                           .n_threads = n_threads};
  const AlsMonitor monitor{.wants_loss = compute_loss && !callback.is_none(),
                           .wants_factors = write_factors,
                           .after_iteration = progress_callback(callback)};
  const Interruptible interruptible;
  als(view, options, users, items, monitor);
}

py::array_t<float> bind_solve_rows(const CsrArrays& histories, const py::array& item_factors, const py::array& prior,
                                   std::pair<float, float> confidence, std::pair<float, float> target,
                                   const py::object& item_offset, const py::object& ridge, bool non_negative,
                                   std::int64_t n_threads) {
  const CsrView view = csr_view(histories, "histories");
  const auto factors = matrix_view<float>(item_factors, "item_factors");
  const auto prior_view = matrix_view<float>(prior, "prior");
  std::span<const float> offset;
  if (!item_offset.is_none()) offset = vector_view<float>(item_offset.cast<py::array>(), "item_offset");
  std::span<const float> ridges;
  if (!ridge.is_none()) ridges = vector_view<float>(ridge.cast<py::array>(), "ridge");
  auto out = new_matrix<float>(view.rows(), factors.cols());
  const MatrixView<float> solutions = mutable_view(out);
  {
    const Interruptible interruptible;
    solve_rows(view, factors, prior_view, {confidence.first, confidence.second, target.first, target.second}, offset,
               ridges, solutions, non_negative, n_threads);
  }
  return out;
}

py::array_t<float> bind_gram(const py::array& factors, std::int64_t n_threads) {
  const auto view = matrix_view<float>(factors, "factors");
  auto out = new_matrix<float>(view.cols(), view.cols());
  const MatrixView<float> product = mutable_view(out);
  {
    const Interruptible interruptible;
    gram(view, product, n_threads);
  }
  return out;
}

}  // namespace

void bind_als(py::module_& module) {
  // The factors are arrays of the caller's, noconvert: a converted copy would take the result with it.
  module.def("als", &bind_als_fit, py::arg("interactions"), py::arg("user_factors").noconvert(),
             py::arg("item_factors").noconvert(), py::kw_only(), py::arg("regularization"),
             py::arg("regularization_exponent"), py::arg("alpha"), py::arg("unobserved_weight"),
             py::arg("n_iterations"), py::arg("solver"), py::arg("n_cg_steps"), py::arg("block_size"),
             py::arg("warm_start"), py::arg("tolerance"), py::arg("random_state"), py::arg("n_threads"),
             py::arg("callback"), py::arg("compute_loss"), py::arg("write_factors"));
  module.def("solve_rows", &bind_solve_rows, py::arg("histories"), py::arg("item_factors"), py::kw_only(),
             py::arg("prior"), py::arg("confidence"), py::arg("target"), py::arg("item_offset"), py::arg("ridge"),
             py::arg("non_negative"), py::arg("n_threads"));
  module.def("gram", &bind_gram, py::arg("factors"), py::kw_only(), py::arg("n_threads"));
}

}  // namespace recsys::bindings
