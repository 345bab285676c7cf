// The kernel that solves rows, and fold-in, compiled for the processor, against float64.
#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "cuda/als.hpp"
#include "cuda/row_block.cuh"
#include "cuda/solve_rows.cuh"
#include "recsys/solve_rows.hpp"
#include "tests/check.hpp"
#include "tests/cuda_check.hpp"
#include "tests/cuda_interactions.hpp"

namespace {

using namespace recsys;
using test::gaussian;
using test::Interactions;

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
    cuda::add_gram(factors.data(), 100, f, false, gram.data(), {});
    cuda::add_gram(factors.data() + 100 * f, n - 100, f, true, gram.data(), {});
    cuda::make_prior_on_device(gram.data(), f, 0.5F, 0.25F, prior.data(), {});
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
        CHECK(std::abs(static_cast<double>(prior[at]) - 0.5 * sum - (i == j ? 0.25 : 0.0)) < 1e-3);
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
    cuda::solve_rows(histories.view(), {factors.data(), 60, f},
                     {.prior = prior.data(), .weights = weights, .item_offset = offset.data()}, {out.data(), 6, f}, {});
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

TEST(cuda_solve_rows_names_the_singular_row) {
  const Interactions histories(5, 30, 3);
  const std::vector<float> factors(30 * 4, 1.0F);  // all parallel
  std::vector<float> prior(16, 0.0F);
  std::vector<float> out(5 * 4);
  CHECK_THROWS(cuda::solve_rows(histories.view(), {factors.data(), 30, 4},
                                {.prior = prior.data(), .weights = {1.0F, 0.0F, 0.0F, 1.0F}}, {out.data(), 5, 4}, {}),
               DataError, "the system of row 0 of histories");
}

namespace {

// A batch of rows for the kernel, and what it is to find.
struct Batch {
  static constexpr std::int64_t n = 6;
  static constexpr std::int64_t n_items = 60;
  std::int64_t f;
  Interactions histories{n, n_items, 3};
  std::vector<float> factors;
  std::vector<float> prior;
  std::vector<float> ridges{0.5F, 0.5F, 2.0F, 0.25F, 1.0F, 3.0F};
  RowWeights weights{0.5F, 2.0F, 1.0F, 3.0F};

  explicit Batch(std::int64_t width, float diagonal = 1.5F)
      : f(width), factors(gaussian(static_cast<unsigned>(width), n_items * width)) {
    prior.assign(static_cast<std::size_t>(f * f), 0.0F);
    for (std::size_t i = 0; i < prior.size(); i += static_cast<std::size_t>(f) + 1) prior[i] = diagonal;
  }

  // In a launch for each tile of items, which go on from each other.
  [[nodiscard]] std::vector<float> solve(bool mixed, const std::vector<cuda::Range>& tiles) const {
    std::vector<float> out(static_cast<std::size_t>(n * f), 99.0F);
    std::vector<float> systems(static_cast<std::size_t>(n * cuda::SystemShape::matrix_floats(static_cast<int>(f))));
    std::vector<std::int32_t> failed{n};
    for (const cuda::Range& tile : tiles) {
      const cuda::RowBlock block(histories.view(), {0, n}, tile, {});
      cuda::SolveArguments a{};
      a.indptr = block.indptr.data();
      a.columns = block.columns.data();
      a.values = block.values.data();
      a.order = block.order.data();
      a.factors = factors.data() + tile.first * f;
      a.stride = f;
      a.f = static_cast<std::int32_t>(f);
      a.prior = prior.data();
      a.prior_stride = f;
      a.ridges = ridges.data();
      a.weights = weights;
      a.systems = systems.data();
      a.begins = tile.first == 0;
      a.ends = tile.last == n_items;
      a.out = out.data();
      a.failed = failed.data();
      cuda::launch_solve_rows(a, block.order.size(), mixed, {});
    }
    CHECK(failed[0] == n);
    return out;
  }

  // The largest error, as a share of the largest number.
  [[nodiscard]] double error_of(const std::vector<float>& out) const {
    double error = 0;
    double largest = 0;
    const std::vector<float> no_offset(n_items, 0.0F);
    for (std::int64_t row = 0; row < n; ++row) {
      if (row == 1) continue;
      std::vector<float> own = prior;
      for (std::size_t i = 0; i < own.size(); i += static_cast<std::size_t>(f) + 1) {
        own[i] += ridges[static_cast<std::size_t>(row)];
      }
      const std::vector<double> want = solve_plainly(histories.view(), row, factors, own, f, weights, no_offset);
      for (std::int64_t c = 0; c < f; ++c) {
        const double wanted = want[static_cast<std::size_t>(c)];
        error = std::max(error, std::abs(static_cast<double>(out[static_cast<std::size_t>(row * f + c)]) - wanted));
        largest = std::max(largest, std::abs(wanted));
      }
    }
    return error / largest;
  }
};

const std::vector<cuda::Range> whole{{0, Batch::n_items}};

}  // namespace

TEST(cuda_solve_rows_goes_on_from_tile_to_tile) {
  for (const std::int64_t f : {1, 4, 17, 50}) {
    const Batch batch(f);
    CHECK(batch.error_of(batch.solve(false, whole)) < 1e-5);
    CHECK(batch.error_of(batch.solve(false, {{0, 7}, {7, 8}, {8, 40}, {40, 60}})) < 1e-5);
  }
}

TEST(cuda_solve_rows_refines_what_tensor_cores_round) {
  for (const std::int64_t f : {1, 3, 15, 16, 17, 31, 64, 100}) {
    const Batch batch(f);
    const std::vector<float> plain = batch.solve(false, whole);
    const std::vector<float> mixed = batch.solve(true, whole);
    CHECK(batch.error_of(plain) < 2e-5);
    CHECK(batch.error_of(mixed) < std::max(1e-6, batch.error_of(plain)));
    if (f > 1) CHECK(mixed != plain);
    test::on_every_schedule([&] { CHECK(batch.solve(true, whole) == mixed); });
  }
}

TEST(cuda_solve_rows_falls_back_to_float32_where_refinement_does_not_converge) {
  // Next to nothing but the entries, which are fewer than the factors: rounding changes what the small ridge decides.
  Batch batch(40, 1e-2F);
  batch.ridges.assign(Batch::n, 0.0F);
  batch.weights.confidence_slope = 50.0F;
  CHECK(batch.solve(true, whole) == batch.solve(false, whole));
}

TEST(cuda_tf32_products_round_as_tensor_cores_do) {
  // 1 + 2^-11 lies between two numbers of 11 bits, and goes away from zero; less goes to 1.
  CHECK(std::bit_cast<float>(cuda::round_to_tf32(1.0F + 0x1p-11F)) == 1.0F + 0x1p-10F);
  CHECK(std::bit_cast<float>(cuda::round_to_tf32(1.0F + 0x1p-12F)) == 1.0F);
  CHECK(std::bit_cast<float>(cuda::round_to_tf32(-3.0F)) == -3.0F);
}

TEST(cuda_solve_rows_takes_histories_in_batches) {
  const Interactions histories(50, 60, 3);
  const std::vector<float> factors = gaussian(8, 60 * 5);
  std::vector<float> ridges(50);
  for (std::size_t row = 0; row < ridges.size(); ++row) ridges[row] = 0.1F * static_cast<float>(row);
  const auto solve = [&] {
    std::vector<float> out(50 * 5, 99.0F);
    cuda::solve_rows(histories.view(), {factors.data(), 60, 5},
                     {.gram_weight = 0.25F, .ridge = 0.5F, .ridges = ridges, .weights = {0.0F, 2.0F, 1.0F, 2.0F}},
                     {out.data(), 50, 5}, {});
    return out;
  };
  const std::vector<float> want = solve();
  std::vector<float> prior(25);
  gram({factors.data(), 60, 5}, {prior.data(), 5, 5}, 1);
  for (float& entry : prior) entry *= 0.25F;
  const std::vector<float> no_offset(60, 0.0F);
  for (std::int64_t row = 0; row < 50; ++row) {
    if (row == 1) continue;
    std::vector<float> own = prior;
    for (std::size_t i = 0; i < 25; i += 6) own[i] += 0.5F + ridges[static_cast<std::size_t>(row)];
    const std::vector<double> exact =
        solve_plainly(histories.view(), row, factors, own, 5, {0.0F, 2.0F, 1.0F, 2.0F}, no_offset);
    for (std::size_t c = 0; c < 5; ++c) {
      CHECK(std::abs(static_cast<double>(want[static_cast<std::size_t>(row) * 5 + c]) - exact[c]) < 1e-5);
    }
  }
  const int before = test::launches_of(cuda::solve_rows_kernel<false>);
  test::with_device_limits({.free_bytes = 3'000}, [&] { CHECK(solve() == want); });
  CHECK(test::launches_of(cuda::solve_rows_kernel<false>) > before + 2);
  test::with_device_limits({.free_bytes = 300},
                           [&] { CHECK_THROWS((void)solve(), DeviceError, "must fit the device's memory"); });
  ridges.pop_back();
  CHECK_THROWS((void)solve(), ShapeError, "ridge must have one entry for each of the 50 rows");
}
