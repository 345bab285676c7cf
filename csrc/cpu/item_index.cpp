#include <cmath>
#include <string>

#include "cpu/experience.hpp"
#include "cpu/unit_scale.hpp"
#include "recsys/thread_pool.hpp"
#include "recsys/topk.hpp"

namespace recsys {

ItemIndex::ItemIndex(MatrixView<const float> item_factors, std::span<const float> item_bias, Metric metric)
    : n_items_(item_factors.rows()), n_factors_(item_factors.cols()), metric_(metric), experience_(new Experience) {
  check_finite(item_factors, "item_factors");
  if (!item_bias.empty() && static_cast<std::int64_t>(item_bias.size()) != n_items_) {
    throw ShapeError("item_bias must have one entry an item, " + std::to_string(n_items_) + ", got " +
                     std::to_string(item_bias.size()));
  }
  check_finite(item_bias, "item_bias");

  const std::int64_t n_padded = n_tiles() * tile_items;
  factors_ = AlignedBuffer<float>(checked_product(n_padded, n_factors_));
  if (!item_bias.empty()) {
    bias_ = AlignedBuffer<float>(n_padded);
    for (std::int64_t i = 0; i < n_padded; ++i) {
      bias_.data()[i] = i < n_items_ ? item_bias[static_cast<std::size_t>(i)] : 0.0F;
    }
  }
  constexpr std::int64_t tiles_a_task = 256;
  parallel_for((n_tiles() + tiles_a_task - 1) / tiles_a_task, 0, [&](std::int64_t task, std::int64_t) {
    for (std::int64_t t = task * tiles_a_task; t < std::min(n_tiles(), (task + 1) * tiles_a_task); ++t) {
      float* tile = factors_.data() + t * n_factors_ * tile_items;
      for (std::int64_t lane = 0; lane < tile_items; ++lane) {
        const std::int64_t item = t * tile_items + lane;
        if (item >= n_items_) {
          for (std::int64_t f = 0; f < n_factors_; ++f) tile[f * tile_items + lane] = 0.0F;
          continue;
        }
        const float* row = item_factors.row(item);
        if (metric_ == Metric::dot) {
          for (std::int64_t f = 0; f < n_factors_; ++f) tile[f * tile_items + lane] = row[f];
        } else {
          const double scale = cpu::unit_scale(row, n_factors_);
          for (std::int64_t f = 0; f < n_factors_; ++f)
            tile[f * tile_items + lane] = static_cast<float>(row[f] * scale);
        }
      }
    }
  });
}

ItemIndex::ItemIndex(ItemIndex&&) noexcept = default;
ItemIndex& ItemIndex::operator=(ItemIndex&&) noexcept = default;
ItemIndex::~ItemIndex() = default;

const cpu::CompactItems& ItemIndex::compact() const {
  std::call_once(experience_->built, [&] { experience_->compact = std::make_unique<const cpu::CompactItems>(*this); });
  return *experience_->compact;
}

}  // namespace recsys
