// Which way a call of topk goes.  It decides speed only: every way gives the same bits.
//
//   listed   the items that `allow` lists for each query, alone
//   float32  every score
//   compact  8-bit bounds of every score, and float32 for what they leave
//
// Costs are counted in multiply-adds of the float32 scan of a large batch and rounded from measurements
// (docs/performance.md); topk_plan.cpp has them.
#pragma once

#include <cstdint>
#include <optional>

#include "recsys/topk.hpp"

namespace recsys::cpu {

enum class Way { listed, float32, compact };

// What is asked.
struct Question {
  std::int64_t n_items;
  std::int64_t n_factors;
  std::int64_t n_queries;  // at least 1
  std::int64_t k;
  std::int64_t n_admissible;              // items that one list of `allow`, and `deny`, let through
  std::int64_t n_excluded;                // entries of `exclude`, of all queries
  std::optional<std::int64_t> n_allowed;  // entries of `allow`, where each query has its own
};

// What there is to answer with.
struct Means {
  bool compact_pays;   // as in KernelTable
  bool fast_products;  // an instruction for 8-bit products
  bool bound_fails;    // of most queries so far nearly every item survived
  bool has_copy;       // a compact copy, or that it is time to make one
};

struct Plan {
  Way way;
  bool use_copy;  // always for compact, never for float32
};

[[nodiscard]] Plan make_plan(Method method, const Question& question, const Means& means);

// How much the question counts for making a compact copy, in queries that a float32 scan answers: nothing where the
// copy would not be used.
[[nodiscard]] std::int64_t worth_of_copy(const Question& question, const Means& means);

}  // namespace recsys::cpu
