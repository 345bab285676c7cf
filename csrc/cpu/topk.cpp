#include "recsys/topk.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "cpu/candidates.hpp"
#include "cpu/compact_copy.hpp"
#include "cpu/compact_scan.hpp"
#include "cpu/experience.hpp"
#include "cpu/float32_scan.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/listed_topk.hpp"
#include "cpu/selection.hpp"
#include "cpu/topk_plan.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

// Rows of a filter for some of the queries.
struct ChosenRows {
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> indices;

  ChosenRows(const std::optional<CsrView>& filter, std::span<const std::int64_t> chosen) {
    if (!filter) return;
    for (const std::int64_t query : chosen) {
      const auto row = filter->row_indices(query);
      indices.insert(indices.end(), row.begin(), row.end());
      indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
  }

  void replace(std::optional<CsrView>& filter) const {
    if (filter) filter = CsrView{indptr, indices, {}, filter->cols};
  }
};

// float32_topk for some of the queries.
void float32_topk_of(std::span<const std::int64_t> chosen, const ItemIndex& index, MatrixView<const float> queries,
                     const Filters& filters, const cpu::Admissible& admissible, std::int64_t n_threads,
                     const RankingView& ranking) {
  const std::int64_t k = ranking.indices.cols();
  const auto n = static_cast<std::int64_t>(chosen.size());
  std::vector<float> rows;
  for (const std::int64_t query : chosen) {
    rows.insert(rows.end(), queries.row(query), queries.row(query) + queries.cols());
  }
  const ChosenRows excluded(filters.exclude, chosen);
  const ChosenRows allowed(filters.allow_each, chosen);
  Filters some = filters;
  excluded.replace(some.exclude);
  allowed.replace(some.allow_each);
  std::vector<std::int64_t> indices(static_cast<std::size_t>(checked_product(n, k)));
  std::vector<float> scores(indices.size());
  cpu::float32_topk(index, {rows.data(), n, queries.cols()}, some, admissible, n_threads,
                    {{indices.data(), n, k}, {scores.data(), n, k}});
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t query = chosen[static_cast<std::size_t>(i)];
    std::copy_n(indices.data() + i * k, k, ranking.indices.row(query));
    std::copy_n(scores.data() + i * k, k, ranking.scores.row(query));
  }
}

// Merges these items, which the rankings do not have yet, into those of all queries but the ones left.
void add_items(const cpu::Admissible& added, std::span<const std::int64_t> left, const ItemIndex& index,
               MatrixView<const float> queries, const Filters& filters, std::int64_t n_threads,
               const RankingView& ranking) {
  const std::int64_t k = ranking.indices.cols();
  const std::int64_t k_added = std::min(k, added.count());
  constexpr std::int64_t scratch_entries = 1 << 20;
  const std::int64_t block = std::clamp<std::int64_t>(scratch_entries / k_added, 1, queries.rows());
  std::vector<std::int64_t> indices(static_cast<std::size_t>(block * k_added));
  std::vector<float> scores(indices.size());
  std::vector<cpu::Candidate> candidates;
  for (std::int64_t first = 0; first < queries.rows(); first += block) {
    const std::int64_t n = std::min(block, queries.rows() - first);
    const Filters some = cpu::filters_of(filters, first, n);
    const RankingView found{{indices.data(), n, k_added}, {scores.data(), n, k_added}};
    cpu::float32_topk(index, {queries.row(first), n, queries.cols()}, some, added, n_threads, found);
    for (std::int64_t q = 0; q < n; ++q) {
      const std::int64_t query = first + q;
      if (std::binary_search(left.begin(), left.end(), query)) continue;
      candidates.clear();
      const auto collect = [&](const RankingView& from, std::int64_t row) {
        for (std::int64_t rank = 0; rank < from.indices.cols() && from.indices(row, rank) >= 0; ++rank) {
          candidates.push_back({from.scores(row, rank), static_cast<std::int32_t>(from.indices(row, rank))});
        }
      };
      collect(ranking, query);
      collect(found, q);
      const auto n_best = std::min(k, static_cast<std::int64_t>(candidates.size()));
      cpu::sort_best(candidates.begin(), candidates.end(), n_best);
      candidates.resize(static_cast<std::size_t>(n_best));
      cpu::write_ranking(candidates, ranking.indices.row(query), ranking.scores.row(query), k);
    }
  }
}

// What Method::automatic is asked is counted: a compact copy costs about as much as float32
// scores for `queries_a_copy` queries, so it is made once so many might have used it.
cpu::Plan make_plan(Method method, const ItemIndex& index, const cpu::Question& question) {
  constexpr std::int64_t queries_a_copy = 64;
  constexpr std::int64_t fewest_to_judge = 64;
  ItemIndex::Experience& experience = index.experience();
  const std::int64_t scanned = experience.n_scanned.load(std::memory_order_relaxed);
  const std::int64_t given_up = experience.n_given_up.load(std::memory_order_relaxed);
  cpu::Means means{.compact_pays = cpu::kernels().compact_pays,
                   .fast_products = cpu::kernels().compact_limit == 127,
                   // Every query would be scored twice.
                   .bound_fails = scanned >= fewest_to_judge && given_up >= scanned / 8,
                   .has_copy = index.has_compact()};
  if (method == Method::automatic && !means.has_copy) {
    const std::int64_t worth = cpu::worth_of_copy(question, means);
    means.has_copy =
        worth > 0 && experience.n_asked.fetch_add(worth, std::memory_order_relaxed) + worth >= queries_a_copy;
  }
  return cpu::make_plan(method, question, means);
}

}  // namespace

void topk(const ItemIndex& index, MatrixView<const float> queries, const Filters& filters, std::int64_t n_threads,
          const RankingView& ranking, Method method) {
  if (queries.cols() != index.n_factors()) {
    throw ShapeError("queries must have one column a factor, " + std::to_string(index.n_factors()) + ", got " +
                     std::to_string(queries.cols()));
  }
  const std::int64_t n_queries = queries.rows();
  cpu::check_arguments(filters, ranking, n_queries, index.n_items());
  check_finite(queries, "queries");
  (void)resolve_threads(n_threads);  // refuses a negative number even where the plan will not ask
  const cpu::Admissible admissible(filters, index.n_items(), index.present());
  if (n_queries == 0) return;

  const cpu::Question question{
      .n_items = index.n_items(),
      .n_factors = index.n_factors(),
      .n_queries = n_queries,
      .k = ranking.indices.cols(),
      .n_admissible = admissible.count(),
      .n_excluded = filters.exclude ? filters.exclude->nnz() : 0,
      .n_allowed = filters.allow_each ? std::optional(filters.allow_each->nnz()) : std::nullopt,
  };
  const cpu::Plan plan = make_plan(method, index, question);
  const cpu::CompactCopy* copy = plan.use_copy ? &index.compact() : nullptr;
  switch (plan.way) {
    case cpu::Way::listed:
      return cpu::listed_topk(index, copy, queries, filters, n_threads, ranking);
    case cpu::Way::float32:
      return cpu::float32_topk(index, queries, filters, admissible, n_threads, ranking);
    case cpu::Way::compact:
      break;
  }
  const std::vector<std::int64_t> left = cpu::compact_topk(index, *copy, queries, filters, n_threads, ranking);
  const cpu::Admissible stale(admissible, copy->stale());
  if (stale.count() > 0) add_items(stale, left, index, queries, filters, n_threads, ranking);
  index.experience().n_scanned.fetch_add(n_queries, std::memory_order_relaxed);
  index.experience().n_given_up.fetch_add(static_cast<std::int64_t>(left.size()), std::memory_order_relaxed);
  if (!left.empty()) float32_topk_of(left, index, queries, filters, admissible, n_threads, ranking);
}

}  // namespace recsys
