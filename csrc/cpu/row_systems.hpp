// Exact solutions of many small regularized systems that share their prior: what solve_rows and als are made of.
//
// Each row is solved in the cheaper of two ways, chosen by its number of entries alone: the f x f system itself, or,
// for few entries and in whitened coordinates, the dual one (cpu/dual-inl.hpp).  Rows with very many entries are cut
// into parts for all threads.  Every sum has an order that depends on the row alone.  n_threads is a number from
// resolve_threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/whitening.hpp"
#include "recsys/solve_rows.hpp"
#include "recsys/sparse.hpp"

namespace recsys::detail {

// A matrix whose rows are `ld` floats apart.
struct Strided {
  const float* data;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t ld;
};

// factors^T factors, [f * f] in double, both triangles.
[[nodiscard]] std::vector<double> gram(const Strided& factors, std::int64_t n_threads);

// The systems of a matrix's rows.
struct RowSystems {
  CsrView rows;
  Strided factors;
  RowWeights weights;
  std::span<const float> item_offset{};  // o, or empty for zeros
  std::span<const float> prior{};        // P [f * f], or empty where whitened factors have made it the identity
  const Whitening* whitening = nullptr;  // of P; without it no row is solved by the dual system
  bool non_negative = false;             // whether solutions must not be; needs P, and no whitening
  std::span<const float> ridges{};       // what each row adds to the diagonal of P, or empty for nothing
};

// Which row is solved when.  Cuts and order depend on the rows' sizes alone.
struct RowPlan {
  RowSchedule schedule;                // all but
  std::vector<std::int64_t> in_parts;  // the rows that are solved one after the other, each by all threads
};

[[nodiscard]] RowPlan plan_rows(const CsrView& rows, std::int64_t f, bool may_be_dual);

// Solves all rows with entries into out, rows out_ld apart.  Returns the lowest row whose system is not positive
// definite, or -1; such a row becomes zeros.
[[nodiscard]] std::int64_t solve_systems(const RowSystems& systems, const RowPlan& plan, float* out,
                                         std::int64_t out_ld, std::int64_t n_threads);

}  // namespace recsys::detail
