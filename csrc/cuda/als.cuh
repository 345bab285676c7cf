// The order of the kernels of ALS and fold-in.
#pragma once

#include <limits>

#include "cuda/als.hpp"
#include "cuda/conjugate_gradients.cuh"
#include "recsys/padded_matrix.hpp"
#include "recsys/random.hpp"
#include "recsys/sparse.hpp"

namespace recsys::cuda {

// One warp a row: sum_k (1 + alpha r_k) (1 - s_k)^2 - s_k^2 with s_k = x . y_k, in float64 beyond the products.
__global__ void stored_loss(const std::int64_t* indptr, const std::int32_t* columns, const float* values,
                            std::int64_t n_rows, const float* x, const float* factors, int f, float alpha,
                            double* losses) {
  const std::int64_t row = global_thread() / warp_size;
  if (row >= n_rows) return;
  double loss = 0;
  for (std::int64_t k = indptr[row]; k < indptr[row + 1]; ++k) {
    const float* const y = factors + static_cast<std::int64_t>(columns[k]) * f;
    float sum = 0;
    for (int c = lane_index(); c < f; c += warp_size) sum = __fmaf_rn(x[row * f + c], y[c], sum);
    const double score = static_cast<double>(warp_sum(sum));
    const double confidence = 1 + static_cast<double>(alpha) * static_cast<double>(values[k]);
    loss += confidence * (1 - score) * (1 - score) - score * score;
  }
  if (lane_index() == 0) losses[row] = loss;
}

namespace detail {

// One side of the factorization on the device.
struct AlsSide {
  const char* name;
  std::int64_t n_long;  // rows at the front of the order that are long for cg
  DeviceRows rows;
  float* factors;  // [n, f]
  std::int64_t n;
  DeviceBuffer<double> gram;  // of the factors
  DeviceBuffer<float> prior;  // gram + lambda I

  AlsSide(const char* side, const CsrView& csr, std::vector<std::int32_t> order, MatrixView<float> out, Stream stream)
      : name(side),
        n_long(std::count_if(order.begin(), order.end(),
                             [&](std::int32_t row) { return csr.row_size(row) >= CgShape::long_row; })),
        rows(csr, order, stream),
        factors(out.data()),
        n(out.rows()),
        gram(out.cols() * out.cols(), stream),
        prior(out.cols() * out.cols(), stream) {}
};

inline void check_options(const AlsOptions& options, std::int64_t f) {
  if (f < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(f));
  if (!(options.regularization >= 0.0F)) {
    throw ConfigError("regularization must be 0 or more, got " + std::to_string(options.regularization));
  }
  if (!(options.alpha >= 0.0F)) throw ConfigError("alpha must be 0 or more, got " + std::to_string(options.alpha));
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
        users_("user", interactions, longest_first(interactions), user_factors, stream),
        items_("item", transposed, longest_first(transposed), item_factors, stream),
        failed_(1, stream) {
    PaddedMatrix start(items_.n, f_);
    fill_start(start, options.seed, 0);
    std::vector<float> packed(static_cast<std::size_t>(items_.n * f_));
    start.copy_to({packed.data(), items_.n, f_});
    copy_in(packed, items_);
    // Rows without entries are solved by zero, which no half-sweep writes.
    std::fill(packed.begin(), packed.end(), 0.0F);
    packed.resize(static_cast<std::size_t>(users_.n * f_));
    copy_in(packed, users_);
    multiply(items_);
  }

  void iterate(bool first, const CsrView& transposed) {
    sweep(users_, items_);
    multiply(users_);
    if (first) clear_empty_items(transposed);
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
             items_.factors, static_cast<int>(f_), options_.alpha, losses.data());
    }
    double loss = 0;
    for (const double part : download(losses, stream_)) loss += part;
    const std::vector<double> xtx = download(users_.gram, stream_);
    const std::vector<double> yty = download(items_.gram, stream_);
    double squares = 0;
    for (std::size_t i = 0; i < xtx.size(); ++i) loss += xtx[i] * yty[i];
    for (std::size_t i = 0; i < xtx.size(); i += static_cast<std::size_t>(f_) + 1) squares += xtx[i] + yty[i];
    return loss + static_cast<double>(options_.regularization) * squares;
  }

 private:
  void copy_in(const std::vector<float>& from, const AlsSide& to) {
    check(cudaMemcpyAsync(to.factors, from.data(), from.size() * sizeof(float), cudaMemcpyHostToDevice, stream_.handle),
          "copying to the device");
    stream_.synchronize();
  }

  void multiply(AlsSide& side) {
    compute_gram(side.factors, side.n, f_, options_.regularization, side.gram.data(), side.prior.data(), stream_);
  }

  void clear_empty_items(const CsrView& transposed) {
    for (std::int64_t item = 0; item < transposed.rows(); ++item) {
      std::int64_t last = item;
      while (last < transposed.rows() && transposed.row_size(last) == 0) ++last;
      if (last == item) continue;
      check(cudaMemsetAsync(items_.factors + item * f_, 0, static_cast<std::size_t>((last - item) * f_) * sizeof(float),
                            stream_.handle),
            "clearing device memory");
      item = last;
    }
  }

  void sweep(AlsSide& solved, const AlsSide& given) {
    if (solver_ == AlsSolver::cg) {
      cg_on_device(solved.rows, solved.n_long, given.factors, f_, given.prior.data(), options_.alpha,
                   options_.n_cg_steps, solved.factors, stream_);
      return;
    }
    failed_.set_bytes(0x7F, stream_);
    const RowWeights weights{0.0F, options_.alpha, 1.0F, options_.alpha};
    solve_rows_on_device(solved.rows, given.factors, f_, given.prior.data(), weights, nullptr, solved.factors,
                         failed_.data(), stream_);
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
  for (std::int64_t iteration = 0; iteration < options.n_iterations; ++iteration) {
    run.iterate(iteration == 0, transposed.view());
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (monitor.wants_loss) loss = run.objective();
    stream.synchronize();
    if (monitor.after_iteration && monitor.after_iteration(iteration, loss)) break;
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
    compute_gram(factors.data(), factors.rows(), f, ridge, gram.data(), computed_prior.data(), stream);
    prior = computed_prior.data();
  }
  if (out.size() > 0) {
    check(cudaMemsetAsync(out.data(), 0, static_cast<std::size_t>(out.size()) * sizeof(float), stream.handle),
          "clearing device memory");
  }
  DeviceBuffer<std::int32_t> failed(1, stream);
  failed.set_bytes(0x7F, stream);
  const DeviceRows rows(histories, detail::longest_first(histories), stream);
  solve_rows_on_device(rows, factors.data(), f, prior, weights, item_offset, out.data(), failed.data(), stream);
  const std::int32_t lowest = download(failed, stream)[0];
  if (lowest == 0x7F7F7F7F) return;
  throw DataError("the system of row " + std::to_string(lowest) +
                  " of histories must be positive definite in float32, but a pivot is not; raise the regularization "
                  "(the diagonal of prior)");
}

}  // namespace recsys::cuda
