// ALS as its tests on a device run it.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/als.hpp"
#include "recsys/als.hpp"
#include "tests/cuda_interactions.hpp"

namespace recsys::test {

enum class Place { cpu, device, device_from_host };

struct Factors {
  std::vector<float> users;
  std::vector<float> items;
  std::vector<double> losses;
  bool operator==(const Factors&) const = default;
};

inline Factors fit(const Interactions& interactions, const AlsOptions& options, std::int64_t f, Place place,
                   const cuda::AlsTuning& tuning = {}, cuda::Stream stream = {}) {
  Factors factors;
  factors.users.assign(static_cast<std::size_t>(interactions.n_rows * f), 99.0F);
  factors.items.assign(static_cast<std::size_t>(interactions.n_columns * f), 99.0F);
  const MatrixView<float> users(factors.users.data(), interactions.n_rows, f);
  const MatrixView<float> items(factors.items.data(), interactions.n_columns, f);
  const AlsMonitor monitor{.wants_loss = true, .after_iteration = [&](std::int64_t, double loss) {
                             factors.losses.push_back(loss);
                             return false;
                           }};
  if (place == Place::cpu) {
    als(interactions.view(), options, users, items, monitor);
  } else {
    cuda::als(interactions.view(), options, users, items, place == Place::device, monitor, stream, tuning);
  }
  return factors;
}

inline AlsOptions options_with(AlsSolver solver) {
  return {.regularization = 0.5F, .alpha = 3.0F, .n_iterations = 2, .solver = solver, .seed = 7, .n_threads = 1};
}

// Own lambdas, and cells that are not stored weighing less.
inline AlsOptions scaled_options(AlsSolver solver) {
  AlsOptions options = options_with(solver);
  options.regularization = 0.05F;
  options.regularization_exponent = 0.7F;
  options.unobserved_weight = 0.3F;
  return options;
}

}  // namespace recsys::test
