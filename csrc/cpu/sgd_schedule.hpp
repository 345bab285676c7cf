// The order in which an epoch of SGD visits the stored entries: cells of a user block and an item block, dealt afresh
// every epoch (recsys/sgd.hpp, "Threads").
//
// Within a cell users come in random order, each with all their entries, and stretches of a few thousand entries are
// then shuffled: nearly a random order, but one that asks for each user's row only once a cell.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "recsys/random.hpp"
#include "recsys/views.hpp"

namespace recsys {

// A stream for one purpose in one epoch, apart from every other and from those of fill_start.
[[nodiscard]] RandomStream epoch_stream(std::uint64_t seed, std::int64_t epoch, std::uint64_t purpose);

class SgdSchedule {
 public:
  // Borrows `interactions`.  Entries weigh what is stored, or 1 if not `weighted`.  Users with `full_row` entries,
  // above 0, are left out.
  SgdSchedule(const CsrView& interactions, std::int64_t n_blocks, bool weighted, std::int64_t full_row);

  // Deals users and items and sorts the entries into cells.  The same for any number of threads.
  void deal(std::uint64_t seed, std::int64_t epoch, std::int64_t n_threads);

  // Puts the entries of a cell into the order to visit them in.  Cells may be shuffled in parallel.
  std::span<cpu::SgdEntry> shuffled_cell(std::int64_t user_block, std::int64_t item_block, RandomStream& random);

  [[nodiscard]] std::int64_t n_blocks() const { return n_blocks_; }
  [[nodiscard]] std::span<const std::int32_t> block_items(std::int64_t block) const;
  [[nodiscard]] std::span<const std::uint8_t> item_blocks() const { return item_block_; }

 private:
  [[nodiscard]] bool is_left_out(std::int64_t user) const {
    return full_row_ > 0 && interactions_.row_size(user) == full_row_;
  }

  CsrView interactions_;
  std::int64_t n_blocks_;
  bool weighted_;
  std::int64_t full_row_;
  std::vector<std::int32_t> users_;       // in the order dealt: block b is [n b / B, n (b + 1) / B)
  std::vector<std::int32_t> items_;       // likewise
  std::vector<std::uint8_t> item_block_;  // of each item
  std::vector<cpu::SgdEntry> entries_;    // by user block, then by item block
  std::vector<std::int64_t> cell_starts_;
};

}  // namespace recsys
