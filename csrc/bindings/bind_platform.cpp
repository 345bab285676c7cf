#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/bindings.hpp"
#include "recsys/dispatch.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys::bindings {

namespace py = pybind11;

void bind_platform(py::module_& module) {
  module.def("isa", [] { return std::string(isa_name(active_isa())); });
  module.def("available_isas", [] {
    std::vector<std::string> names;
    for (const Isa isa : available_isas()) names.emplace_back(isa_name(isa));
    return names;
  });
  module.def("_set_isa", &set_isa, py::arg("name"));
  module.def("max_threads", &usable_cpus);
}

}  // namespace recsys::bindings
