// The order of the kernels of ALS.
#pragma once

#include <cstring>
#include <limits>

#include "cuda/als.hpp"
#include "cuda/als_objective.cuh"
#include "cuda/exact_sweep.cuh"
#include "recsys/random.hpp"
#include "recsys/sparse.hpp"

namespace recsys::cuda {
namespace detail {

class AlsRun {
 public:
  AlsRun(const CsrView& interactions, const CsrView& transposed, const AlsOptions& options, AlsSolver solver,
         const FactorRows& user_factors, const FactorRows& item_factors, const AlsTuning& tuning, Stream stream)
      : options_(options),
        solver_(solver),
        mixed_(tuning.mixed_precision),
        f_(user_factors.f),
        stream_(stream),
        weights_{1.0F - options.unobserved_weight, options.alpha, 1.0F, options.alpha},
        users_("user", interactions, user_factors, options),
        items_("item", transposed, item_factors, options),
        host_{user_factors, item_factors},
        lane_(tuning.staging_bytes) {
    const auto room = static_cast<std::int64_t>(tuning.memory_share * static_cast<double>(free_memory()));
    const std::int64_t both = 4 * f_ * (users_.factors.n + items_.factors.n);
    if (!user_factors.on_device) {
      if (both <= room / 2) {
        bring_factors();
      } else {
        pinned_users_ = PinnedMemory(user_factors.data, bytes_of(user_factors));
        pinned_items_ = PinnedMemory(item_factors.data, bytes_of(item_factors));
        users_.factors.pinned = pinned_users_.is_pinned();
        items_.factors.pinned = pinned_items_.is_pinned();
      }
    }
    const AlsPlan plan = plan_als(interactions, transposed, users_.factors, items_.factors,
                                  {solver, options.block_size, mixed_}, room - (copies_.empty() ? 0 : both));
    users_.plan = plan.users;
    items_.plan = plan.items;
    users_.given_tile = plan.items.tile;
    items_.given_tile = plan.users.tile;
    keeps_ = plan.keeps_interactions;
    for (AlsSide* side : {&users_, &items_}) side->gram = DeviceBuffer<double>(f_ * f_, stream);
    prior_ = DeviceBuffer<float>(f_ * f_, stream);
    failed_ = DeviceBuffer<std::int32_t>(1, stream);
    begin();
  }

  void iterate(bool first) {
    sweep(users_, items_);
    multiply(users_);
    if (first) clear_empty_rows(items_);
    sweep(items_, users_);
    multiply(items_);
  }

  // The objective by the identity sum_{all u,i} (x_u . y_i)^2 = <X^T X, Y^T Y>, corrected for the stored cells.
  double objective() {
    double loss = 0;
    FactorTiles tiles(items_.factors, items_.given_tile, nullptr, lane_, stream_);
    for (std::size_t b = 0; b < users_.plan.batches.size(); ++b) {
      const RowBatch batch(users_, b, tiles, 0.0F, keeps_, stream_);
      const LoadedRows x(users_.factors, batch.rows(), true, stream_);
      DeviceBuffer<double> losses(batch.rows().size(), stream_);
      tiles.for_each([&](std::int64_t t, const float* factors) {
        const RowBlock& block = batch.block(t);
        launch_stored_loss(
            {block.indptr.data(), block.columns.data(), block.values.data(), batch.rows().size(), x.data(), factors,
             static_cast<std::int32_t>(f_), options_.alpha, options_.unobserved_weight, t == 0, losses.data()},
            stream_);
      });
      for (const double part : download(losses, stream_)) loss += part;
    }
    const std::vector<double> xtx = download(users_.gram, stream_);
    const std::vector<double> yty = download(items_.gram, stream_);
    for (std::size_t i = 0; i < xtx.size(); ++i) {
      loss += static_cast<double>(options_.unobserved_weight) * xtx[i] * yty[i];
    }
    return loss + penalty(users_, xtx) + penalty(items_, yty);
  }

  // Writes the factors to the caller's arrays, where those lie on the host.  Waits for the stream.
  void write_factors() {
    if (!copies_.empty()) {
      copies_[0].download(host_[0].data, stream_);
      copies_[1].download(host_[1].data, stream_);
    }
    stream_.synchronize();
  }

 private:
  [[nodiscard]] static std::size_t bytes_of(const FactorRows& factors) {
    return static_cast<std::size_t>(factors.n * factors.f) * sizeof(float);
  }

  // Works on copies of factors that lie on the host.
  void bring_factors() {
    for (AlsSide* side : {&users_, &items_}) {
      copies_.emplace_back(side->factors.n * f_, stream_);
      if (options_.warm_start) copies_.back().upload(side->factors.data, stream_);
      side->factors.data = copies_.back().data();
      side->factors.on_device = true;
    }
    stream_.synchronize();
  }

  void begin() {
    if (!options_.warm_start) {
      std::vector<float> packed(items_.factors.on_device ? static_cast<std::size_t>(items_.factors.n * f_) : 0);
      float* const start = items_.factors.on_device ? packed.data() : items_.factors.data;
      fill_start(start, items_.factors.n, f_, f_, options_.seed, 0);
      if (items_.factors.on_device) {
        check(cudaMemcpyAsync(items_.factors.data, start, bytes_of(items_.factors), cudaMemcpyHostToDevice,
                              stream_.handle),
              "copying to the device");
      }
      stream_.synchronize();
      clear_rows(users_.factors, {0, users_.factors.n});
    }
    clear_empty_rows(users_);
    multiply(items_);
  }

  void clear_rows(const FactorRows& factors, const Range& rows) {
    if (rows.size() == 0) return;
    float* const first = factors.data + rows.first * f_;
    const std::size_t bytes = static_cast<std::size_t>(rows.size() * f_) * sizeof(float);
    if (factors.on_device) {
      check(cudaMemsetAsync(first, 0, bytes, stream_.handle), "clearing device memory");
    } else {
      std::memset(first, 0, bytes);
    }
  }

  // Rows without entries are solved by zero, which no half-sweep writes.
  void clear_empty_rows(const AlsSide& side) {
    for (std::int64_t row = 0; row < side.rows.rows(); ++row) {
      std::int64_t last = row;
      while (last < side.rows.rows() && side.rows.row_size(last) == 0) ++last;
      clear_rows(side.factors, {row, last});
      row = last;
    }
  }

  void multiply(AlsSide& side) {
    FactorTiles tiles(side.factors, side.given_tile, nullptr, lane_, stream_);
    tiles.for_each([&](std::int64_t t, const float* factors) {
      add_gram(factors, tiles.range(t).size(), f_, t > 0, side.gram.data(), stream_);
    });
  }

  double penalty(AlsSide& side, const std::vector<double>& gram) {
    double sum = 0;
    if (side.lambdas.own.empty()) {
      for (std::size_t i = 0; i < gram.size(); i += static_cast<std::size_t>(f_) + 1) sum += gram[i];
      return sum * side.lambdas.shared;
    }
    for (const Range& rows : side.plan.batches) {
      const LoadedRows x(side.factors, rows, true, stream_);
      const std::vector<float> own = side.lambdas.ridges(rows, 0.0F);
      const DeviceBuffer<float> lambdas = cuda::upload(own.data(), std::ssize(own), stream_);
      sum += sum_penalties(x.data(), rows.size(), f_, lambdas.data(), stream_);
    }
    return sum;
  }

  void sweep(AlsSide& solved, const AlsSide& given) {
    if (solver_ == AlsSolver::cholesky) {
      sweep_exactly(solved, given);
    } else {
      sweep_in_white(solved, given);
    }
  }

  void sweep_exactly(AlsSide& solved, const AlsSide& given) {
    make_prior_on_device(given.gram.data(), f_, options_.unobserved_weight,
                         solved.lambdas.own.empty() ? options_.regularization : 0.0F, prior_.data(), stream_);
    FactorTiles tiles(given.factors, given.given_tile, nullptr, lane_, stream_);
    failed_.set_bytes(0x7F, stream_);
    for (std::size_t b = 0; b < solved.plan.batches.size(); ++b) {
      const RowBatch batch(solved, b, tiles, 0.0F, keeps_, stream_);
      const LoadedRows x(solved.factors, batch.rows(), false, stream_);
      ExactBatch(batch, tiles, f_, prior_.data(), weights_, x.data(), failed_.data(), stream_).solve(mixed_);
      x.store(stream_);
    }
    const std::int32_t failed = download(failed_, stream_)[0];
    if (failed == none_failed) return;
    throw_singular("the system of " + std::string(solved.name) + " " + std::to_string(failed));
  }

  // By conjugate gradients or blocks of coordinates, in coordinates where what all rows share is the identity.
  void sweep_in_white(AlsSide& solved, const AlsSide& given) {
    const double lambda = solved.lambdas.shared;
    std::vector<double> shared = download(given.gram, stream_);
    for (double& entry : shared) entry *= static_cast<double>(options_.unobserved_weight);
    for (std::size_t i = 0; i < shared.size(); i += static_cast<std::size_t>(f_) + 1) shared[i] += lambda;
    const auto on_host = recsys::detail::Whitening::of(shared, f_);
    if (!on_host) {
      throw_singular(std::string("the matrix that all ") + solved.name +
                     "s share, the other side's Gram matrix plus regularization,");
    }
    const DeviceWhitening whitening(*on_host, !solved.lambdas.own.empty(), stream_);
    FactorTiles tiles(given.factors, given.given_tile, &whitening, lane_, stream_);
    for (std::size_t b = 0; b < solved.plan.batches.size(); ++b) {
      const RowBatch batch(solved, b, tiles, static_cast<float>(lambda), keeps_, stream_);
      const LoadedRows x(solved.factors, batch.rows(), true, stream_);
      const std::int64_t n = batch.rows().size();
      const DeviceBuffer<float> inside(n * f_, stream_);
      whitening.enter(x.data(), n, inside.data(), stream_);
      if (solver_ == AlsSolver::subspace) {
        tiles.for_each([&](std::int64_t, const float* z) {  // all in one
          subspace_on_device(batch.block(0), z, n, f_, whitening, batch.ridges(), weights_, options_.block_size,
                             inside.data(), stream_);
        });
      } else {
        const auto add_entries = [&](bool of_residual, const float* in, float* out) {
          tiles.for_each([&](std::int64_t t, const float* z) {
            const RowBlock& block = batch.block(t);
            add_cg_entries(block, block.n_long, z, f_, weights_, of_residual, in, out, stream_);
          });
        };
        cg_on_device(whitening, n, f_, batch.ridges(), options_.n_cg_steps, inside.data(), add_entries, stream_);
      }
      whitening.leave(inside.data(), n, x.data(), stream_);
      x.store(stream_);
    }
  }

  [[noreturn]] void throw_singular(const std::string& what) const {
    throw DataError(what + " must be positive definite in float32, but is not; raise regularization, got " +
                    std::to_string(options_.regularization));
  }

  AlsOptions options_;
  AlsSolver solver_;
  bool mixed_;
  std::int64_t f_;
  Stream stream_;
  RowWeights weights_;
  std::vector<DeviceBuffer<float>> copies_;  // of the caller's factors
  PinnedMemory pinned_users_;
  PinnedMemory pinned_items_;
  AlsSide users_;
  AlsSide items_;
  FactorRows host_[2];  // the caller's
  UploadLane lane_;
  bool keeps_ = false;
  DeviceBuffer<float> prior_;
  DeviceBuffer<std::int32_t> failed_;
};

}  // namespace detail

void als(const CsrView& interactions, const AlsOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, bool factors_on_device, const AlsMonitor& monitor, Stream stream,
         const AlsTuning& tuning) {
  const std::int64_t f = user_factors.cols();
  detail::check_options(options, f);
  const AlsSolver solver = detail::resolve_solver_for_device(options.solver, f, options.block_size);
  check_structure(interactions, "interactions");
  check_sorted(interactions, "interactions");
  check_finite(interactions, "interactions");
  check_weights(interactions, "interactions");
  const CsrMatrix transposed = transpose(interactions);
  detail::AlsRun run(interactions, transposed.view(), options, solver,
                     {user_factors.data(), user_factors.rows(), f, factors_on_device},
                     {item_factors.data(), item_factors.rows(), f, factors_on_device}, tuning, stream);
  double before = std::numeric_limits<double>::infinity();
  for (std::int64_t iteration = 0; iteration < options.n_iterations; ++iteration) {
    run.iterate(iteration == 0);
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (monitor.wants_loss || options.tolerance > 0.0) loss = run.objective();
    if (monitor.wants_factors) run.write_factors();
    stream.synchronize();
    if (monitor.after_iteration && monitor.after_iteration(iteration, loss)) break;
    if (before - loss < options.tolerance * before) break;
    before = loss;
  }
  run.write_factors();
}

}  // namespace recsys::cuda
