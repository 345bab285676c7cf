// Bayesian personalized ranking by stochastic gradients on a device (Rendle et al. 2009, eq. 5 and figure 4), with an
// item bias:
//
//   max sum over (u, i, j) of  log sigmoid(x_u . (y_i - y_j) + b_i - b_j)  -  reg/2 |touched parameters|^2
//
// A warp takes a sample at a time.  An epoch visits every stored entry once, in an order given by a keyed permutation
// of [0, nnz) that is computed, not stored; the other item is drawn on the device, uniformly from those that the user
// has no entry for.  A user with an entry for every item is skipped.  Warps share the factors: every step is added
// atomically, so that none is lost, but they read what others are about to change, as Hogwild's threads do.  Results
// differ in detail from run to run.
//
// Memory on the device: the factors and 8 bytes an entry.
#pragma once

#include <cstdint>
#include <functional>

#include "cuda/runtime.cuh"

namespace recsys::cuda {

struct BprOptions {
  float learning_rate = 0.05F;
  float regularization = 0.01F;
  std::int64_t n_epochs = 100;
  std::uint64_t seed = 0;
};

// Called after each epoch, counted from 0, on the calling thread, with the mean of -log sigmoid over the epoch's
// triples, each taken just before its step (NaN where there was none); true stops.
using BprMonitor = std::function<bool(std::int64_t epoch, double loss)>;

// interactions with columns ascending, only the structure counts.  user_factors [n_users, f], item_factors [n_items, f]
// and item_bias [n_items] lie on the device; f is at most 512.  Starts from fill_start(seed, streams 1 and 2) and a
// bias of zero.  Waits for the stream after each epoch.  Throws ConfigError, also where the factors diverge, DataError
// for empty interactions, and DeviceError.
void bpr(const CsrView& interactions, const BprOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, float* item_bias, const BprMonitor& after_epoch, Stream stream);

}  // namespace recsys::cuda
