// Conjugate gradients for a half-sweep of ALS on a device, in coordinates where the part that all rows share is the
// identity (cpu/cg-inl.hpp has the mathematics, cuda/whitening.cuh the coordinates):
//
//   (I + D + sum_k c_k z_k z_k^T) x = sum_k t_k z_k,   c_k = c0 + c1 r_k,   t_k = t0 + t1 r_k
//
// The matrix is applied, never formed: the dense part by products of all rows at once, the entries row by row, and tile
// by tile where the z do not fit the device.  A row has a warp, or 8 of them where it is long: rows are binned by
// length and long ones take the whole block.  The warp keeps the vectors in registers, `width` numbers a lane.  Sums
// have a fixed order: the same bits in every run.
#pragma once

#include "cuda/row_block.cuh"
#include "cuda/warp_row.cuh"
#include "cuda/whitening.cuh"
#include "recsys/solve_rows.hpp"

namespace recsys::cuda {

struct CgShape {
  static constexpr int n_warps = 8;
  static constexpr int n_threads = n_warps * warp_size;
  static constexpr int widest = 512;  // factors

  // Blocks that a multiprocessor is to hold by registers: more would spill.
  [[nodiscard]] static constexpr int n_blocks(int width) { return width <= 2 ? 4 : (width <= 8 ? 2 : 1); }
  // Of a block with one row: what its warps put together.
  [[nodiscard]] static constexpr std::int64_t shared_bytes(int width) {
    return std::int64_t{n_warps} * width * warp_size * static_cast<std::int64_t>(sizeof(float));
  }
};

struct CgEntryArguments {
  const std::int64_t* indptr;
  const std::int32_t* columns;
  const float* values;
  const std::int32_t* order;  // the rows of this bin
  std::int32_t n_rows;
  const float* factors;  // z [n_columns, f]
  std::int32_t f;
  RowWeights weights;
  bool of_residual;  // adds (t_k - c_k z_k . in) z_k, else c_k (z_k . in) z_k
  const float* in;   // [all rows, f]
  float* out;        // added to
};

// width: numbers a lane, at least f / 32; team: warps a row, 1 or 8.
template <int width, int team>
__global__ void __launch_bounds__(CgShape::n_threads, CgShape::n_blocks(width)) cg_entries(CgEntryArguments a) {
  constexpr int padded = width * warp_size;
  constexpr int n_together = width <= 4 ? 4 : (width <= 8 ? 2 : 1);  // rows of factors under way at once
  const int lane = lane_index();
  const int warp = warp_index();
  const std::int64_t place = block_x() * (CgShape::n_warps / team) + warp / team;
  if (place >= a.n_rows) return;  // a whole warp, and where warps work together a whole block
  const std::int64_t row = a.order[place];
  const std::int64_t begin = a.indptr[row];
  const std::int64_t end = a.indptr[row + 1];
  float in[width];
  float sums[width] = {};
  load_row(in, a.in + row * a.f, a.f);
  for (std::int64_t k = begin + warp % team * n_together; k < end; k += team * n_together) {
    float z[n_together][width];
    float products[n_together];
#pragma unroll
    for (int i = 0; i < n_together; ++i) {
      const bool inside = k + i < end;
      const float* const from = a.factors + (inside ? static_cast<std::int64_t>(a.columns[k + i]) * a.f : 0);
#pragma unroll
      for (int v = 0; v < width; ++v) {
        const int column = v * warp_size + lane;
        z[i][v] = inside && column < a.f ? from[column] : 0.0F;
      }
    }
#pragma unroll
    for (int i = 0; i < n_together; ++i) products[i] = row_product(z[i], in);
#pragma unroll
    for (int i = 0; i < n_together; ++i) {
      if (k + i >= end) continue;  // the same in all lanes
      const float value = a.values[k + i];
      float factor = (a.weights.confidence_base + a.weights.confidence_slope * value) * products[i];
      if (a.of_residual) factor = a.weights.target_base + a.weights.target_slope * value - factor;
#pragma unroll
      for (int v = 0; v < width; ++v) sums[v] = __fmaf_rn(factor, z[i][v], sums[v]);
    }
  }
  if (team > 1) {
    auto* const gathered = shared_memory<float>();  // [8, padded]
#pragma unroll
    for (int v = 0; v < width; ++v) gathered[warp * padded + v * warp_size + lane] = sums[v];
    __syncthreads();
    if (warp != 0) return;
#pragma unroll
    for (int v = 0; v < width; ++v) {
      sums[v] = 0;
      for (int other = 0; other < team; ++other) sums[v] += gathered[other * padded + v * warp_size + lane];
    }
  }
#pragma unroll
  for (int v = 0; v < width; ++v) {
    const int column = v * warp_size + lane;
    if (column < a.f) a.out[row * a.f + column] += sums[v];
  }
}

// The vectors of a batch of rows, [n, f] each.
struct CgVectors {
  float* x;
  float* residual;
  float* direction;
  const float* image;  // of the direction
  float* squared;      // [n]: of the residual
};

// One warp a row: the first direction.
__global__ void cg_begin(CgVectors a, std::int64_t n, int f) {
  const std::int64_t row = global_thread() / warp_size;
  if (row >= n) return;
  float squared = 0;
  for (std::int64_t c = row * f + lane_index(); c < (row + 1) * f; c += warp_size) {
    a.direction[c] = a.residual[c];
    squared = __fmaf_rn(a.residual[c], a.residual[c], squared);
  }
  squared = warp_sum(squared);
  if (lane_index() == 0) a.squared[row] = squared;
}

// One warp a row: a step, and the next direction.
__global__ void cg_step(CgVectors a, std::int64_t n, int f) {
  const std::int64_t row = global_thread() / warp_size;
  if (row >= n) return;
  const std::int64_t begin = row * f + lane_index();
  const std::int64_t end = (row + 1) * f;
  const float squared = a.squared[row];
  float curvature = 0;
  for (std::int64_t c = begin; c < end; c += warp_size) curvature = __fmaf_rn(a.direction[c], a.image[c], curvature);
  curvature = warp_sum(curvature);
  if (!(squared > 1e-20F) || !(curvature > 0.0F)) return;  // solved to float32: a further step is only noise
  const float length = squared / curvature;
  float left = 0;
  for (std::int64_t c = begin; c < end; c += warp_size) {
    a.x[c] = __fmaf_rn(length, a.direction[c], a.x[c]);
    const float residual = __fmaf_rn(-length, a.image[c], a.residual[c]);
    a.residual[c] = residual;
    left = __fmaf_rn(residual, residual, left);
  }
  left = warp_sum(left);
  const float momentum = left / squared;
  for (std::int64_t c = begin; c < end; c += warp_size) {
    a.direction[c] = __fmaf_rn(momentum, a.direction[c], a.residual[c]);
  }
  if (lane_index() == 0) a.squared[row] = left;
}

namespace detail {

template <int width>
void launch_cg_entries(const CgEntryArguments& arguments, std::int64_t n_long, Stream stream) {
  CgEntryArguments bin = arguments;
  bin.n_rows = static_cast<std::int32_t>(n_long);
  if (n_long > 0) {
    launch("cg_entries of long rows", cg_entries<width, CgShape::n_warps>, blocks(n_long), CgShape::n_threads,
           CgShape::shared_bytes(width), stream, bin);
  }
  bin.order += n_long;
  bin.n_rows = arguments.n_rows - bin.n_rows;
  if (bin.n_rows > 0) {
    launch("cg_entries", cg_entries<width, 1>, blocks(divide_up(bin.n_rows, CgShape::n_warps)), CgShape::n_threads, 0,
           stream, bin);
  }
}

}  // namespace detail

// Adds what the entries of a block contribute to `out`, for `in` [n_rows, f], the vectors or the directions.
inline void add_cg_entries(const RowBlock& block, std::int64_t n_long, const float* factors, std::int64_t f,
                           const RowWeights& weights, bool of_residual, const float* in, float* out, Stream stream) {
  const CgEntryArguments arguments{.indptr = block.indptr.data(),
                                   .columns = block.columns.data(),
                                   .values = block.values.data(),
                                   .order = block.order.data(),
                                   .n_rows = static_cast<std::int32_t>(block.order.size()),
                                   .factors = factors,
                                   .f = static_cast<std::int32_t>(f),
                                   .weights = weights,
                                   .of_residual = of_residual,
                                   .in = in,
                                   .out = out};
  const std::int64_t width = divide_up(f, warp_size);
  if (width <= 1) return detail::launch_cg_entries<1>(arguments, n_long, stream);
  if (width <= 2) return detail::launch_cg_entries<2>(arguments, n_long, stream);
  if (width <= 4) return detail::launch_cg_entries<4>(arguments, n_long, stream);
  if (width <= 8) return detail::launch_cg_entries<8>(arguments, n_long, stream);
  return detail::launch_cg_entries<16>(arguments, n_long, stream);
}

// Improves x' [n, f] by n_steps steps.  `add_entries(of_residual, in, out)` adds what the entries contribute.
template <typename AddEntries>
void cg_on_device(const DeviceWhitening& whitening, std::int64_t n, std::int64_t f, const float* ridges,
                  std::int64_t n_steps, float* x, const AddEntries& add_entries, Stream stream) {
  DeviceBuffer<float> residual(n * f, stream);
  DeviceBuffer<float> direction(n * f, stream);
  DeviceBuffer<float> image(n * f, stream);
  DeviceBuffer<float> squared(n, stream);
  const CgVectors vectors{x, residual.data(), direction.data(), image.data(), squared.data()};
  constexpr int n_threads = 256;
  const dim3 grid = blocks(divide_up(n * warp_size, n_threads));
  whitening.apply_identity(x, n, ridges, 0, f, -1.0F, residual.data(), stream);
  add_entries(true, x, residual.data());
  launch("cg_begin", cg_begin, grid, n_threads, 0, stream, vectors, n, static_cast<int>(f));
  for (std::int64_t step = 0; step < n_steps; ++step) {
    whitening.apply_identity(direction.data(), n, ridges, 0, f, 1.0F, image.data(), stream);
    add_entries(false, direction.data(), image.data());
    launch("cg_step", cg_step, grid, n_threads, 0, stream, vectors, n, static_cast<int>(f));
  }
}

// Device memory of it: a row's, in bytes.
[[nodiscard]] inline std::int64_t cg_row_bytes(std::int64_t f) { return 12 * f + 4; }

}  // namespace recsys::cuda
