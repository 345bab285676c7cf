// Implicit ALS (recsys/als.hpp) and its fold-in (recsys/solve_rows.hpp) on a device.
//
// The same objective, start and iteration as on the CPU, in float32 with sums in another order: results agree within
// rounding and, on one device, have the same bits in every run.  cholesky needs a row's system to fit a block's shared
// memory (147 factors in 64 KiB, 187 in 99, 303 in 227); cg takes up to 512 factors.
//
// Memory on the device: interactions twice, both factor matrices, 4 f^2 floats of Gram matrices and their partial sums
// (64 MiB at most).
#pragma once

#include <cstdint>
#include <span>

#include "cuda/runtime.cuh"
#include "recsys/als.hpp"
#include "recsys/solve_rows.hpp"

namespace recsys::cuda {

// user_factors [n_users, f] and item_factors [n_items, f] lie on the device, and are complete at each call of the
// monitor.  options.n_threads is not used, `subspace` is refused, the steps of cg are not preconditioned, and
// `automatic` takes cholesky wherever the system fits.  Waits for the stream after each iteration.  Throws as
// recsys::als does, ConfigError also where the factors are too wide, and DeviceError.
void als(const CsrView& interactions, const AlsOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, const AlsMonitor& monitor, Stream stream);

// factors [n_items, f] and, unless null, prior [f, f] and item_offset [n_items] lie on the device, as does out
// [n_rows, f]; a null prior stands for Y^T Y + ridge I.  Waits for the stream.
void solve_rows(const CsrView& histories, MatrixView<const float> factors, const float* prior, float ridge,
                const RowWeights& weights, const float* item_offset, MatrixView<float> out, Stream stream);

}  // namespace recsys::cuda
