// Bayesian personalized ranking by stochastic gradient descent (Rendle et al. 2009, eq. 5 and figure 4), with item
// bias.
//
//   max sum over (u, i, j) of  log sigmoid(x_u . (y_i - y_j) + b_i - b_j)  -  reg/2 |touched parameters|^2
//
// An epoch visits every stored entry (u, i) once, in a fresh random order, with one item j drawn uniformly from those
// that u has no entry for.  A user with an entry for every item is skipped.  O(nnz (f + log row length)) an epoch.
//
// Threads.  Without `deterministic` they share the factors without locks (Hogwild, Recht et al. 2011), and results
// differ in detail from run to run unless there is one thread.  With it, users and items are each dealt at random into
// `n_blocks` blocks every epoch, and the entries fall into cells of a user block and an item block.  An epoch is
// n_blocks rounds of n_blocks cells that share no user and no item (Gemulla et al. 2011), so they run in parallel
// without touching a common number, and the result has the same bits whatever the number of threads.  The item j then
// comes from the block of i; since the blocks are dealt afresh, it is uniform over the epochs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "recsys/views.hpp"

namespace recsys {

struct BprOptions {
  float learning_rate = 0.05F;
  float regularization = 0.01F;
  std::int64_t n_epochs = 100;
  std::uint64_t seed = 0;
  std::int64_t n_threads = 0;
  bool deterministic = false;
};

// Number of blocks of the deterministic schedule, by the size of the data alone: 16, or 1 where cells would hold too
// few entries or a block too few items to draw from.
[[nodiscard]] std::int64_t bpr_blocks(const CsrView& interactions);

// Called after each epoch, counted from 0, on the calling thread, with the mean of -log sigmoid over the epoch's
// triples, each taken just before its step (NaN where there was none); true stops.
using BprMonitor = std::function<bool(std::int64_t epoch, double loss)>;

// interactions [n_users, n_items], columns ascending, only the structure counts; user_factors [n_users, f],
// item_factors [n_items, f] and item_bias [n_items] are written.  Starts from fill_start(seed, streams 1 and 2) and a
// bias of zero.  Throws ConfigError, also where the factors diverge, and DataError for empty interactions.
void bpr(const CsrView& interactions, const BprOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, std::span<float> item_bias, const BprMonitor& after_epoch);

}  // namespace recsys
