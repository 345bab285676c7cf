// The kernel of SGD and the loop over epochs.
#pragma once

#include <bit>
#include <cmath>
#include <limits>

#include "cuda/rounding.cuh"
#include "cuda/sgd.hpp"
#include "cuda/threads.cuh"
#include "recsys/padded_matrix.hpp"
#include "recsys/random.hpp"
#include "recsys/sparse.hpp"

namespace recsys::cuda {

// Number m of a stream (recsys/random.hpp).
__host__ __device__ inline std::uint64_t random_bits(std::uint64_t key, std::uint64_t m) {
  return mix_bits(key + (m + 1) * golden_gamma);
}

// A permutation of [0, n) by a key: four Feistel rounds over the next even power of two, repeated until the result is
// below n, which takes fewer than four turns on average.
struct Permutation {
  std::uint64_t key;
  std::uint64_t n;
  unsigned half_bits;

  [[nodiscard]] static Permutation of(std::uint64_t n, std::uint64_t key) {
    const auto bits = static_cast<unsigned>(std::bit_width(n > 1 ? n - 1 : 1));
    return {key, n, (bits + 1) / 2};
  }
  [[nodiscard]] __host__ __device__ std::uint64_t at(std::uint64_t m) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
    do {
      std::uint64_t left = m >> half_bits;
      std::uint64_t right = m & mask;
      for (std::uint64_t round = 0; round < 4; ++round) {
        const std::uint64_t mixed = left ^ (random_bits(key + round, right) >> 32 & mask);
        left = right;
        right = mixed;
      }
      m = left << half_bits | right;
    } while (m >= n);
    return m;
  }
};

struct SgdArguments {
  const std::int64_t* indptr;
  const std::int32_t* items;
  const std::int32_t* users;  // [nnz]: the user of an entry
  std::int64_t n_items;
  Permutation order;
  std::uint64_t draws;  // key of the epoch's numbers
  float rate;
  float regularization;
  std::int32_t f;
  std::int32_t n_trials;      // of warp
  const float* trial_losses;  // [n_trials]: L(rank) after so many trials, for warp
  bool reject_positives;
  float* user_factors;
  float* item_factors;
  float* item_bias;
  float* user_squares;            // [n_users], Adagrad's sums; null: all steps are as long
  float* item_squares;            // [n_items]
  float* bias_squares;            // [n_items]
  double* loss;                   // added to
  unsigned long long* n_entries;  // added to: entries with an item j
};

// Uniform over the items that are not in liked [n] (ascending), n < n_items, by 32 random bits: the r-th of them is
// r + m, where m is the number of liked items before it, and liked[p] - p never falls.
__device__ inline std::int32_t draw_other(const std::int32_t* liked, std::int64_t n, std::int64_t n_items,
                                          std::uint64_t bits) {
  const auto rank = static_cast<std::int64_t>(((bits >> 32) * static_cast<std::uint64_t>(n_items - n)) >> 32);
  std::int64_t low = 0;
  std::int64_t high = n;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (liked[middle] - middle <= rank) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return static_cast<std::int32_t>(rank + low);
}

// A row of factors in a warp's registers, `width` numbers a lane.
template <int width>
__device__ inline void load_row(float (&row)[width], const float* from, int f) {
#pragma unroll
  for (int v = 0; v < width; ++v) {
    const int c = v * warp_size + lane_index();
    row[v] = c < f ? from[c] : 0.0F;
  }
}

template <int width>
__device__ inline float row_product(const float (&a)[width], const float (&b)[width]) {
  float sum = 0;
#pragma unroll
  for (int v = 0; v < width; ++v) sum = __fmaf_rn(a[v], b[v], sum);
  return warp_sum(sum);
}

// The rate of a row or bias whose mean squared gradient is now `square`; the same in all lanes.
__device__ inline float rate_of(float* squares, std::int64_t row, float square, float rate) {
  if (squares == nullptr) return rate;
  float sum = 0;
  if (lane_index() == 0) sum = atomicAdd(squares + row, square) + square;
  sum = __shfl_sync(all_lanes, sum, 0);
  return sum > 0.0F ? rate / sqrtf(sum) : 0.0F;
}

__device__ inline void move_bias(const SgdArguments& a, std::int64_t item, float bias, float pull) {
  const float shrink = a.regularization * bias;
  const float rate = rate_of(a.bias_squares, item, pull * pull + shrink * shrink, a.rate);
  if (lane_index() == 0) atomicAdd(a.item_bias + item, rate * (pull - shrink));
}

// Blocks that a multiprocessor is to hold by registers: more would spill.
[[nodiscard]] constexpr int sgd_blocks_held(int width) { return width <= 4 ? 4 : (width <= 8 ? 2 : 1); }

// Takes steps for samples w, w + n_warps, ... of the epoch; `width` numbers a lane, at least f / 32.
template <int width, SgdObjective objective>
__global__ void __launch_bounds__(256, sgd_blocks_held(width)) sgd_epoch(SgdArguments a) {
  const int lane = lane_index();
  const auto n_all = static_cast<std::uint64_t>(gridDim.x) * static_cast<std::uint64_t>(n_warps());
  double loss = 0;
  unsigned long long n_entries = 0;
  for (auto m = static_cast<std::uint64_t>(global_thread() / warp_size); m < a.order.n; m += n_all) {
    const std::uint64_t entry = a.order.at(m);
    const std::int64_t user = a.users[entry];
    const std::int32_t* const liked = a.items + a.indptr[user];
    const std::int64_t n_liked = a.reject_positives ? a.indptr[user + 1] - a.indptr[user] : 0;
    if (n_liked == a.n_items) continue;
    ++n_entries;
    const std::int64_t positive = a.items[entry];
    std::int64_t negative = 0;
    float u[width];
    float i[width];
    float j[width];
    load_row(u, a.user_factors + user * a.f, a.f);
    load_row(i, a.item_factors + positive * a.f, a.f);
    // Others change the biases: the lanes must agree on what they are.
    const float bias_i = __shfl_sync(all_lanes, a.item_bias[positive], 0);
    float bias_j = 0;
    float pull = 0;
    if (objective == SgdObjective::bpr) {
      negative = draw_other(liked, n_liked, a.n_items, random_bits(a.draws, m));
      load_row(j, a.item_factors + negative * a.f, a.f);
      bias_j = __shfl_sync(all_lanes, a.item_bias[negative], 0);
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
      const auto n_trials = static_cast<std::uint64_t>(a.n_trials);
      for (std::uint64_t trial = 0; trial < n_trials && pull == 0.0F; ++trial) {
        negative = draw_other(liked, n_liked, a.n_items, random_bits(a.draws, m * n_trials + trial));
        load_row(j, a.item_factors + negative * a.f, a.f);
        bias_j = __shfl_sync(all_lanes, a.item_bias[negative], 0);
        const float above = row_product(u, j) + bias_j - limit;
        if (!(above <= 0.0F)) {  // a NaN too, so that it reaches the loss
          pull = a.trial_losses[trial];
          loss += static_cast<double>(pull * above);
        }
      }
      if (pull == 0.0F) continue;
    }
    float u_rate = a.rate;
    float i_rate = a.rate;
    float j_rate = a.rate;
    if (a.user_squares != nullptr) {
      float gradient[width];
#pragma unroll
      for (int v = 0; v < width; ++v) gradient[v] = pull * (i[v] - j[v]);
      const float share = 1.0F / static_cast<float>(a.f);
      const float shrink = a.regularization * a.regularization;
      const float u_mean = row_product(u, u) * share;
      const float pulled = pull * pull * u_mean;
      u_rate = rate_of(a.user_squares, user, row_product(gradient, gradient) * share + shrink * u_mean, a.rate);
      i_rate = rate_of(a.item_squares, positive, pulled + shrink * (row_product(i, i) * share), a.rate);
      j_rate = rate_of(a.item_squares, negative, pulled + shrink * (row_product(j, j) * share), a.rate);
    }
    __syncwarp();  // the rows are read by all lanes before one of them changes them
#pragma unroll
    for (int v = 0; v < width; ++v) {
      const int c = v * warp_size + lane;
      if (c >= a.f) continue;
      atomicAdd(a.user_factors + user * a.f + c, u_rate * (pull * (i[v] - j[v]) - a.regularization * u[v]));
      atomicAdd(a.item_factors + positive * a.f + c, i_rate * (pull * u[v] - a.regularization * i[v]));
      atomicAdd(a.item_factors + negative * a.f + c, j_rate * (-pull * u[v] - a.regularization * j[v]));
    }
    move_bias(a, positive, bias_i, pull);
    move_bias(a, negative, bias_j, -pull);
    __syncwarp();
  }
  if (lane == 0) {
    atomicAdd(a.loss, loss);
    atomicAdd(a.n_entries, n_entries);
  }
}

namespace detail {

inline void check_options(const SgdOptions& options, std::int64_t f) {
  constexpr std::int64_t widest = 512;
  if (f < 1 || f > widest) {
    throw ConfigError("n_factors must be 1 to " + std::to_string(widest) + " on a device, got " + std::to_string(f));
  }
  if (options.objective != SgdObjective::bpr && options.objective != SgdObjective::warp)
    throw ConfigError("objective must be bpr or warp on a device");
  if (options.popularity_power != 0.0F) {
    throw ConfigError("popularity_power must be 0 on a device, where items are drawn uniformly, got " +
                      std::to_string(options.popularity_power));
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

// Writes the CPU's start (recsys/random.hpp) to a matrix on the device.
inline void start_factors(MatrixView<float> factors, std::uint64_t seed, std::uint64_t stream_number, Stream stream) {
  PaddedMatrix start(factors.rows(), factors.cols());
  fill_start(start, seed, stream_number);
  std::vector<float> packed(static_cast<std::size_t>(factors.size()));
  start.copy_to({packed.data(), factors.rows(), factors.cols()});
  check(cudaMemcpyAsync(factors.data(), packed.data(), packed.size() * sizeof(float), cudaMemcpyHostToDevice,
                        stream.handle),
        "copying to the device");
  stream.synchronize();
}

// One thread a number: sets `bad` to 1 where it is not finite.
__global__ void find_nonfinite(const float* values, std::int64_t n, std::int32_t* bad) {
  const std::int64_t at = global_thread();
  if (at < n && !is_finite(values[at])) *bad = 1;
}

template <SgdObjective objective>
void launch_objective(const SgdArguments& a, Stream stream) {
  constexpr int n_threads = 256;
  // Enough warps to fill the device and no more: each goes on to other samples.
  const std::int64_t wanted = divide_up(static_cast<std::int64_t>(a.order.n), n_threads / warp_size);
  const dim3 grid = blocks(std::min<std::int64_t>(wanted, 8 * device_attribute(cudaDevAttrMultiProcessorCount)));
  const auto run = [&](auto kernel) { launch("sgd_epoch", kernel, grid, n_threads, 0, stream, a); };
  const std::int64_t width = divide_up(a.f, warp_size);
  if (width <= 1) return run(sgd_epoch<1, objective>);
  if (width <= 2) return run(sgd_epoch<2, objective>);
  if (width <= 4) return run(sgd_epoch<4, objective>);
  if (width <= 8) return run(sgd_epoch<8, objective>);
  return run(sgd_epoch<16, objective>);
}

// L(rank) after t trials, for rank = floor((n - 1) / t), over L(n - 1).
inline std::vector<float> trial_losses(std::int64_t n_trials, std::int64_t n_items) {
  std::vector<double> harmonic(static_cast<std::size_t>(std::max<std::int64_t>(n_items, 2)), 0.0);
  for (std::size_t r = 1; r < harmonic.size(); ++r) harmonic[r] = harmonic[r - 1] + 1.0 / static_cast<double>(r);
  std::vector<float> losses;
  // After n trials the rank is 0, and so is the loss.
  for (std::int64_t trial = 1; trial <= std::min(n_trials, std::max<std::int64_t>(n_items - 1, 1)); ++trial) {
    losses.push_back(static_cast<float>(harmonic[static_cast<std::size_t>((n_items - 1) / trial)] / harmonic.back()));
  }
  return losses;
}

}  // namespace detail

void sgd(const CsrView& interactions, const SgdOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, float* item_bias, const SgdMonitor& monitor, Stream stream) {
  const std::int64_t f = user_factors.cols();
  detail::check_options(options, f);
  check_structure(interactions, "interactions");
  check_sorted(interactions, "interactions");
  const std::int64_t nnz = interactions.nnz();
  const std::int64_t n_items = interactions.cols;
  if (nnz == 0) {
    throw DataError("interactions must hold at least one stored entry, got none; there is nothing to learn");
  }
  std::vector<std::int32_t> user_of(static_cast<std::size_t>(nnz));
  for (std::int64_t user = 0; user < interactions.rows(); ++user) {
    std::fill(user_of.begin() + interactions.begin(user), user_of.begin() + interactions.end(user),
              static_cast<std::int32_t>(user));
  }
  const std::vector<float> by_trial = detail::trial_losses(options.n_negatives, n_items);
  const auto indptr = cuda::upload(interactions.indptr.data(), std::ssize(interactions.indptr), stream);
  const auto items = cuda::upload(interactions.indices.data(), nnz, stream);
  const auto users = cuda::upload(user_of.data(), nnz, stream);
  const auto trial_losses = cuda::upload(by_trial.data(), std::ssize(by_trial), stream);
  stream.synchronize();
  if (!options.warm_start) {
    detail::start_factors(user_factors, options.seed, 1, stream);
    detail::start_factors(item_factors, options.seed, 2, stream);
    check(cudaMemsetAsync(item_bias, 0, static_cast<std::size_t>(n_items) * sizeof(float), stream.handle),
          "clearing device memory");
  }
  DeviceBuffer<float> squares(options.adagrad ? interactions.rows() + 2 * n_items : 0, stream);
  squares.set_bytes(0, stream);
  DeviceBuffer<double> device_loss(1, stream);
  DeviceBuffer<unsigned long long> device_entries(1, stream);
  DeviceBuffer<std::int32_t> bad(1, stream);
  bad.set_bytes(0, stream);
  const auto diverged = [&](std::int64_t epoch) {
    return ConfigError("learning_rate must keep the factors finite, but they diverged in epoch " +
                       std::to_string(epoch) + "; lower it, got " + std::to_string(options.learning_rate));
  };

  SgdArguments arguments{};
  arguments.indptr = indptr.data();
  arguments.items = items.data();
  arguments.users = users.data();
  arguments.n_items = n_items;
  arguments.regularization = options.regularization;
  arguments.f = static_cast<std::int32_t>(f);
  arguments.n_trials = static_cast<std::int32_t>(by_trial.size());
  arguments.trial_losses = trial_losses.data();
  arguments.reject_positives = options.reject_positives;
  arguments.user_factors = user_factors.data();
  arguments.item_factors = item_factors.data();
  arguments.item_bias = item_bias;
  if (options.adagrad) {
    arguments.user_squares = squares.data();
    arguments.item_squares = squares.data() + interactions.rows();
    arguments.bias_squares = arguments.item_squares + n_items;
  }
  arguments.loss = device_loss.data();
  arguments.n_entries = device_entries.data();
  std::int64_t last_epoch = 0;
  for (std::int64_t epoch = 0; epoch < options.n_epochs; ++epoch) {
    const std::uint64_t key = mix_bits(options.seed + static_cast<std::uint64_t>(epoch) * golden_gamma);
    const float done = static_cast<float>(epoch) / static_cast<float>(options.n_epochs);
    arguments.order = Permutation::of(static_cast<std::uint64_t>(nnz), mix_bits(key + 1));
    arguments.draws = mix_bits(key + 2);
    arguments.rate = options.learning_rate * (options.linear_decay ? 1.0F - done : 1.0F);
    device_loss.set_bytes(0, stream);
    device_entries.set_bytes(0, stream);
    if (options.objective == SgdObjective::bpr) {
      detail::launch_objective<SgdObjective::bpr>(arguments, stream);
    } else {
      detail::launch_objective<SgdObjective::warp>(arguments, stream);
    }
    const auto n_entries = static_cast<double>(download(device_entries, stream)[0]);
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (n_entries > 0) {
      loss = download(device_loss, stream)[0] / n_entries;
      if (!std::isfinite(loss)) throw diverged(epoch);
    }
    last_epoch = epoch;
    if (monitor.after_epoch && monitor.after_epoch(epoch, loss)) break;
  }
  // A loss is taken before its step, so the last steps show in no loss.
  const auto look = [&](const float* values, std::int64_t n) {
    launch("find_nonfinite", detail::find_nonfinite, blocks(divide_up(n, 256)), 256, 0, stream, values, n, bad.data());
  };
  look(user_factors.data(), user_factors.size());
  look(item_factors.data(), item_factors.size());
  look(item_bias, n_items);
  if (download(bad, stream)[0] != 0) throw diverged(last_epoch);
}

}  // namespace recsys::cuda
