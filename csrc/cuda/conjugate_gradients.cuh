// Conjugate gradients for a half-sweep of ALS on a device (cpu/cg-inl.hpp has the mathematics):
//
//   (P + lambda I + sum_k c_k y_k y_k^T) x = sum_k t_k y_k,  n_steps steps from the present x
//   c_k = c0 + c1 r_k,  t_k = t0 + t1 r_k
//
// The matrix is applied, never formed.  A block of 8 warps has 8 rows at a time, a warp each, or one long row for all 8
// warps (`team`): rows are binned by length.  The dense part P is applied by all threads to all rows of the block, so
// that it is read once for 8 rows; the sparse part by the row's warps, which keep the vectors in registers, `width`
// numbers a lane (with more than 16 they would spill).  Sums have a fixed order: the same bits in every run.
#pragma once

#include "cuda/solve_rows.cuh"

namespace recsys::cuda {

struct CgShape {
  static constexpr int n_warps = 8;
  static constexpr int n_threads = n_warps * warp_size;
  static constexpr int long_row = 1024;  // entries from which a row gets all warps of a block
  static constexpr int widest = 512;     // factors

  // Blocks that a multiprocessor is to hold by registers: more would spill.
  [[nodiscard]] static constexpr int n_blocks(int width) { return width <= 2 ? 2 : 1; }
  // [8, padded] each: what the warps put together, and the dense part's image
  [[nodiscard]] static constexpr std::int64_t shared_bytes(int width) {
    return std::int64_t{2} * n_warps * width * warp_size * static_cast<std::int64_t>(sizeof(float));
  }
};

struct CgArguments {
  const std::int64_t* indptr;
  const std::int32_t* columns;
  const float* values;
  const std::int32_t* order;  // the rows of this bin
  std::int32_t n_rows;
  const float* factors;  // [n_items, f]
  const float* prior;    // [f, f]
  const float* ridges;   // [all rows]: a row's lambda, or null for zeros
  RowWeights weights;
  std::int32_t n_steps;
  std::int32_t f;
  float* x;  // [all rows, f]
};

template <int width>
__device__ inline float dot(const float (&a)[width], const float (&b)[width]) {
  float sum = 0;
#pragma unroll
  for (int v = 0; v < width; ++v) sum = __fmaf_rn(a[v], b[v], sum);
  return warp_sum(sum);
}

// width: numbers a lane, at least f / 32; team: warps a row, 1 or 8.
template <int width, int team>
__global__ void __launch_bounds__(CgShape::n_threads, CgShape::n_blocks(width)) cg_rows(CgArguments a) {
  constexpr int padded = width * warp_size;
  constexpr int n_block_rows = CgShape::n_warps / team;
  constexpr int n_together = width <= 4 ? 4 : (width <= 8 ? 2 : 1);  // rows of factors under way at once
  auto* const gathered = shared_memory<float>();                     // [8, padded]
  float* const image = gathered + CgShape::n_warps * padded;
  const int lane = lane_index();
  const int warp = warp_index();
  const int slot = warp / team;  // of the row in the block
  const std::int64_t place = block_x() * n_block_rows + slot;
  const bool present = place < a.n_rows;
  const std::int64_t row = present ? a.order[place] : 0;
  const std::int64_t begin = present ? a.indptr[row] : 0;
  const std::int64_t end = present ? a.indptr[row + 1] : 0;
  const float ridge = present && a.ridges != nullptr ? a.ridges[row] : 0.0F;
  const auto confidence = [&](float value) { return a.weights.confidence_base + a.weights.confidence_slope * value; };

  // Puts the dense part's image of the vectors gathered[slot] into image[slot].
  const auto apply_prior = [&] {
    __syncthreads();
    for (int column = thread_index(); column < padded; column += CgShape::n_threads) {
      float sums[n_block_rows] = {};
      if (column < a.f) {
        for (int i = 0; i < a.f; ++i) {
          const float weight = a.prior[static_cast<std::int64_t>(i) * a.f + column];
#pragma unroll
          for (int r = 0; r < n_block_rows; ++r) sums[r] = __fmaf_rn(weight, gathered[r * padded + i], sums[r]);
        }
      }
#pragma unroll
      for (int r = 0; r < n_block_rows; ++r) image[r * padded + column] = sums[r];
    }
    __syncthreads();
  };

  // out += sum_k coefficient(r_k, y_k . in) y_k over the entries; every warp of the row's gets the sum.
  const auto add_entries = [&](const float (&in)[width], float (&out)[width], auto coefficient) {
    float sums[width] = {};
    for (std::int64_t k = begin + warp % team * n_together; k < end; k += team * n_together) {
      float y[n_together][width];
      float products[n_together];
#pragma unroll
      for (int i = 0; i < n_together; ++i) {
        const bool inside = k + i < end;
        const float* const from = a.factors + (inside ? static_cast<std::int64_t>(a.columns[k + i]) * a.f : 0);
#pragma unroll
        for (int v = 0; v < width; ++v) {
          const int column = v * warp_size + lane;
          y[i][v] = inside && column < a.f ? from[column] : 0.0F;
        }
      }
#pragma unroll
      for (int i = 0; i < n_together; ++i) products[i] = dot(y[i], in);
#pragma unroll
      for (int i = 0; i < n_together; ++i) {
        const float value = k + i < end ? a.values[k + i] : 0.0F;
        const float factor = k + i < end ? coefficient(value, products[i]) : 0.0F;
#pragma unroll
        for (int v = 0; v < width; ++v) sums[v] = __fmaf_rn(factor, y[i][v], sums[v]);
      }
    }
    if (team > 1) {
      __syncthreads();
#pragma unroll
      for (int v = 0; v < width; ++v) gathered[warp * padded + v * warp_size + lane] = sums[v];
      __syncthreads();
#pragma unroll
      for (int v = 0; v < width; ++v) {
        sums[v] = 0;
        for (int other = 0; other < team; ++other) sums[v] += gathered[other * padded + v * warp_size + lane];
      }
    }
#pragma unroll
    for (int v = 0; v < width; ++v) out[v] += sums[v];
  };

  // Hands a vector to apply_prior.
  const auto gather = [&](const float (&vector)[width]) {
    if (team > 1) __syncthreads();  // add_entries has read what lies there
    if (warp % team != 0) return;
#pragma unroll
    for (int v = 0; v < width; ++v) gathered[slot * padded + v * warp_size + lane] = vector[v];
  };

  float solution[width];
  float residual[width];
#pragma unroll
  for (int v = 0; v < width; ++v) {
    const int column = v * warp_size + lane;
    solution[v] = present && column < a.f ? a.x[row * a.f + column] : 0.0F;
  }
  gather(solution);
  apply_prior();
#pragma unroll
  for (int v = 0; v < width; ++v) residual[v] = -image[slot * padded + v * warp_size + lane] - ridge * solution[v];
  add_entries(solution, residual, [&](float value, float product) {
    return a.weights.target_base + a.weights.target_slope * value - confidence(value) * product;
  });
  float direction[width];
#pragma unroll
  for (int v = 0; v < width; ++v) direction[v] = residual[v];
  float squared = dot(residual, residual);

  for (int step = 0; step < a.n_steps; ++step) {
    gather(direction);
    apply_prior();
    float applied[width];
#pragma unroll
    for (int v = 0; v < width; ++v) applied[v] = image[slot * padded + v * warp_size + lane] + ridge * direction[v];
    add_entries(direction, applied, [&](float value, float product) { return confidence(value) * product; });
    const float curvature = dot(direction, applied);
    if (!(curvature > 0.0F) || squared < 1e-20F) continue;  // solved to float32: a further step is only noise
    const float length = squared / curvature;
#pragma unroll
    for (int v = 0; v < width; ++v) {
      solution[v] = __fmaf_rn(length, direction[v], solution[v]);
      residual[v] = __fmaf_rn(-length, applied[v], residual[v]);
    }
    const float left = dot(residual, residual);
    const float momentum = left / squared;
#pragma unroll
    for (int v = 0; v < width; ++v) direction[v] = __fmaf_rn(momentum, direction[v], residual[v]);
    squared = left;
  }
  if (!present || warp % team != 0) return;
#pragma unroll
  for (int v = 0; v < width; ++v) {
    const int column = v * warp_size + lane;
    if (column < a.f) a.x[row * a.f + column] = solution[v];
  }
}

namespace detail {

template <int width>
void launch_cg(const CgArguments& arguments, std::int64_t n_long, Stream stream) {
  const std::int64_t shared = CgShape::shared_bytes(width);
  CgArguments bin = arguments;
  bin.n_rows = static_cast<std::int32_t>(n_long);
  if (n_long > 0) {
    launch("cg_rows of long rows", cg_rows<width, CgShape::n_warps>, blocks(n_long), CgShape::n_threads, shared, stream,
           bin);
  }
  bin.order += n_long;
  bin.n_rows = arguments.n_rows - bin.n_rows;
  if (bin.n_rows > 0) {
    launch("cg_rows", cg_rows<width, 1>, blocks(divide_up(bin.n_rows, CgShape::n_warps)), CgShape::n_threads, shared,
           stream, bin);
  }
}

}  // namespace detail

// A half-sweep over the rows of `order`, of which the first n_long have long_row entries or more.
inline void cg_on_device(const DeviceRows& rows, std::int64_t n_long, const float* factors, std::int64_t f,
                         const float* prior, const float* ridges, const RowWeights& weights, std::int64_t n_steps,
                         float* x, Stream stream) {
  const CgArguments arguments{rows.indptr.data(),
                              rows.columns.data(),
                              rows.values.data(),
                              rows.order.data(),
                              static_cast<std::int32_t>(rows.order.size()),
                              factors,
                              prior,
                              ridges,
                              weights,
                              static_cast<std::int32_t>(n_steps),
                              static_cast<std::int32_t>(f),
                              x};
  const std::int64_t width = divide_up(f, warp_size);
  if (width <= 1) return detail::launch_cg<1>(arguments, n_long, stream);
  if (width <= 2) return detail::launch_cg<2>(arguments, n_long, stream);
  if (width <= 4) return detail::launch_cg<4>(arguments, n_long, stream);
  if (width <= 8) return detail::launch_cg<8>(arguments, n_long, stream);
  return detail::launch_cg<16>(arguments, n_long, stream);
}

}  // namespace recsys::cuda
