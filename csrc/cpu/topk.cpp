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
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

// float32_topk for some of the queries.
void float32_topk_of(std::span<const std::int64_t> chosen, const ItemIndex& index, MatrixView<const float> queries,
                     const Filters& filters, const cpu::Admissible& admissible, std::int64_t n_threads,
                     const RankingView& ranking) {
  const std::int64_t k = ranking.indices.cols();
  const auto n = static_cast<std::int64_t>(chosen.size());
  std::vector<float> rows;
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> excluded;
  for (const std::int64_t query : chosen) {
    rows.insert(rows.end(), queries.row(query), queries.row(query) + queries.cols());
    if (!filters.exclude) continue;
    const auto row = filters.exclude->row_indices(query);
    excluded.insert(excluded.end(), row.begin(), row.end());
    indptr.push_back(static_cast<std::int64_t>(excluded.size()));
  }
  Filters some = filters;
  if (filters.exclude) some.exclude = CsrView{indptr, excluded, {}, filters.exclude->cols};
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
    Filters some = filters;
    if (filters.exclude) {
      some.exclude->indptr =
          filters.exclude->indptr.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n) + 1);
    }
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

// Whether the compact scan is expected to be faster.  Its copy of the items costs about as much as float32 scores for
// `queries_a_copy` queries, so it is built once so many have been asked.
bool compact_expected_faster(const ItemIndex& index, const cpu::Admissible& admissible, std::int64_t n_queries,
                             std::int64_t k) {
  constexpr std::int64_t fewest_items = 1024;
  constexpr std::int64_t fewest_factors = 4;
  // Rescoring is left where few items a result are, the more so without an instruction for 8-bit products.
  const bool fast_products = cpu::kernels().compact_limit == 127;
  const std::int64_t items_a_result = 16 + (fast_products ? 0 : index.n_factors() / 4);
  constexpr std::int64_t queries_a_copy = 64;
  if (!cpu::kernels().compact_pays || index.n_items() < fewest_items || index.n_factors() < fewest_factors ||
      k > index.n_items() / items_a_result || admissible.count() * 2 < index.n_items()) {
    return false;
  }
  ItemIndex::Experience& experience = index.experience();
  const std::int64_t asked = experience.n_asked.fetch_add(n_queries, std::memory_order_relaxed) + n_queries;
  if (asked < queries_a_copy && !index.has_compact()) return false;
  // Of data that defeats the bound every query would be scored twice.
  const std::int64_t scanned = experience.n_scanned.load(std::memory_order_relaxed);
  return scanned < 64 || experience.n_given_up.load(std::memory_order_relaxed) < scanned / 8;
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
  if (filters.allow_each) {
    cpu::listed_topk(index, queries, filters, n_threads, ranking);
    return;
  }
  const cpu::Admissible admissible(filters, index.n_items(), index.present());
  if (n_queries == 0) return;

  const bool compact =
      index.n_factors() <= cpu::CompactItems::max_factors &&
      (method == Method::compact ||
       (method == Method::automatic && compact_expected_faster(index, admissible, n_queries, ranking.indices.cols())));
  if (!compact) {
    cpu::float32_topk(index, queries, filters, admissible, n_threads, ranking);
    return;
  }
  const cpu::CompactCopy& copy = index.compact();
  const std::vector<std::int64_t> left =
      cpu::compact_topk(index, copy, queries, filters, n_threads, method == Method::automatic, ranking);
  const cpu::Admissible stale(admissible, copy.stale());
  if (stale.count() > 0) add_items(stale, left, index, queries, filters, n_threads, ranking);
  if (method == Method::automatic) {
    index.experience().n_scanned.fetch_add(n_queries, std::memory_order_relaxed);
    index.experience().n_given_up.fetch_add(static_cast<std::int64_t>(left.size()), std::memory_order_relaxed);
  }
  if (!left.empty()) float32_topk_of(left, index, queries, filters, admissible, n_threads, ranking);
}

}  // namespace recsys
