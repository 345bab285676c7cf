// Which way top-k on a device takes, what it does with little memory, and what it refuses.
#include <limits>

#include "tests/cuda_topk_case.hpp"

namespace {

using namespace recsys;
using namespace recsys::test;

}  // namespace

TEST(cuda_topk_leaves_few_items_to_rescore) {
  const Case asked = random_case(41, 128, 4096, 32, 10);
  const cuda::ItemIndex index = asked.index();
  const int before = scans_of_codes();
  const int floats_before = test::launches_of(cuda::scan_float32);
  cuda::TopkTuning tuning = small_steps;
  tuning.opening = 512;
  tuning.first_wave = 512;
  (void)asked.on_device(index, Method::compact, tuning);
  CHECK(scans_of_codes() - before == 3);                              // 512, 1024 and 2048 more
  CHECK(test::launches_of(cuda::scan_float32) - floats_before == 1);  // the opening, and no query left
}

TEST(cuda_topk_cuts_batches_to_the_memory_there_is) {
  on_a_fused_level([] {
    const Case asked = random_case(43, 7, 400, 8, 5);
    const Answer want = asked.on_cpu();
    const cuda::ItemIndex index = asked.index();
    const int before = test::launches_of(cuda::prepare_queries);
    test::with_device_limits({.free_bytes = 80'000},
                             [&] { CHECK(asked.on_device(index, Method::float32, small_steps) == want); });
    CHECK(test::launches_of(cuda::prepare_queries) - before > 1);
    test::with_device_limits({.free_bytes = 4'000}, [&] {
      CHECK_THROWS((void)asked.on_device(index, Method::float32, small_steps), DeviceError,
                   "query 0 and its filters must fit the device's memory");
    });
  });
}

TEST(cuda_topk_scores_every_item_where_the_scan_does_not_fit) {
  on_a_fused_level([] {
    const Case asked = random_case(47, 2, 700, 300, 5);
    const Answer want = asked.on_cpu();
    const cuda::ItemIndex index = asked.index();
    const int before = scans_of_codes();
    test::with_device_limits({.shared_bytes = 64 << 10},
                             [&] { CHECK(asked.on_device(index, Method::compact, small_steps) == want); });
    CHECK(scans_of_codes() == before);
    CHECK(asked.on_device(index, Method::compact, small_steps) == want);
    CHECK(scans_of_codes() > before);
  });
}

TEST(cuda_topk_chooses_codes_for_large_indexes_only) {
  const Case small = random_case(53, 2, 300, 16, 3);
  const Case large = random_case(53, 2, 600, 16, 3);
  int before = scans_of_codes();
  (void)small.on_device(small.index(), Method::automatic, small_steps);
  CHECK(scans_of_codes() == before);
  before = scans_of_codes();
  (void)large.on_device(large.index(), Method::automatic, small_steps);
  CHECK(scans_of_codes() > before);
}

TEST(cuda_topk_refuses_what_it_cannot_answer) {
  Case asked = random_case(59, 3, 100, 5, 4);
  const cuda::ItemIndex index = asked.index();
  const auto ask = [&] { (void)asked.on_device(index, Method::automatic, {}); };
  asked.queries[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS(ask(), DataError, "queries");
  asked.queries[7] = 0.0F;
  asked.deny = {3, 100};
  CHECK_THROWS(ask(), DataError, "got 100 at position 1");
  asked.deny = {-1};
  CHECK_THROWS(ask(), DataError, "deny");
  asked.deny.clear();
  asked.exclude_indptr = {0, 0, 0};
  CHECK_THROWS(ask(), ShapeError, "exclude must have shape (3, 100), got (2, 100)");
  asked.exclude_indptr.clear();
  asked.allow_indptr = {0, 0};
  CHECK_THROWS(ask(), ShapeError, "allow must have shape (3, 100), got (1, 100)");
  asked.allow_indptr = {0, 1, 1, 1};
  asked.allow_indices = {100};
  CHECK_THROWS(ask(), DataError, "allow");
  asked.allow_indptr.clear();
  asked.d = 4;
  CHECK_THROWS(ask(), ShapeError, "queries");
  asked.d = 5;
  asked.items[13] = infinity;
  CHECK_THROWS((void)asked.index(), DataError, "item_factors");
  asked.items[13] = 0.0F;
  asked.bias.assign(100, 0.0F);
  asked.bias[2] = infinity;
  CHECK_THROWS((void)asked.index(), DataError, "item_bias");
  test::with_device_limits({.free_bytes = 100},
                           [&] { CHECK_THROWS(ask(), DeviceError, "must fit the device's memory"); });
}
