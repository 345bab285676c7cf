// Matrix factorization that learns to rank by stochastic gradient descent, on a device: bpr and warp of recsys/sgd.hpp.
//
// A warp takes a sample at a time.  An epoch visits every stored entry once, in an order given by a keyed permutation
// of the entries that is computed, not stored; the items j are drawn on the device, from all items that the user has no
// entry for: uniformly, or by a lottery where popularity or item features weigh them.  A user with an entry for every
// item is skipped.  Warps share the factors: every step is added atomically, so that none is lost, but they read what
// others are about to change, as Hogwild's threads do.  Results differ in detail from run to run.
//
// Memory on the device: the factors, once more with features, with Adagrad 4 bytes a user and 8 an item and as much a
// feature, and 8 bytes an entry.  What is free is asked for: entries that do not fit go through the device in blocks of
// users, in random order.
#pragma once

#include "cuda/runtime.cuh"
#include "recsys/sgd.hpp"

namespace recsys::cuda {

// What is learned about users, or items, as SgdSide: the arrays lie on the device, the features on the host.
struct DeviceSgdSide {
  MatrixView<float> factors;
  float* bias = nullptr;  // [n], of items only
  CsrView features;       // [n, n_features], or without columns
  MatrixView<float> feature_factors;
  float* feature_bias = nullptr;  // [n_features], of items only
};

// interactions with columns ascending, only the structure counts; factors of at most 512 columns.  Starts from what the
// arrays hold with options.warm_start, else as recsys::sgd.  The arrays are complete at each call of after_epoch, with
// features only where it wants factors, on the calling thread.  options.n_threads and .deterministic are not used.
// Throws ConfigError, also where the factors diverge, DataError for empty interactions, ShapeError, and DeviceError,
// also where what is learned does not fit the memory that is free.
void sgd(const CsrView& interactions, const SgdOptions& options, const DeviceSgdSide& users, const DeviceSgdSide& items,
         const SgdMonitor& monitor, Stream stream, double memory_share = 0.8);

}  // namespace recsys::cuda
