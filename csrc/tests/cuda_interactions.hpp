// What the tests of ALS and fold-in on a device share.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "recsys/views.hpp"

namespace recsys::test {

// Random interactions; row 1 and column 2 are empty.
struct Interactions {
  std::int64_t n_rows;
  std::int64_t n_columns;
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> columns;
  std::vector<float> values;

  Interactions(std::int64_t rows, std::int64_t cols, unsigned one_in) : n_rows(rows), n_columns(cols) {
    std::mt19937 random(static_cast<unsigned>(rows * 31 + cols));
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = 0; column < cols && row != 1; ++column) {
        if (column == 2 || random() % one_in != 0) continue;
        columns.push_back(static_cast<std::int32_t>(column));
        values.push_back(static_cast<float>(random() % 5) * 0.5F);
      }
      indptr.push_back(std::ssize(columns));
    }
  }
  [[nodiscard]] CsrView view() const { return {indptr, columns, values, n_columns}; }
};

inline std::vector<float> gaussian(unsigned seed, std::int64_t n) {
  std::mt19937 random(seed);
  std::normal_distribution<float> number;
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = number(random);
  return values;
}

inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;  // a NaN stays
  }
  return largest;
}

}  // namespace recsys::test
