// What an index learns from the queries it answers.
#pragma once

#include <atomic>
#include <cstdint>

#include "recsys/item_index.hpp"

namespace recsys {

struct ItemIndex::Experience {
  std::atomic<std::int64_t> n_asked{0};     // queries that the compact scan might have answered
  std::atomic<std::int64_t> n_scanned{0};   // of them, by the compact scan
  std::atomic<std::int64_t> n_given_up{0};  // of those, left to the float32 path
};

}  // namespace recsys
