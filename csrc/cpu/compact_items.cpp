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

CompactItems::CompactItems(std::int64_t n_factors, bool has_bias)
    : n_factors_(n_factors), n_groups_(divide_up(n_factors, 4)), row_stride_(n_groups_ * 4), has_bias_(has_bias) {}

CompactItems::CompactItems(const ItemIndex& index) : CompactItems(index.n_factors(), index.has_bias()) {
  const std::int64_t n_items = index.n_items();
  const std::int64_t n_blocks = divide_up(n_items, block_items);
  rows_ = AlignedBuffer<float>(checked_product(n_items, row_stride_));
  codes_ = AlignedBuffer<std::uint8_t>(checked_product(n_blocks * block_items, row_stride_));
  if (has_bias_) bias_ = AlignedBuffer<float>(n_blocks * block_items);
  bounds_.resize(static_cast<std::size_t>(n_blocks));
  constexpr std::int64_t fewest_coarse = 16384;
  if (n_items >= fewest_coarse) {
    coarse_codes_ = AlignedBuffer<std::uint8_t>(n_blocks * block_items * n_pairs() * 4);
    coarse_bounds_.resize(bounds_.size());
  }
  measure_items(index);
  sort_items(index);
  copy_rows(index);

  constexpr std::int64_t blocks_a_task = 64;
  parallel_for(divide_up(n_blocks, blocks_a_task), 0, [&](std::int64_t task, std::int64_t) {
    const std::int64_t last = std::min(n_blocks, (task + 1) * blocks_a_task);
    for (std::int64_t b = task * blocks_a_task; b < last; ++b) {
      encode_block(index, b);
      if (has_coarse()) encode_coarse_block(index, b);
    }
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
      const std::int64_t item = this->item(position);
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
  positions_ = AlignedBuffer<std::int32_t>(n_items);
  items_ = AlignedBuffer<std::int32_t>(n_blocks() * block_items);
  std::fill_n(items_.data(), items_.size(), -1);
  for (std::size_t position = 0; position < order.size(); ++position) {
    items_.data()[position] = order[position].item;
    positions_.data()[order[position].item] = static_cast<std::int32_t>(position);
  }
}

double CompactItems::peak_of(const ItemIndex& index, std::int64_t b) const {
  double peak = largest_factor_ * 0x1p-20;  // a block of zeros needs a scale too
  const std::int64_t last = std::min(index.n_items(), (b + 1) * block_items);
  for (std::int64_t position = b * block_items; position < last; ++position) {
    float largest = 0;
    for (std::int64_t f = 0; f < n_factors_; ++f) largest = std::max(largest, std::abs(row(position)[f]));
    peak = std::max(peak, static_cast<double>(largest));
  }
  return peak;
}

double CompactItems::bias_peak_of(const ItemIndex& index, std::int64_t b) const {
  double peak = 0;
  const std::int64_t last = std::min(index.n_items(), (b + 1) * block_items);
  for (std::int64_t position = b * block_items; position < last; ++position) {
    peak = std::max(peak, std::abs(static_cast<double>(bias_of(index, item(position)))));
  }
  return peak;
}

void CompactItems::encode_block(const ItemIndex& index, std::int64_t b) {
  const std::int64_t n = std::min(block_items, index.n_items() - b * block_items);
  const double peak = peak_of(index, b);
  const double bias_peak = bias_peak_of(index, b);
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
      nullptr, nullptr, scale, inverse, code_norm, round_up(error * inverse), round_up(bias_peak * inverse * 0x1p-21),
      128};
}

void CompactItems::encode_coarse_block(const ItemIndex& index, std::int64_t b) {
  const std::int64_t n = std::min(block_items, index.n_items() - b * block_items);
  const double peak = peak_of(index, b);
  const double rounding = relative_rounding(n_factors_);
  const auto code_of = [](double shifted) {
    return static_cast<std::int32_t>(std::clamp(shifted + (shifted < 0 ? -0.5 : 0.5), -8.0, 7.0));
  };
  // A scale too small for the largest factors serves all the others better: the one is taken that loses least.
  double scale = 1;
  double error = std::numeric_limits<double>::infinity();
  double code_norm = 0;
  for (const double share : {1.0, 0.8, 0.65, 0.5}) {
    const double tried = peak > 0 ? peak * share / 7.5 : 1.0;
    double largest_error = 0;
    double largest_code = 0;
    for (std::int64_t lane = 0; lane < n; ++lane) {
      const std::int64_t position = b * block_items + lane;
      double code_square = 0;
      double residual_square = 0;
      for (std::int64_t f = 0; f < n_factors_; ++f) {
        const auto value = static_cast<double>(row(position)[f]);
        const std::int32_t code = code_of(value * (1 / tried));
        const double residual = value - tried * code;
        code_square += static_cast<double>(code) * code;
        residual_square += residual * residual;
      }
      const double norm = norms_[static_cast<std::size_t>(item(position))];
      largest_code = std::max(largest_code, round_up(std::sqrt(code_square)));
      largest_error =
          std::max(largest_error, round_up(std::sqrt(residual_square)) + round_up(norm * (rounding + 0x1p-40)));
    }
    if (largest_error >= error) continue;
    scale = tried;
    error = largest_error;
    code_norm = largest_code;
  }
  const double inverse = 1 / scale;
  std::uint8_t* codes = coarse_codes_.data() + b * n_pairs() * 4 * block_items;
  std::fill(codes, codes + n_pairs() * 4 * block_items, std::uint8_t{0x88});
  for (std::int64_t lane = 0; lane < n; ++lane) {
    for (std::int64_t f = 0; f < n_factors_; ++f) {
      const auto code = code_of(static_cast<double>(row(b * block_items + lane)[f]) * inverse) + 8;
      std::uint8_t& byte = codes[(f / 8 * block_items + lane) * 4 + f % 4];
      byte = static_cast<std::uint8_t>(f % 8 < 4 ? (byte & 0xF0) | code : (byte & 0x0F) | (code << 4));
    }
  }
  coarse_bounds_[static_cast<std::size_t>(b)] = {nullptr,
                                                 nullptr,
                                                 scale,
                                                 inverse,
                                                 code_norm,
                                                 round_up(error * inverse),
                                                 round_up(bias_peak_of(index, b) * inverse * 0x1p-21),
                                                 8};
}

}  // namespace recsys::cpu
