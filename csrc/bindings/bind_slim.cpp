#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "bindings/callback.hpp"
#include "bindings/interruptible.hpp"
#include "recsys/slim.hpp"

namespace recsys::bindings {
namespace {

std::pair<CsrArrays, std::int64_t> bind_slim_fit(const CsrArrays& interactions, float l1, float l2,
                                                 std::int64_t n_iterations, float tolerance, bool positive_only,
                                                 std::int64_t n_threads, const py::object& callback) {
  const CsrView view = csr_view(interactions, "interactions");
  const SlimOptions options{.l1 = l1,
                            .l2 = l2,
                            .n_iterations = n_iterations,
                            .tolerance = tolerance,
                            .positive_only = positive_only,
                            .n_threads = n_threads};
  SlimResult result;
  {
    const Interruptible interruptible;
    result = slim(view, options, progress_callback(callback));
  }
  return {take_csr(std::move(result.weights)), result.n_unsettled};
}

}  // namespace

void bind_slim(py::module_& module) {
  module.def("slim", &bind_slim_fit, py::arg("interactions"), py::kw_only(), py::arg("l1"), py::arg("l2"),
             py::arg("n_iterations"), py::arg("tolerance"), py::arg("positive_only"), py::arg("n_threads"),
             py::arg("callback"));
}

}  // namespace recsys::bindings
