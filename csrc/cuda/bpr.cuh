// The kernel of BPR and the loop over epochs.
#pragma once

#include <bit>
#include <cmath>
#include <limits>

#include "cuda/bpr.hpp"
#include "cuda/rounding.cuh"
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

struct BprArguments {
  const std::int64_t* indptr;
  const std::int32_t* items;
  const std::int32_t* users;  // [nnz]: the user of an entry
  std::int64_t n_items;
  Permutation order;
  std::uint64_t draws;  // key of the epoch's numbers
  float rate;
  float regularization;
  std::int32_t f;
  float* user_factors;
  float* item_factors;
  float* item_bias;
  double* loss;                   // added to
  unsigned long long* n_triples;  // added to
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

// Adds steps for samples w, w + n_warps, ... of the epoch; `width` numbers a lane, at least f / 32.
template <int width>
__global__ void __launch_bounds__(256) bpr_epoch(BprArguments a) {
  const int lane = lane_index();
  const auto n_all = static_cast<std::uint64_t>(gridDim.x) * static_cast<std::uint64_t>(n_warps());
  double loss = 0;
  unsigned long long n_triples = 0;
  for (auto m = static_cast<std::uint64_t>(global_thread() / warp_size); m < a.order.n; m += n_all) {
    const std::uint64_t entry = a.order.at(m);
    const std::int64_t user = a.users[entry];
    const std::int32_t* const liked = a.items + a.indptr[user];
    const std::int64_t n_liked = a.indptr[user + 1] - a.indptr[user];
    if (n_liked == a.n_items) continue;
    const std::int64_t positive = a.items[entry];
    const std::int64_t negative = draw_other(liked, n_liked, a.n_items, random_bits(a.draws, m));
    float* const x = a.user_factors + user * a.f;
    float* const y = a.item_factors + positive * a.f;
    float* const z = a.item_factors + negative * a.f;
    float u[width];
    float i[width];
    float j[width];
    float sum = 0;
#pragma unroll
    for (int v = 0; v < width; ++v) {
      const int c = v * warp_size + lane;
      u[v] = c < a.f ? x[c] : 0.0F;
      i[v] = c < a.f ? y[c] : 0.0F;
      j[v] = c < a.f ? z[c] : 0.0F;
      sum = __fmaf_rn(u[v], i[v] - j[v], sum);
    }
    const float bias_i = a.item_bias[positive];
    const float bias_j = a.item_bias[negative];
    const float margin = warp_sum(sum) + bias_i - bias_j;
    // 1 / (1 + exp(m)) and log(1 + exp(-m)), without overflow on either side.
    const float odds = expf(-fabsf(margin));
    const float pull = (margin > 0 ? odds : 1.0F) / (1.0F + odds);
    loss += static_cast<double>(log1pf(odds)) + static_cast<double>(margin < 0 ? -margin : 0.0F);
    ++n_triples;
    const float step = a.rate * pull;
    const float decay = a.rate * a.regularization;
    __syncwarp();  // the row is read by all lanes before one of them changes it
#pragma unroll
    for (int v = 0; v < width; ++v) {
      const int c = v * warp_size + lane;
      if (c >= a.f) continue;
      atomicAdd(x + c, step * (i[v] - j[v]) - decay * u[v]);
      atomicAdd(y + c, step * u[v] - decay * i[v]);
      atomicAdd(z + c, -step * u[v] - decay * j[v]);
    }
    if (lane == 0) {
      atomicAdd(a.item_bias + positive, step - decay * bias_i);
      atomicAdd(a.item_bias + negative, -step - decay * bias_j);
    }
    __syncwarp();
  }
  if (lane == 0) {
    atomicAdd(a.loss, loss);
    atomicAdd(a.n_triples, n_triples);
  }
}

namespace detail {

inline void check_options(const BprOptions& options, std::int64_t f) {
  constexpr std::int64_t widest = 512;
  if (f < 1 || f > widest) {
    throw ConfigError("n_factors must be 1 to " + std::to_string(widest) + " on a device, got " + std::to_string(f));
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

inline void launch_epoch(const BprArguments& a, Stream stream) {
  constexpr int n_threads = 256;
  // Enough warps to fill the device and no more: each goes on to other samples.
  const std::int64_t wanted = divide_up(static_cast<std::int64_t>(a.order.n), n_threads / warp_size);
  const dim3 grid = blocks(std::min<std::int64_t>(wanted, 8 * device_attribute(cudaDevAttrMultiProcessorCount)));
  const auto run = [&](auto kernel) { launch("bpr_epoch", kernel, grid, n_threads, 0, stream, a); };
  const std::int64_t width = divide_up(a.f, warp_size);
  if (width <= 1) return run(bpr_epoch<1>);
  if (width <= 2) return run(bpr_epoch<2>);
  if (width <= 4) return run(bpr_epoch<4>);
  if (width <= 8) return run(bpr_epoch<8>);
  return run(bpr_epoch<16>);
}

}  // namespace detail

void bpr(const CsrView& interactions, const BprOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, float* item_bias, const BprMonitor& after_epoch, Stream stream) {
  const std::int64_t f = user_factors.cols();
  detail::check_options(options, f);
  check_structure(interactions, "interactions");
  check_sorted(interactions, "interactions");
  const std::int64_t nnz = interactions.nnz();
  if (nnz == 0) {
    throw DataError("interactions must hold at least one stored entry, got none; there is nothing to learn");
  }
  std::vector<std::int32_t> user_of(static_cast<std::size_t>(nnz));
  for (std::int64_t user = 0; user < interactions.rows(); ++user) {
    std::fill(user_of.begin() + interactions.begin(user), user_of.begin() + interactions.end(user),
              static_cast<std::int32_t>(user));
  }
  const auto indptr = cuda::upload(interactions.indptr.data(), std::ssize(interactions.indptr), stream);
  const auto items = cuda::upload(interactions.indices.data(), nnz, stream);
  const auto users = cuda::upload(user_of.data(), nnz, stream);
  detail::start_factors(user_factors, options.seed, 1, stream);
  detail::start_factors(item_factors, options.seed, 2, stream);
  check(cudaMemsetAsync(item_bias, 0, static_cast<std::size_t>(interactions.cols) * sizeof(float), stream.handle),
        "clearing device memory");

  DeviceBuffer<double> device_loss(1, stream);
  DeviceBuffer<unsigned long long> device_triples(1, stream);
  DeviceBuffer<std::int32_t> bad(1, stream);
  bad.set_bytes(0, stream);
  const auto diverged = [&](std::int64_t epoch) {
    return ConfigError("learning_rate must keep the factors finite, but they diverged in epoch " +
                       std::to_string(epoch) + "; lower it, got " + std::to_string(options.learning_rate));
  };
  std::int64_t last_epoch = 0;
  for (std::int64_t epoch = 0; epoch < options.n_epochs; ++epoch) {
    const std::uint64_t key = mix_bits(options.seed + static_cast<std::uint64_t>(epoch) * golden_gamma);
    device_loss.set_bytes(0, stream);
    device_triples.set_bytes(0, stream);
    detail::launch_epoch(
        {indptr.data(), items.data(), users.data(), interactions.cols,
         Permutation::of(static_cast<std::uint64_t>(nnz), mix_bits(key + 1)), mix_bits(key + 2), options.learning_rate,
         options.regularization, static_cast<std::int32_t>(f), user_factors.data(), item_factors.data(), item_bias,
         device_loss.data(), device_triples.data()},
        stream);
    const auto n_triples = static_cast<double>(download(device_triples, stream)[0]);
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (n_triples > 0) {
      loss = download(device_loss, stream)[0] / n_triples;
      if (!std::isfinite(loss)) throw diverged(epoch);
    }
    last_epoch = epoch;
    if (after_epoch && after_epoch(epoch, loss)) break;
  }
  // A loss is taken before its step, so the last steps show in no loss.
  const auto look = [&](const float* values, std::int64_t n) {
    launch("find_nonfinite", detail::find_nonfinite, blocks(divide_up(n, 256)), 256, 0, stream, values, n, bad.data());
  };
  look(user_factors.data(), user_factors.size());
  look(item_factors.data(), item_factors.size());
  look(item_bias, interactions.cols);
  if (download(bad, stream)[0] != 0) throw diverged(last_epoch);
}

}  // namespace recsys::cuda
