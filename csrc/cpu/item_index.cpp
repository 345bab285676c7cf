#include "recsys/item_index.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <limits>
#include <mutex>
#include <string>

#include "cpu/compact_copy.hpp"
#include "cpu/experience.hpp"
#include "cpu/unit_scale.hpp"
#include "recsys/aligned_buffer.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

constexpr std::int64_t tile_items = ItemIndex::tile_items;
constexpr std::int64_t page_items = ItemIndex::page_tiles * tile_items;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::shared_ptr<float> allocate(std::int64_t n) {
  auto buffer = std::make_shared<AlignedBuffer<float>>(n);
  return {buffer, buffer->data()};
}

void check_rows(const ItemIndex& index, std::span<const std::int64_t> rows) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] >= 0 && rows[i] < index.n_items()) continue;
    throw DataError("rows must hold item indices in [0, " + std::to_string(index.n_items()) + "), got " +
                    std::to_string(rows[i]) + " at position " + std::to_string(i));
  }
}

void check_factors(const ItemIndex& index, MatrixView<const float> item_factors) {
  if (item_factors.cols() != index.n_factors()) {
    throw ShapeError("item_factors must have one column a factor, " + std::to_string(index.n_factors()) + ", got " +
                     std::to_string(item_factors.cols()));
  }
  check_finite(item_factors, "item_factors");
}

void check_bias(std::span<const float> item_bias, std::int64_t n_rows) {
  if (static_cast<std::int64_t>(item_bias.size()) != n_rows) {
    throw ShapeError("item_bias must have one entry an item, " + std::to_string(n_rows) + ", got " +
                     std::to_string(item_bias.size()));
  }
  check_finite(item_bias, "item_bias");
}

// Into a lane of a tile, scaled as the metric asks.
void write_row(const float* row, std::int64_t n_factors, Metric metric, float* column) {
  if (metric == Metric::dot) {
    for (std::int64_t f = 0; f < n_factors; ++f) column[f * tile_items] = row[f];
  } else {
    const double scale = cpu::unit_scale(row, n_factors);
    for (std::int64_t f = 0; f < n_factors; ++f) column[f * tile_items] = static_cast<float>(row[f] * scale);
  }
}

}  // namespace

struct ItemIndex::LazyCopy {
  std::once_flag once;
  std::unique_ptr<const cpu::CompactCopy> owner;
  std::atomic<const cpu::CompactCopy*> made{nullptr};

  void set(std::unique_ptr<const cpu::CompactCopy> copy) {
    owner = std::move(copy);
    made.store(owner.get(), std::memory_order_release);
  }
};

// Writes to an index that nobody else sees yet: pages shared with another one are copied when first touched.
class ItemIndex::Editor {
 public:
  explicit Editor(ItemIndex& index) : index_(index), factors_(index.pages_.size()), bias_(index.pages_.size()) {}

  [[nodiscard]] float* column(std::int64_t item) {
    return own(item).first + item % page_items / tile_items * index_.n_factors_ * tile_items + item % tile_items;
  }
  [[nodiscard]] float& bias(std::int64_t item) { return own(item).second[item % page_items]; }

  // Pages of zeros for items up to n_items, of one piece.
  void grow(std::int64_t n_items) {
    const auto n_before = static_cast<std::int64_t>(factors_.size());
    const std::int64_t n_new = divide_up(n_items, page_items) - n_before;
    index_.n_items_ = n_items;
    if (n_new <= 0) return;
    const std::int64_t page_size = page_items * index_.n_factors_;
    const std::shared_ptr<float> factors = allocate(checked_product(n_new, page_size));
    const std::shared_ptr<float> bias = index_.has_bias_ ? allocate(n_new * page_items) : nullptr;
    for (std::int64_t p = 0; p < n_new; ++p) {
      factors_.push_back(factors.get() + p * page_size);
      bias_.push_back(bias ? bias.get() + p * page_items : nullptr);
      index_.pages_.push_back({{factors, factors_.back()}, {bias, bias_.back()}});
    }
    parallel_for(divide_up(n_new, 64), 0, [&](std::int64_t task, std::int64_t) {
      for (std::int64_t p = task * 64; p < std::min(n_new, (task + 1) * 64); ++p) {
        std::fill_n(factors_[static_cast<std::size_t>(n_before + p)], page_size, 0.0F);
        if (bias) std::fill_n(bias_[static_cast<std::size_t>(n_before + p)], page_items, 0.0F);
      }
    });
  }

  // The two arrays of an item's page, writable.
  std::pair<float*, float*> own(std::int64_t item) {
    const auto at = static_cast<std::size_t>(item / page_items);
    if (factors_[at] == nullptr) {
      const std::int64_t page_size = page_items * index_.n_factors_;
      Page& page = index_.pages_[at];
      const std::shared_ptr<float> factors = allocate(page_size);
      std::copy_n(page.factors.get(), page_size, factors.get());
      factors_[at] = factors.get();
      page.factors = factors;
      if (page.bias) {
        const std::shared_ptr<float> bias = allocate(page_items);
        std::copy_n(page.bias.get(), page_items, bias.get());
        bias_[at] = bias.get();
        page.bias = bias;
      }
    }
    return {factors_[at], bias_[at]};
  }

 private:
  ItemIndex& index_;
  std::vector<float*> factors_;  // of each page that may be written to, else null
  std::vector<float*> bias_;
};

ItemIndex::ItemIndex(std::int64_t n_factors, Metric metric, bool has_bias)
    : n_factors_(n_factors),
      metric_(metric),
      has_bias_(has_bias),
      compact_(new LazyCopy),
      experience_(std::make_shared<Experience>()) {}

ItemIndex::ItemIndex(MatrixView<const float> item_factors, std::optional<std::span<const float>> item_bias,
                     Metric metric)
    : ItemIndex(item_factors.cols(), metric, item_bias.has_value()) {
  *this = appended(item_factors, item_bias);
}

ItemIndex::ItemIndex(ItemIndex&&) noexcept = default;
ItemIndex& ItemIndex::operator=(ItemIndex&&) noexcept = default;
ItemIndex::~ItemIndex() = default;

ItemIndex ItemIndex::twin() const {
  ItemIndex twin(n_factors_, metric_, has_bias_);
  twin.n_items_ = n_items_;
  twin.n_removed_ = n_removed_;
  twin.pages_ = pages_;
  twin.present_ = present_;
  twin.experience_ = experience_;
  return twin;
}

ItemIndex ItemIndex::updated(std::span<const std::int64_t> rows, MatrixView<const float> item_factors,
                             std::optional<std::span<const float>> item_bias) const {
  check_rows(*this, rows);
  if (item_factors.rows() != static_cast<std::int64_t>(rows.size())) {
    throw ShapeError("item_factors must have one row for each of rows, " + std::to_string(rows.size()) + ", got " +
                     std::to_string(item_factors.rows()));
  }
  check_factors(*this, item_factors);
  if (item_bias && !has_bias_) {
    throw ShapeError(
        "item_bias was given to an index without one; make the index with an item_bias, of zeros if need be");
  }
  if (item_bias) check_bias(*item_bias, item_factors.rows());
  std::vector<std::int64_t> sorted(rows.begin(), rows.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    throw DataError("rows must be distinct, got " + std::to_string(*twice) + " twice; keep the newer one");
  }

  ItemIndex changed = twin();
  Editor editor(changed);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    write_row(item_factors.row(static_cast<std::int64_t>(i)), n_factors_, metric_, editor.column(rows[i]));
    if (item_bias) editor.bias(rows[i]) = (*item_bias)[i];
    if (!is_present(rows[i])) {
      changed.present_[static_cast<std::size_t>(rows[i] / 32)] |= std::uint32_t{1} << (rows[i] % 32);
      --changed.n_removed_;
    }
  }
  changed.adopt_compact(*this, sorted, {});
  return changed;
}

ItemIndex ItemIndex::appended(MatrixView<const float> item_factors,
                              std::optional<std::span<const float>> item_bias) const {
  check_factors(*this, item_factors);
  if (has_bias_) {
    check_bias(item_bias.value_or(std::span<const float>{}), item_factors.rows());
  } else if (item_bias) {
    throw ShapeError(
        "item_bias was given to an index without one; make the index with an item_bias, of zeros if need be");
  }
  const std::int64_t n_new = item_factors.rows();
  if (n_new > std::numeric_limits<std::int32_t>::max() - n_items_) {
    throw ShapeError("at most 2147483647 items are supported, got " + std::to_string(n_new) + " after " +
                     std::to_string(n_items_));
  }
  ItemIndex changed = twin();
  Editor editor(changed);
  if (n_new > 0 && n_items_ % page_items != 0) (void)editor.own(n_items_);  // not by several threads at once
  editor.grow(n_items_ + n_new);
  constexpr std::int64_t items_a_task = 8192;
  parallel_for(divide_up(n_new, items_a_task), 0, [&](std::int64_t task, std::int64_t) {
    for (std::int64_t i = task * items_a_task; i < std::min(n_new, (task + 1) * items_a_task); ++i) {
      write_row(item_factors.row(i), n_factors_, metric_, editor.column(n_items_ + i));
      if (has_bias_) editor.bias(n_items_ + i) = (*item_bias)[static_cast<std::size_t>(i)];
    }
  });
  std::vector<std::int64_t> rows(static_cast<std::size_t>(n_new));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = n_items_ + static_cast<std::int64_t>(i);
  if (!present_.empty()) {
    changed.present_.resize(static_cast<std::size_t>(changed.n_tiles()));
    for (const std::int64_t row : rows) {
      changed.present_[static_cast<std::size_t>(row / 32)] |= std::uint32_t{1} << (row % 32);
    }
  }
  changed.adopt_compact(*this, rows, {});
  return changed;
}

ItemIndex ItemIndex::removed(std::span<const std::int64_t> rows) const {
  check_rows(*this, rows);
  ItemIndex changed = twin();
  if (changed.present_.empty() && !rows.empty()) {
    changed.present_.assign(static_cast<std::size_t>(n_tiles()), ~std::uint32_t{0});
    if (n_items_ % 32 != 0) changed.present_.back() = (std::uint32_t{1} << (n_items_ % 32)) - 1;
  }
  for (const std::int64_t row : rows) {
    if (!changed.is_present(row)) continue;
    changed.present_[static_cast<std::size_t>(row / 32)] &= ~(std::uint32_t{1} << (row % 32));
    ++changed.n_removed_;
  }
  changed.adopt_compact(*this, {}, rows);
  return changed;
}

ItemIndex ItemIndex::without_removed() const {
  const std::vector<std::int64_t> kept = present_items();
  ItemIndex fresh(n_factors_, metric_, has_bias_);
  Editor editor(fresh);
  editor.grow(static_cast<std::int64_t>(kept.size()));
  for (std::size_t i = 0; i < kept.size(); ++i) {
    // Copied as it lies, since scaling to length 1 a second time could change bits.
    const auto to = static_cast<std::int64_t>(i);
    const float* from = tile(kept[i] / tile_items) + kept[i] % tile_items;
    float* column = editor.column(to);
    for (std::int64_t f = 0; f < n_factors_; ++f) column[f * tile_items] = from[f * tile_items];
    if (has_bias_) editor.bias(to) = bias(kept[i] / tile_items)[kept[i] % tile_items];
  }
  return fresh;
}

std::vector<std::int64_t> ItemIndex::present_items() const {
  std::vector<std::int64_t> items;
  items.reserve(static_cast<std::size_t>(n_items_ - n_removed_));
  for (std::int64_t item = 0; item < n_items_; ++item) {
    if (is_present(item)) items.push_back(item);
  }
  return items;
}

void ItemIndex::adopt_compact(const ItemIndex& before, std::span<const std::int64_t> changed,
                              std::span<const std::int64_t> removed) {
  const cpu::CompactCopy* copy = before.compact_->made.load(std::memory_order_acquire);
  if (copy == nullptr) return;
  auto adopted = std::make_unique<cpu::CompactCopy>(*copy, changed, removed);
  constexpr std::size_t fewest_stale = 1024;
  if (adopted->stale().size() > std::max(fewest_stale, static_cast<std::size_t>(n_items_ / 16))) {
    (void)compact();
  } else {
    set_compact(std::move(adopted));
  }
}

void ItemIndex::set_compact(std::unique_ptr<const cpu::CompactCopy> copy) {
  std::call_once(compact_->once, [&] { compact_->set(std::move(copy)); });
}

bool ItemIndex::has_compact() const { return compact_->made.load(std::memory_order_acquire) != nullptr; }

const cpu::CompactCopy& ItemIndex::compact() const {
  std::call_once(compact_->once, [&] { compact_->set(std::make_unique<const cpu::CompactCopy>(*this)); });
  return *compact_->made.load(std::memory_order_acquire);
}

}  // namespace recsys
