// Every kernel level on awkward shapes, against plain loops.  Factors are small whole numbers, so that scores are exact
// and ties plenty.  Exactly sized allocations let the address sanitizer see any access beyond an array.
#include "recsys/topk.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "recsys/dispatch.hpp"
#include "tests/check.hpp"

namespace {

using recsys::CsrView;
using recsys::Filters;
using recsys::MatrixView;

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

struct Ranked {
  std::vector<std::int64_t> indices;
  std::vector<float> scores;

  Ranked(std::int64_t n_queries, std::int64_t k)
      : indices(static_cast<std::size_t>(n_queries * k)), scores(static_cast<std::size_t>(n_queries * k)) {}
  recsys::RankingView view(std::int64_t n_queries, std::int64_t k) {
    return {{indices.data(), n_queries, k}, {scores.data(), n_queries, k}};
  }
  bool operator==(const Ranked&) const = default;
};

std::vector<float> whole_numbers(std::mt19937& random, std::int64_t n, int bound) {
  std::uniform_int_distribution<int> number(-bound, bound);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = static_cast<float>(number(random));
  return values;
}

// Scores [n_queries, n_items] with -inf where filtered, ranked by sorting.
Ranked rank_plainly(const std::vector<float>& scores, std::int64_t n_queries, std::int64_t n_items, std::int64_t k) {
  Ranked want(n_queries, k);
  for (std::int64_t q = 0; q < n_queries; ++q) {
    const float* row = scores.data() + q * n_items;
    std::vector<std::int64_t> order;
    for (std::int64_t i = 0; i < n_items; ++i) {
      if (row[i] > minus_infinity) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(), [row](std::int64_t a, std::int64_t b) { return row[a] > row[b]; });
    for (std::int64_t rank = 0; rank < k; ++rank) {
      const bool filled = rank < static_cast<std::int64_t>(order.size());
      const std::int64_t item = filled ? order[static_cast<std::size_t>(rank)] : -1;
      want.indices[static_cast<std::size_t>(q * k + rank)] = item;
      want.scores[static_cast<std::size_t>(q * k + rank)] = filled ? row[item] : minus_infinity;
    }
  }
  return want;
}

enum class Allow { everything, one_list, few_each, many_each };

// Random filters over n_queries x n_items, and what they leave out.
struct RandomFilters {
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> excluded;
  std::vector<std::int64_t> allow;
  std::vector<std::int64_t> allow_indptr{0};
  std::vector<std::int32_t> allowed;
  std::vector<std::int64_t> deny;
  Allow kind;
  std::int64_t n_items;

  RandomFilters(std::mt19937& random, std::int64_t n_queries, std::int64_t items, Allow allow_kind)
      : kind(allow_kind), n_items(items) {
    for (std::int64_t q = 0; q < n_queries; ++q) {
      for (std::int64_t i = 0; i < n_items; ++i) {
        if (random() % 5 == 0) excluded.push_back(static_cast<std::int32_t>(i));
      }
      indptr.push_back(static_cast<std::int64_t>(excluded.size()));
      for (std::int64_t i = 0; i < n_items; ++i) {
        if (random() % (kind == Allow::many_each ? 2 : 200) == 0) allowed.push_back(static_cast<std::int32_t>(i));
      }
      allow_indptr.push_back(static_cast<std::int64_t>(allowed.size()));
    }
    for (std::int64_t i = 0; i < n_items; ++i) {
      if (random() % 6 == 0) allow.push_back(i);
      if (random() % 4 == 0) deny.push_back(i);
    }
  }

  [[nodiscard]] Filters view() const {
    Filters filters;
    filters.exclude = CsrView{indptr, excluded, {}, n_items, true};
    if (kind == Allow::one_list) filters.allow = allow;
    if (is_each()) filters.allow_each = CsrView{allow_indptr, allowed, {}, n_items, true};
    filters.deny = deny;
    return filters;
  }

  [[nodiscard]] bool is_each() const { return kind == Allow::few_each || kind == Allow::many_each; }

  void apply(std::vector<float>& scores) const {
    const auto n_queries = static_cast<std::int64_t>(indptr.size()) - 1;
    for (std::int64_t q = 0; q < n_queries; ++q) {
      float* row = scores.data() + q * n_items;
      const auto listed = CsrView{allow_indptr, allowed, {}, n_items}.row_indices(q);
      for (std::int64_t i = 0; i < n_items; ++i) {
        const bool passes = is_each() ? std::binary_search(listed.begin(), listed.end(), i)
                                      : std::binary_search(allow.begin(), allow.end(), i);
        if (kind != Allow::everything && !passes) row[i] = minus_infinity;
      }
      for (const std::int64_t item : deny) row[item] = minus_infinity;
      for (const std::int32_t item : CsrView{indptr, excluded, {}, n_items}.row_indices(q)) row[item] = minus_infinity;
    }
  }
};

template <typename Check>
void on_every_level(Check&& check) {
  const recsys::Isa before = recsys::active_isa();
  for (const recsys::Isa isa : recsys::available_isas()) {
    recsys::set_isa(recsys::isa_name(isa));
    check();
  }
  recsys::set_isa(recsys::isa_name(before));
}

void check_topk(std::int64_t n_queries, std::int64_t n_items, std::int64_t d, std::int64_t k, Allow allow) {
  std::mt19937 random(static_cast<unsigned>(n_queries * 1009 + n_items * 31 + d));
  const auto items = whole_numbers(random, n_items * d, 2);
  const auto queries = whole_numbers(random, n_queries * d, 2);
  const auto bias = whole_numbers(random, n_items, 1);
  const RandomFilters filters(random, n_queries, n_items, allow);

  std::vector<float> scores(static_cast<std::size_t>(n_queries * n_items));
  for (std::int64_t q = 0; q < n_queries; ++q) {
    for (std::int64_t i = 0; i < n_items; ++i) {
      float sum = bias[static_cast<std::size_t>(i)];
      for (std::int64_t f = 0; f < d; ++f) {
        sum += queries[static_cast<std::size_t>(q * d + f)] * items[static_cast<std::size_t>(i * d + f)];
      }
      scores[static_cast<std::size_t>(q * n_items + i)] = sum;
    }
  }
  filters.apply(scores);
  const Ranked want = rank_plainly(scores, n_queries, n_items, k);

  const recsys::ItemIndex index({items.data(), n_items, d}, bias, recsys::Metric::dot);
  on_every_level([&] {
    for (const std::int64_t n_threads : {1, 3}) {
      for (const auto method : {recsys::Method::float32, recsys::Method::compact, recsys::Method::automatic}) {
        Ranked got(n_queries, k);
        recsys::topk(index, {queries.data(), n_queries, d}, filters.view(), n_threads, got.view(n_queries, k), method);
        CHECK(got == want);
      }
    }
  });
}

}  // namespace

TEST(topk_agrees_with_plain_loops_on_awkward_shapes) {
  for (const std::int64_t d : {1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 128, 200}) {
    for (const std::int64_t n_queries : {1, 2, 3, 5, 7, 12, 13, 25})
      check_topk(n_queries, 97, d, 11, Allow{static_cast<int>(d % 4)});
  }
}

TEST(topk_agrees_with_plain_loops_on_every_size_of_tile) {
  for (const std::int64_t n_items : {1, 2, 31, 32, 33, 63, 64, 65, 1000}) {
    for (const std::int64_t k : {1, 5, 64, 2000}) check_topk(4, n_items, 6, k, Allow{static_cast<int>(n_items % 4)});
  }
}

TEST(topk_agrees_where_ranges_are_merged_and_few_items_are_gathered) {
  check_topk(2, 30'000, 24, 40, Allow::everything);
  check_topk(60, 6'000, 8, 40, Allow::one_list);
}

TEST(topk_agrees_where_each_query_has_its_own_items) {
  for (const std::int64_t n_queries : {1, 40}) {
    check_topk(n_queries, 6'000, 12, 9, Allow::few_each);
    check_topk(n_queries, 6'000, 12, 9, Allow::many_each);
  }
}

TEST(item_item_topk_agrees_with_plain_loops) {
  for (const std::int64_t n_items : {1, 7, 31, 32, 33, 100}) {
    constexpr std::int64_t n_queries = 6;
    const std::int64_t k = n_items + 2;  // every score is seen
    std::mt19937 random(static_cast<unsigned>(n_items));
    const auto weights = whole_numbers(random, n_items * n_items, 2);
    std::vector<std::int64_t> indptr{0};
    std::vector<std::int32_t> indices;
    for (std::int64_t row = 0; row < n_items; ++row) {
      for (std::int64_t i = 0; i < n_items; ++i) indices.push_back(static_cast<std::int32_t>(i));
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
    const RandomFilters filters(random, n_queries, n_items, Allow{static_cast<int>(n_items % 4)});
    const RandomFilters seen(random, n_queries, n_items, Allow::everything);
    const auto values = whole_numbers(random, static_cast<std::int64_t>(seen.excluded.size()), 3);
    const CsrView histories{seen.indptr, seen.excluded, values, n_items};

    std::vector<float> scores(static_cast<std::size_t>(n_queries * n_items), 0.0F);
    for (std::int64_t q = 0; q < n_queries; ++q) {
      for (std::int64_t at = histories.begin(q); at < histories.end(q); ++at) {
        for (std::int64_t i = 0; i < n_items; ++i) {
          const std::int64_t row = histories.indices[static_cast<std::size_t>(at)];
          scores[static_cast<std::size_t>(q * n_items + i)] +=
              values[static_cast<std::size_t>(at)] * weights[static_cast<std::size_t>(row * n_items + i)];
        }
      }
    }
    for (const bool filtered : {false, true}) {
      if (filtered) filters.apply(scores);
      const Filters given = filtered ? filters.view() : Filters{};
      const Ranked want = rank_plainly(scores, n_queries, n_items, k);
      on_every_level([&] {
        Ranked dense(n_queries, k);
        recsys::item_item_topk(histories, MatrixView<const float>(weights.data(), n_items, n_items), given, 2,
                               dense.view(n_queries, k));
        CHECK(dense == want);
        Ranked sparse(n_queries, k);
        recsys::item_item_topk(histories, CsrView{indptr, indices, weights, n_items}, given, 2,
                               sparse.view(n_queries, k));
        CHECK(sparse == want);
      });
    }
  }
}

TEST(ranking_of_the_wrong_shape_is_refused) {
  const std::vector<float> ones(12, 1.0F);
  const recsys::ItemIndex index({ones.data(), 4, 3}, {}, recsys::Metric::dot);
  Ranked ranked(3, 2);
  CHECK_THROWS(recsys::topk(index, {ones.data(), 2, 3}, {}, 1, ranked.view(3, 2)), recsys::ShapeError,
               "one row a query");
  CHECK_THROWS(recsys::topk(index, {ones.data(), 3, 4}, {}, 1, ranked.view(3, 2)), recsys::ShapeError, "queries");
  Ranked empty(4, 0);
  CHECK_THROWS(recsys::topk(index, {ones.data(), 4, 3}, {}, 1, empty.view(4, 0)), recsys::ConfigError, "k must be");
}
