// Where items are allowed for each query, those alone are scored, in float32: the counterpart of cpu/listed_topk.hpp.
#pragma once

#include "cuda/rescore.cuh"

namespace recsys::cuda {

struct ListedArguments {
  IndexView index;
  FilterView filters;
  const std::int32_t* positions;  // of items
  const std::int64_t* indptr;     // [B + 1]: the items allowed, each once in a row
  const std::int32_t* items;
  const float* factors;  // [B, row_stride]
  Query* queries;
  std::int32_t k;
  std::int32_t capacity;  // above k
  Key* keys;              // [B, capacity]
};

// One block a query.
__global__ void score_listed(ListedArguments a) {
  struct Shared {
    SelectionScratch scratch;
    int n;
  };
  auto& shared = *shared_memory<Shared>();
  const std::int64_t at = block_x();
  const std::int64_t end = a.indptr[at + 1];
  Key* const keys = a.keys + at * a.capacity;
  const int room = a.capacity - a.k;  // for new keys beside the best so far
  if (thread_index() == 0) shared.n = 0;
  __syncthreads();
  for (std::int64_t start = a.indptr[at]; start < end; start += room) {
    const std::int64_t stop = start + room < end ? start + room : end;
    for (std::int64_t i = start + thread_index(); i < stop; i += n_threads()) {
      const std::int32_t item = a.items[i];
      const std::int64_t position = a.positions[item];
      if (!a.filters.allows(position) || a.filters.excludes(at, item)) continue;
      const float score = score_at(a.index, position, a.factors + at * a.index.row_stride);
      if (score > minus_infinity) keys[atomicAdd(&shared.n, 1)] = make_key(score, item);
    }
    __syncthreads();
    const int n = shared.n;
    __syncthreads();  // everybody has read what the next turn changes
    if (n <= a.k || stop == end) continue;
    (void)select_smallest(keys, n, a.k, shared.scratch);
    if (thread_index() == 0) shared.n = a.k;
    __syncthreads();
  }
  const int n = shared.n;
  keep_best(a.queries[at], keys, n, a.k, a.index, shared.scratch);
}

}  // namespace recsys::cuda
