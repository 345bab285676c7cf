// Implicit-feedback matrix factorization by alternating least squares (Hu, Koren and Volinsky 2008, eq. 3 to 5).
//
//   min_{X,Y} sum_{u,i} c_ui (p_ui - x_u . y_i)^2 + lambda (|X|^2 + |Y|^2)
//
// over all cells, c = 1 + alpha r and p = 1 where r is stored, c = 1 and p = 0 elsewhere.  lambda is not scaled by the
// rows' counts.  One iteration is two half-sweeps, users given items and then items given users:
//
//   cholesky  exact rows; nnz f^2 + (n_users + n_items) f^3 / 6 multiply-adds
//   cg        n_cg_steps steps of conjugate gradients from the present row (Takacs et al. 2011);
//             2 n_cg_steps nnz f + n_cg_steps (n_users + n_items) f^2
//
// float32, every sum in a fixed order: the same bits whatever the number of threads (they differ between ISA levels).
// Memory: both factor matrices once more, the transpose of the interactions, and O(64 f^2) for Gram matrices.
#pragma once

#include <cstdint>
#include <functional>

#include "recsys/views.hpp"

namespace recsys {

enum class AlsSolver { automatic, cholesky, cg };

// What `automatic` becomes: cholesky up to `widest_cholesky` factors, cg above.  An exact iteration costs a few times
// three steps of cg, with the ratio growing as f; up to here it is cheap enough to have a loss that never rises.
inline constexpr std::int64_t widest_cholesky = 64;
[[nodiscard]] AlsSolver resolve_solver(AlsSolver solver, std::int64_t n_factors);

struct AlsOptions {
  float regularization = 0.01F;
  float alpha = 1.0F;
  std::int64_t n_iterations = 15;
  AlsSolver solver = AlsSolver::automatic;
  std::int64_t n_cg_steps = 3;
  std::uint64_t seed = 0;
  std::int64_t n_threads = 0;
};

// Called after each iteration, counted from 0, on the calling thread; true stops.  The loss is NaN unless wanted.
struct AlsMonitor {
  bool wants_loss = false;  // costs 2 nnz f operations an iteration
  std::function<bool(std::int64_t iteration, double loss)> after_iteration;
};

// interactions [n_users, n_items] with values >= 0; user_factors [n_users, f] and item_factors [n_items, f] are
// written.  Items start from fill_start(seed, stream 0), users from zero.  Rows without entries end at zero.
// Throws ConfigError, ShapeError, and DataError for empty or invalid interactions or a singular system.
void als(const CsrView& interactions, const AlsOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, const AlsMonitor& monitor);

}  // namespace recsys
