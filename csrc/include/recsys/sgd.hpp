// Matrix factorization by stochastic gradient descent, for three objectives that rank and one that predicts.
//
//   score(u, i) = x_u . y_i + b_i,   x_u = p_u + sum_g F_ug v_g,   (y_i, b_i) = (q_i, c_i) + sum_g G_ig (w_g, d_g)
//
// where F and G are features of users and items, if there are any (Kula 2015).  An epoch visits every stored entry
// (u, i) once, in a fresh order, with items j that u has no entry for; each visit is one step on x_u, on y and on b:
//
//   bpr       -log sigmoid(s_ui - s_uj), one j (Rendle et al. 2009, eq. 5)
//   warp      L(rank) max(0, 1 - s_ui + s_uj), with j the first of up to n_negatives that is scored above s_ui - 1, and
//             rank = floor((n_items - 1) / trials), L(r) = 1 + 1/2 + ... + 1/r over its value for n_items - 1
//             (Weston et al. 2011, section 3)
//   logistic  -w log sigmoid(s_ui) - sum over n_negatives j of log sigmoid(-s_uj), with w the entry's value
//             (Johnson 2014, eq. 4, the sum over unobserved pairs sampled)
//   squared   (s_ui + a_u - r)^2, with r the entry's value and a_u a bias of users; no j, no features.  A row's
//             regularization is shared out over its entries, so that an epoch applies it once (Koren et al. 2009, eq.
//             5)
//
// Threads (Gemulla et al. 2011).  Every epoch, users and items are each dealt at random into B blocks, and the entries
// fall into B x B cells of a user block and an item block.  Of the cells in one of B rounds no two share a user or an
// item, so they run in parallel without locks, touch no common number, keep their factors in a core's cache, and give
// the same bits whatever the number of threads.  The items j come from the block of i: since the blocks are dealt
// afresh, over the epochs from everywhere.  Embeddings of features belong to no block; threads share them without locks
// (Recht et al. 2011), and then results differ in detail from run to run.
//
// Cost of an epoch: O(nnz n_items_a_step f), times the features a row; memory: the factors twice, 15 bytes an entry.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "recsys/sgd_objective.hpp"
#include "recsys/views.hpp"

namespace recsys {

struct SgdOptions {
  SgdObjective objective = SgdObjective::bpr;
  bool adagrad = true;       // step lengths by the accumulated squared gradients of a row, else all the same
  bool linear_decay = true;  // of the learning rate, to 0 after the last epoch
  float learning_rate = 0.05F;
  float regularization = 0.0F;
  std::int64_t n_epochs = 100;
  std::int64_t n_negatives = 1;   // items j an entry; for warp at most so many trials
  float popularity_power = 0.0F;  // items j in proportion to (number of entries)^power
  bool reject_positives = true;   // whether to draw again where u has an entry for j
  std::uint64_t seed = 0;
  std::int64_t n_threads = 0;
  bool deterministic = false;  // with features: on one thread
  bool warm_start = false;     // begin with what the outputs hold
};

// What is learned about users, or items.  `factors` [n, f] and `bias` [n] are what scores are made of; the embeddings
// of the features, [n_features, f] and [n_features], are empty where `features` has no columns.  Users have a bias for
// `squared` only.
struct SgdSide {
  MatrixView<float> factors;
  std::span<float> bias;
  CsrView features;  // [n, n_features], or without rows
  MatrixView<float> feature_factors;
  std::span<float> feature_bias;
};

struct SgdMonitor {
  bool wants_factors = false;  // whether the outputs are up to date when after_epoch is called
  // Called after each epoch, counted from 0, on the calling thread, with the mean over the visited entries of the loss
  // above, each taken just before its step (NaN where none was visited); true stops.
  std::function<bool(std::int64_t epoch, double loss)> after_epoch;
};

// Number of blocks B, by the data and the sampling alone: at most 64, and fewer where cells would hold few entries,
// blocks few items to draw from, one item most of a block's weight, or more than a twentieth of the entries a block
// that has no item for their user, who has almost everything.  `n_drawable` is the number of items that can be drawn,
// or 0 where those that a user has can be.
[[nodiscard]] std::int64_t sgd_blocks(const CsrView& interactions, float popularity_power, std::int64_t n_drawable = 0);

// interactions [n_users, n_items], columns ascending, values finite and, but for `squared`, not negative; they count
// for `logistic` and `squared` only.  A user who has every item that can be drawn takes no step.  Without `warm_start`,
// embeddings start from fill_start and biases at 0.  With item features, an item without an entry has no embedding of
// its own and is never drawn, so that it is scored as a new item with its features would be.  Throws ConfigError, also
// where the factors diverge; DataError; ShapeError.
void sgd(const CsrView& interactions, const SgdOptions& options, const SgdSide& users, const SgdSide& items,
         const SgdMonitor& monitor);

}  // namespace recsys
