#include "cpu/compact_scan.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

#include "cpu/compact_scanner.hpp"
#include "cpu/selection.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys::cpu {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Whether coarse codes pay: a panel of queries has to wait for codes from memory, and a lone query for those from a
// cache too.
bool coarse_pays(const CompactProblem& problem) {
  constexpr std::int64_t beyond_caches = 16 << 20;
  const std::int64_t bytes = problem.items.n_groups() * 4 * problem.index.n_items();
  return problem.items.has_coarse() && problem.k <= problem.index.n_items() / 1024 &&
         problem.queries.rows() <= (bytes >= beyond_caches ? compact_panel : 2);
}

// Few queries: chunks of blocks are handed out, and every thread keeps a selection of its own.
std::vector<std::int64_t> scan_by_chunks(CompactProblem problem, std::int64_t n_threads, bool coarse,
                                         const RankingView& ranking) {
  const std::int64_t n_queries = problem.queries.rows();
  const std::int64_t n_blocks = problem.items.n_blocks();
  std::vector<std::atomic<float>> shared(static_cast<std::size_t>(n_queries));
  for (std::atomic<float>& threshold : shared)
    threshold.store(TopSelector::initial_threshold, std::memory_order_relaxed);
  problem.shared = shared;

  // The caller opens alone, so that no other thread starts without a threshold.
  std::vector<std::unique_ptr<CompactScanner>> scanners(static_cast<std::size_t>(n_threads));
  scanners[0] = std::make_unique<CompactScanner>(problem, 0, n_queries);
  const std::int64_t opening =
      std::min(n_blocks, std::max<std::int64_t>(32, divide_up(4 * problem.k, CompactItems::block_items)));
  scanners[0]->scan(0, opening, false);
  scanners[0]->tighten();
  constexpr std::int64_t chunk = 64;
  const std::int64_t n_chunks = divide_up(n_blocks - opening, chunk);
  if (n_chunks > 0 && scanners[0]->any_open(opening)) {
    parallel_for(n_chunks, n_threads, [&](std::int64_t task, std::int64_t thread) {
      auto& scanner = scanners[static_cast<std::size_t>(thread)];
      if (!scanner) scanner = std::make_unique<CompactScanner>(problem, 0, n_queries);
      const std::int64_t first = opening + task * chunk;
      scanner->scan(first, std::min(n_blocks, first + chunk), coarse);
    });
  }

  std::vector<std::int64_t> left;
  for (const auto& scanner : scanners) {
    if (scanner) left.insert(left.end(), scanner->left().begin(), scanner->left().end());
  }
  std::sort(left.begin(), left.end());
  left.erase(std::unique(left.begin(), left.end()), left.end());
  std::vector<std::vector<Candidate>> best(static_cast<std::size_t>(n_queries));
  for (const auto& scanner : scanners) {
    if (!scanner) continue;
    scanner->finish([&](std::int64_t query, std::span<const Candidate> found) {
      auto& all = best[static_cast<std::size_t>(query)];
      all.insert(all.end(), found.begin(), found.end());
    });
  }
  for (std::int64_t query = 0; query < n_queries; ++query) {
    auto& all = best[static_cast<std::size_t>(query)];
    const auto n = std::min<std::int64_t>(problem.k, static_cast<std::int64_t>(all.size()));
    sort_best(all.begin(), all.end(), n);
    all.resize(static_cast<std::size_t>(n));
    write_ranking(all, ranking.indices.row(query), ranking.scores.row(query), problem.k);
  }
  return left;
}

std::vector<std::int64_t> scan_by_queries(const CompactProblem& problem, std::int64_t n_threads,
                                          const RankingView& ranking) {
  const std::int64_t n_queries = problem.queries.rows();
  constexpr std::int64_t task_bytes = 512 << 10;  // half of a second-level cache
  // Bitmaps stream by as the codes do: they only have to fit into memory.
  constexpr std::int64_t all_bitmap_bytes = 32 << 20;
  const std::int64_t bitmap_bytes = std::max<std::int64_t>(RowFilter::bitmap_bytes(problem.items, problem.filters), 1);
  const std::int64_t fitting =
      std::min(task_bytes / problem.bytes_a_query(), all_bitmap_bytes / n_threads / bitmap_bytes);
  const std::int64_t largest = std::clamp<std::int64_t>(fitting / compact_panel * compact_panel, compact_panel, 240);
  // As many tasks on one thread as on another, where there are few.
  const std::int64_t rounds = divide_up(n_queries, n_threads * largest);
  const std::int64_t block =
      std::min(largest, divide_up(divide_up(n_queries, n_threads * rounds), compact_panel) * compact_panel);
  const std::int64_t n_tasks = divide_up(n_queries, block);
  std::vector<std::vector<std::int64_t>> left(static_cast<std::size_t>(n_tasks));
  parallel_for(n_tasks, n_threads, [&](std::int64_t task, std::int64_t) {
    CompactScanner scanner(problem, task * block, std::min(block, n_queries - task * block));
    scanner.scan(0, problem.items.n_blocks(), false);
    scanner.finish([&](std::int64_t query, std::span<const Candidate> best) {
      write_ranking(best, ranking.indices.row(query), ranking.scores.row(query), problem.k);
    });
    left[static_cast<std::size_t>(task)] = scanner.left();
  });
  std::vector<std::int64_t> all;
  for (const auto& some : left) all.insert(all.end(), some.begin(), some.end());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

std::vector<std::int64_t> compact_topk(const ItemIndex& index, const CompactCopy& copy, MatrixView<const float> queries,
                                       const Filters& filters, std::int64_t n_threads, const RankingView& ranking) {
  const std::int64_t k = ranking.indices.cols();
  const BlockFilter block_filter(copy, filters);
  const CompactProblem problem{.index = index,
                               .items = copy.items(),
                               .queries = queries,
                               .filters = filters,
                               .block_filter = block_filter,
                               .kernels = kernels(),
                               .k = k,
                               .shared = {}};
  const double work = static_cast<double>(queries.rows()) *
                      static_cast<double>(index.n_items() * std::max<std::int64_t>(index.n_factors(), 1));
  constexpr double too_little_to_share = 1 << 21;  // as for the float32 path, at four times its speed
  const std::int64_t threads = work < too_little_to_share ? 1 : resolve_threads(n_threads);
  const bool coarse = coarse_pays(problem);
  if (coarse || (threads > 1 && queries.rows() < 2 * compact_panel * threads)) {
    return scan_by_chunks(problem, threads, coarse, ranking);
  }
  return scan_by_queries(problem, threads, ranking);
}

}  // namespace recsys::cpu
