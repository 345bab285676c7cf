#include "cpu/unseen_items.hpp"

#include <algorithm>

#include "recsys/thread_pool.hpp"

namespace recsys {

UnseenItems::UnseenItems(const CsrView& interactions, std::span<const float> weights, std::int64_t n_drawable,
                         std::int64_t n_blocks)
    : n_blocks_(n_blocks), begins_{0} {
  for (std::int64_t user = 0; user < interactions.rows(); ++user) {
    const auto had = interactions.row_indices(user);
    const std::int64_t n_had = interactions.row_size(user);
    if (2 * n_had <= n_drawable || n_had == n_drawable) continue;
    if (list_of_.empty()) list_of_.assign(static_cast<std::size_t>(interactions.rows()), -1);
    list_of_[static_cast<std::size_t>(user)] = static_cast<std::int32_t>(n_lists());
    auto next = had.begin();
    for (std::int32_t item = 0; item < interactions.cols; ++item) {
      if (next != had.end() && *next == item) {
        ++next;
      } else if (weights.empty() || weights[static_cast<std::size_t>(item)] > 0.0F) {
        items_.push_back(item);
      }
    }
    begins_.push_back(static_cast<std::int64_t>(items_.size()));
  }
  dealt_.resize(items_.size());
  running_weights_.resize(weights.empty() ? 0 : items_.size());
  starts_.resize(static_cast<std::size_t>(n_lists() * (n_blocks + 1)));
}

void UnseenItems::deal(std::span<const std::uint8_t> item_block, std::span<const float> weights,
                       std::int64_t n_threads) {
  parallel_for(n_lists(), n_threads, [&](std::int64_t list, std::int64_t) {
    const std::int64_t begin = begins_[static_cast<std::size_t>(list)];
    const std::span<const std::int32_t> items(
        items_.data() + begin, static_cast<std::size_t>(begins_[static_cast<std::size_t>(list) + 1] - begin));
    const auto block_of = [&](std::int32_t item) {
      return static_cast<std::size_t>(item_block[static_cast<std::size_t>(item)]);
    };
    std::vector<std::int64_t> next(static_cast<std::size_t>(n_blocks_) + 1, 0);
    for (const std::int32_t item : items) ++next[block_of(item) + 1];
    next[0] = begin;
    for (std::size_t block = 1; block < next.size(); ++block) next[block] += next[block - 1];
    std::copy(next.begin(), next.end(), starts_.begin() + list * (n_blocks_ + 1));
    std::vector<float> sums(next.size(), 0.0F);
    for (const std::int32_t item : items) {
      const auto to = static_cast<std::size_t>(next[block_of(item)]++);
      dealt_[to] = item;
      if (weights.empty()) continue;
      running_weights_[to] = sums[block_of(item)] += weights[static_cast<std::size_t>(item)];
    }
  });
}

std::int32_t UnseenItems::draw(std::int32_t user, std::int64_t block, RandomStream& random) const {
  const std::int64_t list = list_of_[static_cast<std::size_t>(user)];
  const auto at = static_cast<std::size_t>(list * (n_blocks_ + 1) + block);
  const std::int64_t start = starts_[at], n = starts_[at + 1] - start;
  if (n == 0) return -1;
  if (running_weights_.empty()) return dealt_[static_cast<std::size_t>(start + random.below(n))];
  const std::span<const float> sums(running_weights_.data() + start, static_cast<std::size_t>(n));
  const double goal = static_cast<double>(random.next() >> 11) * 0x1p-53 * static_cast<double>(sums.back());
  const auto above = std::upper_bound(sums.begin(), sums.end() - 1, goal,
                                      [](double value, float sum) { return value < static_cast<double>(sum); });
  return dealt_[static_cast<std::size_t>(start + (above - sums.begin()))];
}

}  // namespace recsys
