// The kernels of one ISA level, as a table of function pointers: one field a kernel, filled in by table() at the end of
// kernels-inl.hpp.
//
// An operation takes `kernels()` once, at its start, and uses that table throughout, so that one call never mixes
// levels.  This header is read by ISA translation units: it may declare plain types and no function bodies.
#pragma once

#include <cstdint>

#include "recsys/sgd_objective.hpp"

namespace recsys::cpu {

// One row for conjugate gradients: its stored entries, and the solution to start from and to replace.
struct CgRow {
  const std::int32_t* columns;
  const float* values;
  std::int64_t n;
  float* x;
};

// c_k = confidence_base + confidence_slope r_k and t_k = target_base + target_slope r_k of an entry r_k.
struct CgWeights {
  float confidence_base, confidence_slope, target_base, target_slope;
};

// Floats of scratch that cholesky_solve needs for each row, at every level.
inline constexpr std::int64_t cholesky_scratch = 16;

// Stochastic gradient steps (sgd-inl.hpp): a stored entry to learn from.
struct SgdEntry {
  std::int32_t user;
  std::int32_t item;
  float weight;
};

// What belongs to a vector: its bias, and the squared gradients that Adagrad has added up for either.
struct SgdState {
  float bias;
  float bias_squares;
  float squares;  // mean over the vector's numbers
  float share;    // squared: of the row's regularization, what a step applies; 16 bytes never cross a cache line
};

// Vectors [n, ld], padded with zeros to ld, which the steps keep; states [n].
struct SgdRows {
  float* vectors;
  SgdState* states;
};

// Users or items.  Without features, `indptr` is null.
struct SgdModelSide {
  SgdRows own;
  const std::int64_t* indptr;
  const std::int32_t* features;
  const float* values;
  SgdRows shared;  // a row a feature
};

struct SgdModel {
  SgdModelSide users;
  SgdModelSide items;
  std::int64_t f;
  std::int64_t ld;
};

// Entries, each with `n_negatives` items to set against it: those before the first that is -1.
struct SgdBatch {
  const SgdEntry* entries;
  const std::int32_t* negatives;  // [n, n_negatives]
  std::int64_t n;
  std::int64_t n_negatives;
};

struct SgdStep {
  float rate;
  float regularization;
  const float* trial_losses;  // warp: [n_negatives], L(rank) after 1, 2, ... trials
  float* scratch;             // with features: [4 + n_negatives, ld]
};

// Takes the steps of a batch.  Returns the sum of the losses, each taken just before its step.
using SgdKernel = double (*)(const SgdModel& model, const SgdBatch& batch, const SgdStep& step);

// The compact scan (cpu/compact_items.hpp): items a block, queries a panel, rows rescored together.
inline constexpr std::int64_t compact_block_items = 64;
inline constexpr std::int64_t compact_panel = 6;
inline constexpr std::int64_t compact_batch = 16;

// A block of items; the letters are those of compact_items.hpp.
struct CompactBlock {
  const std::uint8_t* codes;  // c + offset: [groups of 4 factors, 64, 4], or half as many where two share a byte
  const float* bias;          // [64], or null
  double scale;               // s
  double inverse_scale;       // 1 / s
  double code_norm;           // M
  double error;               // E
  double bias_slack;          // B, 0 without a bias
  std::int32_t offset;        // 128, or 8 of coarse codes
};

// What the thresholds of queries in a block depend on, in units of each query's t: one lane a query, padded to whole
// vectors.
struct CompactLanes {
  double* threshold;      // (T less its slack) / t
  double* residual;       // ||w|| / t
  double* norm;           // ||q|| / t
  double* inverse_scale;  // 1 / t
  double* code_sum;       // sum p
};

// A query, in units of its scale t, and the items found for it.
struct CompactQuery {
  const std::int8_t* codes;  // p
  double residual;           // ||w|| / t
  double norm;               // ||q|| / t
  double scale;              // t
  double inverse_scale;      // 1 / t
  std::int32_t code_sum;     // sum p
  // Items that may be among the best: bounds of their scores, and where in CompactItems they are; the complement of
  // that once they have been scored and both bounds are the score.
  float* lower;
  float* upper;
  std::int32_t* positions;
  std::int64_t n_found;
};

struct KernelTable {
  // Top-k (topk-inl.hpp).  Most queries a panel, and the width to which a panel of so many queries is padded.
  std::int64_t panel_max;
  std::int64_t (*panel_width)(std::int64_t n_queries);
  // Scores of a panel [n_factors, width] with a tile [n_factors, 32]: scores [width, 32], and masks [width] whose bit i
  // says that item i scores above the query's threshold.  `bias` [32] may be null.
  void (*score_tile)(const float* tile, const float* bias, const float* panel, std::int64_t width,
                     std::int64_t n_factors, const float* thresholds, float* scores, std::uint32_t* masks);
  // The compact scan (compact-inl.hpp): bound of a query's codes, and whether the scan is faster than score_tile here.
  std::int32_t compact_limit;
  bool compact_pays;
  // Integer thresholds of n queries in a block, padded like the lanes.
  void (*block_thresholds)(const CompactBlock* block, const CompactLanes* lanes, std::int64_t n,
                           std::int32_t* thresholds);
  // Appends to each of up to 6 queries the items of the block that may score at least its threshold, out of those whose
  // bits are set in words[q].  `position` is that of the block's first item.  Bit q of the result: some were appended.
  std::uint32_t (*scan_block)(const CompactBlock* block, std::int64_t n_groups, CompactQuery* const* queries,
                              const std::int32_t* thresholds, std::int64_t n_queries, const std::uint64_t* words,
                              std::int32_t position);
  // The same for coarse codes: `n_pairs` of groups, the first of a pair in the lower half of each byte.
  std::uint32_t (*scan_coarse_block)(const CompactBlock* block, std::int64_t n_pairs, CompactQuery* const* queries,
                                     const std::int32_t* thresholds, std::int64_t n_queries, const std::uint64_t* words,
                                     std::int32_t position);
  // A value that at least `rank` of n finite values reach, and few more; 1 <= rank <= n.
  float (*reached_by)(const float* values, std::int64_t n, std::int64_t rank);
  // Keeps, in order, the items found whose upper bound reaches the threshold.
  void (*keep_reaching)(CompactQuery* query, float threshold);
  // rank[i] is how many of n different keys are larger than key i.  Cost O(n^2): for a few hundred.
  void (*rank_keys)(const std::int64_t* keys, std::int64_t n, std::int64_t* rank);
  // Scores [16] of 16 rows, without bias, in the bits of score_tile.  Rows are padded to a multiple of 4 factors.
  void (*score_rows)(const float* const* rows, const float* query, std::int64_t n_factors, float* scores);
  // sum [n] += factor * row [n].
  void (*add_scaled)(float* sum, float factor, const float* row, std::int64_t n);
  // sum[columns[i]] += factor * values[i], in order, rounded as add_scaled rounds.
  void (*add_scaled_sparse)(float* sum, float factor, const std::int32_t* columns, const float* values, std::int64_t n);
  // First block of 32 scores, from `block` on, with one above the threshold, and which: n_blocks where there is none.
  std::int64_t (*next_above)(const float* scores, std::int64_t block, std::int64_t n_blocks, float threshold,
                             std::uint32_t* mask);
  // Per-row least squares (solve-inl.hpp).
  void (*gather_rows)(const float* factors, std::int64_t stride, std::int64_t f, const std::int32_t* columns,
                      std::int64_t n, const float* scales, const float* targets, std::int64_t ld, float* panel,
                      float* rhs);
  void (*symmetric_update)(const float* left, const float* right, std::int64_t n, std::int64_t f, std::int64_t ld,
                           float* matrix, std::int64_t matrix_ld);
  void (*multiply_triangle)(const float* in, std::int64_t in_ld, std::int64_t n, const float* triangle, std::int64_t f,
                            std::int64_t ld, bool upper, float* out, std::int64_t out_ld);
  std::int64_t (*cholesky_solve)(float* matrix, std::int64_t n, std::int64_t ld, float* scratch, float* x);
  void (*add_products)(const float* factors, std::int64_t ld, std::int64_t f, const std::int32_t* columns,
                       std::int64_t n, const float* x, float* products);
  double (*stored_loss)(const float* x, const float* factors, std::int64_t ld, std::int64_t f,
                        const std::int32_t* columns, const float* values, std::int64_t n, float alpha, float weight);
  // Rows with few entries (dual-inl.hpp).
  void (*dual_solve)(const float* factors, std::int64_t stride, std::int64_t f, const std::int32_t* columns,
                     std::int64_t n, const float* scales, const float* targets, std::int64_t ld, float* columns_of,
                     float* matrix, float* scratch, float* rhs, float* x);
  // Conjugate gradients on a row (cg-inl.hpp).
  void (*cg_solve)(const CgRow& row, const float* factors, std::int64_t ld, std::int64_t f, const CgWeights& weights,
                   const float* B, float ridge, std::int64_t n_steps, float* scratch);
  // Stochastic gradient steps (sgd-inl.hpp).
  SgdKernel (*sgd_kernel)(SgdObjective objective, bool adagrad, bool with_features);
  // One sweep of coordinate descent (slim-inl.hpp).
  float (*slim_sweep)(const float* gram, std::int64_t n, std::int64_t column, float l1, float l2, bool positive_only,
                      float* weights, float* pull);
};

// The table of the level in use (recsys/dispatch.hpp).
const KernelTable& kernels();

namespace baseline {
const KernelTable& table();
}
namespace avx2 {
const KernelTable& table();
}
namespace avx512 {
const KernelTable& table();
}
namespace avx512vnni {
const KernelTable& table();
}
namespace neon {
const KernelTable& table();
}
namespace neondot {
const KernelTable& table();
}

}  // namespace recsys::cpu
