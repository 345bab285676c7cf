// Indices that change, against indices built from the same rows, on every level; and operations that are interrupted.
#include "recsys/item_index.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "recsys/dispatch.hpp"
#include "recsys/interrupt.hpp"
#include "recsys/item_index_arrays.hpp"
#include "recsys/thread_pool.hpp"
#include "recsys/topk.hpp"
#include "tests/check.hpp"

namespace {

using recsys::CsrView;
using recsys::Filters;
using recsys::ItemIndex;
using recsys::MatrixView;
using recsys::Method;
using recsys::Metric;

constexpr std::int64_t d = 9;

std::vector<float> draw(std::mt19937& random, std::int64_t n) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = normal(random);
  return values;
}

struct Ranked {
  std::vector<std::int64_t> indices;
  std::vector<float> scores;
  bool operator==(const Ranked&) const = default;
};

Ranked rank(const ItemIndex& index, const std::vector<float>& queries, const Filters& filters, Method method) {
  const auto n_queries = static_cast<std::int64_t>(queries.size()) / d;
  constexpr std::int64_t k = 12;
  Ranked ranked{std::vector<std::int64_t>(static_cast<std::size_t>(n_queries * k)),
                std::vector<float>(static_cast<std::size_t>(n_queries * k))};
  recsys::topk(index, {queries.data(), n_queries, d}, filters, 3,
               {{ranked.indices.data(), n_queries, k}, {ranked.scores.data(), n_queries, k}}, method);
  return ranked;
}

// The rows that an index should hold.
struct Rows {
  std::vector<float> factors;
  std::vector<float> bias;
  std::vector<std::int64_t> gone;
};

void check_same(const ItemIndex& changed, const Rows& rows, Metric metric) {
  const auto n = static_cast<std::int64_t>(rows.bias.size());
  const ItemIndex fresh({rows.factors.data(), n, d}, rows.bias, metric);
  CHECK(changed.n_items() == n);
  std::mt19937 random(3);
  const auto queries = draw(random, 7 * d);
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> columns;
  for (int q = 0; q < 7; ++q) {
    for (std::int64_t i = 0; i < n; ++i) {
      if (random() % 7 == 0) columns.push_back(static_cast<std::int32_t>(i));
    }
    indptr.push_back(static_cast<std::int64_t>(columns.size()));
  }
  const CsrView pattern{indptr, columns, {}, n, true};
  for (const int kind : {0, 1, 2}) {
    Filters filters;
    if (kind == 1) filters.exclude = pattern;
    if (kind == 2) filters.allow_each = pattern;
    Filters without = filters;
    without.deny = rows.gone;
    const Ranked want = rank(fresh, queries, without, Method::float32);
    for (const auto method : {Method::float32, Method::compact, Method::automatic}) {
      CHECK(rank(changed, queries, filters, method) == want);
    }
  }
}

void check_changes(std::int64_t n, Metric metric) {
  std::mt19937 random(static_cast<unsigned>(n));
  Rows rows{draw(random, n * d), draw(random, n), {}};
  ItemIndex index({rows.factors.data(), n, d}, rows.bias, metric);
  check_same(index, rows, metric);

  // Every third item, in blocks and at both ends.
  std::vector<std::int64_t> at;
  for (std::int64_t i = 0; i < n; i += 3) at.push_back(i);
  const auto m = static_cast<std::int64_t>(at.size());
  const auto factors = draw(random, m * d);
  const auto bias = draw(random, m);
  const ItemIndex before = index.removed({});
  index = index.updated(at, {factors.data(), m, d}, bias);
  const Rows old = rows;
  for (std::size_t i = 0; i < at.size(); ++i) {
    rows.bias[static_cast<std::size_t>(at[i])] = bias[i];
    for (std::int64_t f = 0; f < d; ++f) {
      rows.factors[static_cast<std::size_t>(at[i] * d + f)] = factors[i * d + static_cast<std::size_t>(f)];
    }
  }
  check_same(index, rows, metric);
  check_same(before, old, metric);  // what it was made from is as it was

  const auto more = draw(random, 130 * d);
  const auto more_bias = draw(random, 130);
  index = index.appended({more.data(), 130, d}, more_bias);
  rows.factors.insert(rows.factors.end(), more.begin(), more.end());
  rows.bias.insert(rows.bias.end(), more_bias.begin(), more_bias.end());
  check_same(index, rows, metric);

  rows.gone = {0, n, n + 129};
  index = index.removed(rows.gone);
  check_same(index, rows, metric);
  CHECK(index.n_removed() == 3);
  CHECK(index.without_removed().n_items() == n + 127);

  const std::vector<std::int64_t> again{n};
  index = index.updated(again, {more.data(), 1, d}, std::nullopt);
  rows.gone = {0, n + 129};
  check_same(index, rows, metric);
}

}  // namespace

TEST(changed_indices_answer_as_fresh_ones) {
  const recsys::Isa before = recsys::active_isa();
  for (const recsys::Isa isa : recsys::available_isas()) {
    recsys::set_isa(recsys::isa_name(isa));
    for (const std::int64_t n : {1, 31, 128, 129, 3000}) {
      for (const Metric metric : {Metric::dot, Metric::cosine}) check_changes(n, metric);
    }
  }
  recsys::set_isa(recsys::isa_name(before));
}

TEST(readers_of_an_index_and_whoever_changes_it_do_not_disturb_each_other) {
  constexpr std::int64_t n = 700;
  std::mt19937 random(9);
  const auto factors = draw(random, n * d);
  const auto queries = draw(random, 5 * d);
  const auto more = draw(random, 50 * d);
  std::vector<std::int64_t> at(50);
  for (std::size_t i = 0; i < at.size(); ++i) at[i] = static_cast<std::int64_t>(i) * 13;
  const auto changed = [&](const ItemIndex& index) {
    return index.updated(at, {more.data(), 50, d}, {}).appended({more.data(), 50, d}, {}).removed({at.data(), 7});
  };
  const ItemIndex reference({factors.data(), n, d}, {}, Metric::dot);
  const Ranked want = rank(reference, queries, {}, Method::float32);
  const Ranked want_changed = rank(changed(reference), queries, {}, Method::float32);

  for (int repeat = 0; repeat < 5; ++repeat) {
    const ItemIndex index({factors.data(), n, d}, {}, Metric::dot);  // all meet over its compact copy, not yet made
    std::atomic<int> n_wrong = 0;
    std::vector<std::thread> threads;
    for (const Method method : {Method::compact, Method::automatic, Method::compact}) {
      threads.emplace_back([&, method] { n_wrong += rank(index, queries, {}, method) != want; });
    }
    threads.emplace_back([&] { n_wrong += rank(changed(index), queries, {}, Method::compact) != want_changed; });
    for (auto& thread : threads) thread.join();
    CHECK(n_wrong == 0);
  }
}

TEST(changes_that_do_not_fit_are_refused) {
  const std::vector<float> ones(30, 1.0F);
  const ItemIndex index({ones.data(), 3, 5}, {}, Metric::dot);
  const std::vector<std::int64_t> twice{1, 1};
  const std::vector<std::int64_t> outside{3};
  CHECK_THROWS((void)index.updated(twice, {ones.data(), 2, 5}, std::nullopt), recsys::DataError, "distinct");
  CHECK_THROWS((void)index.updated(outside, {ones.data(), 1, 5}, std::nullopt), recsys::DataError, "rows must hold");
  CHECK_THROWS((void)index.removed(outside), recsys::DataError, "rows must hold");
  CHECK_THROWS((void)index.appended({ones.data(), 2, 4}, {}), recsys::ShapeError, "one column a factor");
}

TEST(a_poll_that_throws_ends_the_call_and_leaves_the_pool_usable) {
  for (const std::int64_t n_threads : {1, 3}) {
    for (const bool nested : {false, true}) {
      std::atomic<int> n_ended = 0;
      const auto task = [&](std::int64_t, std::int64_t) {
        // Ends at a checkpoint only.
        for (;;) {
          recsys::checkpoint();
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      };
      const auto run = [&] {
        const recsys::InterruptScope scope([] { throw std::runtime_error("stop"); });
        recsys::parallel_for(8, n_threads, [&](std::int64_t t, std::int64_t thread) {
          if (nested) {
            recsys::parallel_for(4, 2, task);
          } else {
            task(t, thread);
          }
          ++n_ended;
        });
      };
      CHECK_THROWS(run(), std::runtime_error, "stop");
      CHECK(n_ended == 0);
      recsys::checkpoint();  // no scope any more
      std::atomic<int> n_run = 0;
      recsys::parallel_for(50, n_threads, [&](std::int64_t, std::int64_t) { ++n_run; });
      CHECK(n_run == 50);
    }
  }
}

TEST(an_index_of_arrays_that_are_not_its_own_changes_without_writing_to_them) {
  for (const Metric metric : {Metric::dot, Metric::cosine}) {
    std::mt19937 random(8);
    Rows rows{draw(random, 200 * d), draw(random, 200), {}};
    const ItemIndex saved({rows.factors.data(), 200, d}, rows.bias, metric);
    const recsys::ItemIndexArrays arrays = saved.arrays(true);
    CHECK(arrays.factors.size() == 1 && arrays.compact.has_value());
    const std::vector<float> before(arrays.factors[0].begin(), arrays.factors[0].end());
    ItemIndex changed = ItemIndex::from_arrays(arrays);
    CHECK(changed.has_compact());
    check_same(changed, rows, metric);

    const auto added = draw(random, 150 * d);
    const auto added_bias = draw(random, 150);
    const std::vector<std::int64_t> at{3, 199};
    changed = changed.updated(at, {added.data(), 2, d}, std::span(added_bias).first(2));
    changed = changed.appended({added.data(), 150, d}, added_bias);
    for (std::size_t i = 0; i < at.size(); ++i) {
      std::copy_n(added.begin() + static_cast<std::ptrdiff_t>(i) * d, d, rows.factors.begin() + at[i] * d);
      rows.bias[static_cast<std::size_t>(at[i])] = added_bias[i];
    }
    rows.factors.insert(rows.factors.end(), added.begin(), added.end());
    rows.bias.insert(rows.bias.end(), added_bias.begin(), added_bias.end());
    check_same(changed, rows, metric);
    CHECK(std::equal(before.begin(), before.end(), arrays.factors[0].begin()));
    CHECK(changed.arrays(false).factors.size() > 1);  // its pages lie apart now
  }
}

TEST(arrays_that_do_not_fit_together_are_refused) {
  std::mt19937 random(9);
  const auto factors = draw(random, 70 * d);
  const ItemIndex saved({factors.data(), 70, d}, std::nullopt, Metric::dot);
  const auto refused = [&](auto&& spoil, const char* message) {
    recsys::ItemIndexArrays arrays = saved.arrays(true);
    spoil(arrays);
    CHECK_THROWS((void)ItemIndex::from_arrays(arrays), recsys::DataError, message);
  };
  const std::vector<std::int32_t> places(128, 70);
  const std::vector<std::uint32_t> words(3, ~0U);
  refused([](auto& a) { a.n_items = 129; }, "factors must have");
  refused([](auto& a) { a.n_items = -1; }, "n_items must lie");
  refused([](auto& a) { a.n_items = 71; }, "compact.rows must have");
  refused([](auto& a) { a.n_factors = std::int64_t{1} << 60; }, "too large");
  refused([](auto& a) { a.factors[0] = a.factors[0].subspan(1); }, "factors must have");
  refused([](auto& a) { a.bias.emplace(); }, "bias must have");
  refused([&](auto& a) { a.present = words; }, "behind the last item");
  refused([&](auto& a) { a.present = std::span(words).first(2); }, "one word for 32 items");
  refused([&](auto& a) { a.compact->items = places; }, "inverse");
  refused([&](auto& a) { a.compact->positions = std::span(places).first(70); }, "inverse");
  refused([](auto& a) { a.compact->norm_from[0] = std::nan(""); }, "norm_from must hold finite");
}

TEST(a_caller_that_waits_for_a_long_task_polls_too) {
  // Two tasks meet; the caller's ends, the other thread's goes on until somebody polls.
  std::atomic<int> arrived = 0;
  const auto caller = std::this_thread::get_id();
  const auto run = [&] {
    const recsys::InterruptScope scope([] { throw std::runtime_error("stop"); });
    recsys::parallel_for(2, 2, [&](std::int64_t, std::int64_t) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
      while (std::this_thread::get_id() != caller) {
        recsys::checkpoint();
        std::this_thread::yield();
      }
    });
  };
  CHECK_THROWS(run(), std::runtime_error, "stop");
}
