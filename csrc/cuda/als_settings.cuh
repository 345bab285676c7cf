// The settings of ALS on a device: checked, and what follows from them.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "cuda/conjugate_gradients.cuh"
#include "cuda/solve_rows.cuh"
#include "recsys/als.hpp"

namespace recsys::cuda::detail {

inline void check_options(const AlsOptions& options, std::int64_t f) {
  const auto at_least_zero = [](float value, const char* name) {
    if (!(value >= 0.0F)) throw ConfigError(std::string(name) + " must be 0 or more, got " + std::to_string(value));
  };
  const auto at_least_one = [](std::int64_t value, const char* name) {
    if (value < 1) throw ConfigError(std::string(name) + " must be 1 or more, got " + std::to_string(value));
  };
  at_least_one(f, "n_factors");
  at_least_zero(options.regularization, "regularization");
  at_least_zero(options.regularization_exponent, "regularization_exponent");
  at_least_zero(options.alpha, "alpha");
  if (!(options.unobserved_weight >= 0.0F && options.unobserved_weight <= 1.0F)) {
    throw ConfigError("unobserved_weight must lie in [0, 1], got " + std::to_string(options.unobserved_weight));
  }
  at_least_one(options.n_iterations, "n_iterations");
  at_least_one(options.block_size, "block_size");
}

// What `automatic` becomes, given that it fits.
inline AlsSolver resolve_solver_for_device(AlsSolver solver, std::int64_t f, std::int64_t block_size) {
  const std::int64_t widest = widest_system();
  const auto must_be_at_most = [](const char* name, std::int64_t most, const std::string& why, std::int64_t value) {
    throw ConfigError(std::string(name) + " must be at most " + std::to_string(most) + why + ", got " +
                      std::to_string(value));
  };
  if (solver == AlsSolver::automatic) solver = f <= widest ? AlsSolver::cholesky : AlsSolver::cg;
  if (solver == AlsSolver::cholesky && f > widest) {
    must_be_at_most("n_factors", widest,
                    " for solver \"cholesky\" on this device, whose shared memory holds a row's system (\"cg\" takes "
                    "more)",
                    f);
  }
  if (solver == AlsSolver::subspace && std::min(block_size, f) > widest) {
    must_be_at_most("block_size", widest, " on this device, whose shared memory holds a block's system", block_size);
  }
  if (solver == AlsSolver::cg && f > CgShape::widest) {
    must_be_at_most("n_factors", CgShape::widest, " for solver \"cg\" on a device (\"subspace\" takes more)", f);
  }
  return solver;
}

// The lambdas of one side: of each row, lambda (n + w n_columns)^nu, or the same for all where nu is 0.
struct Lambdas {
  std::vector<float> own;  // empty where all are the same
  double shared;           // the same for all, or between the smallest and the largest of rows with entries

  Lambdas(const CsrView& rows, const AlsOptions& options) : shared(static_cast<double>(options.regularization)) {
    if (options.regularization_exponent == 0.0F) return;
    double logarithms = 0;
    std::int64_t n = 0;
    own.reserve(static_cast<std::size_t>(rows.rows()));
    for (std::int64_t row = 0; row < rows.rows(); ++row) {
      const double weight = static_cast<double>(rows.row_size(row)) +
                            static_cast<double>(options.unobserved_weight) * static_cast<double>(rows.cols);
      own.push_back(static_cast<float>(static_cast<double>(options.regularization) *
                                       std::pow(weight, static_cast<double>(options.regularization_exponent))));
      if (rows.row_size(row) == 0) continue;
      logarithms += std::log(std::max(static_cast<double>(own.back()), 1e-30));
      ++n;
    }
    shared = n == 0 ? 0.0 : std::exp(logarithms / static_cast<double>(n));
  }

  // What the rows of a range add to the diagonal, beyond `base`.
  [[nodiscard]] std::vector<float> ridges(const Range& rows, float base) const {
    std::vector<float> ridges;
    if (own.empty()) return ridges;
    for (std::int64_t row = rows.first; row < rows.last; ++row)
      ridges.push_back(own[static_cast<std::size_t>(row)] - base);
    return ridges;
  }
};

}  // namespace recsys::cuda::detail
