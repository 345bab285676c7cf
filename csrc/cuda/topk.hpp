// The k best items of each query on a device, exactly: the answer of recsys::topk, to the bit where that fuses multiply
// and add.  (A score of -0 comes back as 0.)
//
// float32 scores every item.  compact scores the first few thousand, largest first, in float32, which gives each query
// a threshold, and then scans the 8-bit codes of the rest in waves (scan_codes.cuh): survivors are rescored after each
// wave, which raises the threshold for the next, twice as long.  A query that the bound does not cover, or of which
// more items survive a wave than there is room for, is answered by float32.  No score matrix exists in either.
//
// Cost: B n d multiply-adds, in 8 bits or in float32.  Memory beside the index: about 12 (k + 1024) + 5 d bytes a query
// with its filters in flight; batches are cut to a share of the memory that is free.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "cuda/item_index.hpp"

namespace recsys::cuda {

// How the work is cut up; tests choose other numbers than speed would.
struct TopkTuning {
  std::int64_t opening = 2048;          // items scored in float32 first, and 8 k at least
  std::int64_t first_wave = 0;          // items; 0: as many as the opening
  std::int64_t survivors = 1024;        // room for those of a query and wave, and 4 k at least
  std::int64_t smallest_index = 32768;  // items from which automatic takes compact
  double memory_share = 0.5;            // of what is free
};

// Queries [B, d] on the device, or on the host to be copied; a ranking [B, k] on the device.
struct TopkRequest {
  MatrixView<const float> queries;
  bool queries_on_device = false;
  std::optional<CsrView> exclude;  // on the host, as allow and deny are
  std::optional<std::span<const std::int64_t>> allow;
  std::optional<CsrView> allow_each;  // [B, n]: per query, instead of `allow`; its items alone are scored
  std::span<const std::int64_t> deny;
  Method method = Method::automatic;
};

// The ranking is complete once the stream is.  Waits for the stream at least once a batch, to learn of invalid queries
// and of those left to float32.  Throws what recsys::topk throws, and DeviceError where CUDA fails.
void topk(const ItemIndex& index, const TopkRequest& request, std::int64_t k, std::int64_t* indices, float* scores,
          Stream stream, const TopkTuning& tuning = {});

}  // namespace recsys::cuda
