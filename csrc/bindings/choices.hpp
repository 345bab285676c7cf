// Named choices, as Python gives them, as the core's enumerations; both modules take the same names.
#pragma once

#include <string>

#include "recsys/als.hpp"
#include "recsys/errors.hpp"
#include "recsys/topk.hpp"

namespace recsys::bindings {

inline Metric parse_metric(const std::string& metric) {
  if (metric == "dot") return Metric::dot;
  if (metric == "cosine") return Metric::cosine;
  throw ConfigError("metric must be \"dot\" or \"cosine\", got \"" + metric + "\"");
}

inline Method parse_method(const std::string& method) {
  if (method == "auto") return Method::automatic;
  if (method == "float32") return Method::float32;
  if (method == "compact") return Method::compact;
  throw ConfigError("method must be \"auto\", \"float32\" or \"compact\", got \"" + method + "\"");
}

inline AlsSolver parse_solver(const std::string& name) {
  if (name == "auto") return AlsSolver::automatic;
  if (name == "cholesky") return AlsSolver::cholesky;
  if (name == "cg") return AlsSolver::cg;
  if (name == "subspace") return AlsSolver::subspace;
  throw ConfigError("solver must be \"auto\", \"cholesky\", \"cg\" or \"subspace\", got \"" + name + "\"");
}

}  // namespace recsys::bindings
