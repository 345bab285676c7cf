// What the sanitizers should see of the factorization code: every operation, with several threads, on awkward sizes.
#include <cmath>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "recsys/als.hpp"
#include "recsys/dispatch.hpp"
#include "recsys/neighbors.hpp"
#include "recsys/random.hpp"
#include "recsys/sgd.hpp"
#include "recsys/slim.hpp"
#include "recsys/solve_rows.hpp"
#include "recsys/sparse.hpp"
#include "tests/check.hpp"

namespace recsys {
namespace {

// Each cell is stored with the given probability, except that the first row and the first column are empty.
CsrMatrix random_matrix(std::int64_t rows, std::int64_t cols, double density, std::uint64_t seed) {
  RandomStream random(seed, 0);
  CsrMatrix matrix;
  matrix.cols = cols;
  matrix.indptr = {0};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 1; c < cols && r > 0; ++c) {
      if (static_cast<double>(random.next() >> 40) * 0x1p-24 >= density) continue;
      matrix.indices.push_back(static_cast<std::int32_t>(c));
      matrix.values.push_back(static_cast<float>(1 + random.below(3)));
    }
    matrix.indptr.push_back(static_cast<std::int64_t>(matrix.indices.size()));
  }
  return matrix;
}

struct Factors {
  std::vector<float> users, items, bias;
  bool operator==(const Factors&) const = default;
};

Factors fit_als(const CsrView& interactions, std::int64_t f, AlsSolver solver, std::int64_t n_threads) {
  Factors out{std::vector<float>(static_cast<std::size_t>(interactions.rows() * f)),
              std::vector<float>(static_cast<std::size_t>(interactions.cols * f)),
              {}};
  AlsOptions options;
  options.n_iterations = 2;
  options.solver = solver;
  options.n_threads = n_threads;
  AlsMonitor monitor;
  monitor.wants_loss = true;
  monitor.after_iteration = [](std::int64_t, double loss) {
    CHECK(std::isfinite(loss));
    return false;
  };
  als(interactions, options, {out.users.data(), interactions.rows(), f}, {out.items.data(), interactions.cols, f},
      monitor);
  return out;
}

Factors fit_sgd(const CsrView& interactions, std::int64_t f, const SgdOptions& options, const CsrView& user_features,
                const CsrView& item_features) {
  Factors out{std::vector<float>(static_cast<std::size_t>(interactions.rows() * f)),
              std::vector<float>(static_cast<std::size_t>(interactions.cols * f)),
              std::vector<float>(static_cast<std::size_t>(interactions.cols))};
  std::vector<float> of_users(static_cast<std::size_t>(user_features.cols * f));
  std::vector<float> of_items(static_cast<std::size_t>(item_features.cols * f));
  std::vector<float> bias(static_cast<std::size_t>(item_features.cols));
  const SgdSide users{.factors = {out.users.data(), interactions.rows(), f},
                      .bias = {},
                      .features = user_features,
                      .feature_factors = {of_users.data(), user_features.cols, f},
                      .feature_bias = {}};
  const SgdSide items{.factors = {out.items.data(), interactions.cols, f},
                      .bias = out.bias,
                      .features = item_features,
                      .feature_factors = {of_items.data(), item_features.cols, f},
                      .feature_bias = bias};
  sgd(interactions, options, users, items, {});
  for (const float value : out.users) CHECK(std::isfinite(value));
  return out;
}

SgdOptions two_epochs(SgdObjective objective, std::int64_t n_threads) {
  SgdOptions options;
  options.objective = objective;
  options.n_epochs = 2;
  options.n_negatives = objective == SgdObjective::bpr ? 1 : 4;
  options.n_threads = n_threads;
  return options;
}

TEST(als_is_the_same_for_any_number_of_threads_at_every_level) {
  const std::string before(isa_name(active_isa()));
  const CsrMatrix matrix = random_matrix(70, 41, 0.2, 1);
  for (const Isa isa : available_isas()) {
    set_isa(isa_name(isa));
    for (const std::int64_t f : {1, 7, 17, 33, 64}) {
      for (const AlsSolver solver : {AlsSolver::cholesky, AlsSolver::cg, AlsSolver::subspace}) {
        CHECK(fit_als(matrix.view(), f, solver, 1) == fit_als(matrix.view(), f, solver, 3));
      }
    }
  }
  set_isa(before);
}

TEST(solve_rows_reports_the_lowest_singular_row_and_leaves_no_trace) {
  const CsrMatrix matrix = random_matrix(30, 20, 0.3, 2);
  const std::vector<float> factors(20 * 3, 1.0F);
  std::vector<float> prior(9, 0.0F);
  std::vector<float> out(30 * 3);
  const auto solve = [&] {
    solve_rows(matrix.view(), {factors.data(), 20, 3}, {prior.data(), 3, 3}, {}, {}, {}, {out.data(), 30, 3}, false, 2);
  };
  CHECK_THROWS(solve(), DataError, "system of row 1 ");
  for (std::size_t i = 0; i < 9; i += 4) prior[i] = 1.0F;
  solve();
  for (const float value : out) CHECK(std::isfinite(value));
}

TEST(sgd_is_the_same_for_any_number_of_threads_at_every_level) {
  const std::string before(isa_name(active_isa()));
  const CsrMatrix matrix = random_matrix(200, 1100, 0.1, 3);
  CHECK(sgd_blocks(matrix.view(), 0.0F) == 9);
  CHECK(sgd_blocks(matrix.view(), 1.0F) == 9);
  for (const Isa isa : available_isas()) {
    set_isa(isa_name(isa));
    for (const SgdObjective objective : {SgdObjective::bpr, SgdObjective::warp, SgdObjective::logistic}) {
      CHECK(fit_sgd(matrix.view(), 9, two_epochs(objective, 1), {}, {}) ==
            fit_sgd(matrix.view(), 9, two_epochs(objective, 4), {}, {}));
    }
  }
  set_isa(before);
}

TEST(sgd_threads_may_share_the_embeddings_of_features) {
  const CsrMatrix matrix = random_matrix(300, 150, 0.5, 4);
  const CsrMatrix user_features = random_matrix(300, 5, 0.5, 5);
  const CsrMatrix item_features = random_matrix(150, 7, 0.5, 6);
  for (const SgdObjective objective : {SgdObjective::bpr, SgdObjective::warp, SgdObjective::logistic}) {
    fit_sgd(matrix.view(), 17, two_epochs(objective, 4), user_features.view(), item_features.view());
  }
}

TEST(slim_and_neighbors_run_on_several_threads) {
  const CsrMatrix matrix = random_matrix(90, 67, 0.2, 5);
  SlimOptions options;
  options.n_threads = 3;
  const CsrMatrix weights = slim(matrix.view(), options, nullptr).weights;
  check_structure(weights.view(), "weights");
  check_sorted(weights.view(), "weights");
  const CsrMatrix by_item = transpose(matrix.view());
  const CsrMatrix neighbors = row_neighbors(by_item.view(), 5, 3);
  check_structure(neighbors.view(), "neighbors");
  check_sorted(neighbors.view(), "neighbors");
  CHECK(neighbors.view().row_size(0) == 0);
  CHECK(neighbors.view().row_size(1) == 5);
}

#if defined(__linux__)
// Leaves this thread one of its processors, until lift() or the end of the scope gives it all of them back.
class OneProcessor {
 public:
  OneProcessor() {
    CHECK(sched_getaffinity(0, sizeof(before_), &before_) == 0);
    cpu_set_t first;
    CPU_ZERO(&first);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &before_)) continue;
      CPU_SET(cpu, &first);
      break;
    }
    CHECK(sched_setaffinity(0, sizeof(first), &first) == 0);
  }
  ~OneProcessor() { lift(); }
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;

  void lift() const { sched_setaffinity(0, sizeof(before_), &before_); }

 private:
  cpu_set_t before_;
};

TEST(processors_that_come_free_during_a_fit_do_no_harm) {
  const CsrMatrix matrix = random_matrix(400, 300, 0.1, 8);
  const CsrMatrix want = slim(matrix.view(), {}, nullptr).weights;
  {
    const OneProcessor narrow;
    const auto widen = [&](std::int64_t, std::int64_t) {
      narrow.lift();
      return false;
    };
    const CsrMatrix weights = slim(matrix.view(), {}, widen).weights;
    CHECK(weights.indices == want.indices && weights.values == want.values);
  }
  for (const AlsSolver solver : {AlsSolver::cholesky, AlsSolver::cg}) {
    const OneProcessor narrow;
    std::vector<float> users(400 * 5), items(300 * 5);
    AlsOptions options;
    options.n_iterations = 3;
    options.solver = solver;
    AlsMonitor monitor;
    monitor.after_iteration = [&](std::int64_t, double) {
      narrow.lift();
      return false;
    };
    als(matrix.view(), options, {users.data(), 400, 5}, {items.data(), 300, 5}, monitor);
    for (const float value : users) CHECK(std::isfinite(value));
  }
}
#endif

TEST(slim_counts_the_columns_that_have_not_settled) {
  const CsrMatrix matrix = random_matrix(90, 67, 0.2, 5);
  SlimOptions options;
  options.tolerance = 1e-3F;
  CHECK(slim(matrix.view(), options, nullptr).n_unsettled == 0);
  options.n_iterations = 1;
  // All but the column of item 0, which nobody has: its weights are zero from the start.
  CHECK(slim(matrix.view(), options, nullptr).n_unsettled == 66);
  const auto stop = [](std::int64_t, std::int64_t) { return true; };
  CHECK(slim(matrix.view(), options, stop).n_unsettled == 63);  // of the 64 columns before the first report
}

TEST(a_schedule_holds_each_row_of_some_cost_once_and_dear_rows_first) {
  RandomStream random(6, 0);
  std::vector<std::int64_t> costs;
  for (int i = 0; i < 5000; ++i) costs.push_back(random.below(100));
  for (const std::int64_t multiple : {1, 8}) {
    const RowSchedule schedule = schedule_rows(costs, multiple);
    std::vector<char> seen(costs.size(), 0);
    for (std::size_t place = 0; place < schedule.order.size(); ++place) {
      const auto row = static_cast<std::size_t>(schedule.order[place]);
      CHECK(seen[row] == 0 && costs[row] > 0);
      seen[row] = 1;
      CHECK(place == 0 || costs[static_cast<std::size_t>(schedule.order[place - 1])] >= costs[row]);
    }
    for (std::size_t row = 0; row < costs.size(); ++row) CHECK((seen[row] == 1) == (costs[row] > 0));
    CHECK(schedule.starts.front() == 0);
    CHECK(schedule.starts.back() == static_cast<std::int64_t>(schedule.order.size()));
    for (std::int64_t task = 1; task < schedule.n_tasks(); ++task) {
      CHECK(schedule.starts[static_cast<std::size_t>(task)] % multiple == 0);
    }
  }
  CHECK(schedule_rows({}).n_tasks() == 0);
  CHECK(schedule_rows({0, 0}).n_tasks() == 0);
}

TEST(transposing_twice_gives_the_matrix_back) {
  const CsrMatrix matrix = random_matrix(50, 31, 0.2, 7);
  const CsrMatrix back = transpose(transpose(matrix.view()).view());
  CHECK(back.indptr == matrix.indptr && back.indices == matrix.indices && back.values == matrix.values);
}

}  // namespace
}  // namespace recsys
