// The emulation itself: that it computes what a device would, and refuses what would hang or be undefined on one.
#include "tests/simt/simt.hpp"

#include <cuda_runtime.h>

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "tests/check.hpp"

namespace {

using recsys::simt::Schedule;
using recsys::simt::SimtError;

constexpr unsigned all_lanes = 0xFFFFFFFFU;

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 threads, std::size_t shared, Args... args) {
  const cudaLaunchConfig_t config{grid, threads, shared, nullptr, nullptr, 0};
  CHECK(cudaLaunchKernelEx(&config, kernel, args...) == cudaSuccess);
}

template <typename Check>
void on_every_schedule(Check&& check) {
  for (const Schedule schedule : {Schedule::ascending, Schedule::descending, Schedule::scattered}) {
    recsys::simt::schedule() = schedule;
    check();
  }
  recsys::simt::schedule() = Schedule::ascending;
}

void write_index(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * blockIdx.y;
  out[block * blockDim.x + threadIdx.x] = static_cast<int>(block * 1000 + threadIdx.x);
}

// Adds up a block's numbers by halving, in shared memory.
void sum_block(const int* in, int* out) {
  int* shared = reinterpret_cast<int*>(recsys::simt::Block::current().shared());
  shared[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (unsigned width = blockDim.x / 2; width > 0; width /= 2) {
    if (threadIdx.x < width) shared[threadIdx.x] += shared[threadIdx.x + width];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = shared[0];
}

void sum_block_without_barrier(const int* in, int* out) {
  int* shared = reinterpret_cast<int*>(recsys::simt::Block::current().shared());
  shared[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  for (unsigned width = blockDim.x / 2; width > 0; width /= 2) {
    if (threadIdx.x < width) shared[threadIdx.x] += shared[threadIdx.x + width];
  }
  if (threadIdx.x == 0) out[0] = shared[0];
}

void warp_collectives(int* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int sum = lane;
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(all_lanes, sum, step);
  const int from_next = __shfl_sync(all_lanes, lane, lane + 1);
  const int from_before = __shfl_up_sync(all_lanes, lane, 1U);
  const int odd = __popc(__ballot_sync(all_lanes, lane % 2));
  // Half of a warp may work by itself.
  int half = 0;
  if (lane < 16) half = __shfl_sync(0xFFFFU, lane * 10, 15 - lane);
  const int any = __syncthreads_or(threadIdx.x == 40);
  int* const row = out + threadIdx.x * 6;
  row[0] = sum;
  row[1] = from_next;
  row[2] = from_before;
  row[3] = odd;
  row[4] = half;
  row[5] = any;
}

void count_atomically(int* total) { atomicAdd(total, static_cast<int>(threadIdx.x)); }

void diverge_at_barrier() {
  if (threadIdx.x < 7) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

void leave_before_barrier() {
  if (threadIdx.x == 3) return;
  __syncthreads();
}

void diverge_in_warp() {
  if (threadIdx.x % 2 == 0) {
    __syncwarp();
  } else {
    __syncwarp();
  }
}

void leave_warp() {
  if (threadIdx.x == 5) return;
  __syncwarp();
}

void miss_collective() {
  if (threadIdx.x == 5) {
    __syncthreads();
    return;
  }
  __syncwarp();
  __syncthreads();
}

void leave_self_out() { __syncwarp(0xFFFF0000U); }

void read_garbage(unsigned* out) { *out = *reinterpret_cast<const unsigned*>(recsys::simt::Block::current().shared()); }

void do_nothing() {}

struct TestError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
void throw_in_one_thread() {
  if (threadIdx.x == 9) throw TestError("from thread 9");
  __syncthreads();
}

}  // namespace

TEST(simt_runs_every_thread_of_every_block) {
  on_every_schedule([] {
    std::vector<int> out(3 * 2 * 70, -1);
    launch(write_index, dim3(3, 2), dim3(70), 0, out.data());
    for (int block = 0; block < 6; ++block) {
      for (int t = 0; t < 70; ++t) CHECK(out[static_cast<std::size_t>(block * 70 + t)] == block * 1000 + t);
    }
  });
}

TEST(simt_barriers_order_shared_memory) {
  std::vector<int> in(4 * 128);
  std::iota(in.begin(), in.end(), 1);
  on_every_schedule([&] {
    std::vector<int> out(4);
    launch(sum_block, dim3(4), dim3(128), 128 * sizeof(int), in.data(), out.data());
    for (int block = 0; block < 4; ++block) {
      CHECK(out[static_cast<std::size_t>(block)] == 128 * (128 * block) + 128 * 129 / 2);
    }
  });
}

TEST(simt_schedules_show_a_missing_barrier) {
  std::vector<int> in(64);
  std::iota(in.begin(), in.end(), 1);
  std::vector<int> results;
  on_every_schedule([&] {
    int out = 0;
    launch(sum_block_without_barrier, dim3(1), dim3(64), 64 * sizeof(int), in.data(), &out);
    results.push_back(out);
  });
  CHECK(results[0] != results[1] || results[0] != results[2]);
}

TEST(simt_warp_collectives_give_what_a_device_gives) {
  on_every_schedule([] {
    std::vector<int> out(64 * 6);
    launch(warp_collectives, dim3(1), dim3(64), 0, out.data());
    for (int t = 0; t < 64; ++t) {
      const int lane = t % 32;
      const int* row = out.data() + t * 6;
      CHECK(row[0] == 31 * 32 / 2);
      CHECK(row[1] == (lane + 1) % 32);
      CHECK(row[2] == (lane == 0 ? 0 : lane - 1));
      CHECK(row[3] == 16);
      CHECK(row[4] == (lane < 16 ? (15 - lane) * 10 : 0));
      CHECK(row[5] == 1);
    }
  });
}

TEST(simt_atomics_lose_nothing) {
  int total = 0;
  launch(count_atomically, dim3(3), dim3(100), 0, &total);
  CHECK(total == 3 * 99 * 100 / 2);
}

TEST(simt_refuses_barriers_that_would_hang) {
  on_every_schedule([] {
    CHECK_THROWS(launch(diverge_at_barrier, dim3(1), dim3(32), 0), SimtError, "at another barrier than thread");
    CHECK_THROWS(launch(leave_before_barrier, dim3(1), dim3(32), 0), SimtError, "thread 3 never reached");
  });
}

TEST(simt_refuses_collectives_that_are_undefined) {
  on_every_schedule([] {
    CHECK_THROWS(launch(diverge_in_warp, dim3(1), dim3(32), 0), SimtError, "at another warp collective");
    CHECK_THROWS(launch(leave_self_out, dim3(1), dim3(32), 0), SimtError, "leaves it out");
    CHECK_THROWS(launch(miss_collective, dim3(1), dim3(32), 0), SimtError, "a lane never reached");
    CHECK_THROWS(launch(diverge_in_warp, dim3(1), dim3(20), 0), SimtError, "lanes that the block does not have");
  });
  CHECK_THROWS(launch(leave_warp, dim3(1), dim3(32), 0), SimtError, "a lane");
}

TEST(simt_fills_shared_memory_with_garbage) {
  unsigned seen = 0;
  launch(read_garbage, dim3(1), dim3(1), 64, &seen);
  CHECK(seen == 0xCDCDCDCDU);
}

TEST(simt_refuses_launches_that_a_device_would_refuse) {
  CHECK_THROWS(launch(do_nothing, dim3(1), dim3(1025), 0), SimtError, "1 to 1024 threads");
  CHECK_THROWS(launch(do_nothing, dim3(0), dim3(1), 0), SimtError, "must not be empty");
  CHECK_THROWS(launch(do_nothing, dim3(1, 65536), dim3(1), 0), SimtError, "too large");
  CHECK_THROWS(launch(do_nothing, dim3(1), dim3(1), 50 << 10), SimtError, "shared memory");
  CHECK(cudaFuncSetAttribute(do_nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 60 << 10) == cudaSuccess);
  launch(do_nothing, dim3(1), dim3(1), 60 << 10);
  CHECK(cudaFuncSetAttribute(do_nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 20) != cudaSuccess);
}

TEST(simt_carries_errors_out_of_a_kernel) {
  CHECK_THROWS(launch(throw_in_one_thread, dim3(1), dim3(32), 0), TestError, "thread 9");
  launch(do_nothing, dim3(1), dim3(32), 0);  // and goes on afterwards
}
