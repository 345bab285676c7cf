#include "recsys/als.hpp"

#include <array>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "recsys/padded_matrix.hpp"
#include "recsys/random.hpp"
#include "recsys/solve_rows.hpp"
#include "recsys/sparse.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

constexpr std::int64_t cg_block = 8;  // rows of one call of the cg kernel

// One side of the factorization: whose rows are solved, and in which order.
struct Side {
  const char* name;
  CsrView rows;
  RowSchedule schedule;
};

detail::Strided strided(const PaddedMatrix& matrix) {
  return {matrix.data(), matrix.rows(), matrix.cols(), matrix.ld()};
}

void check_options(const AlsOptions& options) {
  if (!(options.regularization >= 0.0F)) {
    throw ConfigError("regularization must be 0 or more, got " + std::to_string(options.regularization));
  }
  if (!(options.alpha >= 0.0F)) throw ConfigError("alpha must be 0 or more, got " + std::to_string(options.alpha));
  if (options.n_iterations < 1) {
    throw ConfigError("n_iterations must be 1 or more, got " + std::to_string(options.n_iterations));
  }
}

void clear_empty_rows(const CsrView& rows, PaddedMatrix& factors) {
  for (std::int64_t r = 0; r < rows.rows(); ++r) {
    if (rows.row_size(r) == 0) std::memset(factors.row(r), 0, static_cast<std::size_t>(factors.ld()) * sizeof(float));
  }
}

void sweep_cholesky(const Side& side, const PaddedMatrix& given, const std::vector<double>& gram,
                    const AlsOptions& options, PaddedMatrix& solved) {
  const std::int64_t f = given.cols();
  std::vector<float> prior(gram.size());
  for (std::size_t i = 0; i < gram.size(); ++i) prior[i] = static_cast<float>(gram[i]);
  for (std::size_t i = 0; i < prior.size(); i += static_cast<std::size_t>(f) + 1) {
    prior[i] = static_cast<float>(gram[i] + static_cast<double>(options.regularization));
  }
  const RowWeights weights{0.0F, options.alpha, 1.0F, options.alpha};
  const std::int64_t failed = detail::solve_scheduled(side.rows, side.schedule, strided(given), prior, weights, {},
                                                      solved.data(), solved.ld(), options.n_threads);
  if (failed < 0) return;
  throw DataError("the system of " + std::string(side.name) + " " + std::to_string(failed) +
                  " must be positive definite in float32, but a pivot is not; raise regularization, got " +
                  std::to_string(options.regularization));
}

void sweep_cg(const Side& side, const PaddedMatrix& given, const std::vector<double>& gram, const AlsOptions& options,
              PaddedMatrix& solved) {
  const cpu::KernelTable& kernels = cpu::kernels();
  const std::int64_t f = given.cols();
  const std::int64_t ld = given.ld();
  PaddedMatrix prior(f, f);
  for (std::int64_t i = 0; i < f; ++i) {
    for (std::int64_t j = 0; j < f; ++j) {
      const double ridge = i == j ? static_cast<double>(options.regularization) : 0.0;
      prior.row(i)[j] = static_cast<float>(gram[static_cast<std::size_t>(i * f + j)] + ridge);
    }
  }
  std::vector<AlignedBuffer<float>> scratch(static_cast<std::size_t>(options.n_threads));
  parallel_for(side.schedule.n_tasks(), options.n_threads, [&](std::int64_t task, std::int64_t thread) {
    AlignedBuffer<float>& work = scratch[static_cast<std::size_t>(thread)];
    if (work.size() == 0) work = zeroed_floats(4 * cg_block * ld);
    const std::int64_t stop = side.schedule.starts[static_cast<std::size_t>(task) + 1];
    std::array<cpu::CgRow, cg_block> block;
    for (std::int64_t place = side.schedule.starts[static_cast<std::size_t>(task)]; place < stop;) {
      std::int64_t n_rows = 0;
      for (; n_rows < cg_block && place < stop; ++n_rows, ++place) {
        const std::int64_t row = side.schedule.order[static_cast<std::size_t>(place)];
        block[static_cast<std::size_t>(n_rows)] = {side.rows.row_indices(row).data(), side.rows.row_values(row).data(),
                                                   side.rows.row_size(row), solved.row(row)};
      }
      kernels.cg_solve(block.data(), n_rows, given.data(), ld, f, prior.data(), options.alpha, options.n_cg_steps,
                       work.data());
    }
  });
}

// The objective by the identity sum_{all u,i} (x_u . y_i)^2 = <X^T X, Y^T Y>, to which only the stored cells need to be
// corrected.
double objective(const Side& users, const PaddedMatrix& X, const PaddedMatrix& Y, const std::vector<double>& xtx,
                 const std::vector<double>& yty, const AlsOptions& options) {
  const cpu::KernelTable& kernels = cpu::kernels();
  std::vector<double> row_loss(static_cast<std::size_t>(users.rows.rows()), 0.0);
  parallel_for(users.schedule.n_tasks(), options.n_threads, [&](std::int64_t task, std::int64_t) {
    const std::int64_t stop = users.schedule.starts[static_cast<std::size_t>(task) + 1];
    for (std::int64_t place = users.schedule.starts[static_cast<std::size_t>(task)]; place < stop; ++place) {
      const std::int64_t row = users.schedule.order[static_cast<std::size_t>(place)];
      row_loss[static_cast<std::size_t>(row)] =
          kernels.stored_loss(X.row(row), Y.data(), Y.ld(), Y.cols(), users.rows.row_indices(row).data(),
                              users.rows.row_values(row).data(), users.rows.row_size(row), options.alpha);
    }
  });
  double loss = 0.0;
  for (const double part : row_loss) loss += part;
  for (std::size_t i = 0; i < xtx.size(); ++i) loss += xtx[i] * yty[i];
  double squares = 0.0;
  for (std::size_t i = 0; i < xtx.size(); i += static_cast<std::size_t>(X.cols()) + 1) squares += xtx[i] + yty[i];
  return loss + static_cast<double>(options.regularization) * squares;
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
  check_structure(interactions, "interactions");
  check_finite(interactions, "interactions");
  check_weights(interactions, "interactions");

  const AlsSolver solver = resolve_solver(options.solver, f);
  const auto sweep = solver == AlsSolver::cholesky ? sweep_cholesky : sweep_cg;
  const std::int64_t per_row = solver == AlsSolver::cholesky ? detail::factorization_cost(f) : f / 2 + 8;
  const std::int64_t multiple = solver == AlsSolver::cholesky ? 1 : cg_block;
  const CsrMatrix transposed = transpose(interactions);
  const Side users{"user", interactions, schedule_rows(row_costs(interactions, per_row), multiple)};
  const Side items{"item", transposed.view(), schedule_rows(row_costs(transposed.view(), per_row), multiple)};

  PaddedMatrix X(interactions.rows(), f);
  PaddedMatrix Y(interactions.cols, f);
  fill_start(Y, options.seed, 0);
  std::vector<double> yty = detail::gram(strided(Y), options.n_threads);
  for (std::int64_t iteration = 0; iteration < options.n_iterations; ++iteration) {
    sweep(users, Y, yty, options, X);
    const std::vector<double> xtx = detail::gram(strided(X), options.n_threads);
    // Items nobody has interacted with are solved by zero, which no half-sweep writes since their rows are empty.
    if (iteration == 0) clear_empty_rows(items.rows, Y);
    sweep(items, X, xtx, options, Y);
    yty = detail::gram(strided(Y), options.n_threads);
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (monitor.wants_loss) loss = objective(users, X, Y, xtx, yty, options);
    if (monitor.after_iteration && monitor.after_iteration(iteration, loss)) break;
  }
  X.copy_to(user_factors);
  Y.copy_to(item_factors);
}

}  // namespace recsys
