// Top-k's kernels, compiled for the processor, against the CPU's top-k: the same indices and the same bits.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuda/topk.cuh"
#include "recsys/dispatch.hpp"
#include "recsys/topk.hpp"
#include "tests/check.hpp"
#include "tests/cuda_check.hpp"

namespace {

using namespace recsys;
using recsys::cuda::TopkRequest;
using recsys::cuda::TopkTuning;

constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<float> gaussian(std::mt19937& random, std::int64_t n, float scale = 1.0F) {
  std::normal_distribution<float> number(0.0F, scale);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = number(random);
  return values;
}

std::vector<float> whole_numbers(std::mt19937& random, std::int64_t n, int bound) {
  std::uniform_int_distribution<int> number(-bound, bound);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = static_cast<float>(number(random));
  return values;
}

struct Answer {
  std::vector<std::int64_t> indices;
  std::vector<float> scores;

  Answer(std::int64_t n_queries, std::int64_t k)
      : indices(static_cast<std::size_t>(n_queries * k), -7), scores(indices.size(), 7.0F) {}
  bool operator==(const Answer&) const = default;
};

// A question with everything that it needs.
struct Case {
  std::int64_t n_queries;
  std::int64_t n_items;
  std::int64_t d;
  std::int64_t k;
  std::vector<float> queries{};
  std::vector<float> items{};
  std::vector<float> bias{};
  Metric metric = Metric::dot;
  std::vector<std::int64_t> exclude_indptr{};
  std::vector<std::int32_t> exclude_indices{};
  std::optional<std::vector<std::int64_t>> allow{};
  std::vector<std::int64_t> deny{};
  std::vector<std::int64_t> allow_indptr{};
  std::vector<std::int32_t> allow_indices{};

  [[nodiscard]] std::optional<CsrView> allow_each() const {
    if (allow_indptr.empty()) return std::nullopt;
    return CsrView{allow_indptr, allow_indices, {}, n_items, true};
  }
  [[nodiscard]] std::optional<CsrView> exclude() const {
    if (exclude_indptr.empty()) return std::nullopt;
    return CsrView{exclude_indptr, exclude_indices, {}, n_items, true};
  }

  [[nodiscard]] Answer on_cpu() const {
    Filters filters;
    filters.exclude = exclude();
    if (allow) filters.allow = *allow;
    filters.allow_each = allow_each();
    filters.deny = deny;
    Answer answer(n_queries, k);
    std::optional<std::span<const float>> item_bias;
    if (!bias.empty()) item_bias = bias;
    const ItemIndex index({items.data(), n_items, d}, item_bias, metric);
    topk(index, {queries.data(), n_queries, d}, filters, 1,
         {{answer.indices.data(), n_queries, k}, {answer.scores.data(), n_queries, k}}, Method::float32);
    for (float& score : answer.scores) score += 0.0F;  // -0 is 0 on a device
    return answer;
  }

  [[nodiscard]] cuda::ItemIndex index() const {
    return {{items.data(), n_items, d}, bias.empty() ? nullptr : bias.data(), false, metric, {}};
  }

  [[nodiscard]] Answer on_device(const cuda::ItemIndex& index, Method method, const TopkTuning& tuning) const {
    TopkRequest request;
    request.queries = {queries.data(), n_queries, d};
    request.exclude = exclude();
    if (allow) request.allow = *allow;
    request.allow_each = allow_each();
    request.deny = deny;
    request.method = method;
    Answer answer(n_queries, k);
    cuda::topk(index, request, k, answer.indices.data(), answer.scores.data(), {}, tuning);
    return answer;
  }

  void exclude_some(std::mt19937& random, unsigned one_in) {
    exclude_indptr = {0};
    for (std::int64_t q = 0; q < n_queries; ++q) {
      const std::size_t begin = exclude_indices.size();
      for (std::int64_t i = 0; i < n_items; ++i) {
        if (random() % one_in == 0) exclude_indices.push_back(static_cast<std::int32_t>(i));
      }
      if (q % 2 == 1) {
        std::reverse(exclude_indices.begin() + static_cast<std::ptrdiff_t>(begin), exclude_indices.end());
      }
      exclude_indptr.push_back(std::ssize(exclude_indices));
    }
  }
};

Case random_case(unsigned seed, std::int64_t n_queries, std::int64_t n_items, std::int64_t d, std::int64_t k) {
  std::mt19937 random(seed);
  Case made{.n_queries = n_queries, .n_items = n_items, .d = d, .k = k};
  made.queries = gaussian(random, n_queries * d);
  made.items = gaussian(random, n_items * d);
  // Norms with a long tail, as trained factors have.
  for (std::int64_t i = 0; i < n_items; ++i) {
    const float length = std::exp(0.5F * gaussian(random, 1)[0]);
    for (std::int64_t f = 0; f < d; ++f) made.items[static_cast<std::size_t>(i * d + f)] *= length;
  }
  return made;
}

// Small openings and waves, so that few items see every part of the scan.
constexpr TopkTuning small_steps{.opening = 128, .first_wave = 128, .survivors = 256, .smallest_index = 512};

// Rescoring must round as the CPU does, which fuses at every level but the baseline.
template <typename Check>
void on_a_fused_level(Check&& check) {
  const Isa before = active_isa();
  const std::vector<Isa> levels = available_isas();
  if (levels.size() > 1) {
    set_isa(isa_name(levels.back()));
    check();
  }
  set_isa(isa_name(before));
}

void check_both_methods(const Case& asked, const TopkTuning& tuning = small_steps) {
  const Answer want = asked.on_cpu();
  const cuda::ItemIndex index = asked.index();
  CHECK(asked.on_device(index, Method::float32, tuning) == want);
  CHECK(asked.on_device(index, Method::compact, tuning) == want);
}

int scans_of_codes() {
  using cuda::ScanArguments;
  return test::launches_of(cuda::scan_codes<false>) + test::launches_of(cuda::scan_codes<true>);
}

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

TEST(cuda_topk_leaves_few_items_to_rescore) {
  const Case asked = random_case(41, 128, 4096, 32, 10);
  const cuda::ItemIndex index = asked.index();
  const int before = scans_of_codes();
  const int floats_before = test::launches_of(cuda::scan_float32);
  TopkTuning tuning = small_steps;
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
