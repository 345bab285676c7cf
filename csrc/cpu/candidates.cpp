#include "cpu/candidates.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

namespace recsys::cpu {
namespace {

void check_items(std::span<const std::int64_t> items, std::int64_t n_items, const char* name) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i] < 0 || items[i] >= n_items) {
      throw DataError(std::string(name) + " must hold item indices in [0, " + std::to_string(n_items) + "), got " +
                      std::to_string(items[i]) + " at position " + std::to_string(i));
    }
  }
}

std::string shape(std::int64_t rows, std::int64_t cols) {
  return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
}

}  // namespace

Admissible::Admissible(const Filters& filters, std::int64_t n_items)
    : n_items_(n_items), count_(n_items), n_tiles_touched_((n_items + 31) / 32) {
  if (!filters.allow && filters.deny.empty()) return;
  if (filters.allow) check_items(*filters.allow, n_items, "allow");
  check_items(filters.deny, n_items, "deny");

  words_.resize(static_cast<std::size_t>(n_tiles_touched_));
  const auto bit = [](std::int64_t item) { return std::uint32_t{1} << (item % 32); };
  if (filters.allow) {
    for (const std::int64_t item : *filters.allow) words_[static_cast<std::size_t>(item / 32)] |= bit(item);
  } else {
    for (std::int64_t tile = 0; tile < n_tiles_touched_; ++tile) {
      words_[static_cast<std::size_t>(tile)] = full_word(tile);
    }
  }
  for (const std::int64_t item : filters.deny) words_[static_cast<std::size_t>(item / 32)] &= ~bit(item);

  count_ = 0;
  n_tiles_touched_ = 0;
  for (const std::uint32_t word : words_) {
    count_ += std::popcount(word);
    n_tiles_touched_ += word != 0;
  }
}

std::vector<std::int32_t> Admissible::items() const {
  std::vector<std::int32_t> items;
  items.reserve(static_cast<std::size_t>(count_));
  const std::int64_t n_tiles = (n_items_ + 31) / 32;
  for (std::int64_t tile = 0; tile < n_tiles; ++tile) {
    for (std::uint32_t bits = word(tile); bits != 0; bits &= bits - 1) {
      items.push_back(static_cast<std::int32_t>(tile * 32 + std::countr_zero(bits)));
    }
  }
  return items;
}

ExcludeCursor::ExcludeCursor(std::span<const std::int32_t> row, std::int64_t first,
                             std::vector<std::int32_t>& scratch) {
  if (!std::is_sorted(row.begin(), row.end())) {
    scratch.assign(row.begin(), row.end());
    std::sort(scratch.begin(), scratch.end());
    row = scratch;
  }
  end_ = row.data() + row.size();
  next_ = std::lower_bound(row.data(), end_, first);
}

void check_arguments(const Filters& filters, const RankingView& ranking, std::int64_t n_queries, std::int64_t n_items) {
  if (ranking.indices.cols() < 1) {
    throw ConfigError("k must be at least 1, got " + std::to_string(ranking.indices.cols()));
  }
  if (ranking.indices.rows() != n_queries || ranking.scores.rows() != n_queries ||
      ranking.scores.cols() != ranking.indices.cols()) {
    throw ShapeError("the ranking must have one row a query and as many scores as indices");
  }
  if (n_items > std::numeric_limits<std::int32_t>::max()) {
    throw ShapeError("at most 2147483647 items are supported, got " + std::to_string(n_items));
  }
  if (!filters.exclude) return;
  if (filters.exclude->rows() != n_queries || filters.exclude->cols != n_items) {
    throw ShapeError("exclude must have shape " + shape(n_queries, n_items) + ", one row a query and one column an " +
                     "item, got " + shape(filters.exclude->rows(), filters.exclude->cols));
  }
  check_structure(*filters.exclude, "exclude");
}

}  // namespace recsys::cpu
