// CompactItems to and from arrays.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "cpu/compact_items.hpp"

namespace recsys::cpu {
namespace {

std::vector<double> numbers_of(const std::vector<CompactBlock>& blocks) {
  std::vector<double> numbers;
  numbers.reserve(blocks.size() * CompactArrays::bound_numbers);
  for (const CompactBlock& block : blocks) {
    numbers.insert(numbers.end(), {block.scale, block.inverse_scale, block.code_norm, block.error, block.bias_slack});
  }
  return numbers;
}

std::vector<CompactBlock> blocks_of(const std::vector<double>& numbers, std::int32_t offset) {
  std::vector<CompactBlock> blocks;
  blocks.reserve(numbers.size() / CompactArrays::bound_numbers);
  for (std::size_t at = 0; at < numbers.size(); at += CompactArrays::bound_numbers) {
    blocks.push_back(
        {nullptr, nullptr, numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3], numbers[at + 4], offset});
  }
  return blocks;
}

template <typename T>
std::span<const T> span_of(const AlignedBuffer<T>& buffer) {
  return {buffer.data(), static_cast<std::size_t>(buffer.size())};
}

template <typename Array>
void check_size(const Array& array, std::int64_t size, const char* name) {
  if (static_cast<std::int64_t>(array.size()) == size) return;
  throw DataError("compact." + std::string(name) + " must have " + std::to_string(size) + " numbers, got " +
                  std::to_string(array.size()));
}

void check_finite(const std::vector<double>& values, const char* name) {
  if (std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); })) return;
  throw DataError("compact." + std::string(name) + " must hold finite numbers only");
}

// Items and positions are inverse to each other, with -1 behind the last item: so both may be used as indices.
void check_order(std::span<const std::int32_t> items, std::span<const std::int32_t> positions) {
  const auto n_items = static_cast<std::int64_t>(positions.size());
  bool inverse = true;
  for (std::size_t position = 0; position < items.size(); ++position) {
    const std::int32_t item = items[position];
    if (position >= positions.size()) {
      inverse = inverse && item == -1;
    } else {
      inverse = inverse && item >= 0 && item < n_items &&
                positions[static_cast<std::size_t>(item)] == static_cast<std::int32_t>(position);
    }
  }
  if (!inverse) throw DataError("compact.items and compact.positions must be inverse to each other");
}

}  // namespace

CompactArrays CompactItems::arrays() const {
  return {.rows = span_of(rows_),
          .codes = span_of(codes_),
          .coarse_codes = span_of(coarse_codes_),
          .bias = span_of(bias_),
          .items = span_of(items_),
          .positions = span_of(positions_),
          .bounds = numbers_of(bounds_),
          .coarse_bounds = numbers_of(coarse_bounds_),
          .norm_from = norm_from_,
          .bias_from = bias_from_,
          .limits = {largest_bias_, smallest_scale_}};
}

CompactItems::CompactItems(const ItemIndex& index, const CompactArrays& arrays, std::shared_ptr<const void> owner)
    : CompactItems(index.n_factors(), index.has_bias()) {
  const std::int64_t n_items = index.n_items();
  const std::int64_t n_blocks = (n_items + block_items - 1) / block_items;
  const bool coarse = !arrays.coarse_codes.empty();
  if (n_factors_ > max_factors) throw DataError("a compact copy must have at most 4096 factors");
  check_size(arrays.rows, n_items * row_stride_, "rows");
  check_size(arrays.codes, n_blocks * block_items * row_stride_, "codes");
  check_size(arrays.coarse_codes, coarse ? n_blocks * block_items * n_pairs() * 4 : 0, "coarse_codes");
  check_size(arrays.bias, has_bias_ ? n_blocks * block_items : 0, "bias");
  check_size(arrays.items, n_blocks * block_items, "items");
  check_size(arrays.positions, n_items, "positions");
  check_size(arrays.bounds, n_blocks * CompactArrays::bound_numbers, "bounds");
  check_size(arrays.coarse_bounds, coarse ? n_blocks * CompactArrays::bound_numbers : 0, "coarse_bounds");
  check_size(arrays.norm_from, n_blocks + 1, "norm_from");
  check_size(arrays.bias_from, n_blocks + 1, "bias_from");
  check_size(arrays.limits, 2, "limits");
  check_finite(arrays.bounds, "bounds");
  check_finite(arrays.coarse_bounds, "coarse_bounds");
  check_finite(arrays.norm_from, "norm_from");
  check_order(arrays.items, arrays.positions);

  owner_ = std::move(owner);
  rows_ = AlignedBuffer<float>::borrowed(arrays.rows);
  codes_ = AlignedBuffer<std::uint8_t>::borrowed(arrays.codes);
  coarse_codes_ = AlignedBuffer<std::uint8_t>::borrowed(arrays.coarse_codes);
  bias_ = AlignedBuffer<float>::borrowed(arrays.bias);
  items_ = AlignedBuffer<std::int32_t>::borrowed(arrays.items);
  positions_ = AlignedBuffer<std::int32_t>::borrowed(arrays.positions);
  bounds_ = blocks_of(arrays.bounds, 128);
  coarse_bounds_ = blocks_of(arrays.coarse_bounds, 8);
  norm_from_ = arrays.norm_from;
  bias_from_ = arrays.bias_from;
  largest_bias_ = arrays.limits[0];
  smallest_scale_ = arrays.limits[1];
}

}  // namespace recsys::cpu
