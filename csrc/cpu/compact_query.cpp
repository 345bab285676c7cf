#include "cpu/compact_query.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/unit_scale.hpp"

namespace recsys::cpu {
namespace {

bool answerable(const CompactItems& items, double norm, double scale) {
  if (!(scale > 0) || norm * items.norm_from(0) + items.largest_bias() > 1e37) return false;
  const double unit = 1 / (scale * items.smallest_scale());
  return !items.has_bias() || (unit <= 1e38 && items.largest_bias() * unit <= 1 << 28);
}

}  // namespace

bool encode_query(const ItemIndex& index, const CompactItems& items, const float* row, std::int32_t compact_limit,
                  std::int8_t* codes, float* unit_factors, EncodedQuery& encoded) {
  const std::int64_t n_factors = index.n_factors();
  const float* factors = row;
  if (index.metric() == Metric::cosine) {
    const double scale = unit_scale(row, n_factors);
    for (std::int64_t f = 0; f < n_factors; ++f) unit_factors[f] = static_cast<float>(row[f] * scale);
    factors = unit_factors;
  }
  double square = 0;
  double peak = 0;
  for (std::int64_t f = 0; f < n_factors; ++f) {
    const auto value = static_cast<double>(factors[f]);
    square += value * value;
    peak = std::max(peak, std::abs(value));
  }
  const double norm = round_up(std::sqrt(square));
  const double scale = peak / compact_limit;
  if (!answerable(items, norm, scale)) return false;

  const double inverse = 1 / scale;
  double residual_square = 0;
  std::int64_t sum = 0;
  for (std::int64_t f = 0; f < items.n_pairs() * 8; ++f) {
    const double value = f < n_factors ? static_cast<double>(factors[f]) : 0.0;
    const double shifted = value * inverse;
    const auto code = static_cast<std::int32_t>(shifted + (shifted < 0 ? -0.5 : 0.5));
    const double residual = value - scale * code;
    residual_square += residual * residual;
    sum += code;
    codes[f] = static_cast<std::int8_t>(code);
  }
  const double residual = round_up(std::sqrt(residual_square)) + norm * 0x1p-40;
  encoded.compact.codes = codes;
  encoded.compact.residual = round_up(residual * inverse);
  encoded.compact.norm = round_up(norm * inverse);
  encoded.compact.code_sum = static_cast<std::int32_t>(sum);
  encoded.compact.scale = scale;
  encoded.compact.inverse_scale = inverse;
  encoded.factors = factors;
  encoded.reach = round_up(norm * (1 + relative_rounding(n_factors)));
  return true;
}

}  // namespace recsys::cpu
