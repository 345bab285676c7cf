#include "cpu/compact_items.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "recsys/thread_pool.hpp"

namespace recsys::cpu {
namespace {

constexpr std::int64_t items_a_task = 8192;
constexpr std::int64_t tile_items = ItemIndex::tile_items;

float bias_of(const ItemIndex& index, std::int64_t item) {
  return index.has_bias() ? index.bias(item / tile_items)[item % tile_items] : 0.0F;
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

CompactItems::CompactItems(const ItemIndex& index)
    : n_factors_(index.n_factors()),
      n_groups_(divide_up(index.n_factors(), 4)),
      row_stride_(n_groups_ * 4),
      has_bias_(index.has_bias()) {
  const std::int64_t n_items = index.n_items();
  const std::int64_t n_blocks = divide_up(n_items, block_items);
  rows_ = AlignedBuffer<float>(checked_product(n_items, row_stride_));
  codes_ = AlignedBuffer<std::uint8_t>(checked_product(n_blocks * block_items, row_stride_));
  if (has_bias_) bias_ = AlignedBuffer<float>(n_blocks * block_items);
  bounds_.resize(static_cast<std::size_t>(n_blocks));
  measure_items(index);
  sort_items(index);
  copy_rows(index);

  constexpr std::int64_t blocks_a_task = 64;
  parallel_for(divide_up(n_blocks, blocks_a_task), 0, [&](std::int64_t task, std::int64_t) {
    const std::int64_t last = std::min(n_blocks, (task + 1) * blocks_a_task);
    for (std::int64_t b = task * blocks_a_task; b < last; ++b) encode_block(index, b);
  });

  norm_from_.assign(static_cast<std::size_t>(n_blocks) + 1, 0.0);
  bias_from_.assign(static_cast<std::size_t>(n_blocks) + 1, has_bias_ ? -std::numeric_limits<double>::infinity() : 0.0);
  smallest_scale_ = std::numeric_limits<double>::infinity();
  for (std::int64_t b = n_blocks - 1; b >= 0; --b) {
    const auto at = static_cast<std::size_t>(b);
    norm_from_[at] = norm_from_[at + 1];
    bias_from_[at] = bias_from_[at + 1];
    const std::int64_t last = std::min(n_items, (b + 1) * block_items);
    for (std::int64_t position = b * block_items; position < last; ++position) {
      const std::int64_t item = items_[static_cast<std::size_t>(position)];
      norm_from_[at] = std::max(norm_from_[at], norms_[static_cast<std::size_t>(item)]);
      bias_from_[at] = std::max(bias_from_[at], static_cast<double>(bias_of(index, item)));
      largest_bias_ = std::max(largest_bias_, std::abs(static_cast<double>(bias_of(index, item))));
    }
    smallest_scale_ = std::min(smallest_scale_, 1 / bounds_[at].inverse_scale);
  }
  norms_ = {};
}

void CompactItems::measure_items(const ItemIndex& index) {
  const std::int64_t n_items = index.n_items();
  const std::int64_t n_tasks = divide_up(n_items, items_a_task);
  norms_.resize(static_cast<std::size_t>(n_items));
  std::vector<double> largest(static_cast<std::size_t>(n_tasks));
  parallel_for(n_tasks, 0, [&](std::int64_t task, std::int64_t) {
    double peak = 0;
    const std::int64_t last = std::min(n_items, (task + 1) * items_a_task);
    for (std::int64_t item = task * items_a_task; item < last; ++item) {
      const float* column = index.tile(item / tile_items) + item % tile_items;
      double sum = 0;
      for (std::int64_t f = 0; f < n_factors_; ++f) {
        const auto value = static_cast<double>(column[f * tile_items]);
        sum += value * value;
        peak = std::max(peak, std::abs(value));
      }
      norms_[static_cast<std::size_t>(item)] = round_up(std::sqrt(sum));
    }
    largest[static_cast<std::size_t>(task)] = peak;
  });
  for (const double peak : largest) largest_factor_ = std::max(largest_factor_, peak);
}

void CompactItems::copy_rows(const ItemIndex& index) {
  const std::int64_t n_items = index.n_items();
  parallel_for(divide_up(n_items, items_a_task), 0, [&](std::int64_t task, std::int64_t) {
    const std::int64_t last = std::min(n_items, (task + 1) * items_a_task);
    for (std::int64_t item = task * items_a_task; item < last; ++item) {
      const float* column = index.tile(item / tile_items) + item % tile_items;
      float* row = rows_.data() + position(item) * row_stride_;
      for (std::int64_t f = 0; f < n_factors_; ++f) row[f] = column[f * tile_items];
      for (std::int64_t f = n_factors_; f < row_stride_; ++f) row[f] = 0.0F;
    }
  });
}

void CompactItems::sort_items(const ItemIndex& index) {
  const std::int64_t n_items = index.n_items();
  // How high an item may score for a query about as long as the items are.
  double squares = 0;
  for (const double norm : norms_) squares += norm * norm;
  const double length = n_items == 0 || !has_bias_ || index.metric() == Metric::cosine
                            ? 1.0
                            : std::sqrt(squares / static_cast<double>(n_items));
  struct Keyed {
    double key;
    std::int32_t item;
  };
  std::vector<Keyed> order(static_cast<std::size_t>(n_items));
  for (std::int64_t item = 0; item < n_items; ++item) {
    const auto at = static_cast<std::size_t>(item);
    order[at] = {length * norms_[at] + static_cast<double>(bias_of(index, item)), static_cast<std::int32_t>(item)};
  }
  std::sort(order.begin(), order.end(),
            [](const Keyed& a, const Keyed& b) { return a.key > b.key || (a.key == b.key && a.item < b.item); });
  positions_.resize(static_cast<std::size_t>(n_items));
  items_.assign(static_cast<std::size_t>(n_blocks() * block_items), -1);
  for (std::size_t position = 0; position < order.size(); ++position) {
    items_[position] = order[position].item;
    positions_[static_cast<std::size_t>(order[position].item)] = static_cast<std::int32_t>(position);
  }
}

void CompactItems::encode_block(const ItemIndex& index, std::int64_t b) {
  const std::int64_t n = std::min(block_items, index.n_items() - b * block_items);
  double peak = largest_factor_ * 0x1p-20;  // a block of zeros needs a scale too
  double bias_peak = 0;
  for (std::int64_t lane = 0; lane < n; ++lane) {
    const float* factors = row(b * block_items + lane);
    float largest = 0;
    for (std::int64_t f = 0; f < n_factors_; ++f) largest = std::max(largest, std::abs(factors[f]));
    peak = std::max(peak, static_cast<double>(largest));
    bias_peak = std::max(bias_peak, std::abs(static_cast<double>(bias_of(index, item(b * block_items + lane)))));
  }
  const double scale = peak > 0 ? peak / 127 : 1.0;
  const double inverse = 1 / scale;
  const double rounding = relative_rounding(n_factors_);
  std::uint8_t* codes = codes_.data() + b * row_stride_ * block_items;
  double code_norm = 0;
  double error = 0;
  for (std::int64_t lane = 0; lane < block_items; ++lane) {
    const float* factors = lane < n ? row(b * block_items + lane) : nullptr;
    if (has_bias_)
      bias_.data()[b * block_items + lane] = factors == nullptr ? 0.0F : bias_of(index, item(b * block_items + lane));
    double code_square = 0;
    double residual_square = 0;
    for (std::int64_t f = 0; f < row_stride_; ++f) {
      const double value = factors == nullptr ? 0.0 : static_cast<double>(factors[f]);
      const double shifted = value * inverse;
      const auto code = static_cast<std::int32_t>(shifted + (shifted < 0 ? -0.5 : 0.5));  // within +-127
      const double residual = value - scale * code;
      code_square += static_cast<double>(code) * code;
      residual_square += residual * residual;
      codes[(f / 4 * block_items + lane) * 4 + f % 4] = static_cast<std::uint8_t>(code + 128);
    }
    if (factors == nullptr) continue;
    const double norm = norms_[static_cast<std::size_t>(item(b * block_items + lane))];
    code_norm = std::max(code_norm, round_up(std::sqrt(code_square)));
    // value - scale * code is itself rounded, by less than 2^-50 of the norm in all factors together.
    error = std::max(error, round_up(std::sqrt(residual_square)) + round_up(norm * (rounding + 0x1p-40)));
  }
  bounds_[static_cast<std::size_t>(b)] = {
      nullptr, nullptr, scale, inverse, code_norm, round_up(error * inverse), round_up(bias_peak * inverse * 0x1p-21)};
}

}  // namespace recsys::cpu
