// ALS where a device has too little memory: batches of rows, and factors that come from the host tile by tile.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/exact_sweep.cuh"
#include "recsys/sparse.hpp"
#include "tests/check.hpp"
#include "tests/cuda_als_fit.hpp"
#include "tests/cuda_check.hpp"

namespace {

using namespace recsys;
using test::Factors;
using test::fit;
using test::Interactions;
using test::largest_difference;
using test::options_with;
using test::Place;
using test::scaled_options;

// So little that both sides' factors come in tiles.
constexpr std::int64_t f = 9;
constexpr std::size_t few_bytes = 9'000;
const cuda::AlsTuning mixed{.mixed_precision = true};

int corrections() { return test::launches_of(cuda::correct_rows); }

}  // namespace

TEST(cuda_als_gives_the_same_answer_in_any_memory) {
  const Interactions interactions(60, 45, 4);
  for (const AlsSolver solver : {AlsSolver::cholesky, AlsSolver::cg}) {
    for (const bool scaled : {false, true}) {
      AlsOptions options = scaled ? scaled_options(solver) : options_with(solver);
      options.seed = 3;
      const std::int64_t f = 9;
      const Factors want = fit(interactions, options, f, Place::device);
      // Less and less: interactions leave the device, rows come in batches, factors stay on the host, and come in
      // tiles. The emulated device fails where more is allocated than there is.
      bool refused = false;
      for (std::size_t bytes = 60'000; bytes > 4'000; bytes -= bytes / 3) {
        test::with_device_limits({.free_bytes = bytes}, [&] {
          for (const Place place : {Place::device, Place::device_from_host}) {
            try {
              const Factors got = fit(interactions, options, f, place);
              CHECK(largest_difference(got.users, want.users) < 5e-5);
              CHECK(largest_difference(got.items, want.items) < 5e-5);
              CHECK(std::abs(got.losses.back() - want.losses.back()) < 1e-5 * want.losses.back());
            } catch (const DeviceError& error) {
              refused = true;
              CHECK(std::string(error.what()).find("must fit the device's memory") != std::string::npos);
            }
          }
        });
      }
      CHECK(refused);
    }
  }
}

TEST(cuda_als_is_cut_up_by_the_memory_that_is_free) {
  const Interactions interactions(60, 45, 4);
  const CsrMatrix transposed = transpose(interactions.view());
  const auto plan = [&](AlsSolver solver, std::int64_t room, bool on_device) {
    return cuda::plan_als(interactions.view(), transposed.view(), {nullptr, 60, 9, on_device},
                          {nullptr, 45, 9, on_device}, {solver, 4, false}, room);
  };
  const std::int64_t fixed = cuda::als_fixed_bytes(60, 9);
  const auto covers = [](const std::vector<cuda::Range>& ranges, std::int64_t n) {
    std::int64_t next = 0;
    for (const cuda::Range& range : ranges) {
      CHECK(range.first == next && range.last > range.first);
      next = range.last;
    }
    CHECK(next == n);
  };
  for (const AlsSolver solver : {AlsSolver::cholesky, AlsSolver::cg}) {
    const cuda::AlsPlan roomy = plan(solver, fixed + 100'000, true);
    CHECK(roomy.keeps_interactions && roomy.users.tile == 45 && roomy.users.batches.size() == 1);
    const cuda::AlsPlan tight = plan(solver, fixed + 3'000, false);
    CHECK(!tight.keeps_interactions && tight.users.tile < 45 && tight.users.batches.size() > 1);
    covers(tight.users.batches, 60);
    covers(tight.items.batches, 45);
    CHECK_THROWS((void)plan(solver, fixed + 100, false), DeviceError, "must fit the device's memory");
    CHECK_THROWS((void)plan(solver, fixed - 1, false), DeviceError, "the Gram matrices of ALS");
  }
  CHECK_THROWS((void)plan(AlsSolver::subspace, fixed + 3'000, false), DeviceError, "take solver \"cg\"");
}

TEST(cuda_als_waits_for_the_tiles_that_it_copies) {
  const Interactions interactions(60, 45, 4);
  for (const AlsSolver solver : {AlsSolver::cholesky, AlsSolver::cg}) {
    AlsOptions options = scaled_options(solver);
    options.n_iterations = 1;
    for (const bool pins : {true, false}) {
      test::with_device_limits({.free_bytes = few_bytes, .pins_memory = pins}, [&] {
        // Pieces that hold a few rows, so that one tile fills them several times.
        const cuda::AlsTuning tuning{.mixed_precision = true, .staging_bytes = 100};
        const int before = corrections();
        const Factors want = fit(interactions, options, f, Place::device_from_host, tuning);
        CHECK((corrections() > before) == (solver == AlsSolver::cholesky));  // there were tiles
        test::on_late_streams([&](cuda::Stream stream) {
          CHECK(fit(interactions, options, f, Place::device_from_host, tuning, stream) == want);
        });
      });
    }
  }
}

TEST(cuda_als_in_mixed_precision_refines_tile_by_tile) {
  const Interactions interactions(60, 45, 4);
  for (const AlsOptions& options : {options_with(AlsSolver::cholesky), scaled_options(AlsSolver::cholesky)}) {
    const Factors want = fit(interactions, options, f, Place::cpu);
    test::with_device_limits({.free_bytes = few_bytes}, [&] {
      const Factors plain = fit(interactions, options, f, Place::device_from_host);
      const int before = corrections();
      const Factors got = fit(interactions, options, f, Place::device_from_host, mixed);
      CHECK(corrections() > before);
      CHECK(got.users != plain.users);
      CHECK(largest_difference(got.users, want.users) < 2e-4);
      CHECK(largest_difference(got.items, want.items) < 2e-4);
      test::on_every_schedule([&] { CHECK(fit(interactions, options, f, Place::device_from_host, mixed) == got); });
    });
  }
}

TEST(cuda_als_in_mixed_precision_solves_in_float32_what_tiles_do_not_refine) {
  // Nothing but the entries and a small ridge, and fewer entries than factors.
  const Interactions interactions(60, 45, 9);
  AlsOptions options = options_with(AlsSolver::cholesky);
  options.unobserved_weight = 0.0F;
  options.regularization = 0.05F;
  options.alpha = 50.0F;
  options.n_iterations = 1;
  test::with_device_limits({.free_bytes = few_bytes}, [&] {
    const Factors plain = fit(interactions, options, f, Place::device_from_host);
    const int before = test::launches_of(cuda::solve_rows_kernel<false>);
    const Factors got = fit(interactions, options, f, Place::device_from_host, mixed);
    CHECK(test::launches_of(cuda::solve_rows_kernel<false>) > before);
    CHECK(std::abs(got.losses[0] - plain.losses[0]) < 1e-3 * plain.losses[0]);
  });
}
