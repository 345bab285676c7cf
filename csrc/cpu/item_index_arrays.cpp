#include "recsys/item_index_arrays.hpp"

#include <bit>
#include <limits>
#include <string>

#include "cpu/compact_copy.hpp"

namespace recsys {
namespace {

constexpr std::int64_t page_items = ItemIndex::page_tiles * ItemIndex::tile_items;

// Makes the span longer where `part` follows it, or begins another one.
void add_part(ItemIndexArrays::Parts<float>& parts, std::span<const float> part) {
  if (!parts.empty() && parts.back().data() + parts.back().size() == part.data()) {
    parts.back() = {parts.back().data(), parts.back().size() + part.size()};
  } else {
    parts.push_back(part);
  }
}

const float* only_part(const ItemIndexArrays::Parts<float>& parts, std::int64_t size, const std::string& name) {
  if (parts.size() != 1 || static_cast<std::int64_t>(parts.front().size()) != size) {
    throw DataError(name + " must have " + std::to_string(size) + " numbers");
  }
  constexpr std::uintptr_t alignment = 64;
  if (reinterpret_cast<std::uintptr_t>(parts.front().data()) % alignment != 0 && size > 0) {
    throw DataError(name + " must start at a multiple of 64 bytes");
  }
  return parts.front().data();
}

}  // namespace

ItemIndexArrays ItemIndex::arrays(bool with_compact) const {
  ItemIndexArrays arrays;
  arrays.n_items = n_items_;
  arrays.n_factors = n_factors_;
  arrays.metric = metric_;
  if (has_bias_) arrays.bias.emplace();
  for (const Page& page : pages_) {
    add_part(arrays.factors, {page.factors.get(), static_cast<std::size_t>(page_items * n_factors_)});
    if (has_bias_) add_part(*arrays.bias, {page.bias.get(), static_cast<std::size_t>(page_items)});
  }
  if (n_removed_ > 0) arrays.present = present_;
  if (with_compact && n_factors_ <= cpu::CompactItems::max_factors) {
    // A copy with stale items is not written, so that the file depends on the items alone and not on what they were.
    const cpu::CompactCopy& copy = compact();
    const auto items = copy.stale().empty() ? copy.share() : std::make_shared<const cpu::CompactItems>(*this);
    arrays.compact = items->arrays();
    arrays.owner = items;
  }
  return arrays;
}

ItemIndex ItemIndex::from_arrays(const ItemIndexArrays& arrays) {
  if (arrays.n_items < 0 || arrays.n_items > std::numeric_limits<std::int32_t>::max() || arrays.n_factors < 0) {
    throw DataError("n_items must lie in [0, 2147483647] and n_factors at least at 0, got " +
                    std::to_string(arrays.n_items) + " and " + std::to_string(arrays.n_factors));
  }
  ItemIndex index(arrays.n_factors, arrays.metric, arrays.bias.has_value());
  index.n_items_ = arrays.n_items;
  const std::int64_t n_pages = (arrays.n_items + page_items - 1) / page_items;
  const std::int64_t page_size = checked_product(page_items, arrays.n_factors);
  const float* factors = only_part(arrays.factors, checked_product(n_pages, page_size), "factors");
  const float* bias = arrays.bias ? only_part(*arrays.bias, n_pages * page_items, "bias") : nullptr;
  index.pages_.reserve(static_cast<std::size_t>(n_pages));
  for (std::int64_t p = 0; p < n_pages; ++p) {
    index.pages_.push_back(
        {{arrays.owner, factors + p * page_size}, {arrays.owner, bias == nullptr ? nullptr : bias + p * page_items}});
  }
  if (!arrays.present.empty()) {
    if (static_cast<std::int64_t>(arrays.present.size()) != index.n_tiles()) {
      throw DataError("present must have one word for 32 items, " + std::to_string(index.n_tiles()) + ", got " +
                      std::to_string(arrays.present.size()));
    }
    if (arrays.n_items % 32 != 0 && arrays.present.back() >> (arrays.n_items % 32) != 0) {
      throw DataError("present must have no bit behind the last item");
    }
    index.present_.assign(arrays.present.begin(), arrays.present.end());
    index.n_removed_ = index.n_items_;
    for (const std::uint32_t word : index.present_) index.n_removed_ -= std::popcount(word);
  }
  if (arrays.compact) {
    auto items = std::make_shared<const cpu::CompactItems>(index, *arrays.compact, arrays.owner);
    index.set_compact(std::make_unique<const cpu::CompactCopy>(index, std::move(items)));
  }
  return index;
}

}  // namespace recsys
