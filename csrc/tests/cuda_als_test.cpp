// The kernels of ALS and fold-in, compiled for the processor, against float64 and against the CPU's.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuda/als.cuh"
#include "tests/check.hpp"
#include "tests/cuda_check.hpp"

namespace {

using namespace recsys;

// Random interactions; row 1 and column 2 are empty, and the first column is long if it is to be.
struct Interactions {
  std::int64_t n_rows;
  std::int64_t n_columns;
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> columns;
  std::vector<float> values;

  Interactions(std::int64_t rows, std::int64_t cols, unsigned one_in, bool first_column_full = false)
      : n_rows(rows), n_columns(cols) {
    std::mt19937 random(static_cast<unsigned>(rows * 31 + cols));
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = 0; column < cols && row != 1; ++column) {
        if (column == 2 || !(random() % one_in == 0 || (first_column_full && column == 0))) continue;
        columns.push_back(static_cast<std::int32_t>(column));
        values.push_back(static_cast<float>(random() % 5) * 0.5F);
      }
      indptr.push_back(std::ssize(columns));
    }
  }
  [[nodiscard]] CsrView view() const { return {indptr, columns, values, n_columns}; }
};

std::vector<float> gaussian(unsigned seed, std::int64_t n) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number;
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = number(random);
  return values;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;  // a NaN stays
  }
  return largest;
}

struct Factors {
  std::vector<float> users;
  std::vector<float> items;
  std::vector<double> losses;
  bool operator==(const Factors&) const = default;
};

Factors fit(const Interactions& interactions, const AlsOptions& options, std::int64_t f, bool on_device) {
  Factors factors;
  factors.users.assign(static_cast<std::size_t>(interactions.n_rows * f), 99.0F);
  factors.items.assign(static_cast<std::size_t>(interactions.n_columns * f), 99.0F);
  const MatrixView<float> users(factors.users.data(), interactions.n_rows, f);
  const MatrixView<float> items(factors.items.data(), interactions.n_columns, f);
  const AlsMonitor monitor{.wants_loss = true, .after_iteration = [&](std::int64_t, double loss) {
                             factors.losses.push_back(loss);
                             return false;
                           }};
  if (on_device) {
    cuda::als(interactions.view(), options, users, items, monitor, {});
  } else {
    als(interactions.view(), options, users, items, monitor);
  }
  return factors;
}

void check_against_cpu(const Interactions& interactions, const AlsOptions& options, std::int64_t f) {
  const Factors want = fit(interactions, options, f, false);
  const Factors got = fit(interactions, options, f, true);
  CHECK(largest_difference(got.users, want.users) < 2e-4);
  CHECK(largest_difference(got.items, want.items) < 2e-4);
  CHECK(got.losses.size() == want.losses.size());
  for (std::size_t i = 0; i < got.losses.size(); ++i) {
    CHECK(std::abs(got.losses[i] - want.losses[i]) < 1e-5 * std::abs(want.losses[i]));
  }
  for (std::int64_t c = 0; c < f; ++c) {
    CHECK(got.users[static_cast<std::size_t>(f + c)] == 0.0F);
    CHECK(got.items[static_cast<std::size_t>(2 * f + c)] == 0.0F);
  }
}

AlsOptions options_with(AlsSolver solver) {
  return {.regularization = 0.5F, .alpha = 3.0F, .n_iterations = 2, .solver = solver, .seed = 7, .n_threads = 1};
}

// The solution of one row by Gaussian elimination in float64.
std::vector<double> solve_plainly(const CsrView& rows, std::int64_t row, const std::vector<float>& factors,
                                  const std::vector<float>& prior, std::int64_t f, const RowWeights& weights,
                                  const std::vector<float>& offset) {
  const auto size = static_cast<std::size_t>(f);
  std::vector<double> a(prior.begin(), prior.end());
  std::vector<double> b(size, 0.0);
  for (std::int64_t at = rows.begin(row); at < rows.end(row); ++at) {
    const auto k = static_cast<std::size_t>(at);
    const auto item = static_cast<std::size_t>(rows.indices[k]);
    const double value = static_cast<double>(rows.values[k]);
    const double weight = static_cast<double>(weights.confidence_base) + weights.confidence_slope * value;
    const double target =
        static_cast<double>(weights.target_base) + weights.target_slope * value - static_cast<double>(offset[item]);
    for (std::size_t i = 0; i < size; ++i) {
      const double y = static_cast<double>(factors[item * size + i]);
      b[i] += target * y;
      for (std::size_t j = 0; j < size; ++j) {
        a[i * size + j] += weight * y * static_cast<double>(factors[item * size + j]);
      }
    }
  }
  for (std::size_t p = 0; p < size; ++p) {
    for (std::size_t i = p + 1; i < size; ++i) {
      const double share = a[i * size + p] / a[p * size + p];
      for (std::size_t j = p; j < size; ++j) a[i * size + j] -= share * a[p * size + j];
      b[i] -= share * b[p];
    }
  }
  for (std::size_t p = size; p-- > 0;) {
    for (std::size_t j = p + 1; j < size; ++j) b[p] -= a[p * size + j] * b[j];
    b[p] /= a[p * size + p];
  }
  return b;
}

}  // namespace

TEST(cuda_gram_agrees_with_float64_and_is_symmetric) {
  for (const std::int64_t f : {1, 5, 64, 65, 130}) {
    const std::int64_t n = 300;
    const std::vector<float> factors = gaussian(3, n * f);
    std::vector<double> gram(static_cast<std::size_t>(f * f));
    std::vector<float> prior(gram.size());
    cuda::compute_gram(factors.data(), n, f, 1.0F, 0.25F, gram.data(), prior.data(), {});
    for (std::int64_t i = 0; i < f; ++i) {
      for (std::int64_t j = 0; j < f; ++j) {
        double sum = 0;
        for (std::int64_t r = 0; r < n; ++r) {
          sum += static_cast<double>(factors[static_cast<std::size_t>(r * f + i)]) *
                 static_cast<double>(factors[static_cast<std::size_t>(r * f + j)]);
        }
        const auto at = static_cast<std::size_t>(i * f + j);
        CHECK(std::abs(gram[at] - sum) < 1e-3);
        CHECK(gram[at] == gram[static_cast<std::size_t>(j * f + i)]);
        CHECK(std::abs(static_cast<double>(prior[at]) - sum - (i == j ? 0.25 : 0.0)) < 1e-3);
      }
    }
  }
}

TEST(cuda_triangle_is_counted_row_by_row) {
  int t = 0;
  for (int row = 0; row < 200; ++row) {
    for (int column = 0; column <= row; ++column, ++t) {
      const int2 place = cuda::triangle_place(t);
      CHECK(place.x == row && place.y == column);
    }
  }
}

TEST(cuda_solve_rows_agrees_with_float64) {
  for (const std::int64_t f : {1, 2, 3, 4, 5, 7, 8, 15, 16, 33, 64, 100}) {
    const Interactions histories(6, 60, 3);
    const std::vector<float> factors = gaussian(static_cast<unsigned>(f), 60 * f);
    std::vector<float> prior(static_cast<std::size_t>(f * f), 0.0F);
    for (std::size_t i = 0; i < prior.size(); i += static_cast<std::size_t>(f) + 1) prior[i] = 1.5F;
    const std::vector<float> offset = gaussian(5, 60);
    const RowWeights weights{0.5F, 2.0F, 1.0F, 3.0F};
    std::vector<float> out(static_cast<std::size_t>(6 * f), 99.0F);
    cuda::solve_rows(histories.view(), {factors.data(), 60, f}, prior.data(), 0, weights, offset.data(),
                     {out.data(), 6, f}, {});
    for (std::int64_t row = 0; row < 6; ++row) {
      const std::vector<double> want = solve_plainly(histories.view(), row, factors, prior, f, weights, offset);
      for (std::int64_t c = 0; c < f; ++c) {
        const double got = static_cast<double>(out[static_cast<std::size_t>(row * f + c)]);
        if (row == 1) {
          CHECK(got == 0);
        } else {
          CHECK(std::abs(got - want[static_cast<std::size_t>(c)]) < 1e-4);
        }
      }
    }
  }
}

TEST(cuda_als_by_cholesky_agrees_with_the_cpu) {
  for (const std::int64_t f : {1, 3, 8, 33, 64}) {
    check_against_cpu(Interactions(40, 25, 4), options_with(AlsSolver::cholesky), f);
  }
}

// Own lambdas, and cells that are not stored weighing less.
AlsOptions scaled_options(AlsSolver solver) {
  AlsOptions options = options_with(solver);
  options.regularization = 0.05F;
  options.regularization_exponent = 0.7F;
  options.unobserved_weight = 0.3F;
  return options;
}

TEST(cuda_als_scales_the_regularization_and_weighs_what_is_not_stored) {
  for (const std::int64_t f : {1, 8, 33}) {
    check_against_cpu(Interactions(40, 25, 4), scaled_options(AlsSolver::cholesky), f);
    AlsOptions many_steps = scaled_options(AlsSolver::cg);
    many_steps.n_cg_steps = 80;
    const Factors want = fit(Interactions(12, 15, 3), scaled_options(AlsSolver::cholesky), f, false);
    const Factors got = fit(Interactions(12, 15, 3), many_steps, f, true);
    CHECK(largest_difference(got.users, want.users) < 2e-3);
    CHECK(std::abs(got.losses.back() - want.losses.back()) < 1e-3 * want.losses.back());
  }
}

TEST(cuda_als_goes_on_from_factors) {
  const Interactions interactions(40, 25, 4);
  AlsOptions options = options_with(AlsSolver::cholesky);
  options.n_iterations = 4;
  const Factors whole = fit(interactions, options, 8, true);
  options.n_iterations = 2;
  Factors parts = fit(interactions, options, 8, true);
  options.warm_start = true;
  // What lies in rows without entries, as row 1 and column 2, does not count.
  parts.users[8] = 77.0F;
  cuda::als(interactions.view(), options, {parts.users.data(), 40, 8}, {parts.items.data(), 25, 8}, {}, {});
  CHECK(parts.users == whole.users);
  CHECK(parts.items == whole.items);
}

TEST(cuda_als_stops_when_the_loss_falls_too_little) {
  AlsOptions options = options_with(AlsSolver::cholesky);
  options.n_iterations = 50;
  options.tolerance = 0.01;
  const Factors got = fit(Interactions(40, 25, 4), options, 4, true);
  CHECK(got.losses.size() == fit(Interactions(40, 25, 4), options, 4, false).losses.size());
  CHECK(got.losses.size() < 50);
}

TEST(cuda_als_by_cg_converges_to_the_exact_rows) {
  for (const std::int64_t f : {1, 5, 33}) {
    const Interactions interactions(12, 15, 3);
    AlsOptions many_steps = options_with(AlsSolver::cg);
    many_steps.n_cg_steps = 60;
    const Factors want = fit(interactions, options_with(AlsSolver::cholesky), f, false);
    const Factors got = fit(interactions, many_steps, f, true);
    CHECK(largest_difference(got.users, want.users) < 1e-3);
    CHECK(largest_difference(got.items, want.items) < 1e-3);
    CHECK(std::abs(got.losses.back() - want.losses.back()) < 1e-4 * want.losses.back());
  }
}

TEST(cuda_als_solves_long_rows_with_whole_blocks) {
  for (const std::int64_t f : {6, 70, 140, 300}) {
    const Interactions interactions(9, 80, 2);
    const std::vector<float> factors = gaussian(3, 80 * f);
    std::vector<double> gram(static_cast<std::size_t>(f * f));
    std::vector<float> prior(gram.size());
    cuda::compute_gram(factors.data(), 80, f, 1.0F, 0.5F, gram.data(), prior.data(), {});
    const cuda::DeviceRows rows(interactions.view(), cuda::detail::longest_first(interactions.view()), {});
    const std::vector<float> start = gaussian(4, 9 * f);
    std::vector<float> by_warps = start;
    std::vector<float> by_blocks = start;
    cuda::cg_on_device(rows, 0, factors.data(), f, prior.data(), nullptr, {0.0F, 2.0F, 1.0F, 2.0F}, 3, by_warps.data(),
                       {});
    cuda::cg_on_device(rows, 5, factors.data(), f, prior.data(), nullptr, {0.0F, 2.0F, 1.0F, 2.0F}, 3, by_blocks.data(),
                       {});
    CHECK(by_warps != start);
    CHECK(largest_difference(by_warps, by_blocks) < 1e-5);
  }
}

TEST(cuda_als_does_not_depend_on_the_order_of_threads) {
  const Interactions interactions(12, 10, 3);
  for (const AlsSolver solver : {AlsSolver::cholesky, AlsSolver::cg}) {
    const Factors want = fit(interactions, options_with(solver), 6, true);
    test::on_every_schedule([&] { CHECK(fit(interactions, options_with(solver), 6, true) == want); });
  }
}

TEST(cuda_als_stops_when_told_to) {
  const Interactions interactions(10, 8, 3);
  AlsOptions options = options_with(AlsSolver::automatic);
  options.n_iterations = 9;
  std::vector<float> users(10 * 4);
  std::vector<float> items(8 * 4);
  int n = 0;
  cuda::als(interactions.view(), options, {users.data(), 10, 4}, {items.data(), 8, 4},
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
  const Interactions histories(5, 30, 3);
  const std::vector<float> factors(30 * 4, 1.0F);  // all parallel
  std::vector<float> prior(16, 0.0F);
  std::vector<float> out(5 * 4);
  CHECK_THROWS(cuda::solve_rows(histories.view(), {factors.data(), 30, 4}, prior.data(), 0, {1.0F, 0.0F, 0.0F, 1.0F},
                                nullptr, {out.data(), 5, 4}, {}),
               DataError, "the system of row 0 of histories");
  AlsOptions options = options_with(AlsSolver::cholesky);
  options.regularization = 0.0F;
  CHECK_THROWS((void)fit(Interactions(3, 3, 1), options, 4, true), DataError, "the system of user 0");
}

TEST(cuda_als_says_how_wide_factors_may_be) {
  const Interactions interactions(3, 3, 1);
  test::with_device_limits({.shared_bytes = 64 << 10}, [&] {
    const std::int64_t widest = cuda::detail::widest_system();
    CHECK(widest >= 128);
    CHECK(cuda::SolveShape::shared_bytes(static_cast<int>(widest)) <= 64 << 10);
    CHECK_THROWS((void)fit(interactions, options_with(AlsSolver::cholesky), widest + 1, true), ConfigError,
                 "take solver \"cg\"");
    CHECK(cuda::detail::resolve_solver_for_device(AlsSolver::automatic, widest) == AlsSolver::cholesky);
    CHECK(cuda::detail::resolve_solver_for_device(AlsSolver::automatic, widest + 1) == AlsSolver::cg);
  });
  CHECK_THROWS((void)fit(interactions, options_with(AlsSolver::cg), 513, true), ConfigError, "at most 512");
}

TEST(cuda_als_refuses_what_the_cpu_refuses) {
  const Interactions interactions(4, 4, 2);
  AlsOptions options = options_with(AlsSolver::cg);
  options.n_iterations = 0;
  CHECK_THROWS((void)fit(interactions, options, 3, true), ConfigError, "n_iterations");
  options = options_with(AlsSolver::cg);
  options.regularization = -1.0F;
  CHECK_THROWS((void)fit(interactions, options, 3, true), ConfigError, "regularization");
  options = options_with(AlsSolver::subspace);
  CHECK_THROWS((void)fit(interactions, options, 3, true), ConfigError, "solver must be cholesky or cg");
  options = options_with(AlsSolver::cg);
  options.unobserved_weight = 1.5F;
  CHECK_THROWS((void)fit(interactions, options, 3, true), ConfigError, "unobserved_weight");
  Interactions negative(4, 4, 1);
  negative.values[0] = -1.0F;
  CHECK_THROWS((void)fit(negative, options_with(AlsSolver::cg), 3, true), DataError, "interactions");
}
