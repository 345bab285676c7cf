// A query as the kernels of top-k see it, its filters, and how its threshold is set.
#pragma once

#include "cuda/item_index.hpp"
#include "cuda/rounding.cuh"
#include "cuda/selection.cuh"
#include "cuda/sorted_items.cuh"

namespace recsys::cuda {

// One query; t is its scale, and "units" are t times the largest scale of the index.
struct Query {
  double inverse_units;
  double reach;         // (1 + g) ||q||
  float lowered;        // the threshold less its slack, in units
  float residual;       // ||w|| / t
  float norm;           // ||q|| / t
  float bias_units;     // 1 / units, where there is a bias
  float threshold;      // T: the k-th best score known, or -inf
  std::int32_t stop;    // the first tile from which on no item can reach T
  std::int32_t n_best;  // keys of its that are the best so far
  std::int32_t left;    // 1: to be answered by scoring every item
};

struct FilterView {
  const std::int64_t* exclude_indptr;   // [B + 1], or null
  const std::int32_t* exclude_indices;  // ascending in each row
  const unsigned* allowed;              // one bit a position, or null

  __device__ bool allows(std::int64_t position) const {
    return allowed == nullptr || (allowed[position / 32] >> (position % 32) & 1U) != 0;
  }
  __device__ bool excludes(std::int64_t query, int item) const {
    if (exclude_indptr == nullptr) return false;
    const std::int64_t first = exclude_indptr[query];
    return contains(exclude_indices + first, exclude_indptr[query + 1] - first, item);
  }
};

// By one thread.
__device__ inline void set_threshold(Query& query, float threshold, const IndexView& index) {
  query.threshold = threshold;
  const double exact = static_cast<double>(threshold);
  const double lowered = exact - fabs(exact) * 0x1p-22 - absolute_rounding(index.n_factors);
  query.lowered = static_cast<float>(lowered * query.inverse_units);
  const int n_tiles = static_cast<int>((index.n_items + ItemIndex::tile_items - 1) / ItemIndex::tile_items);
  constexpr std::int64_t blocks_a_tile = ItemIndex::tile_items / ItemIndex::block_items;
  int low = 0;
  int high = n_tiles;
  while (low < high) {
    const int middle = (low + high) / 2;
    const std::int64_t block = middle * blocks_a_tile;
    if (lowered > raised(query.reach * index.norm_from[block]) + index.bias_from[block]) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  query.stop = low;
}

// Leaves the best k of n keys at the front and takes over what they say.  By all threads of a block.
__device__ inline void keep_best(Query& query, Key* keys, int n, int k, const IndexView& index,
                                 SelectionScratch& scratch) {
  const Key last = n >= k ? select_smallest(keys, n, k, scratch) : 0;
  if (thread_index() == 0) {
    query.n_best = n < k ? n : k;
    if (n >= k) set_threshold(query, key_score(last), index);
  }
  __syncthreads();
}

struct PrepareArguments {
  const float* given;  // [B, d]
  std::int64_t n_queries;
  IndexView index;
  bool cosine;
  bool encode;  // for the scan of codes
  double largest_norm;
  double largest_bias;
  double largest_scale;
  double smallest_scale;
  float* factors;           // [B, row_stride], as the metric wants them
  std::int8_t* codes;       // [B, code_stride]
  Query* queries;           // [B]
  unsigned long long* bad;  // lowest place of a factor that is not finite
};

// One thread a query.
__global__ void prepare_queries(PrepareArguments a) {
  const std::int64_t at = global_thread();
  if (at >= a.n_queries) return;
  const int d = a.index.n_factors;
  const float* const given = a.given + at * d;
  float* const factors = a.factors + at * a.index.row_stride;
  const double to_unit = a.cosine ? unit_scale(given, d) : 1.0;
  double square = 0;
  float peak = 0;
  for (int f = 0; f < d; ++f) {
    if (!is_finite(given[f])) {
      atomicMin(a.bad, static_cast<unsigned long long>(at * d + f));
      break;
    }
    const float value = scaled(given[f], to_unit);
    factors[f] = value;
    square += static_cast<double>(value) * static_cast<double>(value);
    peak = fmaxf(peak, fabsf(value));
  }
  for (int f = d; f < a.index.row_stride; ++f) factors[f] = 0.0F;

  Query query{};
  query.threshold = minus_infinity;
  query.lowered = minus_infinity;
  query.stop = 0x7FFFFFFF;
  const double norm = raised(sqrt(square));
  const double scale = static_cast<double>(peak) / 127;
  // No score may overflow, and all whole numbers must fit: the conditions of the proof.
  const double unit = 1 / (scale * a.smallest_scale);
  const bool answerable = scale > 0 && norm * a.largest_norm + a.largest_bias <= 1e37 &&
                          (a.index.bias == nullptr || (unit <= 1e38 && a.largest_bias * unit <= 1 << 28));
  query.left = a.encode && !answerable ? 1 : 0;
  if (a.encode && answerable) {
    std::int8_t* const codes = a.codes + at * a.index.code_stride;
    const double inverse = 1 / scale;
    double residual_square = 0;
    for (int f = 0; f < d; ++f) {
      const double value = static_cast<double>(factors[f]);
      const int code = nearest_code(value * inverse);
      const double residual = value - scale * code;
      residual_square += residual * residual;
      codes[f] = static_cast<std::int8_t>(code);
    }
    for (int f = d; f < a.index.code_stride; ++f) codes[f] = 0;
    query.inverse_units = inverse / a.largest_scale;
    query.reach = raised(norm * (1 + relative_rounding(d)));
    query.residual = static_cast<float>(raised((raised(sqrt(residual_square)) + norm * 0x1p-40) * inverse));
    query.norm = static_cast<float>(raised(norm * inverse));
    query.bias_units = a.index.bias == nullptr ? 0.0F : static_cast<float>(query.inverse_units);
  }
  a.queries[at] = query;
}

// Bits of the positions of the items that are allowed.
__global__ void set_bits(const std::int64_t* items, std::int64_t n, const std::int32_t* positions, unsigned* words) {
  const std::int64_t at = global_thread();
  if (at >= n) return;
  const std::int32_t position = positions[items[at]];
  atomicOr(&words[position / 32], 1U << (position % 32));
}

__global__ void clear_bits(const std::int64_t* items, std::int64_t n, const std::int32_t* positions, unsigned* words) {
  const std::int64_t at = global_thread();
  if (at >= n) return;
  const std::int32_t position = positions[items[at]];
  atomicAnd(&words[position / 32], ~(1U << (position % 32)));
}

}  // namespace recsys::cuda
