#include "cpu/topk_plan.hpp"

#include <algorithm>

#include "cpu/compact_items.hpp"

namespace recsys::cpu {
namespace {

// For each factor of an item that is listed: from a row of the compact copy, and from the tiles.
constexpr double listed_from_rows = 32;
constexpr double listed_from_tiles = 128;
// For each factor of an item that is scanned: few queries wait for memory, however many they are.
constexpr double scanned_at_least = 6;
constexpr double scanned_compactly = 0.25;
// For each entry of a filter in a compact scan, which the float32 scan only looks up where a score is high.
constexpr double entry_scanned_compactly = 24;

double list_cost(const Question& question, bool from_rows) {
  return static_cast<double>(*question.n_allowed) * static_cast<double>(question.n_factors) *
         (from_rows ? listed_from_rows : listed_from_tiles);
}

double float32_cost(const Question& question) {
  return static_cast<double>(question.n_items) * static_cast<double>(question.n_factors) *
         std::max(static_cast<double>(question.n_queries), scanned_at_least);
}

double compact_cost(const Question& question) {
  const auto n_entries = static_cast<double>(question.n_excluded + question.n_allowed.value_or(0));
  return float32_cost(question) * scanned_compactly + n_entries * entry_scanned_compactly;
}

// Whether the compact scan is expected to be faster than the float32 one, the copy being there.
bool compact_expected_faster(const Question& question, const Means& means) {
  constexpr std::int64_t fewest_items = 1024;
  constexpr std::int64_t fewest_factors = 4;
  if (!means.compact_pays || means.bound_fails || question.n_items < fewest_items ||
      question.n_factors < fewest_factors || question.n_factors > CompactItems::max_factors ||
      question.n_admissible * 2 < question.n_items) {
    return false;
  }
  // Rescoring is left where few items a result are, the more so without an instruction for 8-bit products.
  const std::int64_t items_a_result = 16 + (means.fast_products ? 0 : question.n_factors / 4);
  const std::int64_t n_returnable = question.n_allowed ? *question.n_allowed / question.n_queries
                                                       : question.n_items - question.n_excluded / question.n_queries;
  return question.k <= n_returnable / items_a_result && compact_cost(question) < float32_cost(question);
}

}  // namespace

Plan make_plan(Method method, const Question& question, const Means& means) {
  const bool use_copy = question.n_factors <= CompactItems::max_factors &&
                        (method == Method::compact || (method == Method::automatic && means.has_copy));
  const bool scan_compactly = use_copy && (method == Method::compact || compact_expected_faster(question, means));
  if (question.n_allowed) {
    const double scan_cost = scan_compactly ? compact_cost(question) : float32_cost(question);
    if (list_cost(question, use_copy) <= scan_cost) return {Way::listed, use_copy};
  }
  return scan_compactly ? Plan{Way::compact, true} : Plan{Way::float32, false};
}

std::int64_t worth_of_copy(const Question& question, const Means& means) {
  if (!question.n_allowed) return compact_expected_faster(question, means) ? question.n_queries : 0;
  const double scanned = static_cast<double>(question.n_items) * static_cast<double>(question.n_factors);
  if (scanned == 0 || question.n_factors > CompactItems::max_factors) return 0;
  return static_cast<std::int64_t>(std::min(list_cost(question, false), float32_cost(question)) / scanned);
}

}  // namespace recsys::cpu
