// One pass of a half-sweep of ALS over blocks of coordinates, each solved exactly while the others are held (iALS++,
// Rendle et al. 2021, arXiv 2110.14044), on a device and in whitened coordinates.  With the scores s_k = z_k . x kept
// up to date, a block p of x moves by the solution of
//
//   (I + D_pp + sum_k c_k z_kp z_kp^T) step = sum_k (t_k - c_k s_k) z_kp - x_p - (D x)_p
//
// n f d / 2 + 3 n f + f d^2 / 6 multiply-adds a row, for blocks of d coordinates.
#pragma once

#include "cuda/row_block.cuh"
#include "cuda/solve_rows.cuh"
#include "cuda/whitening.cuh"

namespace recsys::cuda {

struct EntryProductArguments {
  const std::int64_t* indptr;
  const std::int32_t* columns;
  const std::int32_t* order;
  const float* factors;  // rows `stride` apart
  std::int64_t stride;
  std::int32_t width;
  const float* vectors;  // [n_rows, width]
  bool begins;           // else what the scores hold is added to
  float* scores;         // [entries]
};

// One block a row, one warp an entry: its factors times the row's vector.
__global__ void entry_products(EntryProductArguments a) {
  const std::int64_t row = a.order[block_x()];
  const float* const vector = a.vectors + row * a.width;
  for (std::int64_t k = a.indptr[row] + warp_index(); k < a.indptr[row + 1]; k += n_warps()) {
    const float* const from = a.factors + a.columns[k] * a.stride;
    float sum = 0;
    for (int c = lane_index(); c < a.width; c += warp_size) sum = __fmaf_rn(from[c], vector[c], sum);
    sum = warp_sum(sum);
    if (lane_index() == 0) a.scores[k] = a.begins ? sum : a.scores[k] + sum;
  }
}

// One thread a number: columns [first, first + width) of x [n, f] move by step [n, width].
__global__ void move_columns(float* x, std::int64_t n, int f, int first, int width, const float* step) {
  const std::int64_t at = global_thread();
  if (at < n * width) x[at / width * f + first + at % width] += step[at];
}

// Improves x' [n, f], the rows of the block; all its columns are there.
inline void subspace_on_device(const RowBlock& block, const float* z, std::int64_t n, std::int64_t f,
                               const DeviceWhitening& whitening, const float* ridges, const RowWeights& weights,
                               std::int64_t block_size, float* x, Stream stream) {
  const std::int64_t n_rows = block.order.size();
  if (n_rows == 0) return;
  const std::int64_t widest = std::min(block_size, f);
  DeviceBuffer<float> scores(block.columns.size(), stream);
  DeviceBuffer<float> right_side(n * widest, stream);
  DeviceBuffer<float> step(n * widest, stream);
  DeviceBuffer<std::int32_t> failed(1, stream);
  const auto add_products = [&](std::int64_t first, std::int64_t width, const float* vectors, bool begins) {
    launch("entry_products", entry_products, blocks(n_rows), 128, 0, stream,
           EntryProductArguments{block.indptr.data(), block.columns.data(), block.order.data(), z + first, f,
                                 static_cast<std::int32_t>(width), vectors, begins, scores.data()});
  };
  add_products(0, f, x, true);
  for (std::int64_t first = 0; first < f; first += widest) {
    const std::int64_t width = std::min(widest, f - first);
    whitening.apply_identity(x, n, ridges, first, width, -1.0F, right_side.data(), stream);
    failed.set_bytes(0x7F, stream);
    step.set_bytes(0, stream);  // rows without entries do not move
    // Positive definite but for rounding, which a block is left alone for.
    launch_solve_rows(
        {.indptr = block.indptr.data(),
         .columns = block.columns.data(),
         .values = block.values.data(),
         .order = block.order.data(),
         .factors = z + first,
         .stride = f,
         .f = static_cast<std::int32_t>(width),
         .prior = nullptr,
         .ridge_matrix = whitening.ridge() == nullptr ? nullptr : whitening.ridge() + first * (whitening.ld() + 1),
         .prior_stride = whitening.ld(),
         .ridges = ridges,
         .right_side = right_side.data(),
         .offset = nullptr,
         .scores = scores.data(),
         .weights = weights,
         .systems = nullptr,
         .begins = true,
         .ends = true,
         .out = step.data(),
         .failed = failed.data(),
         .first_row = 0},
        n_rows, false, stream);
    launch("move_columns", move_columns, blocks(divide_up(n * width, 256)), 256, 0, stream, x, n, static_cast<int>(f),
           static_cast<int>(first), static_cast<int>(width), step.data());
    if (first + width < f) add_products(first, width, step.data(), false);
  }
}

// Device memory of it, in bytes.
[[nodiscard]] inline std::int64_t subspace_row_bytes(std::int64_t f, std::int64_t block_size) {
  return 8 * std::min(block_size, f);
}
inline constexpr std::int64_t subspace_entry_bytes = 4;

}  // namespace recsys::cuda
