// The order rule as keys, and a block's selection and sorting by it.
#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "cuda/runtime.cuh"
#include "cuda/selection.cuh"
#include "tests/check.hpp"
#include "tests/cuda_check.hpp"

namespace {

using namespace recsys;

constexpr float infinity = std::numeric_limits<float>::infinity();

void select_and_sort(cuda::Key* keys, int n, int k, cuda::Key* last) {
  auto& scratch = *cuda::shared_memory<cuda::SelectionScratch>();
  const cuda::Key largest = cuda::select_smallest(keys, n, k, scratch);
  if (threadIdx.x == 0) *last = largest;
  cuda::sort_keys(keys, k);
}

void keys_of(const float* scores, int n, cuda::Key* keys, float* back) {
  for (int i = 0; i < n; ++i) {
    keys[i] = cuda::make_key(scores[i], i);
    back[i] = cuda::key_score(keys[i]);
  }
}

}  // namespace

TEST(cuda_keys_order_as_the_order_rule_does) {
  const std::vector<float> scores{infinity, 3e38F, 2.5F, 2.5F, 1e-45F, 0.0F, -0.0F, -1e-45F, -2.0F, -infinity};
  std::vector<cuda::Key> keys(scores.size());
  std::vector<float> back(scores.size());
  keys_of(scores.data(), static_cast<int>(scores.size()), keys.data(), back.data());
  CHECK(std::is_sorted(keys.begin(), keys.end()));
  CHECK(back == scores);
  for (std::size_t i = 0; i < keys.size(); ++i) CHECK(cuda::key_item(keys[i]) == static_cast<int>(i));
}

TEST(cuda_selection_keeps_the_smallest_in_order) {
  std::mt19937_64 random(5);
  test::on_every_schedule([&] {
    for (const int n : {1, 2, 31, 64, 65, 300}) {
      for (const int n_threads : {32, 128}) {
        for (const int shift : {0, 40, 60}) {  // few different high digits, then few different keys at all
          std::vector<cuda::Key> keys(static_cast<std::size_t>(n));
          for (std::size_t i = 0; i < keys.size(); ++i) {
            keys[i] = shift == 60 ? (random() >> 60 << 32) + i : random() >> shift;
          }
          std::vector<cuda::Key> sorted = keys;
          std::sort(sorted.begin(), sorted.end());
          if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) continue;
          for (const int k : {1, n / 2 + 1, n}) {
            std::vector<cuda::Key> some = keys;
            cuda::Key last = 0;
            cuda::launch("select", select_and_sort, cuda::blocks(1), n_threads, sizeof(cuda::SelectionScratch), {},
                         some.data(), n, k, &last);
            CHECK(std::equal(some.begin(), some.begin() + k, sorted.begin()));
            CHECK(last == sorted[static_cast<std::size_t>(k) - 1]);
          }
        }
      }
    }
  });
}
