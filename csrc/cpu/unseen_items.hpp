// Items that a user has no entry for, listed for the users who have most of what can be drawn.
//
// Rejection (negative_sampler.hpp) takes 1 / (1 - share) draws on average for a user who has that share of the items.
// Those who have more than half of them lack fewer than they have, so that a list of what they lack costs less memory
// than their entries, and one draw from it is enough.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "recsys/random.hpp"
#include "recsys/views.hpp"

namespace recsys {

class UnseenItems {
 public:
  // Weights as for ItemLottery; `n_drawable` is the number of items of a weight above 0, or all where there are no
  // weights.
  UnseenItems(const CsrView& interactions, std::span<const float> weights, std::int64_t n_drawable,
              std::int64_t n_blocks);

  // Sorts the lists by the blocks that items were dealt to.  The same for any number of threads.
  void deal(std::span<const std::uint8_t> item_block, std::span<const float> weights, std::int64_t n_threads);

  [[nodiscard]] bool is_listed(std::int32_t user) const {
    return !list_of_.empty() && list_of_[static_cast<std::size_t>(user)] >= 0;
  }

  // One of the block's items that a listed user has no entry for; -1 where there is none.
  std::int32_t draw(std::int32_t user, std::int64_t block, RandomStream& random) const;

 private:
  [[nodiscard]] std::int64_t n_lists() const { return static_cast<std::int64_t>(begins_.size()) - 1; }

  std::int64_t n_blocks_;
  std::vector<std::int32_t> list_of_;   // [n_users], -1 without a list; empty where nobody has one
  std::vector<std::int64_t> begins_;    // [n_lists + 1]
  std::vector<std::int32_t> items_;     // ascending in a list
  std::vector<std::int32_t> dealt_;     // the lists sorted by block
  std::vector<float> running_weights_;  // of `dealt_`, from the beginning of each block; empty without weights
  std::vector<std::int64_t> starts_;    // [n_lists, n_blocks + 1]: where a block's items begin in `dealt_`
};

}  // namespace recsys
