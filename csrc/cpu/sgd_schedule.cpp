#include "cpu/sgd_schedule.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "cpu/negative_sampler.hpp"
#include "recsys/sgd.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

constexpr std::int64_t most_blocks = 64;
constexpr std::int64_t stretch = 4096;  // entries shuffled together: 48 KB
constexpr std::uint64_t n_named_streams = 16;

template <typename T>
void shuffle(std::span<T> values, RandomStream& random) {
  for (std::size_t left = values.size(); left > 1; --left) {
    std::swap(values[left - 1], values[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(left)))]);
  }
}

// 0, 1, 2, ... in runs of neighbours, the runs in random order.
void deal_runs(std::span<std::int32_t> places, std::int64_t run, RandomStream& random) {
  const auto n = static_cast<std::int64_t>(places.size());
  std::vector<std::int32_t> starts;
  for (std::int64_t start = 0; start < n; start += run) starts.push_back(static_cast<std::int32_t>(start));
  shuffle(std::span(starts), random);
  std::size_t at = 0;
  for (const std::int32_t start : starts) {
    for (std::int64_t place = start; place < std::min(start + run, n); ++place) {
      places[at++] = static_cast<std::int32_t>(place);
    }
  }
}

// The expected number of entries whose block holds no item that the user lacks, of users who lack some.  Only those who
// lack less than they have are counted: for others it is next to nothing.
double idle_entries(const CsrView& interactions, std::int64_t n_drawable, std::int64_t n_blocks) {
  const double elsewhere = 1.0 - 1.0 / static_cast<double>(n_blocks);
  double n_idle = 0.0;
  for (std::int64_t user = 0; user < interactions.rows(); ++user) {
    const std::int64_t n = interactions.row_size(user);
    if (2 * n <= n_drawable || n >= n_drawable) continue;
    n_idle += static_cast<double>(n) * std::pow(elsewhere, static_cast<double>(n_drawable - n));
  }
  return n_idle;
}

// Neighbours lie on one page of memory, so where there are many users they are dealt in runs.
std::int64_t users_per_run(std::int64_t n_users, std::int64_t n_blocks) { return n_users >= 512 * n_blocks ? 16 : 1; }

}  // namespace

RandomStream epoch_stream(std::uint64_t seed, std::int64_t epoch, std::uint64_t purpose) {
  return {mix_bits(seed + static_cast<std::uint64_t>(epoch) * golden_gamma), n_named_streams + purpose};
}

std::int64_t sgd_blocks(const CsrView& interactions, float popularity_power, std::int64_t n_drawable) {
  constexpr std::int64_t least_users = 16, least_items = 16;  // in a block
  constexpr std::int64_t least_entries = 256;                 // in a cell
  std::int64_t n_blocks = std::min({most_blocks, interactions.rows() / least_users, interactions.cols / least_items});
  while (n_blocks > 1 && n_blocks * n_blocks * least_entries > interactions.nnz()) --n_blocks;
  if (popularity_power > 0.0F && n_blocks > 1) {
    // Drawn within a block, an item that outweighs the block's others comes less often than its share.
    const std::vector<float> weights = item_weights(interactions, popularity_power);
    const float largest = *std::max_element(weights.begin(), weights.end());
    const float total = std::accumulate(weights.begin(), weights.end(), 0.0F);
    n_blocks = std::min(n_blocks, static_cast<std::int64_t>(0.5F * total / largest));
  }
  while (n_blocks > 1 &&
         idle_entries(interactions, n_drawable, n_blocks) > 0.05 * static_cast<double>(interactions.nnz()))
    --n_blocks;
  return std::max<std::int64_t>(n_blocks, 1);
}

SgdSchedule::SgdSchedule(const CsrView& interactions, std::int64_t n_blocks, bool weighted, std::int64_t full_row)
    : interactions_(interactions),
      n_blocks_(n_blocks),
      weighted_(weighted),
      full_row_(full_row),
      users_(static_cast<std::size_t>(interactions.rows())),
      items_(static_cast<std::size_t>(interactions.cols)),
      item_block_(static_cast<std::size_t>(interactions.cols)),
      cell_starts_(static_cast<std::size_t>(n_blocks * n_blocks) + 1) {
  std::int64_t n_entries = interactions.nnz();
  for (std::int64_t user = 0; user < interactions.rows(); ++user) {
    if (is_left_out(user)) n_entries -= full_row;
  }
  entries_.resize(static_cast<std::size_t>(n_entries));
}

std::span<const std::int32_t> SgdSchedule::block_items(std::int64_t block) const {
  const std::int64_t n = interactions_.cols;
  const std::int64_t start = n * block / n_blocks_;
  return {items_.data() + start, static_cast<std::size_t>(n * (block + 1) / n_blocks_ - start)};
}

void SgdSchedule::deal(std::uint64_t seed, std::int64_t epoch, std::int64_t n_threads) {
  RandomStream deal_users = epoch_stream(seed, epoch, 0);
  RandomStream deal_items = epoch_stream(seed, epoch, 1);
  deal_runs(std::span(users_), users_per_run(interactions_.rows(), n_blocks_), deal_users);
  deal_runs(std::span(items_), 1, deal_items);
  for (std::int64_t b = 0; b < n_blocks_; ++b) {
    for (const std::int32_t item : block_items(b)) {
      item_block_[static_cast<std::size_t>(item)] = static_cast<std::uint8_t>(b);
    }
  }
  const std::int64_t n_users = interactions_.rows();
  const auto block_users = [&](std::int64_t block) {
    return std::span(users_).subspan(
        static_cast<std::size_t>(n_users * block / n_blocks_),
        static_cast<std::size_t>(n_users * (block + 1) / n_blocks_ - n_users * block / n_blocks_));
  };
  // cell_starts_[b B + c + 1] first counts the entries of cell (b, c), then becomes where the cell ends.
  parallel_for(n_blocks_, n_threads, [&](std::int64_t b, std::int64_t) {
    std::array<std::int64_t, most_blocks> count{};
    for (const std::int32_t user : block_users(b)) {
      if (is_left_out(user)) continue;
      for (const std::int32_t item : interactions_.row_indices(user))
        ++count[item_block_[static_cast<std::size_t>(item)]];
    }
    std::copy_n(count.begin(), n_blocks_, cell_starts_.begin() + b * n_blocks_ + 1);
  });
  std::partial_sum(cell_starts_.begin(), cell_starts_.end(), cell_starts_.begin());
  parallel_for(n_blocks_, n_threads, [&](std::int64_t b, std::int64_t) {
    std::array<std::int64_t, most_blocks> next{};
    std::copy_n(cell_starts_.begin() + b * n_blocks_, n_blocks_, next.begin());
    for (const std::int32_t user : block_users(b)) {
      if (is_left_out(user)) continue;
      for (std::int64_t at = interactions_.begin(user); at < interactions_.end(user); ++at) {
        const auto place = static_cast<std::size_t>(at);
        const std::int32_t item = interactions_.indices[place];
        const std::int64_t to = next[item_block_[static_cast<std::size_t>(item)]]++;
        entries_[static_cast<std::size_t>(to)] = {user, item, weighted_ ? interactions_.values[place] : 1.0F};
      }
    }
  });
}

std::span<cpu::SgdEntry> SgdSchedule::shuffled_cell(std::int64_t user_block, std::int64_t item_block,
                                                    RandomStream& random) {
  const auto cell = static_cast<std::size_t>(user_block * n_blocks_ + item_block);
  const std::span<cpu::SgdEntry> entries(entries_.data() + cell_starts_[cell],
                                         static_cast<std::size_t>(cell_starts_[cell + 1] - cell_starts_[cell]));
  for (std::size_t start = 0; start < entries.size(); start += stretch) {
    shuffle(entries.subspan(start, std::min<std::size_t>(stretch, entries.size() - start)), random);
  }
  return entries;
}

}  // namespace recsys
