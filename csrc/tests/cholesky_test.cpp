// The factorization of small dense systems, in buffers that end with the matrix.
#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "recsys/dispatch.hpp"
#include "recsys/padded_matrix.hpp"
#include "recsys/random.hpp"
#include "tests/check.hpp"

namespace recsys {
namespace {

// A matrix G^T G + I and a right side, where rows are as wide as the longest vector needs and not a float more.
struct System {
  std::int64_t n, ld;
  AlignedBuffer<float> matrix, x;
  std::vector<double> expected_rhs;

  explicit System(std::int64_t size) : n(size), ld((size + 15) / 16 * 16) {
    matrix = zeroed_floats(n * ld);
    x = zeroed_floats(ld);
    RandomStream random(7, static_cast<std::uint64_t>(size));
    std::vector<double> g(static_cast<std::size_t>(n * n));
    for (double& value : g) value = static_cast<double>(random.next() >> 40) * 0x1p-24 - 0.5;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = i; j < n; ++j) {
        double sum = i == j ? 1 : 0;
        for (std::int64_t k = 0; k < n; ++k) {
          sum += g[static_cast<std::size_t>(k * n + i)] * g[static_cast<std::size_t>(k * n + j)];
        }
        matrix.data()[i * ld + j] = static_cast<float>(sum);
      }
      x.data()[i] = static_cast<float>(static_cast<double>(random.next() >> 40) * 0x1p-24 - 0.5);
      expected_rhs.push_back(static_cast<double>(x.data()[i]));
    }
  }
};

TEST(a_small_system_is_solved_within_its_own_memory_at_every_level) {
  const Isa before = active_isa();
  for (const Isa isa : available_isas()) {
    set_isa(isa_name(isa));
    for (std::int64_t n = 8; n <= 72; n += 8) {
      System system(n);
      std::vector<double> matrix(static_cast<std::size_t>(n * n));
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = i; j < n; ++j) {
          matrix[static_cast<std::size_t>(i * n + j)] = matrix[static_cast<std::size_t>(j * n + i)] =
              static_cast<double>(system.matrix.data()[i * system.ld + j]);
        }
      }
      AlignedBuffer<float> scratch = zeroed_floats(cpu::cholesky_scratch * n);
      CHECK(cpu::kernels().cholesky_solve(system.matrix.data(), n, system.ld, scratch.data(), system.x.data()) == -1);
      for (std::int64_t i = 0; i < n; ++i) {
        double product = 0;
        for (std::int64_t j = 0; j < n; ++j) {
          product += matrix[static_cast<std::size_t>(i * n + j)] * static_cast<double>(system.x.data()[j]);
        }
        CHECK(std::abs(product - system.expected_rhs[static_cast<std::size_t>(i)]) < 1e-5);
      }
    }
  }
  set_isa(isa_name(before));
}

TEST(a_system_without_a_positive_pivot_is_named_by_its_row_at_every_level) {
  const Isa before = active_isa();
  for (const Isa isa : available_isas()) {
    set_isa(isa_name(isa));
    for (const std::int64_t row : {0, 5, 12, 15}) {
      System system(16);
      for (std::int64_t j = 0; j < 16; ++j) system.matrix.data()[row * 16 + j] = 0;
      for (std::int64_t i = 0; i < row; ++i) system.matrix.data()[i * 16 + row] = 0;
      AlignedBuffer<float> scratch = zeroed_floats(cpu::cholesky_scratch * 16);
      CHECK(cpu::kernels().cholesky_solve(system.matrix.data(), 16, 16, scratch.data(), system.x.data()) == row);
    }
  }
  set_isa(isa_name(before));
}

}  // namespace
}  // namespace recsys
