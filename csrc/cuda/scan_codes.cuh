// The scan of 8-bit codes: every query against every item on tensor cores, of which no score leaves the registers.
//
// A block multiplies 128 queries, which stay in shared memory, with tiles of 128 items that stream through it.  In the
// epilogue an item is a survivor where its sum reaches the query's limit, the right side of the bound of
// cpu/compact_items.hpp for the item's block; its position is put into the query's list.  Everything else ends there.
//
//   limit = floor((T less its slack) / (s t) - M ||w|| / t - E ||q|| / t - B / t - slack)
//
// computed in float32.  No term takes more than 8 roundings of 2^-24, so that 2^-20 of the sum of the terms, and 3 for
// the rounding of b / (s t) and of the limit to whole numbers, make it a lower bound of the exact one.
//
// 8 warps, each 64 queries x 32 items: 64 sums a thread.  Items come in stages of 128 x 64 bytes, three under way.
// Shared memory: 128 (code_stride + 16) bytes of queries, 30 KiB of stages, 4 KiB of limits.
#pragma once

#include "cuda/tensor_core.cuh"
#include "cuda/topk_query.cuh"

namespace recsys::cuda {

struct ScanArguments {
  IndexView index;
  FilterView filters;
  const std::int8_t* codes;  // [B, code_stride]
  const Query* queries;      // [B]
  std::int64_t n_queries;
  std::int32_t first_tile;  // of the wave
  std::int32_t last_tile;
  std::int32_t tiles_a_block;
  std::int32_t* survivors;  // [B, capacity]: positions
  std::int32_t* counts;     // [B]: survivors found, which may exceed what there is room for
  std::int32_t capacity;
};

struct ScanShape {
  static constexpr int tile_queries = 128;
  static constexpr int tile_items = ItemIndex::tile_items;
  static constexpr int n_threads = 256;
  static constexpr int warp_queries = 64;
  static constexpr int warp_items = 32;
  static constexpr int stage_bytes = 64;  // of each item
  static constexpr int n_stages = 3;
  static constexpr int padding = 16;                 // a row; see load_left
  static constexpr int n_limits = 2 * tile_queries;  // one a query and block of items

  [[nodiscard]] static constexpr std::int64_t shared_bytes(std::int64_t code_stride) {
    return tile_queries * (code_stride + padding) + n_stages * tile_items * (stage_bytes + padding) +
           2 * n_limits * static_cast<std::int64_t>(sizeof(int) + sizeof(float));
  }
};

// What a sum must reach for the item to survive.
__device__ inline int survival_limit(const Query& query, const BlockBound& bound) {
  if (query.left != 0) return 0x7FFFFFFF;
  if (query.threshold == minus_infinity) return -0x7FFFFFFF;
  const float centre = query.lowered * bound.coarseness;
  const float spread =
      bound.code_norm * query.residual + bound.error * query.norm + bound.bias_slack * query.bias_units;
  const float limit = floorf(centre - spread - ((fabsf(centre) + spread) * 0x1p-20F + 3.0F));
  if (limit >= 0x1p30F) return 0x7FFFFFFF;
  return limit <= -0x1p30F ? -0x7FFFFFFF : static_cast<int>(limit);
}

template <bool has_bias>
__global__ void __launch_bounds__(ScanShape::n_threads, 2) scan_codes(ScanArguments a) {
  using S = ScanShape;
  const int code_stride = a.index.code_stride;
  const int query_stride = code_stride + S::padding;
  constexpr int item_stride = S::stage_bytes + S::padding;
  auto* const query_codes = shared_memory<std::int8_t>();
  std::int8_t* const stages = query_codes + S::tile_queries * query_stride;
  auto* const limits = reinterpret_cast<int*>(stages + S::n_stages * S::tile_items * item_stride);
  auto* const bias_units = reinterpret_cast<float*>(limits + 2 * S::n_limits);

  const std::int64_t first_query = block_x() * S::tile_queries;
  const int n_queries = static_cast<int>(a.n_queries - first_query < S::tile_queries ? a.n_queries - first_query
                                                                                     : std::int64_t{S::tile_queries});
  const int thread = thread_index();
  const int first_tile = a.first_tile + static_cast<int>(block_y()) * a.tiles_a_block;
  int last_tile = first_tile + a.tiles_a_block < a.last_tile ? first_tile + a.tiles_a_block : a.last_tile;

  // No further than the last of the queries has to go.
  if (thread == 0) limits[0] = 0;
  __syncthreads();
  if (thread < n_queries && a.queries[first_query + thread].left == 0) {
    atomicMax(&limits[0], a.queries[first_query + thread].stop);
  }
  __syncthreads();
  last_tile = limits[0] < last_tile ? limits[0] : last_tile;
  __syncthreads();
  if (first_tile >= last_tile) return;

  // Limits of the tile's two blocks of items, in one of two places by the tile's parity.  One thread each.
  const auto set_limit = [&](int tile) {
    const int row = thread % S::tile_queries;
    const int place = tile % 2 * S::n_limits + thread;
    limits[place] = 0x7FFFFFFF;
    bias_units[place] = 0;
    if (row >= n_queries) return;
    const Query& query = a.queries[first_query + row];
    const BlockBound& bound = a.index.bounds[static_cast<std::int64_t>(tile) * 2 + thread / S::tile_queries];
    limits[place] = survival_limit(query, bound);
    bias_units[place] = query.bias_units * bound.coarseness;
  };

  const int pieces_a_row = code_stride / 16;
  for (int i = thread; i < S::tile_queries * pieces_a_row; i += S::n_threads) {
    const int row = i / pieces_a_row;
    const int piece = i % pieces_a_row;
    // Rows behind the last query repeat it; their limit lets nothing through.
    const std::int64_t query = first_query + (row < n_queries ? row : n_queries - 1);
    copy_async(query_codes + row * query_stride + piece * 16, a.codes + query * code_stride + piece * 16);
  }

  const int stages_a_tile = (code_stride + S::stage_bytes - 1) / S::stage_bytes;
  const int n_chunks = (last_tile - first_tile) * stages_a_tile;
  // Copies of a chunk of the items; a group is closed even where there is nothing left to copy, to keep the count.
  const auto fetch = [&](int chunk) {
    if (chunk < n_chunks) {
      const std::int64_t position = static_cast<std::int64_t>(first_tile + chunk / stages_a_tile) * S::tile_items;
      const int column = chunk % stages_a_tile * S::stage_bytes;
      std::int8_t* const stage = stages + chunk % S::n_stages * (S::tile_items * item_stride);
      for (int i = thread; i < S::tile_items * (S::stage_bytes / 16); i += S::n_threads) {
        const int row = i / (S::stage_bytes / 16);
        const int at = i % (S::stage_bytes / 16) * 16;
        if (column + at < code_stride) {
          copy_async(stage + row * item_stride + at, a.index.codes + (position + row) * code_stride + column + at);
        }
      }
    }
    commit_copies();
  };
  for (int chunk = 0; chunk < S::n_stages - 1; ++chunk) fetch(chunk);
  set_limit(first_tile);

  constexpr int n_left = S::warp_queries / 16;
  constexpr int n_right = S::warp_items / 8;
  const int warp_row = warp_index() % 2 * S::warp_queries;
  const int warp_column = warp_index() / 2 * S::warp_items;
  int sums[n_left][n_right][4];

  for (int chunk = 0; chunk < n_chunks; ++chunk) {
    wait_copies<S::n_stages - 2>();
    __syncthreads();
    fetch(chunk + S::n_stages - 1);  // into the stage that the barrier has freed
    const int tile = first_tile + chunk / stages_a_tile;
    const int part = chunk % stages_a_tile;
    if (part == 0) {
#pragma unroll
      for (int i = 0; i < n_left; ++i) {
#pragma unroll
        for (int j = 0; j < n_right; ++j) {
#pragma unroll
          for (int r = 0; r < 4; ++r) sums[i][j][r] = 0;
        }
      }
      if (tile + 1 < last_tile) set_limit(tile + 1);
    }
    const std::int8_t* const stage = stages + chunk % S::n_stages * (S::tile_items * item_stride);
    const int left_bytes = code_stride - part * S::stage_bytes;
    const int width = left_bytes < S::stage_bytes ? left_bytes : S::stage_bytes;
    for (int column = 0; column < width; column += 32) {
      unsigned right[n_right / 2][4];
#pragma unroll
      for (int j = 0; j < n_right / 2; ++j) load_right(right[j], stage, item_stride, warp_column + j * 16, column);
#pragma unroll
      for (int i = 0; i < n_left; ++i) {
        unsigned left[4];
        load_left(left, query_codes, query_stride, warp_row + i * 16, part * S::stage_bytes + column);
#pragma unroll
        for (int j = 0; j < n_right; ++j) {
          multiply_add(sums[i][j], left, right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
        }
      }
    }
    if (part != stages_a_tile - 1) continue;

    const std::int64_t position = static_cast<std::int64_t>(tile) * S::tile_items + warp_column + lane_index() % 4 * 2;
    const int row = warp_row + lane_index() / 4;
    const int place = tile % 2 * S::n_limits + warp_column / ItemIndex::block_items * S::tile_queries + row;
    unsigned long long found = 0;  // one bit a sum
#pragma unroll
    for (int j = 0; j < n_right; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float bias = has_bias ? a.index.bias[position + j * 8 + r] : 0.0F;
#pragma unroll
        for (int i = 0; i < n_left * 2; ++i) {  // rows 8 apart
          int sum = sums[i / 2][j][i % 2 * 2 + r];
          if (has_bias) sum += __float2int_rn(bias * bias_units[place + i * 8]);
          found |= static_cast<unsigned long long>(sum >= limits[place + i * 8]) << (i * 8 + j * 2 + r);
        }
      }
    }
    for (; found != 0; found &= found - 1) {
      const int bit = __ffsll(static_cast<long long>(found)) - 1;
      const std::int64_t query = first_query + row + bit / 8 * 8;
      const std::int64_t item = position + bit % 8 / 2 * 8 + bit % 2;
      if (item >= a.index.n_items || !a.filters.allows(item)) continue;
      const std::int32_t slot = atomicAdd(&a.counts[query], 1);
      if (slot < a.capacity) a.survivors[query * a.capacity + slot] = static_cast<std::int32_t>(item);
    }
  }
  wait_copies<0>();
}

}  // namespace recsys::cuda
