// What an index learns from the queries it answers.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "cpu/compact_items.hpp"
#include "recsys/topk.hpp"

namespace recsys {

struct ItemIndex::Experience {
  std::once_flag built;
  std::unique_ptr<const cpu::CompactItems> compact;
  std::atomic<std::int64_t> n_asked{0};     // queries that the compact scan might have answered
  std::atomic<std::int64_t> n_scanned{0};   // of them, by the compact scan
  std::atomic<std::int64_t> n_given_up{0};  // of those, left to the float32 path
};

}  // namespace recsys
