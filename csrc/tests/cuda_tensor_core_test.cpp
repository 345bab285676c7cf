// What kernels build on: products on tensor cores and copies that do not wait, as the emulation does them.
#include <cstdint>
#include <random>
#include <vector>

#include "cuda/runtime.cuh"
#include "cuda/tensor_core.cuh"
#include "cuda/threads.cuh"
#include "tests/check.hpp"

namespace {

using namespace recsys;

void multiply_tiles(const std::int8_t* left, const std::int8_t* right, int* out) {
  auto* const shared = cuda::shared_memory<std::int8_t>();
  constexpr int stride = 48;
  for (int i = cuda::thread_index(); i < 16 * 32; i += 32) {
    shared[i / 32 * stride + i % 32] = left[i];
    shared[16 * stride + i / 32 * stride + i % 32] = right[i];
  }
  __syncthreads();
  unsigned a[4];
  unsigned b[4];
  cuda::load_left(a, shared, stride, 0, 0);
  cuda::load_right(b, shared + 16 * stride, stride, 0, 0);
  const int lane = cuda::lane_index();
  for (int half = 0; half < 2; ++half) {
    int sums[4] = {1, 2, 3, 4};
    cuda::multiply_add(sums, a, b[half * 2], b[half * 2 + 1]);
    for (int r = 0; r < 4; ++r) {
      out[(lane / 4 + r / 2 * 8) * 16 + half * 8 + lane % 4 * 2 + r % 2] = sums[r] - r - 1;
    }
  }
}

void copy_late(const int4* from, int* seen) {
  auto* const shared = cuda::shared_memory<int4>();
  shared[0] = {7, 7, 7, 7};
  cuda::copy_async(shared, from);
  cuda::commit_copies();
  cuda::commit_copies();
  cuda::wait_copies<2>();
  seen[0] = shared[0].x;
  cuda::wait_copies<1>();
  seen[1] = shared[0].x;
  cuda::wait_copies<0>();
}

}  // namespace

TEST(cuda_tensor_core_multiplies_as_plain_loops_do) {
  std::mt19937 random(3);
  std::vector<std::int8_t> left(16 * 32);
  std::vector<std::int8_t> right(16 * 32);
  for (auto& value : left) value = static_cast<std::int8_t>(random());
  for (auto& value : right) value = static_cast<std::int8_t>(random());
  std::vector<int> out(16 * 16);
  cuda::launch("multiply_tiles", multiply_tiles, cuda::blocks(1), 32, 32 * 48, {}, left.data(), right.data(),
               out.data());
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t j = 0; j < 16; ++j) {
      int sum = 0;
      for (std::size_t f = 0; f < 32; ++f) sum += left[i * 32 + f] * right[j * 32 + f];
      CHECK(out[i * 16 + j] == sum);
    }
  }
}

TEST(cuda_asynchronous_copies_arrive_when_waited_for) {
  const int4 from{42, 0, 0, 0};
  int seen[2] = {};
  cuda::launch("copy_late", copy_late, cuda::blocks(1), 1, 16, {}, &from, seen);
  CHECK(seen[0] == 7);
  CHECK(seen[1] == 42);
}
