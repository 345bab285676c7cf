// Builds an ItemIndex: measures the items on the device, sorts them on the host, packs and encodes on the device.
#pragma once

#include <cmath>
#include <limits>
#include <numeric>

#include "cuda/item_index.hpp"
#include "cuda/rounding.cuh"
#include "cuda/threads.cuh"

namespace recsys::cuda {

// Of one item, as the metric sees it.
struct ItemMeasure {
  double scale;  // to length 1; 1 for the inner product
  double norm;   // raised
  float peak;    // the largest factor in absolute value
};

// One thread an item.  `bad` gets the lowest place of a factor that is not finite.
__global__ void measure_items(const float* factors, std::int64_t n_items, int n_factors, bool cosine,
                              ItemMeasure* measures, unsigned long long* bad) {
  const std::int64_t item = global_thread();
  if (item >= n_items) return;
  const float* row = factors + item * n_factors;
  const double scale = cosine ? unit_scale(row, n_factors) : 1.0;
  double sum = 0;
  float peak = 0;
  for (int f = 0; f < n_factors; ++f) {
    if (!is_finite(row[f])) {
      atomicMin(bad, static_cast<unsigned long long>(item * n_factors + f));
      break;
    }
    const float value = scaled(row[f], scale);
    sum += static_cast<double>(value) * static_cast<double>(value);
    peak = fmaxf(peak, fabsf(value));
  }
  measures[item] = {scale, raised(sqrt(sum)), peak};
}

struct EncodeArguments {
  const float* factors;  // as given
  const float* bias;     // as given, or null
  const ItemMeasure* measures;
  const std::int32_t* items;  // by position
  const double* scales;       // s, by block
  double largest_scale;
  std::int64_t n_items;
  std::int32_t n_factors;
  std::int32_t row_stride;
  std::int32_t code_stride;
  float* rows;
  std::int8_t* codes;
  float* sorted_bias;  // or null
  BlockBound* bounds;
};

// Rounds up to float32.
__device__ inline float float_above(double value) { return static_cast<float>(value * (1 + 0x1p-22)); }

// One block of 64 threads a block of 64 items, one thread an item.
__global__ void encode_items(EncodeArguments a) {
  struct Shared {
    double code_norm[ItemIndex::block_items];
    double error[ItemIndex::block_items];
    double bias[ItemIndex::block_items];
  };
  auto* const shared = shared_memory<Shared>();
  const int lane = thread_index();
  const std::int64_t position = block_x() * ItemIndex::block_items + lane;
  const std::int32_t item = a.items[position];
  const double scale = a.scales[block_x()];
  const double inverse = 1 / scale;
  float* const row = a.rows + position * a.row_stride;
  std::int8_t* const codes = a.codes + position * a.code_stride;
  shared->code_norm[lane] = 0;
  shared->error[lane] = 0;
  shared->bias[lane] = 0;
  for (int f = item < 0 ? 0 : a.n_factors; f < a.row_stride; ++f) row[f] = 0.0F;
  for (int f = item < 0 ? 0 : a.n_factors; f < a.code_stride; ++f) codes[f] = 0;
  if (a.sorted_bias != nullptr) a.sorted_bias[position] = item < 0 ? 0.0F : a.bias[item];
  if (item >= 0) {
    const ItemMeasure measure = a.measures[item];
    const float* const from = a.factors + static_cast<std::int64_t>(item) * a.n_factors;
    double code_square = 0;
    double residual_square = 0;
    for (int f = 0; f < a.n_factors; ++f) {
      const float factor = scaled(from[f], measure.scale);
      const double value = static_cast<double>(factor);
      const int code = nearest_code(value * inverse);
      const double residual = value - scale * code;
      code_square += static_cast<double>(code) * code;
      residual_square += residual * residual;
      row[f] = factor;
      codes[f] = static_cast<std::int8_t>(code);
    }
    shared->code_norm[lane] = raised(sqrt(code_square));
    // value - s * code is itself rounded, by less than 2^-50 of the norm in all factors together.
    shared->error[lane] =
        raised(sqrt(residual_square)) + raised(measure.norm * (relative_rounding(a.n_factors) + 0x1p-40));
    if (a.bias != nullptr) shared->bias[lane] = fabs(static_cast<double>(a.bias[item]));
  }
  __syncthreads();
  if (lane != 0) return;
  double code_norm = 0;
  double error = 0;
  double bias = 0;
  for (int i = 0; i < ItemIndex::block_items; ++i) {
    code_norm = fmax(code_norm, shared->code_norm[i]);
    error = fmax(error, shared->error[i]);
    bias = fmax(bias, shared->bias[i]);
  }
  const double coarseness = a.largest_scale * inverse;
  a.bounds[block_x()] = {static_cast<float>(coarseness), float_above(code_norm), float_above(error * inverse),
                         float_above(bias * coarseness * 0x1p-21)};
}

namespace detail {

// How high an item may score for a query about as long as the items are, highest first; equal ones by item.
inline std::vector<std::int32_t> sorted_items(const std::vector<ItemMeasure>& measures, std::span<const float> bias,
                                              Metric metric) {
  double squares = 0;
  for (const ItemMeasure& measure : measures) squares += measure.norm * measure.norm;
  const double length = measures.empty() || bias.empty() || metric == Metric::cosine
                            ? 1.0
                            : std::sqrt(squares / static_cast<double>(measures.size()));
  std::vector<double> key(measures.size());
  for (std::size_t i = 0; i < key.size(); ++i) {
    key[i] = length * measures[i].norm + (bias.empty() ? 0.0 : static_cast<double>(bias[i]));
  }
  std::vector<std::int32_t> order(measures.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const double key_a = key[static_cast<std::size_t>(a)];
    const double key_b = key[static_cast<std::size_t>(b)];
    return key_a > key_b || (key_a == key_b && a < b);
  });
  return order;
}

}  // namespace detail

ItemIndex::ItemIndex(MatrixView<const float> item_factors, const float* item_bias, bool on_device, Metric metric,
                     Stream stream)
    : n_items_(item_factors.rows()), n_factors_(item_factors.cols()), metric_(metric) {
  if (n_items_ > std::numeric_limits<std::int32_t>::max() - tile_items) {
    throw ShapeError("item_factors must have fewer than 2^31 rows on a device, got " + std::to_string(n_items_));
  }
  const std::int64_t n_padded = n_tiles() * tile_items;
  const std::int64_t n_blocks = n_padded / block_items;
  const std::int64_t row_stride = round_up_to(n_factors_, 4);
  const std::int64_t code_stride = round_up_to(n_factors_, 32);

  DeviceBuffer<float> copied_factors;
  DeviceBuffer<float> copied_bias;
  const float* factors = item_factors.data();
  const float* bias = item_bias;
  if (!on_device) {
    copied_factors = cuda::upload(factors, item_factors.size(), stream);
    factors = copied_factors.data();
    if (bias != nullptr) {
      copied_bias = cuda::upload(bias, n_items_, stream);
      bias = copied_bias.data();
    }
  }

  DeviceBuffer<ItemMeasure> device_measures(n_items_, stream);
  DeviceBuffer<unsigned long long> bad(1, stream);
  bad.set_bytes(0xFF, stream);
  constexpr int n_threads = 128;
  if (n_items_ > 0) {
    launch("measure_items", measure_items, blocks(divide_up(n_items_, n_threads)), n_threads, 0, stream, factors,
           n_items_, static_cast<int>(n_factors_), metric == Metric::cosine, device_measures.data(), bad.data());
  }
  const std::vector<ItemMeasure> measures = download(device_measures, stream);
  const unsigned long long first_bad = download(bad, stream)[0];
  if (first_bad != ~0ULL) {
    const auto place = static_cast<std::int64_t>(first_bad);
    float value = 0;
    check(cudaMemcpyAsync(&value, factors + place, sizeof(value), cudaMemcpyDeviceToHost, stream.handle),
          "copying from the device");
    stream.synchronize();
    throw_nonfinite("item_factors", place / n_factors_, place % n_factors_, value);
  }
  std::vector<float> host_bias;
  if (bias != nullptr) {
    host_bias.resize(static_cast<std::size_t>(n_items_));
    check(cudaMemcpyAsync(host_bias.data(), bias, host_bias.size() * sizeof(float), cudaMemcpyDeviceToHost,
                          stream.handle),
          "copying from the device");
    stream.synchronize();
    check_finite(std::span<const float>(host_bias), "item_bias");
  }

  std::vector<std::int32_t> items = detail::sorted_items(measures, host_bias, metric);
  std::vector<std::int32_t> positions(items.size());
  for (std::size_t p = 0; p < items.size(); ++p) {
    positions[static_cast<std::size_t>(items[p])] = static_cast<std::int32_t>(p);
  }
  items.resize(static_cast<std::size_t>(n_padded), -1);

  double largest_factor = 0;
  for (const ItemMeasure& measure : measures) largest_factor = std::max(largest_factor, double{measure.peak});
  std::vector<double> scales(static_cast<std::size_t>(n_blocks));
  std::vector<double> norm_from(static_cast<std::size_t>(n_blocks) + 1, 0.0);
  std::vector<double> bias_from(static_cast<std::size_t>(n_blocks) + 1,
                                bias == nullptr ? 0.0 : -std::numeric_limits<double>::infinity());
  largest_scale_ = 0;
  smallest_scale_ = std::numeric_limits<double>::infinity();
  for (std::int64_t b = n_blocks - 1; b >= 0; --b) {
    const auto at = static_cast<std::size_t>(b);
    double peak = largest_factor * 0x1p-20;  // a block of zeros needs a scale too
    norm_from[at] = norm_from[at + 1];
    bias_from[at] = bias_from[at + 1];
    for (std::int64_t p = b * block_items; p < std::min(n_items_, (b + 1) * block_items); ++p) {
      const auto item = static_cast<std::size_t>(items[static_cast<std::size_t>(p)]);
      peak = std::max(peak, double{measures[item].peak});
      norm_from[at] = std::max(norm_from[at], measures[item].norm);
      if (bias == nullptr) continue;
      bias_from[at] = std::max(bias_from[at], double{host_bias[item]});
      largest_bias_ = std::max(largest_bias_, std::abs(double{host_bias[item]}));
    }
    scales[at] = peak > 0 ? peak / 127 : 1.0;
    largest_scale_ = std::max(largest_scale_, scales[at]);
    smallest_scale_ = std::min(smallest_scale_, scales[at]);
  }
  largest_norm_ = norm_from[0];

  rows_ = DeviceBuffer<float>(checked_product(n_padded, row_stride));
  codes_ = DeviceBuffer<std::int8_t>(checked_product(n_padded, code_stride));
  if (bias != nullptr) bias_ = DeviceBuffer<float>(n_padded);
  items_ = DeviceBuffer<std::int32_t>(n_padded);
  positions_ = DeviceBuffer<std::int32_t>(n_items_);
  bounds_ = DeviceBuffer<BlockBound>(n_blocks);
  norm_from_ = DeviceBuffer<double>(n_blocks + 1);
  bias_from_ = DeviceBuffer<double>(n_blocks + 1);
  if (n_blocks == 0) return;
  items_.upload(items.data(), stream);
  positions_.upload(positions.data(), stream);
  norm_from_.upload(norm_from.data(), stream);
  bias_from_.upload(bias_from.data(), stream);
  const DeviceBuffer<double> device_scales = cuda::upload(scales.data(), n_blocks, stream);
  launch("encode_items", encode_items, blocks(n_blocks), block_items,
         static_cast<std::int64_t>(3 * block_items * sizeof(double)), stream,
         EncodeArguments{factors, bias, device_measures.data(), items_.data(), device_scales.data(), largest_scale_,
                         n_items_, static_cast<std::int32_t>(n_factors_), static_cast<std::int32_t>(row_stride),
                         static_cast<std::int32_t>(code_stride), rows_.data(), codes_.data(), bias_.data(),
                         bounds_.data()});
  stream.synchronize();  // the host's arrays are read until then
}

IndexView ItemIndex::view() const {
  return {rows_.data(),
          codes_.data(),
          bias_.data(),
          items_.data(),
          bounds_.data(),
          norm_from_.data(),
          bias_from_.data(),
          n_items_,
          static_cast<std::int32_t>(n_factors_),
          static_cast<std::int32_t>(round_up_to(n_factors_, 4)),
          static_cast<std::int32_t>(round_up_to(n_factors_, 32))};
}

}  // namespace recsys::cuda
