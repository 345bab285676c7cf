#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "bindings/interruptible.hpp"
#include "recsys/neighbors.hpp"

namespace recsys::bindings {
namespace {

CsrArrays bind_row_neighbors(const CsrArrays& vectors, std::int64_t k, std::int64_t n_threads) {
  const CsrView view = csr_view(vectors, "item_vectors");
  CsrMatrix neighbors;
  {
    const Interruptible interruptible;
    neighbors = row_neighbors(view, k, n_threads);
  }
  return take_csr(std::move(neighbors));
}

}  // namespace

void bind_neighbors(py::module_& module) {
  module.def("row_neighbors", &bind_row_neighbors, py::arg("vectors"), py::arg("k"), py::kw_only(),
             py::arg("n_threads"));
}

}  // namespace recsys::bindings
