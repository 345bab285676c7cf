// The loop over epochs of SGD.
#pragma once

#include <cmath>
#include <limits>
#include <memory>

#include "cuda/row_block.cuh"
#include "cuda/sgd_epoch.cuh"
#include "cuda/sgd_side.cuh"
#include "recsys/sparse.hpp"

namespace recsys::cuda {
namespace detail {

inline void check_options(const SgdOptions& options, std::int64_t f) {
  constexpr std::int64_t widest = 512;
  if (f < 1 || f > widest) {
    throw ConfigError("n_factors must be 1 to " + std::to_string(widest) + " on a device, got " + std::to_string(f));
  }
  if (options.objective != SgdObjective::bpr && options.objective != SgdObjective::warp)
    throw ConfigError("objective must be bpr or warp on a device");
  if (!(options.popularity_power >= 0.0F)) {
    throw ConfigError("popularity_power must be 0 or more, got " + std::to_string(options.popularity_power));
  }
  if (!(options.learning_rate > 0.0F)) {
    throw ConfigError("learning_rate must be above 0, got " + std::to_string(options.learning_rate));
  }
  if (!(options.regularization >= 0.0F)) {
    throw ConfigError("regularization must be 0 or more, got " + std::to_string(options.regularization));
  }
  if (options.n_epochs < 1) {
    throw ConfigError("n_epochs must be 1 or more, got " + std::to_string(options.n_epochs));
  }
  if (options.n_negatives < 1) {
    throw ConfigError("max_trials must be 1 or more, got " + std::to_string(options.n_negatives));
  }
}

inline void check_features(const DeviceSgdSide& side, const std::string& name) {
  if (side.features.cols == 0) return;
  if (side.features.rows() != side.factors.rows()) {
    throw ShapeError(name + "_features must have a row for each of the " + std::to_string(side.factors.rows()) + " " +
                     name + "s, got " + std::to_string(side.features.rows()));
  }
  check_structure(side.features, name + "_features");
  check_finite(side.features, name + "_features");
}

// A block of users: their entries.
struct EntryBlock {
  DeviceBuffer<std::int64_t> indptr;
  DeviceBuffer<std::int32_t> items;
  DeviceBuffer<std::int32_t> users;

  static constexpr std::int64_t a_row = 8;
  static constexpr std::int64_t an_entry = 8;

  EntryBlock(const CsrView& interactions, const Range& rows, Stream stream) {
    const std::int64_t begin = interactions.begin(rows.first);
    std::vector<std::int64_t> ends{0};
    std::vector<std::int32_t> user_of;
    for (std::int64_t user = rows.first; user < rows.last; ++user) {
      ends.push_back(interactions.end(user) - begin);
      user_of.resize(static_cast<std::size_t>(ends.back()), static_cast<std::int32_t>(user - rows.first));
    }
    indptr = cuda::upload(ends.data(), std::ssize(ends), stream);
    items = cuda::upload(interactions.indices.data() + begin, ends.back(), stream);
    users = cuda::upload(user_of.data(), ends.back(), stream);
    stream.synchronize();  // they are read until then
  }
};

inline std::vector<std::int64_t> row_sizes(const CsrView& csr) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t row = 0; row < csr.rows(); ++row) sizes.push_back(csr.row_size(row));
  return sizes;
}

inline std::vector<std::int64_t> column_sizes(const CsrView& csr) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(csr.cols), 0);
  for (const std::int32_t column : csr.indices) ++sizes[static_cast<std::size_t>(column)];
  return sizes;
}

// The slots of a lottery over all items, or none where draws are uniform.
inline ItemLottery make_lottery(const CsrView& interactions, const SgdOptions& options, bool with_item_features) {
  if (options.popularity_power == 0.0F && !with_item_features) return {};
  std::vector<std::int32_t> items(static_cast<std::size_t>(interactions.cols));
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = static_cast<std::int32_t>(i);
  return {items, item_weights(interactions, options.popularity_power)};
}

}  // namespace detail

void sgd(const CsrView& interactions, const SgdOptions& options, const DeviceSgdSide& users, const DeviceSgdSide& items,
         const SgdMonitor& monitor, Stream stream, double memory_share) {
  const std::int64_t f = users.factors.cols();
  detail::check_options(options, f);
  check_structure(interactions, "interactions");
  check_sorted(interactions, "interactions");
  detail::check_features(users, "user");
  detail::check_features(items, "item");
  check_finite(interactions, "interactions");
  check_weights(interactions, "interactions");
  const ItemLottery lottery = detail::make_lottery(interactions, options, items.features.cols > 0);
  const std::vector<float> by_trial = warp_trial_losses(options.n_negatives, interactions.cols);
  const std::span<const ItemLottery::Slot> slots = lottery.slots();
  const std::int64_t fixed = detail::DeviceSide::bytes(users, options.adagrad) +
                             detail::DeviceSide::bytes(items, options.adagrad) +
                             static_cast<std::int64_t>(slots.size_bytes()) + 4 * std::ssize(by_trial) + 64;
  const auto room = static_cast<std::int64_t>(memory_share * static_cast<double>(free_memory()));
  if (fixed > room) throw_too_little_memory("what BPR and WARP learn, beside the factors,", fixed, room);
  const std::vector<Range> ranges = cut_rows(interactions, detail::EntryBlock::a_row, detail::EntryBlock::an_entry,
                                             room - fixed - detail::EntryBlock::a_row, "user");

  detail::DeviceSide user_side(users, options.adagrad, stream);
  detail::DeviceSide item_side(items, options.adagrad, stream);
  if (options.warm_start) {
    user_side.resume();
    item_side.resume();
  } else {
    user_side.start(options.seed, 1, detail::row_sizes(interactions));
    item_side.start(options.seed, 2, detail::column_sizes(interactions));
  }
  const auto device_slots = cuda::upload(slots.data(), std::ssize(slots), stream);
  const auto trial_losses = cuda::upload(by_trial.data(), std::ssize(by_trial), stream);
  DeviceBuffer<double> device_loss(1, stream);
  DeviceBuffer<unsigned long long> device_entries(1, stream);
  stream.synchronize();
  const auto diverged = [&](std::int64_t epoch) {
    return ConfigError("learning_rate must keep the factors finite, but they diverged in epoch " +
                       std::to_string(epoch) + "; lower it, got " + std::to_string(options.learning_rate));
  };

  SgdArguments arguments{};
  // A lottery has a slot for each item that can be drawn.
  const std::int64_t n_drawable = slots.empty() ? interactions.cols : std::ssize(slots);
  arguments.draws = {0, interactions.cols, device_slots.data(), std::ssize(slots), n_drawable};
  arguments.step = {0.0F, options.regularization, static_cast<std::int32_t>(f)};
  arguments.n_trials = static_cast<std::int32_t>(by_trial.size());
  arguments.trial_losses = trial_losses.data();
  arguments.reject_positives = options.reject_positives;
  arguments.user_side = user_side.view();
  arguments.item_side = item_side.view();
  arguments.loss = device_loss.data();
  arguments.n_entries = device_entries.data();
  std::unique_ptr<detail::EntryBlock> block;
  std::int64_t last_epoch = 0;
  for (std::int64_t epoch = 0; epoch < options.n_epochs; ++epoch) {
    const std::uint64_t key = mix_bits(options.seed + static_cast<std::uint64_t>(epoch) * golden_gamma);
    const float done = static_cast<float>(epoch) / static_cast<float>(options.n_epochs);
    arguments.draws.key = mix_bits(key + 2);
    arguments.step.rate = options.learning_rate * (options.linear_decay ? 1.0F - done : 1.0F);
    device_loss.set_bytes(0, stream);
    device_entries.set_bytes(0, stream);
    const auto turns = Permutation::of(ranges.size(), mix_bits(key + 3));
    for (std::uint64_t turn = 0; turn < ranges.size(); ++turn) {
      const Range& rows = ranges[turns.at(turn)];
      if (ranges.size() > 1 || !block) {
        block.reset();  // before there is another
        block = std::make_unique<detail::EntryBlock>(interactions, rows, stream);
      }
      arguments.indptr = block->indptr.data();
      arguments.items = block->items.data();
      arguments.users = block->users.data();
      arguments.first_user = rows.first;
      arguments.first_entry = static_cast<std::uint64_t>(interactions.begin(rows.first));
      arguments.order = Permutation::of(static_cast<std::uint64_t>(block->items.size()), mix_bits(key + 1));
      launch_sgd_epoch(arguments, options.objective, stream);
    }
    const auto n_entries = static_cast<double>(download(device_entries, stream)[0]);
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (n_entries > 0) {
      loss = download(device_loss, stream)[0] / n_entries;
      if (!std::isfinite(loss)) throw diverged(epoch);
    }
    last_epoch = epoch;
    if (monitor.wants_factors) {
      user_side.write();
      item_side.write();
    }
    if (monitor.after_epoch && monitor.after_epoch(epoch, loss)) break;
  }
  // A loss is taken before its step, so the last steps show in no loss.
  NonfinitePlace nonfinite(stream);
  user_side.look(nonfinite);
  item_side.look(nonfinite);
  if (nonfinite.get() >= 0) throw diverged(last_epoch);
  user_side.write();
  item_side.write();
  stream.synchronize();
}

}  // namespace recsys::cuda
