#include "cpu/negative_sampler.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace recsys {

SeenItems::SeenItems(const CsrView& interactions) : interactions_(interactions) {
  filters_.reserve(static_cast<std::size_t>(interactions.rows()));
  std::int64_t n_words = 0;
  for (std::int64_t row = 0; row < interactions.rows(); ++row) {
    // A word for every four entries: 16 to 32 bits an entry.
    const auto size = std::bit_ceil(static_cast<std::uint64_t>(interactions.row_size(row) + 3) / 4);
    filters_.push_back({n_words, 63 - std::countr_zero(std::max<std::uint64_t>(size, 1))});
    n_words += static_cast<std::int64_t>(std::max<std::uint64_t>(size, 1));
  }
  words_.assign(static_cast<std::size_t>(n_words), 0);
  for (std::int64_t row = 0; row < interactions.rows(); ++row) {
    for (const std::int32_t item : interactions.row_indices(row)) {
      const std::uint64_t key = hash(item);
      words_[word_of(static_cast<std::int32_t>(row), key)] |= bits_of(key);
    }
  }
}

bool SeenItems::is_stored(std::int32_t user, std::int32_t item) const {
  const auto row = interactions_.row_indices(user);
  return std::binary_search(row.begin(), row.end(), item);
}

std::int64_t count_drawable(std::int64_t n_items, std::span<const float> weights) {
  if (weights.empty()) return n_items;
  return std::count_if(weights.begin(), weights.end(), [](float weight) { return weight > 0.0F; });
}

std::vector<float> item_weights(const CsrView& interactions, float power) {
  std::vector<float> weights(static_cast<std::size_t>(interactions.cols), 0.0F);
  std::vector<std::int64_t> counts(weights.size(), 0);
  for (const std::int32_t item : interactions.indices) ++counts[static_cast<std::size_t>(item)];
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (counts[i] > 0) weights[i] = std::pow(static_cast<float>(counts[i]), power);
  }
  return weights;
}

ItemLottery::ItemLottery(std::span<const std::int32_t> items, std::span<const float> weights) {
  slots_.reserve(items.size());
  if (weights.empty()) {
    for (const std::int32_t item : items) slots_.push_back({item, item, ~0U});
    return;
  }
  const auto weight_of = [&](std::int32_t item) {
    return static_cast<double>(weights[static_cast<std::size_t>(item)]);
  };
  double total = 0.0;
  for (const std::int32_t item : items) {
    if (weight_of(item) <= 0.0) continue;
    slots_.push_back({item, item, ~0U});
    total += weight_of(item);
  }
  // A slot's share is 1 on average.  Whoever has less is topped up by one who has more.
  std::vector<double> share(slots_.size());
  std::vector<std::size_t> small, large;
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    share[s] = weight_of(slots_[s].item) * static_cast<double>(slots_.size()) / total;
    (share[s] < 1.0 ? small : large).push_back(s);
  }
  while (!small.empty() && !large.empty()) {
    const std::size_t poor = small.back();
    const std::size_t rich = large.back();
    small.pop_back();
    slots_[poor].other = slots_[rich].item;
    slots_[poor].keep_below = static_cast<std::uint32_t>(share[poor] * 0x1p32);
    share[rich] -= 1.0 - share[poor];
    if (share[rich] < 1.0) {
      large.pop_back();
      small.push_back(rich);
    }
  }
}

}  // namespace recsys
