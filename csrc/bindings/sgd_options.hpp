// The steps of SGD, as Python tells them to both modules.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "recsys/errors.hpp"
#include "recsys/sgd.hpp"

namespace recsys::bindings {

inline SgdObjective parse_objective(const std::string& name) {
  if (name == "bpr") return SgdObjective::bpr;
  if (name == "warp") return SgdObjective::warp;
  if (name == "logistic") return SgdObjective::logistic;
  if (name == "squared") return SgdObjective::squared;
  throw ConfigError("objective must be \"bpr\", \"warp\", \"logistic\" or \"squared\", got \"" + name + "\"");
}

// Of a dictionary of all of these.
inline SgdOptions sgd_options(const pybind11::dict& steps) {
  return {.objective = parse_objective(steps["objective"].cast<std::string>()),
          .adagrad = steps["adagrad"].cast<bool>(),
          .linear_decay = steps["linear_decay"].cast<bool>(),
          .learning_rate = steps["learning_rate"].cast<float>(),
          .regularization = steps["regularization"].cast<float>(),
          .n_epochs = steps["n_epochs"].cast<std::int64_t>(),
          .n_negatives = steps["n_negatives"].cast<std::int64_t>(),
          .popularity_power = steps["popularity_power"].cast<float>(),
          .reject_positives = steps["reject_positives"].cast<bool>(),
          .seed = steps["random_state"].cast<std::uint64_t>()};
}

}  // namespace recsys::bindings
