// Implicit-feedback matrix factorization by alternating least squares (Hu, Koren and Volinsky 2008, eq. 3 to 5).
//
//   min_{X,Y} sum_{u,i} c_ui (p_ui - x_u . y_i)^2 + sum_u lambda_u |x_u|^2 + sum_i lambda_i |y_i|^2
//
// over all cells, c = 1 + alpha r and p = 1 where r is stored, c = w and p = 0 elsewhere.  lambda_u = lambda (n_u + w
// n_items)^nu, n_u being the row's entries, and likewise for items (Rendle et al. 2021, arXiv 2110.14037, section 3.2);
// nu = 0 is a plain constant.
//
// One iteration is two half-sweeps, users given items and then items given users.  A half-sweep whitens the vectors
// given, so that the part of the systems that all rows share becomes the identity (cpu/whitening.hpp), and then solves
// the rows:
//
//   cholesky  exactly, n f^2 / 2 + f^3 / 6 multiply-adds for a row of n entries, or n^2 f / 2 + n^3 / 6 where that is
//             less (cpu/dual-inl.hpp)
//   cg        n_cg_steps steps of conjugate gradients from the present row, (n_cg_steps + 1) 2 n f
//   subspace  once through all blocks of d coordinates, each solved exactly while the others are held (Rendle et al.
//             2021, arXiv 2110.14044), n f d / 2 + 3 n f + f d^2 / 6
//
// float32, every sum in a fixed order: the same bits whatever the number of threads (they differ between ISA levels).
// Memory: the transpose of the interactions, the vectors given once more, both factors where f is not a multiple of 16,
// and O(64 f^2) for Gram matrices.
#pragma once

#include <cstdint>
#include <functional>

#include "recsys/views.hpp"

namespace recsys {

enum class AlsSolver { automatic, cholesky, cg, subspace };

// What `automatic` becomes: cholesky up to `widest_cholesky` factors, cg above.  An exact iteration costs a few times
// three steps of cg, with the ratio growing as f; up to here it is cheap enough to have a loss that never rises.
inline constexpr std::int64_t widest_cholesky = 64;
[[nodiscard]] AlsSolver resolve_solver(AlsSolver solver, std::int64_t n_factors);

struct AlsOptions {
  float regularization = 0.01F;          // lambda
  float regularization_exponent = 0.0F;  // nu
  float alpha = 1.0F;
  float unobserved_weight = 1.0F;  // w
  std::int64_t n_iterations = 15;
  AlsSolver solver = AlsSolver::automatic;
  std::int64_t n_cg_steps = 2;
  std::int64_t block_size = 32;  // of the subspace solver
  bool warm_start = false;       // start from the factors given
  double tolerance = 0.0;        // stop when an iteration lowers the loss by less than this share of it
  std::uint64_t seed = 0;
  std::int64_t n_threads = 0;
};

// Called after each iteration, counted from 0, on the calling thread; true stops.  The loss is NaN unless wanted.
struct AlsMonitor {
  bool wants_loss = false;     // costs 2 nnz f operations an iteration
  bool wants_factors = false;  // the factors have been written to the caller's arrays at each call
  std::function<bool(std::int64_t iteration, double loss)> after_iteration;
};

// interactions [n_users, n_items] with values >= 0; user_factors [n_users, f] and item_factors [n_items, f] are
// written.  Items start from fill_start(seed, stream 0) and users from zero, or both from what the arrays hold.  Rows
// without entries end at zero.
// Throws ConfigError, ShapeError, and DataError for empty or invalid interactions or a singular system.
void als(const CsrView& interactions, const AlsOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, const AlsMonitor& monitor);

}  // namespace recsys
