// Top-k's kernels, compiled for the processor, against the CPU's top-k: the same indices and the same bits.
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "tests/cuda_topk_case.hpp"

namespace {

using namespace recsys;
using namespace recsys::test;

}  // namespace

TEST(cuda_topk_agrees_with_the_cpu_at_every_width) {
  on_a_fused_level([] {
    for (const std::int64_t d : {1, 3, 4, 31, 32, 33, 64, 65, 100, 200}) {
      check_both_methods(random_case(static_cast<unsigned>(d), 3, 700, d, 10));
    }
  });
}

TEST(cuda_topk_agrees_with_the_cpu_at_every_size) {
  on_a_fused_level([] {
    for (const std::int64_t n_items : {1, 63, 128, 129, 257}) {
      for (const std::int64_t k : {1, 20, 300}) check_both_methods(random_case(11, 2, n_items, 16, k));
    }
    check_both_methods(random_case(12, 130, 600, 16, 5));  // more queries than a tile holds
  });
}

TEST(cuda_topk_does_not_depend_on_the_order_of_threads) {
  on_a_fused_level([] {
    const Case asked = random_case(13, 9, 900, 40, 17);
    const Answer want = asked.on_cpu();
    test::on_every_schedule([&] {
      const cuda::ItemIndex index = asked.index();
      CHECK(asked.on_device(index, Method::float32, small_steps) == want);
      CHECK(asked.on_device(index, Method::compact, small_steps) == want);
    });
  });
}

TEST(cuda_topk_breaks_ties_by_item) {
  std::mt19937 random(17);
  Case asked{.n_queries = 5, .n_items = 800, .d = 6, .k = 40};
  asked.queries = whole_numbers(random, 5 * 6, 2);
  asked.items = whole_numbers(random, 800 * 6, 1);
  asked.bias = whole_numbers(random, 800, 1);
  check_both_methods(asked);
}

TEST(cuda_topk_adds_a_bias_and_scales_to_unit_length) {
  on_a_fused_level([] {
    for (const Metric metric : {Metric::dot, Metric::cosine}) {
      for (const float scale : {0.0F, 0.01F, 5.0F, 1e4F}) {
        Case asked = random_case(19, 4, 700, 24, 12);
        std::mt19937 random(23);
        asked.metric = metric;
        asked.bias = gaussian(random, 700, scale);
        check_both_methods(asked);
      }
    }
  });
}

TEST(cuda_topk_applies_filters) {
  on_a_fused_level([] {
    for (const unsigned one_in : {2U, 40U}) {
      Case asked = random_case(29, 5, 700, 16, 30);
      std::mt19937 random(31);
      asked.exclude_some(random, one_in);
      check_both_methods(asked);
      for (std::int64_t i = 0; i < 700; i += 3) asked.deny.push_back(i);
      check_both_methods(asked);
      asked.allow.emplace();
      for (std::int64_t i = 0; i < 700; i += 4) asked.allow->push_back(i);
      check_both_methods(asked);
      asked.allow->clear();
      check_both_methods(asked);
    }
  });
}

TEST(cuda_topk_scores_the_items_allowed_for_each_query) {
  on_a_fused_level([] {
    for (const std::int64_t k : {1, 30, 300, 900}) {
      Case asked = random_case(61, 6, 700, 20, k);
      std::mt19937 random(67);
      asked.bias = gaussian(random, 700);
      asked.exclude_some(random, 5);
      asked.deny = {3, 50, 699};
      // None, one, some in any order and twice, and all.
      const std::vector<std::int64_t> sizes{0, 1, 40, 650, 700, 0};
      asked.allow_indptr = {0};
      for (const std::int64_t size : sizes) {
        for (std::int64_t i = 0; i < size; ++i) {
          asked.allow_indices.push_back(
              static_cast<std::int32_t>(size == 700 ? i : static_cast<std::int64_t>(random() % 700)));
        }
        asked.allow_indptr.push_back(std::ssize(asked.allow_indices));
      }
      const int before = scans_of_codes();
      test::on_every_schedule([&] { check_both_methods(asked); });
      CHECK(scans_of_codes() == before);
      const cuda::ItemIndex index = asked.index();
      const Answer want = asked.on_cpu();
      test::with_device_limits({.free_bytes = 80'000},
                               [&] { CHECK(asked.on_device(index, Method::automatic, small_steps) == want); });
    }
  });
}

TEST(cuda_topk_loses_no_item_on_data_that_strains_the_bound) {
  on_a_fused_level([] {
    std::mt19937 random(37);
    const auto with = [&](const std::function<void(Case&)>& change) {
      Case asked = random_case(static_cast<unsigned>(random()), 4, 700, 20, 9);
      change(asked);
      check_both_methods(asked);
    };
    // Nearly equal items: 8 bits cannot tell them apart.
    with([&](Case& asked) {
      for (std::size_t i = 0; i < asked.items.size(); ++i) {
        asked.items[i] = asked.items[i % 20] * (1 + 1e-5F * gaussian(random, 1)[0]);
      }
    });
    // Exactly equal ones: every one of them reaches the threshold, more than there is room for.
    with([](Case& asked) {
      for (std::size_t i = 20; i < asked.items.size(); ++i) asked.items[i] = asked.items[i % 20];
    });
    // Tiny and huge numbers, whose scales and products leave float32's normal range.
    for (const float scale : {1e-42F, 1e-30F, 1e15F}) {
      with([&](Case& asked) {
        for (float& value : asked.items) value *= scale;
      });
      with([&](Case& asked) {
        for (float& value : asked.queries) value *= scale;
        for (float& value : asked.items) value *= scale;
      });
    }
    // Scores that overflow to infinity, and inf - inf.
    with([](Case& asked) {
      for (float& value : asked.queries) value *= 1e25F;
      for (float& value : asked.items) value *= 1e25F;
    });
    // Zero queries and zero items; one item far longer than all others.
    with([](Case& asked) { std::fill(asked.queries.begin(), asked.queries.begin() + 20, 0.0F); });
    with([](Case& asked) { std::fill(asked.items.begin() + 200, asked.items.end(), 0.0F); });
    with([](Case& asked) {
      for (std::size_t f = 0; f < 20; ++f) asked.items[333 * 20 + f] *= 1e8F;
    });
    // One factor dwarfs the others.
    with([](Case& asked) {
      for (std::size_t i = 0; i < asked.items.size(); i += 20) asked.items[i] *= 1000.0F;
    });
  });
}
