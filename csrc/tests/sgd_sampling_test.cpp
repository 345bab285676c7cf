// The items that SGD draws, and the entries that it visits.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/negative_sampler.hpp"
#include "cpu/sgd_schedule.hpp"
#include "cpu/unseen_items.hpp"
#include "recsys/sgd.hpp"
#include "tests/check.hpp"

using namespace recsys;

namespace {

// Of eight items, user 0 has half, user 1 lacks 2, 5 and 6, user 2 lacks nothing, and user 3 lacks 7.
struct Heavy {
  std::vector<std::int64_t> indptr{0, 4, 9, 17, 24};
  std::vector<std::int32_t> items{0, 1, 2, 3, 0, 1, 3, 4, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6};

  [[nodiscard]] CsrView view() const { return {indptr, items, {}, 8, true}; }
};

}  // namespace

TEST(unseen_items_are_drawn_from_their_block_alone) {
  const Heavy heavy;
  UnseenItems unseen(heavy.view(), {}, 8, 3);
  CHECK(!unseen.is_listed(0) && unseen.is_listed(1) && !unseen.is_listed(2) && unseen.is_listed(3));
  const std::vector<std::uint8_t> item_block{0, 0, 1, 0, 0, 2, 1, 2};
  unseen.deal(item_block, {}, 2);
  RandomStream random(1, 2);
  std::vector<int> counts(8, 0);
  for (int draw = 0; draw < 2000; ++draw) {
    ++counts[static_cast<std::size_t>(unseen.draw(1, 1, random))];
    CHECK(unseen.draw(1, 0, random) == -1);
    CHECK(unseen.draw(1, 2, random) == 5);
    CHECK(unseen.draw(3, 2, random) == 7);
  }
  CHECK(counts[2] + counts[6] == 2000 && std::abs(counts[2] - 1000) < 100);
  const std::vector<std::uint8_t> others{0, 0, 0, 0, 0, 0, 0, 0};
  unseen.deal(others, {}, 1);
  CHECK(unseen.draw(1, 1, random) == -1 && unseen.draw(3, 0, random) == 7);
}

TEST(unseen_items_are_drawn_by_their_weights) {
  const Heavy heavy;
  const std::vector<float> weights{1, 1, 3, 1, 1, 1, 0, 1};  // 6 cannot be drawn
  CHECK(count_drawable(8, weights) == 7 && count_drawable(8, {}) == 8);
  UnseenItems unseen(heavy.view(), weights, 7, 1);
  unseen.deal(std::vector<std::uint8_t>(8, 0), weights, 1);
  RandomStream random(1, 2);
  std::vector<int> counts(8, 0);
  for (int draw = 0; draw < 4000; ++draw) ++counts[static_cast<std::size_t>(unseen.draw(1, 0, random))];
  CHECK(counts[2] + counts[5] == 4000 && std::abs(counts[2] - 3000) < 150);
}

TEST(sgd_schedule_leaves_out_users_who_have_everything) {
  const Heavy heavy;
  SgdSchedule schedule(heavy.view(), 1, false, 8);
  schedule.deal(3, 0, 1);
  RandomStream random(1, 2);
  const auto entries = schedule.shuffled_cell(0, 0, random);
  CHECK(entries.size() == 16);
  CHECK(std::none_of(entries.begin(), entries.end(), [](const cpu::SgdEntry& entry) { return entry.user == 2; }));
  SgdSchedule whole(heavy.view(), 1, false, 0);
  whole.deal(3, 0, 1);
  CHECK(whole.shuffled_cell(0, 0, random).size() == 24);
}

TEST(sgd_has_fewer_blocks_where_most_would_hold_nothing_to_draw) {
  // 160 users lack one of 160 items each: two blocks would stall half of the steps.
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> items;
  for (std::int32_t user = 0; user < 160; ++user) {
    for (std::int32_t item = 0; item < 160; ++item) {
      if (item != user) items.push_back(item);
    }
    indptr.push_back(static_cast<std::int64_t>(items.size()));
  }
  const CsrView view{indptr, items, {}, 160, true};
  CHECK(sgd_blocks(view, 0.0F) == 9 && sgd_blocks(view, 0.0F, 160) == 1);
}
