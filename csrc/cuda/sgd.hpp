// Matrix factorization that learns to rank by stochastic gradient descent, on a device: bpr and warp of recsys/sgd.hpp,
// without features and with items j drawn uniformly.
//
// A warp takes a sample at a time.  An epoch visits every stored entry once, in an order given by a keyed permutation
// of [0, nnz) that is computed, not stored; the items j are drawn on the device, from all items that the user has no
// entry for.  A user with an entry for every item is skipped.  Warps share the factors: every step is added atomically,
// so that none is lost, but they read what others are about to change, as Hogwild's threads do.  Results differ in
// detail from run to run.
//
// Memory on the device: the factors, 8 bytes an entry, and with Adagrad 4 a user and 8 an item.
#pragma once

#include "cuda/runtime.cuh"
#include "recsys/sgd.hpp"

namespace recsys::cuda {

// interactions with columns ascending, only the structure counts.  user_factors [n_users, f], item_factors [n_items, f]
// and item_bias [n_items] lie on the device; f is at most 512.  Starts from them with options.warm_start, else from
// fill_start(seed, streams 1 and 2) and a bias of zero.  The arrays are complete at each call of after_epoch, on the
// calling thread.  options.n_threads and .deterministic are not used.  Throws ConfigError, also for what a device lacks
// and where the factors diverge, DataError for empty interactions, and DeviceError.
void sgd(const CsrView& interactions, const SgdOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, float* item_bias, const SgdMonitor& monitor, Stream stream);

}  // namespace recsys::cuda
