// Which way topk takes: relations between ways, not the numbers that they rest on.
#include "cpu/topk_plan.hpp"

#include <cstdint>

#include "tests/check.hpp"

namespace {

using recsys::Method;
using recsys::cpu::make_plan;
using recsys::cpu::Means;
using recsys::cpu::Plan;
using recsys::cpu::Question;
using recsys::cpu::Way;
using recsys::cpu::worth_of_copy;

constexpr Means with_copy{.compact_pays = true, .fast_products = false, .bound_fails = false, .has_copy = true};
constexpr Means without_copy{.compact_pays = true, .fast_products = false, .bound_fails = false, .has_copy = false};

constexpr Question plain{.n_items = 200'000,
                         .n_factors = 64,
                         .n_queries = 64,
                         .k = 10,
                         .n_admissible = 200'000,
                         .n_excluded = 0,
                         .n_allowed = {}};

Question with_allowed(std::int64_t a_query, std::int64_t n_queries = plain.n_queries) {
  Question question = plain;
  question.n_queries = n_queries;
  question.n_allowed = a_query * n_queries;
  return question;
}

Way way(Method method, const Question& question, const Means& means) { return make_plan(method, question, means).way; }

// The longest rows of `allow` that are listed.
std::int64_t crossover(std::int64_t n_queries, const Means& means) {
  std::int64_t longest = 0;
  for (std::int64_t a_query = 1; a_query <= plain.n_items; a_query += a_query / 8 + 1) {
    if (way(Method::automatic, with_allowed(a_query, n_queries), means) != Way::listed) break;
    longest = a_query;
  }
  return longest;
}

}  // namespace

TEST(methods_are_taken_at_their_word) {
  for (const Means& means : {with_copy, without_copy}) {
    CHECK(way(Method::float32, plain, means) == Way::float32);
    CHECK(way(Method::compact, plain, means) == Way::compact);
    CHECK(!make_plan(Method::float32, with_allowed(5), means).use_copy);
    CHECK(make_plan(Method::compact, with_allowed(5), means).use_copy);
    CHECK(way(Method::float32, with_allowed(plain.n_items), means) == Way::float32);
    CHECK(way(Method::compact, with_allowed(plain.n_items), means) == Way::compact);
  }
  Question long_rows = plain;
  long_rows.n_factors = 5'000;  // more than codes are made of
  CHECK(way(Method::compact, long_rows, with_copy) == Way::float32);
  CHECK(worth_of_copy(long_rows, without_copy) == 0);
}

TEST(auto_scans_compactly_where_that_pays) {
  CHECK(way(Method::automatic, plain, with_copy) == Way::compact);
  CHECK(way(Method::automatic, plain, without_copy) == Way::float32);
  CHECK(worth_of_copy(plain, without_copy) == plain.n_queries);
  const auto differently = [](auto&& change) {
    Question question = plain;
    Means means = with_copy;
    change(question, means);
    CHECK(way(Method::automatic, question, means) == Way::float32);
    CHECK(worth_of_copy(question, means) == 0);
  };
  differently([](Question&, Means& means) { means.compact_pays = false; });
  differently([](Question&, Means& means) { means.bound_fails = true; });
  differently([](Question& question, Means&) { question.n_items = question.n_admissible = 500; });
  differently([](Question& question, Means&) { question.n_factors = 2; });
  differently([](Question& question, Means&) { question.k = question.n_items / 8; });
  differently([](Question& question, Means&) { question.n_admissible = question.n_items / 3; });
}

// A compact scan handles every entry of `exclude`; the float32 scan looks up only those that score high.
TEST(auto_counts_the_excluded_items) {
  for (const std::int64_t n_factors : {8, 16, 64, 256}) {
    Question question = plain;
    question.n_factors = n_factors;
    question.n_excluded = 144 * question.n_queries;
    CHECK(way(Method::automatic, question, with_copy) == Way::compact);
    question.n_excluded = question.n_items / 10 * 9 * question.n_queries;
    CHECK(way(Method::automatic, question, with_copy) == (n_factors < 32 ? Way::float32 : Way::compact));
  }
  Question nearly_all = plain;  // 20 items are left to each query
  nearly_all.n_excluded = (nearly_all.n_items - 20) * nearly_all.n_queries;
  CHECK(way(Method::automatic, nearly_all, with_copy) == Way::float32);
}

TEST(long_rows_of_allowed_items_are_scanned) {
  for (const Means& means : {with_copy, without_copy}) {
    for (const Method method : {Method::automatic, Method::float32, Method::compact}) {
      CHECK(way(method, with_allowed(0), means) == Way::listed);
      CHECK(way(method, with_allowed(100), means) == Way::listed);
      CHECK(way(method, with_allowed(plain.n_items / 10), means) != Way::listed);
    }
    // A lone query waits for all of memory when it scans, a batch shares that.
    CHECK(crossover(1, means) > 2 * crossover(64, means));
    CHECK(crossover(64, means) > plain.n_items / 1'000);
    CHECK(crossover(1, means) < plain.n_items / 4);
  }
  CHECK(way(Method::automatic, with_allowed(plain.n_items / 10), with_copy) == Way::compact);
  CHECK(way(Method::automatic, with_allowed(plain.n_items / 10), without_copy) == Way::float32);
  Question many_results = with_allowed(plain.n_items / 10);
  many_results.k = plain.n_items / 20;
  CHECK(way(Method::automatic, many_results, with_copy) == Way::float32);
}

// Gathering from tiles is slow, so that lists alone are a reason for a copy.
TEST(lists_count_towards_a_copy_by_what_they_cost) {
  CHECK(make_plan(Method::automatic, with_allowed(100), with_copy).use_copy);
  CHECK(!make_plan(Method::automatic, with_allowed(100), without_copy).use_copy);
  const std::int64_t some = worth_of_copy(with_allowed(500), without_copy);
  CHECK(some > 0);
  CHECK(some < plain.n_queries);
  CHECK(worth_of_copy(with_allowed(1'000), without_copy) > some);
  CHECK(worth_of_copy(with_allowed(0), without_copy) == 0);
}
