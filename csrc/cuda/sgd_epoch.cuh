// An epoch of bpr or warp: one warp a sample.
#pragma once

#include <algorithm>
#include <vector>

#include "cuda/runtime.cuh"
#include "cuda/sgd_rows.cuh"
#include "cuda/sgd_sampling.cuh"
#include "recsys/sgd_objective.hpp"

namespace recsys::cuda {

// L(rank) after t trials, for rank = floor((n - 1) / t), over L(n - 1).
[[nodiscard]] inline std::vector<float> warp_trial_losses(std::int64_t n_trials, std::int64_t n_items) {
  std::vector<double> harmonic(static_cast<std::size_t>(std::max<std::int64_t>(n_items, 2)), 0.0);
  for (std::size_t r = 1; r < harmonic.size(); ++r) harmonic[r] = harmonic[r - 1] + 1.0 / static_cast<double>(r);
  std::vector<float> losses;
  // After n trials the rank is 0, and so is the loss.
  for (std::int64_t trial = 1; trial <= std::min(n_trials, std::max<std::int64_t>(n_items - 1, 1)); ++trial) {
    losses.push_back(static_cast<float>(harmonic[static_cast<std::size_t>((n_items - 1) / trial)] / harmonic.back()));
  }
  return losses;
}

struct SgdArguments {
  // A block of users: all of them where their entries fit the device.
  const std::int64_t* indptr;
  const std::int32_t* items;
  const std::int32_t* users;  // [entries]: the user of an entry, counted from the block's first
  std::int64_t first_user;
  std::uint64_t first_entry;  // numbers the draws
  Permutation order;          // of the block's entries
  ItemDraws draws;
  SgdStepSize step;
  std::int32_t n_trials;      // of warp
  const float* trial_losses;  // [n_trials]: of warp_trial_losses
  bool reject_positives;
  SgdSideView user_side;
  SgdSideView item_side;
  double* loss;                   // added to
  unsigned long long* n_entries;  // added to: entries with an item j
};

// Blocks that a multiprocessor is to hold by registers: more would spill.
[[nodiscard]] constexpr int sgd_blocks_held(int width, bool with_features) {
  if (width <= 2) return 4;
  if (width <= 4) return with_features ? 2 : 3;
  return width <= 8 ? 2 : 1;
}

// Takes steps for samples w, w + n_warps, ... of the block; `width` numbers a lane, at least f / 32.
template <int width, SgdObjective objective, bool with_features>
__global__ void __launch_bounds__(256, sgd_blocks_held(width, with_features)) sgd_epoch(SgdArguments a) {
  const auto n_all = static_cast<std::uint64_t>(gridDim.x) * static_cast<std::uint64_t>(n_warps());
  const int f = a.step.f;
  double loss = 0;
  unsigned long long n_entries = 0;
  for (auto m = static_cast<std::uint64_t>(global_thread() / warp_size); m < a.order.n; m += n_all) {
    const std::uint64_t entry = a.order.at(m);
    const std::int64_t place = a.users[entry];
    const std::int64_t user = a.first_user + place;
    const std::int32_t* const liked = a.items + a.indptr[place];
    const std::int64_t n_liked = a.reject_positives ? a.indptr[place + 1] - a.indptr[place] : 0;
    if (n_liked == a.draws.n_drawable) continue;
    const std::int64_t positive = a.items[entry];
    const std::uint64_t number = a.first_entry + m;
    const std::uint64_t n_trials = objective == SgdObjective::bpr ? 1 : static_cast<std::uint64_t>(a.n_trials);
    std::int64_t negative = a.draws.at(number * n_trials, liked, n_liked);
    if (negative < 0) continue;
    ++n_entries;
    float u[width];
    float i[width];
    float j[width];
    (void)load_sum<with_features>(u, a.user_side, user, f);
    const float bias_i = load_sum<with_features>(i, a.item_side, positive, f);
    float pull = 0;
    if (objective == SgdObjective::bpr) {
      const float bias_j = load_sum<with_features>(j, a.item_side, negative, f);
      float difference[width];
#pragma unroll
      for (int v = 0; v < width; ++v) difference[v] = i[v] - j[v];
      const float margin = row_product(u, difference) + bias_i - bias_j;
      // 1 / (1 + exp(m)) and log(1 + exp(-m)), without overflow on either side.
      const float odds = expf(-fabsf(margin));
      pull = (margin > 0 ? odds : 1.0F) / (1.0F + odds);
      loss += static_cast<double>(log1pf(odds)) + static_cast<double>(margin < 0 ? -margin : 0.0F);
    } else {
      // The first item drawn that is scored above the limit; no step where none is.
      const float limit = row_product(u, i) + bias_i - 1.0F;
      for (std::uint64_t trial = 0; trial < n_trials; ++trial) {
        if (trial > 0) negative = a.draws.at(number * n_trials + trial, liked, n_liked);
        if (negative < 0) break;
        const float bias_j = load_sum<with_features>(j, a.item_side, negative, f);
        const float above = row_product(u, j) + bias_j - limit;
        if (above <= 0.0F) continue;  // written so that a NaN reaches the loss
        pull = a.trial_losses[trial];
        loss += static_cast<double>(pull * above);
        break;
      }
      if (pull == 0.0F) continue;
    }
    const float share = 1.0F / static_cast<float>(f);
    float towards[width];
#pragma unroll
    for (int v = 0; v < width; ++v) towards[v] = pull * (i[v] - j[v]);
    const bool adagrad = a.user_side.own.squares != nullptr;
    const float u_square = adagrad ? row_product(u, u) * share : 0.0F;
    const float towards_square = adagrad ? row_product(towards, towards) * share : 0.0F;
    move_row<with_features>(a.user_side, user, u, 1.0F, towards, towards_square, a.step);
    move_row<with_features>(a.item_side, positive, i, pull, u, u_square, a.step);
    move_row<with_features>(a.item_side, negative, j, -pull, u, u_square, a.step);
  }
  if (lane_index() == 0) {
    atomicAdd(a.loss, loss);
    atomicAdd(a.n_entries, n_entries);
  }
}

namespace detail {

template <SgdObjective objective, bool with_features>
void launch_sgd_epoch(const SgdArguments& a, Stream stream) {
  if (a.order.n == 0) return;
  constexpr int n_threads = 256;
  // Enough warps to fill the device and no more: each goes on to other samples.
  const std::int64_t wanted = divide_up(static_cast<std::int64_t>(a.order.n), n_threads / warp_size);
  const dim3 grid = blocks(std::min<std::int64_t>(wanted, 8 * device_attribute(cudaDevAttrMultiProcessorCount)));
  const auto run = [&](auto kernel) { launch("sgd_epoch", kernel, grid, n_threads, 0, stream, a); };
  const std::int64_t width = divide_up(a.step.f, warp_size);
  if (width <= 1) return run(sgd_epoch<1, objective, with_features>);
  if (width <= 2) return run(sgd_epoch<2, objective, with_features>);
  if (width <= 4) return run(sgd_epoch<4, objective, with_features>);
  if (width <= 8) return run(sgd_epoch<8, objective, with_features>);
  return run(sgd_epoch<16, objective, with_features>);
}

}  // namespace detail

inline void launch_sgd_epoch(const SgdArguments& a, SgdObjective objective, Stream stream) {
  const bool with_features = a.user_side.indptr != nullptr || a.item_side.indptr != nullptr;
  if (objective == SgdObjective::bpr) {
    if (with_features) return detail::launch_sgd_epoch<SgdObjective::bpr, true>(a, stream);
    return detail::launch_sgd_epoch<SgdObjective::bpr, false>(a, stream);
  }
  if (with_features) return detail::launch_sgd_epoch<SgdObjective::warp, true>(a, stream);
  detail::launch_sgd_epoch<SgdObjective::warp, false>(a, stream);
}

}  // namespace recsys::cuda
