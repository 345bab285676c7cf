#include "recsys/als.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "cpu/als_rows.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/row_systems.hpp"
#include "recsys/random.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

using detail::Strided;

// One side of the factorization: whose rows are solved, in which order, and their vectors.
//
// Vectors whose length is a multiple of 16 are worked on where the caller keeps them, others in a padded copy.
class Side {
 public:
  Side(const char* name, const CsrView& rows, MatrixView<float> out, const AlsOptions& options, AlsSolver solver)
      : name(name), rows(rows), out_(out) {
    const std::int64_t f = out.cols();
    if (f % 16 != 0) padded_.emplace(out.rows(), f);
    if (options.regularization_exponent != 0.0F) {
      lambdas.resize(static_cast<std::size_t>(rows.rows()));
      for (std::int64_t row = 0; row < rows.rows(); ++row) {
        const double weight = static_cast<double>(rows.row_size(row)) +
                              static_cast<double>(options.unobserved_weight) * static_cast<double>(rows.cols);
        lambdas[static_cast<std::size_t>(row)] =
            static_cast<float>(static_cast<double>(options.regularization) *
                               std::pow(weight, static_cast<double>(options.regularization_exponent)));
      }
    }
    plan = solver == AlsSolver::cholesky ? detail::plan_rows(rows, f, lambdas.empty())
                                         : detail::plan_iterative_rows(rows, f);
  }

  [[nodiscard]] float* data() { return padded_ ? padded_->data() : out_.data(); }
  [[nodiscard]] std::int64_t ld() const { return padded_ ? padded_->ld() : out_.cols(); }
  [[nodiscard]] Strided vectors() { return {data(), out_.rows(), out_.cols(), ld()}; }

  void read() {
    if (!padded_) return;
    for (std::int64_t r = 0; r < out_.rows(); ++r) {
      std::memcpy(padded_->row(r), out_.row(r), static_cast<std::size_t>(out_.cols()) * sizeof(float));
    }
  }
  void write() {
    if (padded_) padded_->copy_to(out_);
  }
  void clear_empty_rows() {
    for (std::int64_t r = 0; r < rows.rows(); ++r) {
      if (rows.row_size(r) == 0) std::memset(data() + r * ld(), 0, static_cast<std::size_t>(ld()) * sizeof(float));
    }
  }
  [[nodiscard]] double lambda_of(std::int64_t row, const AlsOptions& options) const {
    return static_cast<double>(lambdas.empty() ? options.regularization : lambdas[static_cast<std::size_t>(row)]);
  }

  const char* name;
  CsrView rows;
  detail::RowPlan plan;
  std::vector<float> lambdas;  // of each row, or empty where all are the same

 private:
  MatrixView<float> out_;
  std::optional<PaddedMatrix> padded_;
};

void check_options(const AlsOptions& options) {
  const auto at_least_zero = [](float value, const char* name) {
    if (!(value >= 0.0F)) throw ConfigError(std::string(name) + " must be 0 or more, got " + std::to_string(value));
  };
  at_least_zero(options.regularization, "regularization");
  at_least_zero(options.regularization_exponent, "regularization_exponent");
  at_least_zero(options.alpha, "alpha");
  if (!(options.unobserved_weight >= 0.0F && options.unobserved_weight <= 1.0F)) {
    throw ConfigError("unobserved_weight must lie in [0, 1], got " + std::to_string(options.unobserved_weight));
  }
  if (options.n_iterations < 1) {
    throw ConfigError("n_iterations must be 1 or more, got " + std::to_string(options.n_iterations));
  }
  if (options.block_size < 1) {
    throw ConfigError("block_size must be 1 or more, got " + std::to_string(options.block_size));
  }
}

// Between the smallest and the largest: the rows' own differ from it by a factor that conjugate gradients have to find.
double shared_lambda(const Side& side, const AlsOptions& options) {
  if (side.lambdas.empty()) return static_cast<double>(options.regularization);
  double logarithms = 0.0;
  std::int64_t n = 0;
  for (std::int64_t row = 0; row < side.rows.rows(); ++row) {
    if (side.rows.row_size(row) == 0) continue;
    logarithms += std::log(std::max(side.lambda_of(row, options), 1e-30));
    ++n;
  }
  return std::exp(logarithms / static_cast<double>(n));
}

// Solves for one side given the other, whose Gram matrix is given too; `whitened` is scratch for its vectors.
void half_sweep(Side& solved, Side& given, std::vector<double> gram, PaddedMatrix& whitened, AlsSolver solver,
                const AlsOptions& options) {
  const std::int64_t f = given.vectors().cols;
  const double lambda = shared_lambda(solved, options);
  for (double& entry : gram) entry *= static_cast<double>(options.unobserved_weight);
  for (std::size_t i = 0; i < gram.size(); i += static_cast<std::size_t>(f) + 1) gram[i] += lambda;
  const std::optional<detail::Whitening> whitening = detail::Whitening::of(gram, f);
  if (!whitening) {
    throw DataError(std::string("the matrix that all ") + solved.name +
                    "s share, the other side's Gram matrix plus regularization, must be positive definite in float32, "
                    "but is not; raise regularization, got " +
                    std::to_string(options.regularization));
  }
  std::vector<float> ridges;
  ridges.reserve(solved.lambdas.size());
  for (const float own : solved.lambdas) ridges.push_back(own - static_cast<float>(lambda));
  const detail::RowSystems systems{
      .rows = solved.rows,
      .factors = detail::whiten_all(*whitening, given.vectors(), whitened, options.n_threads),
      .weights = {1.0F - options.unobserved_weight, options.alpha, 1.0F, options.alpha},
      .whitening = &*whitening,
      .ridges = ridges};
  if (solver == AlsSolver::cholesky) {
    const std::int64_t failed =
        detail::solve_systems(systems, solved.plan, solved.data(), solved.ld(), options.n_threads);
    if (failed < 0) return;
    throw DataError("the system of " + std::string(solved.name) + " " + std::to_string(failed) +
                    " must be positive definite in float32, but a pivot is not; raise regularization, got " +
                    std::to_string(options.regularization));
  }
  const detail::Refinement refinement{.n_cg_steps = options.n_cg_steps,
                                      .block_size = solver == AlsSolver::subspace ? options.block_size : 0};
  detail::refine_rows(systems, solved.plan.schedule, refinement, solved.data(), solved.ld(), options.n_threads);
}

// The objective by the identity sum_{all u,i} (x_u . y_i)^2 = <X^T X, Y^T Y>, to which only the stored cells need to be
// corrected.
double objective(Side& users, Side& items, const std::vector<double>& xtx, const std::vector<double>& yty,
                 const AlsOptions& options) {
  const cpu::KernelTable& kernels = cpu::kernels();
  const Strided X = users.vectors();
  const Strided Y = items.vectors();
  const RowSchedule& schedule = users.plan.schedule;
  std::vector<double> row_loss(static_cast<std::size_t>(users.rows.rows()), 0.0);
  const auto add = [&](std::int64_t row) {
    row_loss[static_cast<std::size_t>(row)] = kernels.stored_loss(
        X.data + row * X.ld, Y.data, Y.ld, Y.cols, users.rows.row_indices(row).data(),
        users.rows.row_values(row).data(), users.rows.row_size(row), options.alpha, options.unobserved_weight);
  };
  for (const std::int64_t row : users.plan.in_parts) add(row);
  parallel_for(schedule.n_tasks(), options.n_threads, [&](std::int64_t task, std::int64_t) {
    const std::int64_t stop = schedule.starts[static_cast<std::size_t>(task) + 1];
    for (std::int64_t place = schedule.starts[static_cast<std::size_t>(task)]; place < stop; ++place) {
      add(schedule.order[static_cast<std::size_t>(place)]);
    }
  });
  double loss = 0.0;
  for (const double part : row_loss) loss += part;
  for (std::size_t i = 0; i < xtx.size(); ++i) {
    loss += static_cast<double>(options.unobserved_weight) * xtx[i] * yty[i];
  }
  const auto penalty = [&](const Side& side, const Strided& vectors, const std::vector<double>& gram) {
    double sum = 0.0;
    if (side.lambdas.empty()) {
      for (std::size_t i = 0; i < gram.size(); i += static_cast<std::size_t>(vectors.cols) + 1) sum += gram[i];
      return sum * static_cast<double>(options.regularization);
    }
    for (std::int64_t row = 0; row < vectors.rows; ++row) {
      double squares = 0.0;
      for (std::int64_t j = 0; j < vectors.cols; ++j) {
        const auto value = static_cast<double>(vectors.data[row * vectors.ld + j]);
        squares += value * value;
      }
      sum += squares * side.lambda_of(row, options);
    }
    return sum;
  };
  return loss + penalty(users, X, xtx) + penalty(items, Y, yty);
}

}  // namespace

AlsSolver resolve_solver(AlsSolver solver, std::int64_t n_factors) {
  if (solver != AlsSolver::automatic) return solver;
  return n_factors <= widest_cholesky ? AlsSolver::cholesky : AlsSolver::cg;
}

void als(const CsrView& interactions, const AlsOptions& given, MatrixView<float> user_factors,
         MatrixView<float> item_factors, const AlsMonitor& monitor) {
  AlsOptions options = given;
  options.n_threads = resolve_threads(given.n_threads);
  const std::int64_t f = user_factors.cols();
  check_options(options);
  if (f < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(f));
  if (user_factors.rows() != interactions.rows() || item_factors.rows() != interactions.cols ||
      item_factors.cols() != f) {
    throw ShapeError("user_factors and item_factors must have a row for each user and item, " +
                     std::to_string(interactions.rows()) + " and " + std::to_string(interactions.cols) +
                     ", and equally many columns");
  }
  check_structure(interactions, "interactions");
  check_finite(interactions, "interactions");
  check_weights(interactions, "interactions");

  const AlsSolver solver = resolve_solver(options.solver, f);
  const CsrMatrix transposed = transpose(interactions);
  Side users("user", interactions, user_factors, options, solver);
  Side items("item", transposed.view(), item_factors, options, solver);
  if (options.warm_start) {
    users.read();
    items.read();
  } else {
    fill_start(items.data(), items.rows.rows(), f, items.ld(), options.seed, 0);
    std::memset(users.data(), 0, static_cast<std::size_t>(users.rows.rows() * users.ld()) * sizeof(float));
  }
  users.clear_empty_rows();

  // Kept over the iterations: fresh memory costs the system more time than it takes to fill.
  PaddedMatrix whitened(std::max(interactions.rows(), interactions.cols), f);
  std::vector<double> yty = detail::gram(items.vectors(), options.n_threads);
  double before = std::numeric_limits<double>::infinity();
  for (std::int64_t iteration = 0; iteration < options.n_iterations; ++iteration) {
    half_sweep(users, items, yty, whitened, solver, options);
    const std::vector<double> xtx = detail::gram(users.vectors(), options.n_threads);
    // Items nobody has interacted with are solved by zero, which no half-sweep writes since their rows are empty.
    if (iteration == 0) items.clear_empty_rows();
    half_sweep(items, users, xtx, whitened, solver, options);
    yty = detail::gram(items.vectors(), options.n_threads);
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (monitor.wants_loss || options.tolerance > 0.0) loss = objective(users, items, xtx, yty, options);
    if (monitor.wants_factors) {
      users.write();
      items.write();
    }
    if (monitor.after_iteration && monitor.after_iteration(iteration, loss)) break;
    if (before - loss < options.tolerance * before) break;
    before = loss;
  }
  users.write();
  items.write();
}

}  // namespace recsys
