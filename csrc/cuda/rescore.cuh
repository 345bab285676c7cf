// Scores in float32, summed over factors one after the other as on the CPU: the same bits as its fused levels.
//
//   scan_float32      every item of a range, for a panel of queries; keeps the best k of a part of the range
//   merge_parts       the best of a query's parts
//   rescore           the survivors of scan_codes
//   write_ranking     the best, in order, padded
#pragma once

#include "cuda/topk_query.cuh"

namespace recsys::cuda {

struct FloatScanArguments {
  IndexView index;
  FilterView filters;
  const float* factors;        // [B, row_stride]
  const std::int32_t* chosen;  // [n_chosen]: the queries to answer; null: 0, 1, ...
  std::int64_t n_chosen;
  std::int64_t first;  // positions
  std::int64_t last;
  std::int64_t positions_a_part;  // a multiple of the block's threads
  std::int32_t k;
  std::int32_t capacity;  // keys of a part; k and room for two steps at least
  std::int32_t n_parts;
  Key* keys;             // [n_chosen, n_parts, capacity]
  std::int32_t* counts;  // [n_chosen, n_parts]: at most k when done
};

struct FloatScanShape {
  static constexpr int n_threads = 256;  // and positions a step
  static constexpr int panel = 8;        // queries of a block
  static constexpr int n_factors = 32;   // of a step's rows in shared memory at once

  struct Shared {
    float weights[n_factors][panel];
    float rows[n_factors][n_threads + 1];
    float thresholds[panel];
    int counts[panel];
    SelectionScratch scratch;
  };
};

// Grid: panels of queries x parts of the range.  A thread scores one item for all queries of the panel.
__global__ void __launch_bounds__(FloatScanShape::n_threads, 4) scan_float32(FloatScanArguments a) {
  using S = FloatScanShape;
  auto& shared = *shared_memory<S::Shared>();
  const int thread = thread_index();
  const std::int64_t first_chosen = block_x() * S::panel;
  const int n =
      static_cast<int>(a.n_chosen - first_chosen < S::panel ? a.n_chosen - first_chosen : std::int64_t{S::panel});
  const std::int64_t part = block_y();
  const auto query_of = [&](int q) {
    const std::int64_t at = first_chosen + (q < n ? q : 0);  // behind the last, the first once more
    return a.chosen == nullptr ? at : std::int64_t{a.chosen[at]};
  };
  const auto keys_of = [&](int q) { return a.keys + ((first_chosen + q) * a.n_parts + part) * a.capacity; };
  if (thread < S::panel) {
    shared.thresholds[thread] = minus_infinity;
    shared.counts[thread] = 0;
  }
  __syncthreads();

  const std::int64_t begin = a.first + part * a.positions_a_part;
  const std::int64_t end = begin + a.positions_a_part < a.last ? begin + a.positions_a_part : a.last;
  for (std::int64_t start = begin; start < end; start += S::n_threads) {
    float sums[S::panel] = {};
    for (int column = 0; column < a.index.n_factors; column += S::n_factors) {
      const int width = a.index.n_factors - column < S::n_factors ? a.index.n_factors - column : S::n_factors;
      for (int row = warp_index(); row < S::n_threads; row += n_warps()) {
        if (start + row < end && lane_index() < width) {
          shared.rows[lane_index()][row] = a.index.rows[(start + row) * a.index.row_stride + column + lane_index()];
        }
      }
      for (int i = thread; i < width * S::panel; i += S::n_threads) {
        shared.weights[i / S::panel][i % S::panel] =
            a.factors[query_of(i % S::panel) * a.index.row_stride + column + i / S::panel];
      }
      __syncthreads();
      for (int f = 0; f < width; ++f) {
        const float value = shared.rows[f][thread];
#pragma unroll
        for (int q = 0; q < S::panel; ++q) sums[q] = __fmaf_rn(shared.weights[f][q], value, sums[q]);
      }
      __syncthreads();
    }
    const std::int64_t position = start + thread;
    if (position < end && a.filters.allows(position)) {
      const int item = a.index.items[position];
      const float bias = a.index.bias == nullptr ? 0.0F : a.index.bias[position];
#pragma unroll
      for (int q = 0; q < S::panel; ++q) {
        const float score = a.index.bias == nullptr ? sums[q] : sums[q] + bias;
        if (q < n && score > minus_infinity && score >= shared.thresholds[q] &&
            !a.filters.excludes(query_of(q), item)) {
          keys_of(q)[atomicAdd(&shared.counts[q], 1)] = make_key(score, item);
        }
      }
    }
    __syncthreads();
    const bool last_step = start + S::n_threads >= end;
    for (int q = 0; q < n; ++q) {
      const int count = shared.counts[q];
      if (count <= a.k || (!last_step && count + S::n_threads <= a.capacity)) continue;
      const Key last = select_smallest(keys_of(q), count, a.k, shared.scratch);
      if (thread == 0) {
        shared.counts[q] = a.k;
        shared.thresholds[q] = key_score(last);
      }
      __syncthreads();
    }
  }
  if (thread < n) a.counts[(first_chosen + thread) * a.n_parts + part] = shared.counts[thread];
}

struct MergeArguments {
  IndexView index;
  Query* queries;
  const std::int32_t* chosen;
  const Key* parts;  // [n_chosen, n_parts, part_capacity]
  const std::int32_t* counts;
  std::int32_t n_parts;
  std::int32_t part_capacity;
  std::int32_t k;
  std::int32_t capacity;  // at least 2 k
  Key* keys;              // [B, capacity]
};

// One block a chosen query.
__global__ void merge_parts(MergeArguments a) {
  auto& scratch = *shared_memory<SelectionScratch>();
  const std::int64_t at = block_x();
  const std::int64_t query = a.chosen == nullptr ? at : a.chosen[at];
  Key* const keys = a.keys + query * a.capacity;
  int n = 0;
  for (int part = 0; part < a.n_parts; ++part) {
    const std::int64_t place = at * a.n_parts + part;
    const int count = a.counts[place];
    for (int i = thread_index(); i < count; i += n_threads()) keys[n + i] = a.parts[place * a.part_capacity + i];
    n += count;
    __syncthreads();
    if (n > a.k && part + 1 < a.n_parts) {
      (void)select_smallest(keys, n, a.k, scratch);
      n = a.k;
    }
  }
  keep_best(a.queries[query], keys, n, a.k, a.index, scratch);
}

// The score of the item at a position.
__device__ inline float score_at(const IndexView& index, std::int64_t position, const float* factors) {
  const float* const row = index.rows + position * index.row_stride;
  float sum = 0;
  for (int f = 0; f < index.row_stride; f += 4) {  // padding adds 0 * 0
    const float4 values = *reinterpret_cast<const float4*>(row + f);
    const float4 weights = *reinterpret_cast<const float4*>(factors + f);
    sum = __fmaf_rn(weights.x, values.x, sum);
    sum = __fmaf_rn(weights.y, values.y, sum);
    sum = __fmaf_rn(weights.z, values.z, sum);
    sum = __fmaf_rn(weights.w, values.w, sum);
  }
  return index.bias == nullptr ? sum : sum + index.bias[position];
}

struct RescoreArguments {
  IndexView index;
  FilterView filters;
  const float* factors;  // [B, row_stride]
  Query* queries;
  const std::int32_t* survivors;  // [B, survivors_capacity]
  std::int32_t* counts;           // [B]; zero afterwards
  std::int32_t survivors_capacity;
  std::int32_t k;
  std::int32_t capacity;  // at least k + survivors_capacity
  Key* keys;              // [B, capacity]
};

// One block a query.  A query of which more items survive than there is room for is left to scan_float32.
__global__ void rescore(RescoreArguments a) {
  struct Shared {
    SelectionScratch scratch;
    int n;
  };
  auto& shared = *shared_memory<Shared>();
  const std::int64_t at = block_x();
  Query& query = a.queries[at];
  const int count = a.counts[at];
  const int n_before = query.n_best;
  if (count == 0 || query.left != 0) return;
  __syncthreads();  // everybody has read what one of them will change
  if (thread_index() == 0) {
    a.counts[at] = 0;
    shared.n = n_before;
  }
  __syncthreads();
  if (count > a.survivors_capacity) {
    if (thread_index() == 0) query.left = 1;
    return;
  }
  const float* const factors = a.factors + at * a.index.row_stride;
  const float threshold = query.threshold;
  Key* const keys = a.keys + at * a.capacity;
  for (int i = thread_index(); i < count; i += n_threads()) {
    const std::int64_t position = a.survivors[at * a.survivors_capacity + i];
    const float sum = score_at(a.index, position, factors);
    const int item = a.index.items[position];
    if (sum >= threshold && !a.filters.excludes(at, item)) keys[atomicAdd(&shared.n, 1)] = make_key(sum, item);
  }
  __syncthreads();
  const int n = shared.n;
  if (n > n_before) keep_best(query, keys, n, a.k, a.index, shared.scratch);
}

// One block a query; k_written >= the keys there are.  Sorts in shared memory where `shared_keys` fit, else in place.
__global__ void write_ranking(const Query* queries, Key* keys, int capacity, int shared_keys, std::int64_t k_written,
                              std::int64_t* indices, float* scores) {
  const std::int64_t at = block_x();
  const int n = queries[at].n_best;
  Key* sorted = keys + at * capacity;
  if (n <= shared_keys) {
    auto* const shared = shared_memory<Key>();
    for (int i = thread_index(); i < n; i += n_threads()) shared[i] = sorted[i];
    sorted = shared;
  }
  sort_keys(sorted, n);
  for (std::int64_t i = thread_index(); i < k_written; i += n_threads()) {
    const bool filled = i < n;
    indices[at * k_written + i] = filled ? key_item(sorted[i]) : -1;
    scores[at * k_written + i] = filled ? key_score(sorted[i]) : minus_infinity;
  }
}

}  // namespace recsys::cuda
