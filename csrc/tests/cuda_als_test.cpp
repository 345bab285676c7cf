// ALS on a device, its kernels compiled for the processor, against the CPU's.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "cuda/exact_sweep.cuh"
#include "tests/check.hpp"
#include "tests/cuda_als_fit.hpp"
#include "tests/cuda_check.hpp"

namespace {

using namespace recsys;
using test::Factors;
using test::fit;
using test::gaussian;
using test::Interactions;
using test::largest_difference;
using test::options_with;
using test::Place;
using test::scaled_options;

void check_against_cpu(const Interactions& interactions, const AlsOptions& options, std::int64_t f) {
  const Factors want = fit(interactions, options, f, Place::cpu);
  const Factors got = fit(interactions, options, f, Place::device);
  CHECK(largest_difference(got.users, want.users) < 2e-4);
  CHECK(largest_difference(got.items, want.items) < 2e-4);
  CHECK(got.losses.size() == want.losses.size());
  for (std::size_t i = 0; i < got.losses.size(); ++i) {
    CHECK(std::abs(got.losses[i] - want.losses[i]) < 1e-5 * std::abs(want.losses[i]));
  }
  // The same from arrays on the host, to the bit.
  CHECK(fit(interactions, options, f, Place::device_from_host) == got);
  for (std::int64_t c = 0; c < f; ++c) {
    CHECK(got.users[static_cast<std::size_t>(f + c)] == 0.0F);
    CHECK(got.items[static_cast<std::size_t>(2 * f + c)] == 0.0F);
  }
}

}  // namespace

TEST(cuda_als_agrees_with_the_cpu) {
  for (const AlsSolver solver : {AlsSolver::cholesky, AlsSolver::cg, AlsSolver::subspace}) {
    for (const std::int64_t f : {1, 3, 8, 33, 64}) {
      AlsOptions options = options_with(solver);
      options.block_size = 12;
      check_against_cpu(Interactions(40, 25, 4), options, f);
    }
  }
}

TEST(cuda_als_scales_the_regularization_and_weighs_what_is_not_stored) {
  for (const AlsSolver solver : {AlsSolver::cholesky, AlsSolver::cg, AlsSolver::subspace}) {
    for (const std::int64_t f : {1, 8, 33}) {
      AlsOptions options = scaled_options(solver);
      options.block_size = 9;
      check_against_cpu(Interactions(40, 25, 4), options, f);
    }
  }
}

TEST(cuda_als_goes_on_from_factors) {
  const Interactions interactions(40, 25, 4);
  AlsOptions options = options_with(AlsSolver::cholesky);
  options.n_iterations = 4;
  const Factors whole = fit(interactions, options, 8, Place::device);
  options.n_iterations = 2;
  Factors parts = fit(interactions, options, 8, Place::device);
  options.warm_start = true;
  // What lies in rows without entries, as row 1 and column 2, does not count.
  parts.users[8] = 77.0F;
  cuda::als(interactions.view(), options, {parts.users.data(), 40, 8}, {parts.items.data(), 25, 8}, true, {}, {});
  CHECK(parts.users == whole.users);
  CHECK(parts.items == whole.items);
}

TEST(cuda_als_stops_when_the_loss_falls_too_little) {
  AlsOptions options = options_with(AlsSolver::cholesky);
  options.n_iterations = 50;
  options.tolerance = 0.01;
  const Factors got = fit(Interactions(40, 25, 4), options, 4, Place::device);
  CHECK(got.losses.size() == fit(Interactions(40, 25, 4), options, 4, Place::cpu).losses.size());
  CHECK(got.losses.size() < 50);
}

TEST(cuda_als_by_cg_converges_to_the_exact_rows) {
  for (const std::int64_t f : {1, 5, 33}) {
    const Interactions interactions(12, 15, 3);
    AlsOptions many_steps = options_with(AlsSolver::cg);
    many_steps.n_cg_steps = 60;
    const Factors want = fit(interactions, options_with(AlsSolver::cholesky), f, Place::cpu);
    const Factors got = fit(interactions, many_steps, f, Place::device);
    CHECK(largest_difference(got.users, want.users) < 1e-3);
    CHECK(largest_difference(got.items, want.items) < 1e-3);
    CHECK(std::abs(got.losses.back() - want.losses.back()) < 1e-4 * want.losses.back());
  }
}

TEST(cuda_als_solves_long_rows_with_whole_blocks) {
  for (const std::int64_t f : {6, 70, 140, 300}) {
    const Interactions interactions(9, 80, 2);
    const std::vector<float> factors = gaussian(3, 80 * f);
    const std::vector<float> in = gaussian(4, 9 * f);
    const cuda::RowBlock block(interactions.view(), {0, 9}, {0, 80}, {});
    const std::vector<float> start = gaussian(5, 9 * f);
    for (const bool of_residual : {true, false}) {
      std::vector<float> by_warps = start;
      std::vector<float> by_blocks = start;
      const auto add = [&](std::int64_t n_long, std::vector<float>& out) {
        cuda::add_cg_entries(block, n_long, factors.data(), f, {0.0F, 2.0F, 1.0F, 2.0F}, of_residual, in.data(),
                             out.data(), {});
      };
      add(0, by_warps);
      add(5, by_blocks);
      CHECK(by_warps != start);
      const double largest = largest_difference(by_warps, start);
      CHECK(largest_difference(by_warps, by_blocks) < 1e-6 * largest);
    }
  }
}

TEST(cuda_als_does_not_depend_on_the_order_of_threads) {
  const Interactions interactions(12, 10, 3);
  for (const AlsSolver solver : {AlsSolver::cholesky, AlsSolver::cg, AlsSolver::subspace}) {
    const Factors want = fit(interactions, options_with(solver), 6, Place::device);
    test::on_every_schedule([&] { CHECK(fit(interactions, options_with(solver), 6, Place::device) == want); });
  }
}

TEST(cuda_als_stops_when_told_to) {
  const Interactions interactions(10, 8, 3);
  AlsOptions options = options_with(AlsSolver::automatic);
  options.n_iterations = 9;
  std::vector<float> users(10 * 4);
  std::vector<float> items(8 * 4);
  int n = 0;
  cuda::als(interactions.view(), options, {users.data(), 10, 4}, {items.data(), 8, 4}, true,
            {.wants_loss = false,
             .after_iteration =
                 [&](std::int64_t iteration, double loss) {
                   CHECK(std::isnan(loss));
                   ++n;
                   return iteration == 2;
                 }},
            {});
  CHECK(n == 3);
}

TEST(cuda_als_names_the_singular_row) {
  AlsOptions options = options_with(AlsSolver::cholesky);
  options.regularization = 0.0F;
  CHECK_THROWS((void)fit(Interactions(3, 3, 1), options, 4, Place::device), DataError, "the system of user 0");
}

TEST(cuda_als_says_how_wide_factors_may_be) {
  const Interactions interactions(3, 3, 1);
  test::with_device_limits({.shared_bytes = 64 << 10}, [&] {
    const std::int64_t widest = cuda::detail::widest_system();
    CHECK(widest >= 128);
    CHECK(cuda::SystemShape::shared_bytes(static_cast<int>(widest)) <= 64 << 10);
    CHECK_THROWS((void)fit(interactions, options_with(AlsSolver::cholesky), widest + 1, Place::device), ConfigError,
                 "\"cg\" takes more");
    CHECK(cuda::detail::resolve_solver_for_device(AlsSolver::automatic, widest, 1) == AlsSolver::cholesky);
    CHECK(cuda::detail::resolve_solver_for_device(AlsSolver::automatic, widest + 1, 1) == AlsSolver::cg);
  });
  AlsOptions wide = options_with(AlsSolver::subspace);
  wide.block_size = 400;
  CHECK_THROWS((void)fit(interactions, wide, 401, Place::device), ConfigError, "block_size must be at most");
  CHECK_THROWS((void)fit(interactions, options_with(AlsSolver::cg), 513, Place::device), ConfigError, "at most 512");
}

TEST(cuda_als_refuses_what_the_cpu_refuses) {
  const Interactions interactions(4, 4, 2);
  AlsOptions options = options_with(AlsSolver::cg);
  options.n_iterations = 0;
  CHECK_THROWS((void)fit(interactions, options, 3, Place::device), ConfigError, "n_iterations");
  options = options_with(AlsSolver::cg);
  options.regularization = -1.0F;
  CHECK_THROWS((void)fit(interactions, options, 3, Place::device), ConfigError, "regularization");
  options = options_with(AlsSolver::subspace);
  options.block_size = 0;
  CHECK_THROWS((void)fit(interactions, options, 3, Place::device), ConfigError, "block_size");
  options = options_with(AlsSolver::cg);
  options.unobserved_weight = 1.5F;
  CHECK_THROWS((void)fit(interactions, options, 3, Place::device), ConfigError, "unobserved_weight");
  Interactions negative(4, 4, 1);
  negative.values[0] = -1.0F;
  CHECK_THROWS((void)fit(negative, options_with(AlsSolver::cg), 3, Place::device), DataError, "interactions");
}

TEST(cuda_als_in_mixed_precision_reaches_float32) {
  const Interactions interactions(40, 25, 4);
  for (const std::int64_t f : {1, 8, 33, 64}) {
    for (const AlsOptions& options : {options_with(AlsSolver::cholesky), scaled_options(AlsSolver::cholesky)}) {
      const Factors want = fit(interactions, options, f, Place::cpu);
      const Factors plain = fit(interactions, options, f, Place::device);
      const int before = test::launches_of(cuda::solve_rows_kernel<true>);
      const Factors got = fit(interactions, options, f, Place::device, {.mixed_precision = true});
      CHECK(test::launches_of(cuda::solve_rows_kernel<true>) == before + 4);
      CHECK(got.users != plain.users);
      CHECK(largest_difference(got.users, want.users) < 2e-4);
      CHECK(largest_difference(got.items, want.items) < 2e-4);
      if (f != 8) continue;
      test::on_every_schedule(
          [&] { CHECK(fit(interactions, options, f, Place::device, {.mixed_precision = true}) == got); });
    }
  }
}
