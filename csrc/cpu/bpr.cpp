#include "recsys/bpr.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "recsys/padded_matrix.hpp"
#include "recsys/random.hpp"
#include "recsys/sparse.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

constexpr std::int64_t batch = 256;  // triples sampled before they are applied: they fit in L1
constexpr std::uint64_t n_named_streams = 16;

struct Entry {
  std::int32_t user;
  std::int32_t item;
};

// The epoch's entries, grouped: group g is entries[starts[g] .. starts[g + 1]).
struct Groups {
  std::vector<Entry> entries;
  std::vector<std::int64_t> starts;
};

// What each item block holds: block b is items[starts[b] .. starts[b + 1]).
struct ItemBlocks {
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> starts;
};

struct Model {
  PaddedMatrix users;
  PaddedMatrix items;
  AlignedBuffer<float> item_bias;
};

struct Progress {
  double loss = 0.0;
  std::int64_t n_triples = 0;
};

// A stream for one purpose in one epoch, apart from every other.
RandomStream epoch_stream(std::uint64_t seed, std::int64_t epoch, std::uint64_t purpose) {
  return {mix_bits(seed + static_cast<std::uint64_t>(epoch) * golden_gamma), n_named_streams + purpose};
}

// Stable counting sort of all entries by group_of(user, item, position).
template <typename GroupOf>
void group_entries(const CsrView& csr, std::int64_t n_groups, GroupOf&& group_of, Groups& out) {
  out.entries.resize(csr.indices.size());
  out.starts.assign(static_cast<std::size_t>(n_groups) + 1, 0);
  std::vector<std::uint16_t> group(csr.indices.size());
  for (std::int64_t user = 0; user < csr.rows(); ++user) {
    for (std::int64_t at = csr.begin(user); at < csr.end(user); ++at) {
      const auto position = static_cast<std::size_t>(at);
      group[position] = group_of(user, csr.indices[position], at);
      ++out.starts[static_cast<std::size_t>(group[position]) + 1];
    }
  }
  for (std::size_t g = 1; g < out.starts.size(); ++g) out.starts[g] += out.starts[g - 1];
  std::vector<std::int64_t> next(out.starts.begin(), out.starts.end() - 1);
  for (std::int64_t user = 0; user < csr.rows(); ++user) {
    for (std::int64_t at = csr.begin(user); at < csr.end(user); ++at) {
      const auto position = static_cast<std::size_t>(at);
      const auto to = static_cast<std::size_t>(next[group[position]]++);
      out.entries[to] = {static_cast<std::int32_t>(user), csr.indices[position]};
    }
  }
}

void shuffle(std::span<Entry> entries, RandomStream& random) {
  for (std::size_t left = entries.size(); left > 1; --left) {
    std::swap(entries[left - 1], entries[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(left)))]);
  }
}

// Number of positions p in [0, n) with holds(p), which must be true up to some position and false from there on.
// Bisection by masks: its branches would be mispredicted every other time, and it runs once a triple.
template <typename Holds>
std::int64_t count_leading(std::int64_t n, Holds&& holds) {
  std::int64_t count = 0;
  while (n > 0) {
    const std::int64_t half = (n + 1) / 2;
    count += half & -static_cast<std::int64_t>(holds(count + half - 1));
    n -= half;
  }
  return count;
}

// Uniform over the items that are not in `liked` (ascending), which must leave one: the r-th of them is r + m, where m
// is the number of liked items before it, and liked[p] - p never falls.
std::int32_t draw_other(std::span<const std::int32_t> liked, std::int64_t n_items, RandomStream& random) {
  const auto n = static_cast<std::int64_t>(liked.size());
  const std::int64_t rank = random.below(n_items - n);
  const std::int32_t* const items = liked.data();
  return static_cast<std::int32_t>(rank + count_leading(n, [=](std::int64_t p) { return items[p] - p <= rank; }));
}

// Uniform over the block's items that are not in `liked`, by rejection; -1 where 64 draws found none.
std::int32_t draw_other_in_block(std::span<const std::int32_t> liked, std::span<const std::int32_t> block,
                                 RandomStream& random) {
  const auto n = static_cast<std::int64_t>(liked.size());
  const std::int32_t* const items = liked.data();
  for (int attempt = 0; attempt < 64; ++attempt) {
    const std::int32_t item = block[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(block.size())))];
    const std::int64_t place = count_leading(n, [=](std::int64_t p) { return items[p] < item; });
    if (place == n || items[place] != item) return item;
  }
  return -1;
}

// Where the bisection of draw_other begins: rows are scattered, and it would wait for each of its first steps.
void prefetch_row(std::span<const std::int32_t> row) {
  const std::size_t quarter = row.size() / 4;
  __builtin_prefetch(row.data() + quarter);
  __builtin_prefetch(row.data() + 2 * quarter);
  __builtin_prefetch(row.data() + 3 * quarter);
}

// Shuffles a group of entries, pairs each with another item by draw(items of the user, random), and takes the steps.
template <typename DrawOther>
Progress train_group(const cpu::KernelTable& kernels, const CsrView& interactions, std::span<Entry> entries,
                     const BprOptions& options, RandomStream random, DrawOther&& draw, Model& model) {
  constexpr std::size_t ahead = 8;
  shuffle(entries, random);
  Progress progress;
  std::array<cpu::BprTriple, batch> triples;
  std::int64_t n = 0;
  const auto flush = [&] {
    progress.loss +=
        kernels.bpr_update(triples.data(), n, model.users.data(), model.items.data(), model.item_bias.data(),
                           model.users.cols(), model.users.ld(), options.learning_rate, options.regularization);
    progress.n_triples += n;
    n = 0;
  };
  for (std::size_t at = 0; at < entries.size(); ++at) {
    if (at + ahead < entries.size()) prefetch_row(interactions.row_indices(entries[at + ahead].user));
    const Entry& entry = entries[at];
    const std::int32_t other = draw(interactions.row_indices(entry.user), random);
    if (other < 0) continue;
    triples[static_cast<std::size_t>(n++)] = {entry.user, entry.item, other};
    if (n == batch) flush();
  }
  if (n > 0) flush();
  return progress;
}

Progress total(const std::vector<Progress>& parts) {
  Progress sum;
  for (const Progress& part : parts) {
    sum.loss += part.loss;
    sum.n_triples += part.n_triples;
  }
  return sum;
}

std::span<Entry> group_span(Groups& groups, std::int64_t group) {
  const std::int64_t start = groups.starts[static_cast<std::size_t>(group)];
  const std::int64_t stop = groups.starts[static_cast<std::size_t>(group) + 1];
  return {groups.entries.data() + start, static_cast<std::size_t>(stop - start)};
}

// Scattering the entries into random groups and shuffling each gives every order the same chance (Rao 1961), in
// parallel and with each shuffle in cache.
Progress free_epoch(const CsrView& interactions, const BprOptions& options, std::int64_t epoch, Groups& groups,
                    Model& model) {
  const cpu::KernelTable& kernels = cpu::kernels();
  const std::int64_t n_groups = std::clamp<std::int64_t>(interactions.nnz() / 8192, 1, 1024);
  RandomStream deal = epoch_stream(options.seed, epoch, 0);
  group_entries(
      interactions, n_groups,
      [&](std::int64_t, std::int32_t, std::int64_t) { return static_cast<std::uint16_t>(deal.below(n_groups)); },
      groups);
  std::vector<Progress> parts(static_cast<std::size_t>(n_groups));
  parallel_for(n_groups, options.n_threads, [&](std::int64_t group, std::int64_t) {
    const auto draw = [&](std::span<const std::int32_t> liked, RandomStream& random) {
      if (static_cast<std::int64_t>(liked.size()) == interactions.cols) return -1;
      return draw_other(liked, interactions.cols, random);
    };
    parts[static_cast<std::size_t>(group)] =
        train_group(kernels, interactions, group_span(groups, group), options,
                    epoch_stream(options.seed, epoch, 3 + static_cast<std::uint64_t>(group)), draw, model);
  });
  return total(parts);
}

ItemBlocks deal_items(std::int64_t n_items, std::int64_t n_blocks, RandomStream& deal,
                      std::vector<std::int32_t>& block_of) {
  ItemBlocks blocks;
  blocks.items.resize(static_cast<std::size_t>(n_items));
  block_of.resize(static_cast<std::size_t>(n_items));
  for (std::int64_t i = 0; i < n_items; ++i) blocks.items[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i);
  for (std::int64_t left = n_items; left > 1; --left) {
    std::swap(blocks.items[static_cast<std::size_t>(left - 1)],
              blocks.items[static_cast<std::size_t>(deal.below(left))]);
  }
  for (std::int64_t b = 0; b <= n_blocks; ++b) blocks.starts.push_back(n_items * b / n_blocks);
  for (std::int64_t b = 0; b < n_blocks; ++b) {
    for (std::int64_t at = blocks.starts[static_cast<std::size_t>(b)];
         at < blocks.starts[static_cast<std::size_t>(b) + 1]; ++at) {
      block_of[static_cast<std::size_t>(blocks.items[static_cast<std::size_t>(at)])] = static_cast<std::int32_t>(b);
    }
  }
  return blocks;
}

Progress blocked_epoch(const CsrView& interactions, const BprOptions& options, std::int64_t epoch, Groups& groups,
                       Model& model) {
  const cpu::KernelTable& kernels = cpu::kernels();
  const std::int64_t n_blocks = bpr_blocks(interactions);
  const RandomStream deal_users = epoch_stream(options.seed, epoch, 1);
  RandomStream deal = epoch_stream(options.seed, epoch, 2);
  std::vector<std::int32_t> item_block;
  const ItemBlocks blocks = deal_items(interactions.cols, n_blocks, deal, item_block);
  group_entries(
      interactions, n_blocks * n_blocks,
      [&](std::int64_t user, std::int32_t item, std::int64_t) {
        const auto user_block = static_cast<std::int64_t>(deal_users.at(static_cast<std::uint64_t>(user)) %
                                                          static_cast<std::uint64_t>(n_blocks));
        return static_cast<std::uint16_t>(user_block * n_blocks + item_block[static_cast<std::size_t>(item)]);
      },
      groups);
  std::vector<Progress> parts(static_cast<std::size_t>(n_blocks * n_blocks));
  for (std::int64_t round = 0; round < n_blocks; ++round) {
    parallel_for(n_blocks, options.n_threads, [&](std::int64_t user_block, std::int64_t) {
      const std::int64_t of_items = (user_block + round) % n_blocks;
      const std::int64_t start = blocks.starts[static_cast<std::size_t>(of_items)];
      const std::int64_t stop = blocks.starts[static_cast<std::size_t>(of_items) + 1];
      const std::span<const std::int32_t> block(blocks.items.data() + start, static_cast<std::size_t>(stop - start));
      const auto draw = [&](std::span<const std::int32_t> liked, RandomStream& random) {
        return draw_other_in_block(liked, block, random);
      };
      const std::int64_t cell = user_block * n_blocks + of_items;
      parts[static_cast<std::size_t>(cell)] =
          train_group(kernels, interactions, group_span(groups, cell), options,
                      epoch_stream(options.seed, epoch, 3 + static_cast<std::uint64_t>(cell)), draw, model);
    });
  }
  return total(parts);
}

bool is_finite(const Model& model) {
  const auto finite = [](const float* values, std::int64_t n) {
    return find_nonfinite({values, static_cast<std::size_t>(n)}) < 0;
  };
  return finite(model.users.data(), model.users.rows() * model.users.ld()) &&
         finite(model.items.data(), model.items.rows() * model.items.ld()) &&
         finite(model.item_bias.data(), model.item_bias.size());
}

[[noreturn]] void throw_diverged(const BprOptions& options, std::int64_t epoch) {
  throw ConfigError("learning_rate must keep the factors finite, but they diverged in epoch " + std::to_string(epoch) +
                    "; lower it, got " + std::to_string(options.learning_rate));
}

void check_options(const BprOptions& options) {
  if (!(options.learning_rate > 0.0F)) {
    throw ConfigError("learning_rate must be above 0, got " + std::to_string(options.learning_rate));
  }
  if (!(options.regularization >= 0.0F)) {
    throw ConfigError("regularization must be 0 or more, got " + std::to_string(options.regularization));
  }
  if (options.n_epochs < 1) {
    throw ConfigError("n_epochs must be 1 or more, got " + std::to_string(options.n_epochs));
  }
}

}  // namespace

std::int64_t bpr_blocks(const CsrView& interactions) {
  constexpr std::int64_t n_blocks = 16;
  constexpr std::int64_t least_items = 64;    // in a block
  constexpr std::int64_t least_entries = 64;  // in a cell
  const bool large = interactions.cols >= n_blocks * least_items && interactions.rows() >= n_blocks &&
                     interactions.nnz() >= n_blocks * n_blocks * least_entries;
  return large ? n_blocks : 1;
}

void bpr(const CsrView& interactions, const BprOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, std::span<float> item_bias, const BprMonitor& after_epoch) {
  const std::int64_t f = user_factors.cols();
  check_options(options);
  if (f < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(f));
  check_structure(interactions, "interactions");
  check_sorted(interactions, "interactions");
  if (interactions.nnz() == 0) {
    throw DataError("interactions must hold at least one stored entry, got none; there is nothing to learn");
  }

  Model model{PaddedMatrix(interactions.rows(), f), PaddedMatrix(interactions.cols, f),
              zeroed_floats(interactions.cols)};
  fill_start(model.users, options.seed, 1);
  fill_start(model.items, options.seed, 2);
  // One block's schedule is serial, and then draws from all items as the free one does.
  const bool blocked = options.deterministic && bpr_blocks(interactions) > 1;
  BprOptions run = options;
  run.n_threads = options.deterministic && !blocked ? 1 : resolve_threads(options.n_threads);
  Groups groups;
  std::int64_t last_epoch = 0;
  for (std::int64_t epoch = 0; epoch < run.n_epochs; ++epoch) {
    const Progress progress = blocked ? blocked_epoch(interactions, run, epoch, groups, model)
                                      : free_epoch(interactions, run, epoch, groups, model);
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (progress.n_triples > 0) {
      loss = progress.loss / static_cast<double>(progress.n_triples);
      if (!std::isfinite(loss)) throw_diverged(run, epoch);
    }
    last_epoch = epoch;
    if (after_epoch && after_epoch(epoch, loss)) break;
  }
  // A loss is taken before its step, so the last steps show in no loss.
  if (!is_finite(model)) throw_diverged(run, last_epoch);
  model.users.copy_to(user_factors);
  model.items.copy_to(item_factors);
  std::copy_n(model.item_bias.data(), item_bias.size(), item_bias.data());
}

}  // namespace recsys
