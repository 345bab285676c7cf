// Questions to top-k on a device, which the CPU answers too.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "cuda/rescore.cuh"
#include "cuda/scan_codes.cuh"
#include "cuda/topk.hpp"
#include "recsys/dispatch.hpp"
#include "recsys/topk.hpp"
#include "tests/check.hpp"
#include "tests/cuda_check.hpp"

namespace recsys::test {

inline constexpr float infinity = std::numeric_limits<float>::infinity();

inline std::vector<float> gaussian(std::mt19937& random, std::int64_t n, float scale = 1.0F) {
  std::normal_distribution<float> number(0.0F, scale);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = number(random);
  return values;
}

inline std::vector<float> whole_numbers(std::mt19937& random, std::int64_t n, int bound) {
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

  [[nodiscard]] Answer on_device(const cuda::ItemIndex& index, Method method, const cuda::TopkTuning& tuning) const {
    cuda::TopkRequest request;
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

inline Case random_case(unsigned seed, std::int64_t n_queries, std::int64_t n_items, std::int64_t d, std::int64_t k) {
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
inline constexpr cuda::TopkTuning small_steps{
    .opening = 128, .first_wave = 128, .survivors = 256, .smallest_index = 512};

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

inline void check_both_methods(const Case& asked, const cuda::TopkTuning& tuning = small_steps) {
  const Answer want = asked.on_cpu();
  const cuda::ItemIndex index = asked.index();
  CHECK(asked.on_device(index, Method::float32, tuning) == want);
  CHECK(asked.on_device(index, Method::compact, tuning) == want);
}

inline int scans_of_codes() {
  using cuda::ScanArguments;
  return test::launches_of(cuda::scan_codes<false>) + test::launches_of(cuda::scan_codes<true>);
}

}  // namespace recsys::test
