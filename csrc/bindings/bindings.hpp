// One function an area: each defines its part of the module in its own bind_<area>.cpp.
#pragma once

#include <pybind11/pybind11.h>

namespace recsys::bindings {

void bind_platform(pybind11::module_& module);
void bind_als(pybind11::module_& module);
void bind_sgd(pybind11::module_& module);
void bind_slim(pybind11::module_& module);
void bind_neighbors(pybind11::module_& module);
void bind_topk(pybind11::module_& module);

// Translates recsys:: errors into the classes of recsys_core.errors.
void register_errors(pybind11::module_& module);

}  // namespace recsys::bindings
