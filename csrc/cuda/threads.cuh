// A thread's place in its block, the block's shared memory, and sums over a warp.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace recsys::cuda {

inline constexpr int warp_size = 32;
inline constexpr unsigned all_lanes = 0xFFFFFFFFU;

__device__ inline int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ inline int n_threads() { return static_cast<int>(blockDim.x); }
__device__ inline int lane_index() { return static_cast<int>(threadIdx.x) % warp_size; }
__device__ inline int warp_index() { return static_cast<int>(threadIdx.x) / warp_size; }
__device__ inline int n_warps() { return static_cast<int>(blockDim.x) / warp_size; }
__device__ inline std::int64_t block_x() { return static_cast<std::int64_t>(blockIdx.x); }
__device__ inline std::int64_t block_y() { return static_cast<std::int64_t>(blockIdx.y); }
// Among all threads of the grid.
__device__ inline std::int64_t global_thread() { return block_x() * n_threads() + thread_index(); }

// The shared memory that the launch asked for, 16-byte aligned.
template <typename T>
__device__ inline T* shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];
  return reinterpret_cast<T*>(dynamic_shared_memory);
#else
  return reinterpret_cast<T*>(recsys::simt::Block::current().shared());
#endif
}

// The sum over the lanes, the same bits in each: every lane adds the same pairs.
template <typename T>
__device__ inline T warp_sum(T value) {
  for (int step = warp_size / 2; step > 0; step /= 2) value += __shfl_xor_sync(all_lanes, value, step);
  return value;
}

// The sum over this lane and those before it.
__device__ inline int warp_scan(int value) {
  for (int step = 1; step < warp_size; step *= 2) {
    const int before = __shfl_up_sync(all_lanes, value, static_cast<unsigned>(step));
    if (lane_index() >= step) value += before;
  }
  return value;
}

}  // namespace recsys::cuda
