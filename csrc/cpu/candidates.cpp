#include "cpu/candidates.hpp"

#include <algorithm>
#include <bit>
#include <functional>
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

bool is_bit_set(std::span<const std::uint32_t> words, std::int64_t item) {
  return (words[static_cast<std::size_t>(item / 32)] >> (item % 32) & 1) != 0;
}

void check_pattern(const std::optional<CsrView>& csr, const char* name, std::int64_t n_queries, std::int64_t n_items) {
  if (!csr) return;
  if (csr->rows() != n_queries || csr->cols != n_items) {
    throw ShapeError(std::string(name) + " must have shape " + shape(n_queries, n_items) +
                     ", one row a query and one column an item, got " + shape(csr->rows(), csr->cols));
  }
  check_structure(*csr, name);
}

}  // namespace

Admissible::Admissible(const Filters& filters, std::int64_t n_items, std::span<const std::uint32_t> present)
    : n_items_(n_items), count_(n_items), n_tiles_touched_((n_items + 31) / 32) {
  if (filters.allow) check_items(*filters.allow, n_items, "allow");
  check_items(filters.deny, n_items, "deny");
  constexpr std::int64_t items_a_listed = 16;
  is_list_ = filters.allow && static_cast<std::int64_t>(filters.allow->size()) <= n_items / items_a_listed;
  if (is_list_) {
    list(filters, present);
  } else if (filters.allow || !filters.deny.empty() || !present.empty()) {
    mark(filters, present);
  }
}

Admissible::Admissible(const Admissible& whole, std::span<const std::int32_t> items)
    : n_items_(whole.n_items_), is_list_(true) {
  for (const std::int32_t item : items) {
    if (whole.contains(item)) listed_.push_back(item);
  }
  count_ = static_cast<std::int64_t>(listed_.size());
  n_tiles_touched_ = (count_ + 31) / 32;
}

void Admissible::list(const Filters& filters, std::span<const std::uint32_t> present) {
  const Barred barred(filters, n_items_, present);
  listed_.assign(filters.allow->begin(), filters.allow->end());
  std::sort(listed_.begin(), listed_.end());
  listed_.erase(std::unique(listed_.begin(), listed_.end()), listed_.end());
  std::erase_if(listed_, [&](std::int32_t item) { return barred.contains(item); });
  count_ = static_cast<std::int64_t>(listed_.size());
  n_tiles_touched_ = (count_ + 31) / 32;
}

void Admissible::mark(const Filters& filters, std::span<const std::uint32_t> present) {
  words_.resize(static_cast<std::size_t>(n_tiles_touched_));
  const auto bit = [](std::int64_t item) { return std::uint32_t{1} << (item % 32); };
  if (filters.allow) {
    for (const std::int64_t item : *filters.allow) words_[static_cast<std::size_t>(item / 32)] |= bit(item);
    for (std::size_t tile = 0; tile < present.size(); ++tile) words_[tile] &= present[tile];
  } else if (present.empty()) {
    for (std::int64_t tile = 0; tile < n_tiles_touched_; ++tile) {
      words_[static_cast<std::size_t>(tile)] = full_word(tile);
    }
  } else {
    words_.assign(present.begin(), present.end());
  }
  for (const std::int64_t item : filters.deny) words_[static_cast<std::size_t>(item / 32)] &= ~bit(item);

  count_ = 0;
  n_tiles_touched_ = 0;
  for (const std::uint32_t word : words_) {
    count_ += std::popcount(word);
    n_tiles_touched_ += word != 0;
  }
}

bool Admissible::contains(std::int64_t item) const {
  if (is_list_) return std::binary_search(listed_.begin(), listed_.end(), item);
  return words_.empty() || is_bit_set(words_, item);
}

std::vector<std::int32_t> Admissible::items() const {
  if (is_list_) return listed_;
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

Barred::Barred(const Filters& filters, std::int64_t n_items, std::span<const std::uint32_t> present)
    : present_(present), denied_(filters.deny.begin(), filters.deny.end()) {
  check_items(filters.deny, n_items, "deny");
  std::sort(denied_.begin(), denied_.end());
}

bool Barred::contains(std::int64_t item) const {
  if (!present_.empty() && !is_bit_set(present_, item)) return true;
  return std::binary_search(denied_.begin(), denied_.end(), item);
}

std::span<const std::int32_t> ascending(std::span<const std::int32_t> row, std::vector<std::int32_t>& scratch) {
  if (std::adjacent_find(row.begin(), row.end(), std::greater_equal<>()) == row.end()) return row;
  scratch.assign(row.begin(), row.end());
  std::sort(scratch.begin(), scratch.end());
  scratch.erase(std::unique(scratch.begin(), scratch.end()), scratch.end());
  return scratch;
}

RowCursor::RowCursor(std::span<const std::int32_t> row, std::int64_t first, std::vector<std::int32_t>& scratch) {
  if (!std::is_sorted(row.begin(), row.end())) {
    scratch.assign(row.begin(), row.end());
    std::sort(scratch.begin(), scratch.end());
    row = scratch;
  }
  end_ = row.data() + row.size();
  next_ = std::lower_bound(row.data(), end_, first);
}

Filters filters_of(const Filters& filters, std::int64_t first, std::int64_t n) {
  Filters some = filters;
  for (std::optional<CsrView>* rows : {&some.exclude, &some.allow_each}) {
    if (*rows) {
      (*rows)->indptr = (*rows)->indptr.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n) + 1);
    }
  }
  return some;
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
  check_pattern(filters.exclude, "exclude", n_queries, n_items);
  check_pattern(filters.allow_each, "allow", n_queries, n_items);
  if (filters.allow && filters.allow_each)
    throw ConfigError("allow must be given for all queries or for each, got both");
}

}  // namespace recsys::cpu
