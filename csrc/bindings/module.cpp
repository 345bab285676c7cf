#include "bindings/bindings.hpp"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled core.  Use it through recsys_core.ops, which checks, converts and documents.";
  recsys::bindings::register_errors(module);
  recsys::bindings::bind_platform(module);
  recsys::bindings::bind_als(module);
  recsys::bindings::bind_sgd(module);
  recsys::bindings::bind_slim(module);
  recsys::bindings::bind_neighbors(module);
  recsys::bindings::bind_topk(module);
}
