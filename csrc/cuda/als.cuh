// The order of the kernels of ALS and fold-in.
#pragma once

#include <cmath>
#include <limits>

#include "cuda/als.hpp"
#include "cuda/conjugate_gradients.cuh"
#include "recsys/random.hpp"
#include "recsys/sparse.hpp"

namespace recsys::cuda {

// One warp a row: sum_k (1 + alpha r_k) (1 - s_k)^2 - w s_k^2 with s_k = x . y_k, in float64 beyond the products; w is
// the weight of the cells that are not stored.
__global__ void stored_loss(const std::int64_t* indptr, const std::int32_t* columns, const float* values,
                            std::int64_t n_rows, const float* x, const float* factors, int f, float alpha,
                            float unobserved_weight, double* losses) {
  const std::int64_t row = global_thread() / warp_size;
  if (row >= n_rows) return;
  double loss = 0;
  for (std::int64_t k = indptr[row]; k < indptr[row + 1]; ++k) {
    const float* const y = factors + static_cast<std::int64_t>(columns[k]) * f;
    float sum = 0;
    for (int c = lane_index(); c < f; c += warp_size) sum = __fmaf_rn(x[row * f + c], y[c], sum);
    const double score = static_cast<double>(warp_sum(sum));
    const double confidence = 1 + static_cast<double>(alpha) * static_cast<double>(values[k]);
    loss += confidence * (1 - score) * (1 - score) - static_cast<double>(unobserved_weight) * score * score;
  }
  if (lane_index() == 0) losses[row] = loss;
}

// One warp a row: its own lambda times the square of its length.
__global__ void row_penalties(const float* x, std::int64_t n_rows, int f, const float* lambdas, double* penalties) {
  const std::int64_t row = global_thread() / warp_size;
  if (row >= n_rows) return;
  double sum = 0;
  for (int c = lane_index(); c < f; c += warp_size) {
    const auto value = static_cast<double>(x[row * f + c]);
    sum += value * value;
  }
  sum = warp_sum(sum);
  if (lane_index() == 0) penalties[row] = static_cast<double>(lambdas[row]) * sum;
}

namespace detail {

// One side of the factorization on the device.
struct AlsSide {
  const char* name;
  std::int64_t n_long;  // rows at the front of the order that are long for cg
  DeviceRows rows;
  float* factors;  // [n, f]
  std::int64_t n;
  DeviceBuffer<float> lambdas;  // of each row; empty where all are the same
  DeviceBuffer<double> gram;    // of the factors
  DeviceBuffer<float> prior;    // w gram + lambda I, the latter where it is the same for all rows

  AlsSide(const char* side, const CsrView& csr, std::vector<std::int32_t> order, MatrixView<float> out,
          const std::vector<float>& own_lambdas, Stream stream)
      : name(side),
        n_long(std::count_if(order.begin(), order.end(),
                             [&](std::int32_t row) { return csr.row_size(row) >= CgShape::long_row; })),
        rows(csr, order, stream),
        factors(out.data()),
        n(out.rows()),
        lambdas(std::ssize(own_lambdas), stream),
        gram(out.cols() * out.cols(), stream),
        prior(out.cols() * out.cols(), stream) {
    if (own_lambdas.empty()) return;
    lambdas.upload(own_lambdas.data(), stream);
    stream.synchronize();  // they are read until then
  }
};

// lambda (n + w n_columns)^nu of each row of n entries, or nothing where nu is 0.
inline std::vector<float> row_lambdas(const CsrView& rows, const AlsOptions& options) {
  std::vector<float> lambdas;
  if (options.regularization_exponent == 0.0F) return lambdas;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    const double weight = static_cast<double>(rows.row_size(row)) +
                          static_cast<double>(options.unobserved_weight) * static_cast<double>(rows.cols);
    lambdas.push_back(static_cast<float>(static_cast<double>(options.regularization) *
                                         std::pow(weight, static_cast<double>(options.regularization_exponent))));
  }
  return lambdas;
}

inline void check_options(const AlsOptions& options, std::int64_t f) {
  const auto at_least_zero = [](float value, const char* name) {
    if (!(value >= 0.0F)) throw ConfigError(std::string(name) + " must be 0 or more, got " + std::to_string(value));
  };
  if (f < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(f));
  at_least_zero(options.regularization, "regularization");
  at_least_zero(options.regularization_exponent, "regularization_exponent");
  at_least_zero(options.alpha, "alpha");
  if (!(options.unobserved_weight >= 0.0F && options.unobserved_weight <= 1.0F)) {
    throw ConfigError("unobserved_weight must lie in [0, 1], got " + std::to_string(options.unobserved_weight));
  }
  if (options.solver == AlsSolver::subspace) throw ConfigError("solver must be cholesky or cg on a device");
  if (options.n_iterations < 1) {
    throw ConfigError("n_iterations must be 1 or more, got " + std::to_string(options.n_iterations));
  }
}

// What `automatic` becomes, given that it fits.
inline AlsSolver resolve_solver_for_device(AlsSolver solver, std::int64_t f) {
  const std::int64_t widest = widest_system();
  if (solver == AlsSolver::automatic) solver = f <= widest ? AlsSolver::cholesky : AlsSolver::cg;
  if (solver == AlsSolver::cholesky && f > widest) {
    throw ConfigError("n_factors must be at most " + std::to_string(widest) +
                      " for solver \"cholesky\" on this device, whose shared memory holds a row's system, got " +
                      std::to_string(f) + "; take solver \"cg\"");
  }
  if (solver == AlsSolver::cg && f > CgShape::widest) {
    throw ConfigError("n_factors must be at most " + std::to_string(CgShape::widest) + " on a device, got " +
                      std::to_string(f));
  }
  return solver;
}

class AlsRun {
 public:
  AlsRun(const CsrView& interactions, const CsrView& transposed, const AlsOptions& options, AlsSolver solver,
         MatrixView<float> user_factors, MatrixView<float> item_factors, Stream stream)
      : options_(options),
        solver_(solver),
        f_(user_factors.cols()),
        stream_(stream),
        weights_{1.0F - options.unobserved_weight, options.alpha, 1.0F, options.alpha},
        users_("user", interactions, longest_first(interactions), user_factors, row_lambdas(interactions, options),
               stream),
        items_("item", transposed, longest_first(transposed), item_factors, row_lambdas(transposed, options), stream),
        failed_(1, stream) {
    if (!options.warm_start) {
      std::vector<float> start(static_cast<std::size_t>(items_.n * f_));
      fill_start(start.data(), items_.n, f_, f_, options.seed, 0);
      check(cudaMemcpyAsync(items_.factors, start.data(), start.size() * sizeof(float), cudaMemcpyHostToDevice,
                            stream_.handle),
            "copying to the device");
      stream_.synchronize();
      clear_rows(users_, 0, users_.n);
    }
    clear_empty_rows(users_, interactions);
    multiply(items_);
  }

  void iterate(bool first, const CsrView& transposed) {
    sweep(users_, items_);
    multiply(users_);
    if (first) clear_empty_rows(items_, transposed);
    sweep(items_, users_);
    multiply(items_);
  }

  // The objective by the identity sum_{all u,i} (x_u . y_i)^2 = <X^T X, Y^T Y>, corrected for the stored cells.
  double objective() {
    DeviceBuffer<double> losses(users_.n, stream_);
    constexpr int n_threads = 128;
    if (users_.n > 0) {
      launch("stored_loss", stored_loss, blocks(divide_up(users_.n * warp_size, n_threads)), n_threads, 0, stream_,
             users_.rows.indptr.data(), users_.rows.columns.data(), users_.rows.values.data(), users_.n, users_.factors,
             items_.factors, static_cast<int>(f_), options_.alpha, options_.unobserved_weight, losses.data());
    }
    double loss = 0;
    for (const double part : download(losses, stream_)) loss += part;
    const std::vector<double> xtx = download(users_.gram, stream_);
    const std::vector<double> yty = download(items_.gram, stream_);
    for (std::size_t i = 0; i < xtx.size(); ++i) {
      loss += static_cast<double>(options_.unobserved_weight) * xtx[i] * yty[i];
    }
    return loss + penalty(users_, xtx) + penalty(items_, yty);
  }

 private:
  double penalty(const AlsSide& side, const std::vector<double>& gram) {
    double sum = 0;
    if (side.lambdas.size() == 0) {
      for (std::size_t i = 0; i < gram.size(); i += static_cast<std::size_t>(f_) + 1) sum += gram[i];
      return sum * static_cast<double>(options_.regularization);
    }
    DeviceBuffer<double> penalties(side.n, stream_);
    constexpr int n_threads = 128;
    launch("row_penalties", row_penalties, blocks(divide_up(side.n * warp_size, n_threads)), n_threads, 0, stream_,
           side.factors, side.n, static_cast<int>(f_), side.lambdas.data(), penalties.data());
    for (const double part : download(penalties, stream_)) sum += part;
    return sum;
  }

  void multiply(AlsSide& side) {
    const float ridge = side.lambdas.size() == 0 ? options_.regularization : 0.0F;
    compute_gram(side.factors, side.n, f_, options_.unobserved_weight, ridge, side.gram.data(), side.prior.data(),
                 stream_);
  }

  void clear_rows(const AlsSide& side, std::int64_t first, std::int64_t last) {
    if (first == last) return;
    check(cudaMemsetAsync(side.factors + first * f_, 0, static_cast<std::size_t>((last - first) * f_) * sizeof(float),
                          stream_.handle),
          "clearing device memory");
  }

  // Rows without entries are solved by zero, which no half-sweep writes.
  void clear_empty_rows(const AlsSide& side, const CsrView& rows) {
    for (std::int64_t row = 0; row < rows.rows(); ++row) {
      std::int64_t last = row;
      while (last < rows.rows() && rows.row_size(last) == 0) ++last;
      clear_rows(side, row, last);
      row = last;
    }
  }

  void sweep(AlsSide& solved, const AlsSide& given) {
    if (solver_ == AlsSolver::cg) {
      cg_on_device(solved.rows, solved.n_long, given.factors, f_, given.prior.data(), solved.lambdas.data(), weights_,
                   options_.n_cg_steps, solved.factors, stream_);
      return;
    }
    failed_.set_bytes(0x7F, stream_);
    solve_rows_on_device(solved.rows, given.factors, f_, given.prior.data(), solved.lambdas.data(), weights_, nullptr,
                         solved.factors, failed_.data(), stream_);
    const std::int32_t failed = download(failed_, stream_)[0];
    if (failed == none_failed) return;
    throw DataError("the system of " + std::string(solved.name) + " " + std::to_string(failed) +
                    " must be positive definite in float32, but a pivot is not; raise regularization, got " +
                    std::to_string(options_.regularization));
  }

  static constexpr std::int32_t none_failed = 0x7F7F7F7F;

  AlsOptions options_;
  AlsSolver solver_;
  std::int64_t f_;
  Stream stream_;
  RowWeights weights_;
  AlsSide users_;
  AlsSide items_;
  DeviceBuffer<std::int32_t> failed_;
};

}  // namespace detail

void als(const CsrView& interactions, const AlsOptions& options, MatrixView<float> user_factors,
         MatrixView<float> item_factors, const AlsMonitor& monitor, Stream stream) {
  const std::int64_t f = user_factors.cols();
  detail::check_options(options, f);
  const AlsSolver solver = detail::resolve_solver_for_device(options.solver, f);
  check_structure(interactions, "interactions");
  check_finite(interactions, "interactions");
  check_weights(interactions, "interactions");
  const CsrMatrix transposed = transpose(interactions);
  detail::AlsRun run(interactions, transposed.view(), options, solver, user_factors, item_factors, stream);
  double before = std::numeric_limits<double>::infinity();
  for (std::int64_t iteration = 0; iteration < options.n_iterations; ++iteration) {
    run.iterate(iteration == 0, transposed.view());
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (monitor.wants_loss || options.tolerance > 0.0) loss = run.objective();
    stream.synchronize();
    if (monitor.after_iteration && monitor.after_iteration(iteration, loss)) break;
    if (before - loss < options.tolerance * before) break;
    before = loss;
  }
}

void solve_rows(const CsrView& histories, MatrixView<const float> factors, const float* prior, float ridge,
                const RowWeights& weights, const float* item_offset, MatrixView<float> out, Stream stream) {
  const std::int64_t f = factors.cols();
  if (f < 1) throw ShapeError("item_factors must have at least one column, got 0");
  if (histories.cols != factors.rows()) {
    throw ShapeError("histories must have one column for each row of item_factors, got " +
                     std::to_string(histories.cols) + " columns and " + std::to_string(factors.rows()) + " rows");
  }
  (void)detail::resolve_solver_for_device(AlsSolver::cholesky, f);
  check_structure(histories, "histories");
  check_finite(histories, "histories");
  DeviceBuffer<double> gram;
  DeviceBuffer<float> computed_prior;
  if (prior == nullptr) {
    gram = DeviceBuffer<double>(f * f, stream);
    computed_prior = DeviceBuffer<float>(f * f, stream);
    compute_gram(factors.data(), factors.rows(), f, 1.0F, ridge, gram.data(), computed_prior.data(), stream);
    prior = computed_prior.data();
  }
  if (out.size() > 0) {
    check(cudaMemsetAsync(out.data(), 0, static_cast<std::size_t>(out.size()) * sizeof(float), stream.handle),
          "clearing device memory");
  }
  DeviceBuffer<std::int32_t> failed(1, stream);
  failed.set_bytes(0x7F, stream);
  const DeviceRows rows(histories, detail::longest_first(histories), stream);
  solve_rows_on_device(rows, factors.data(), f, prior, nullptr, weights, item_offset, out.data(), failed.data(),
                       stream);
  const std::int32_t lowest = download(failed, stream)[0];
  if (lowest == 0x7F7F7F7F) return;
  throw DataError("the system of row " + std::to_string(lowest) +
                  " of histories must be positive definite in float32, but a pivot is not; raise the regularization "
                  "(the diagonal of prior)");
}

}  // namespace recsys::cuda
