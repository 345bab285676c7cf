// Implicit ALS (recsys/als.hpp) and its fold-in (recsys/solve_rows.hpp) on a device.
//
// The same objective, start and iteration as on the CPU, in float32 with sums in another order: results agree within
// rounding and, on one device, have the same bits in every run.  cholesky needs a row's system to fit a block's shared
// memory (147 factors in 64 KiB, 187 in 99, 303 in 227), as subspace does for a block of coordinates; cg takes up to
// 512 factors.
//
// Memory.  What is free is asked for.  Where it suffices, everything lies on the device: interactions twice, both
// factor matrices and, but for cholesky, one of them whitened and up to 4 f floats a row.  Else interactions go through
// the device in batches of rows, and the factors of a host in tiles, of which one is copied while the other is read;
// sums then run in another order again.  Beside that 4 f^2 floats of Gram matrices and their partial sums (64 MiB at
// most).
#pragma once

#include <cstdint>
#include <span>

#include "cuda/runtime.cuh"
#include "recsys/als.hpp"
#include "recsys/solve_rows.hpp"

namespace recsys::cuda {

struct AlsTuning {
  bool mixed_precision = false;           // whether cholesky sums on tensor cores and refines (solve_rows.cuh)
  double memory_share = 0.8;              // of what is free
  std::int64_t staging_bytes = 16 << 20;  // of each of two pinned pieces of the host, where factors cannot be pinned
};

// user_factors [n_users, f] and item_factors [n_items, f], both on the device or both on the host.  On the device they
// are complete at each call of the monitor, on the host where it wants factors.  interactions with columns ascending.
// options.n_threads is not used, and `automatic` takes cholesky wherever the system fits.  Waits for the stream after
// each iteration.  Throws as recsys::als does, ConfigError also where the factors are too wide, and DeviceError, also
// where not even a row and what it needs fit the memory that is free.
void als(const CsrView& interactions, const AlsOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, bool factors_on_device, const AlsMonitor& monitor, Stream stream,
         const AlsTuning& tuning = {});

// What the systems of solve_rows are made of, beside the entries.  Arrays on the device, but for the ridges.
struct RowTerms {
  const float* prior = nullptr;  // P [f, f]; null: gram_weight Y^T Y + ridge I
  float gram_weight = 1.0F;
  float ridge = 0.0F;
  std::span<const float> ridges = {};  // lambda [n_rows], on the host; empty: zeros
  RowWeights weights = {};
  const float* item_offset = nullptr;  // o [n_items]; null: zeros
};

// factors [n_items, f] and out [n_rows, f] lie on the device.  The histories go through it in batches that fit
// memory_share of what is free.  Waits for the stream.
void solve_rows(const CsrView& histories, MatrixView<const float> factors, const RowTerms& terms, MatrixView<float> out,
                Stream stream, double memory_share = 0.8);

}  // namespace recsys::cuda
