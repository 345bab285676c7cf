#include "recsys/views.hpp"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tests/check.hpp"

namespace {

recsys::CsrView view(const std::vector<std::int64_t>& indptr, const std::vector<std::int32_t>& indices,
                     const std::vector<float>& values, std::int64_t cols) {
  return {indptr, indices, values, cols};
}

}  // namespace

TEST(products_of_sizes_are_checked) {
  CHECK(recsys::checked_product(1LL << 31, 1LL << 31) == 1LL << 62);
  CHECK_THROWS((void)recsys::checked_product(1LL << 32, 1LL << 32), recsys::ShapeError, "too large");
  CHECK_THROWS((recsys::MatrixView<float>{nullptr, 1LL << 31, 1LL << 31}), recsys::ShapeError, "too large");
}

TEST(nonfinite_values_are_found_wherever_they_are) {
  for (const std::size_t n : {1U, 255U, 256U, 257U, 1000U}) {
    for (const std::size_t at : {std::size_t{0}, n / 2, n - 1}) {
      std::vector<float> values(n, std::numeric_limits<float>::max());
      CHECK(recsys::find_nonfinite(values) == -1);
      values[at] = -std::numeric_limits<float>::infinity();
      CHECK(recsys::find_nonfinite(values) == static_cast<std::int64_t>(at));
      values[at] = std::numeric_limits<float>::quiet_NaN();
      CHECK(recsys::find_nonfinite(values) == static_cast<std::int64_t>(at));
    }
  }
}

TEST(columns_outside_are_found_wherever_they_are) {
  for (const std::size_t n : {1U, 255U, 256U, 257U, 1000U}) {
    for (const std::size_t at : {std::size_t{0}, n / 2, n - 1}) {
      const std::vector<std::int64_t> indptr{0, static_cast<std::int64_t>(at), static_cast<std::int64_t>(n)};
      for (const std::int32_t bad : {-1, 7, std::numeric_limits<std::int32_t>::min()}) {
        std::vector<std::int32_t> indices(n, 6);
        recsys::check_structure(view(indptr, indices, std::vector<float>(n), 7), "m");
        indices[at] = bad;
        CHECK_THROWS(recsys::check_structure(view(indptr, indices, std::vector<float>(n), 7), "m"), recsys::DataError,
                     "in [0, 7), got " + std::to_string(bad) + " in row 1");
      }
    }
  }
}

TEST(the_place_of_a_nonfinite_value_is_named) {
  std::vector<float> values(12, 0.0F);
  values[7] = std::numeric_limits<float>::infinity();
  CHECK_THROWS(recsys::check_finite(recsys::MatrixView<const float>(values.data(), 4, 3), "queries"), recsys::DataError,
               "queries must hold finite numbers only, got inf at row 2, column 1");
  CHECK_THROWS(recsys::check_finite(std::span<const float>(values), "bias"), recsys::DataError, "position 7");
  const std::vector<std::int64_t> indptr{0, 0, 2, 2, 3};
  const std::vector<std::int32_t> indices{4, 1, 3};
  const std::vector<float> data{1, 2, std::numeric_limits<float>::quiet_NaN()};
  CHECK_THROWS(recsys::check_finite(view(indptr, indices, data, 5), "histories"), recsys::DataError,
               "got NaN at row 3, column 3");
}

TEST(broken_structure_is_refused) {
  const std::vector<float> ones(2, 1.0F);
  const auto check = [&](const std::vector<std::int64_t>& indptr, const std::vector<std::int32_t>& indices) {
    recsys::check_structure(view(indptr, indices, ones, 3), "exclude");
  };
  check({0, 1, 2}, {0, 2});
  CHECK_THROWS(check({0, 1, 2}, {0, 3}), recsys::DataError, "got 3 in row 1");
  CHECK_THROWS(check({0, 1, 2}, {-1, 0}), recsys::DataError, "got -1 in row 0");
  CHECK_THROWS(check({0, 3, 2}, {0, 0}), recsys::DataError, "after row 1");
  CHECK_THROWS(check({0, 1, 3}, {0, 0}), recsys::DataError, "end at the number of stored entries");
  CHECK_THROWS(check({1, 1, 2}, {0, 0}), recsys::DataError, "start with 0");
  CHECK_THROWS(check({}, {}), recsys::DataError, "start with 0");
  CHECK_THROWS(check({0, 1}, {0}), recsys::ShapeError, "as many values as column indices, got 2 and 1");
}

TEST(only_a_pattern_goes_without_values) {
  const std::vector<std::int64_t> indptr{0, 2};
  const std::vector<std::int32_t> indices{0, 2};
  recsys::check_structure({indptr, indices, {}, 3, true}, "exclude");
  CHECK_THROWS(recsys::check_structure({indptr, indices, {}, 3}, "histories"), recsys::ShapeError,
               "histories must have as many values as column indices, got 0 and 2");
}
