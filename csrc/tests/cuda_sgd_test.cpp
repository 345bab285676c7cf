// The kernel of SGD, compiled for the processor.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "cuda/sgd_epoch.cuh"
#include "tests/check.hpp"
#include "tests/cuda_check.hpp"
#include "tests/cuda_sgd_fit.hpp"

namespace {

using namespace recsys;
using test::plain;
using test::side;

struct Model {
  std::vector<float> users;
  std::vector<float> items;
  std::vector<float> bias;
  std::vector<double> losses;

  Model(const CsrView& interactions, const SgdOptions& options, std::int64_t f)
      : users(static_cast<std::size_t>(interactions.rows() * f), 99.0F),
        items(static_cast<std::size_t>(interactions.cols * f), 99.0F),
        bias(static_cast<std::size_t>(interactions.cols), 99.0F) {
    cuda::sgd(interactions, options, side(users, interactions.rows(), f), side(items, interactions.cols, f, &bias),
              {.after_epoch =
                   [this](std::int64_t, double loss) {
                     losses.push_back(loss);
                     return false;
                   }},
              {});
  }
  [[nodiscard]] float score(std::int64_t user, std::int64_t item, std::int64_t f) const {
    float sum = bias[static_cast<std::size_t>(item)];
    for (std::int64_t c = 0; c < f; ++c) {
      sum += users[static_cast<std::size_t>(user * f + c)] * items[static_cast<std::size_t>(item * f + c)];
    }
    return sum;
  }
};

// Two groups of users, each with most of its own items.
struct Groups {
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> items;
  Groups() {
    for (int user = 0; user < 12; ++user) {
      for (int item = 0; item < 5; ++item) {
        if (item != user % 5) items.push_back(user % 2 * 5 + item);
      }
      indptr.push_back(std::ssize(items));
    }
  }
  [[nodiscard]] CsrView view() const { return {indptr, items, {}, 10, true}; }
};

}  // namespace

TEST(cuda_sgd_permutation_visits_everything_once) {
  for (const std::uint64_t n : {1U, 2U, 3U, 5U, 64U, 65U, 1000U}) {
    std::vector<std::uint64_t> seen;
    const auto order = cuda::Permutation::of(n, 17);
    for (std::uint64_t m = 0; m < n; ++m) seen.push_back(order.at(m));
    if (n == 1000) {
      CHECK(seen != [&] {
        std::vector<std::uint64_t> other;
        for (std::uint64_t m = 0; m < n; ++m) other.push_back(cuda::Permutation::of(n, 18).at(m));
        return other;
      }());
    }
    std::sort(seen.begin(), seen.end());
    for (std::uint64_t m = 0; m < n; ++m) CHECK(seen[m] == m);
  }
}

TEST(cuda_sgd_draws_other_items_evenly) {
  const std::vector<std::int32_t> liked{0, 1, 4, 7};
  std::vector<int> counts(10);
  for (std::uint64_t m = 0; m < 12'000; ++m) {
    ++counts[static_cast<std::size_t>(cuda::draw_other(liked.data(), 4, 10, cuda::random_bits(5, m)))];
  }
  for (std::size_t item = 0; item < 10; ++item) {
    const bool is_liked = std::find(liked.begin(), liked.end(), item) != liked.end();
    CHECK(is_liked ? counts[item] == 0 : std::abs(counts[item] - 2000) < 200);
  }
}

TEST(cuda_sgd_takes_the_steps_of_the_formula) {
  // One entry and one other item leave nothing to chance.
  const std::vector<std::int64_t> indptr{0, 1};
  const std::vector<std::int32_t> items{1};
  const CsrView interactions{indptr, items, {}, 2, true};
  const auto check_options = [&](const SgdOptions& options, std::int64_t f) {
    const auto n = static_cast<std::size_t>(f);
    const Model model(interactions, options, f);
    PaddedMatrix start_users(1, f);
    PaddedMatrix start_items(2, f);
    fill_start(start_users, options.seed, 1);
    fill_start(start_items, options.seed, 2);
    std::vector<double> x(start_users.row(0), start_users.row(0) + f);
    std::vector<double> z(start_items.row(0), start_items.row(0) + f);
    std::vector<double> y(start_items.row(1), start_items.row(1) + f);
    double bias_y = 0;
    double bias_z = 0;
    const double reg = static_cast<double>(options.regularization);
    double sums[5] = {};
    for (std::int64_t epoch = 0; epoch < options.n_epochs; ++epoch) {
      const double left = 1 - static_cast<double>(epoch) / static_cast<double>(options.n_epochs);
      const double base = static_cast<double>(options.learning_rate) * (options.linear_decay ? left : 1.0);
      const auto rate = [&](double& sum, double square) {
        if (!options.adagrad) return base;
        sum += square;
        return sum > 0 ? base / std::sqrt(sum) : 0.0;
      };
      double margin = bias_y - bias_z;
      for (std::size_t c = 0; c < n; ++c) margin += x[c] * (y[c] - z[c]);
      double pull = 1 / (1 + std::exp(margin));
      double loss = std::log(1 + std::exp(-margin));
      if (options.objective == SgdObjective::warp) {
        pull = margin < 1 ? 1 : 0;
        loss = pull * (1 - margin);
      }
      CHECK(std::abs(model.losses[static_cast<std::size_t>(epoch)] - loss) < 1e-4);
      if (pull == 0) continue;
      const auto mean = [&](auto value) {
        double sum = 0;
        for (std::size_t c = 0; c < n; ++c) sum += value(c) * value(c);
        return sum / static_cast<double>(f);
      };
      const double x_mean = mean([&](std::size_t c) { return x[c]; });
      const double y_mean = mean([&](std::size_t c) { return y[c]; });
      const double z_mean = mean([&](std::size_t c) { return z[c]; });
      const double x_rate =
          rate(sums[0], mean([&](std::size_t c) { return pull * (y[c] - z[c]); }) + reg * reg * x_mean);
      const double y_rate = rate(sums[1], pull * pull * x_mean + reg * reg * y_mean);
      const double z_rate = rate(sums[2], pull * pull * x_mean + reg * reg * z_mean);
      for (std::size_t c = 0; c < n; ++c) {
        const double u = x[c];
        x[c] += x_rate * (pull * (y[c] - z[c]) - reg * u);
        y[c] += y_rate * (pull * u - reg * y[c]);
        z[c] += z_rate * (-pull * u - reg * z[c]);
      }
      bias_y += rate(sums[3], pull * pull + reg * reg * bias_y * bias_y) * (pull - reg * bias_y);
      bias_z += rate(sums[4], pull * pull + reg * reg * bias_z * bias_z) * (-pull - reg * bias_z);
    }
    for (std::size_t c = 0; c < n; ++c) {
      CHECK(std::abs(static_cast<double>(model.users[c]) - x[c]) < 1e-4);
      CHECK(std::abs(static_cast<double>(model.items[c]) - z[c]) < 1e-4);
      CHECK(std::abs(static_cast<double>(model.items[n + c]) - y[c]) < 1e-4);
    }
    CHECK(std::abs(static_cast<double>(model.bias[1]) - bias_y) < 1e-4);
    CHECK(std::abs(static_cast<double>(model.bias[0]) - bias_z) < 1e-4);
  };
  for (const SgdObjective objective : {SgdObjective::bpr, SgdObjective::warp}) {
    for (const bool adagrad : {false, true}) {
      for (const std::int64_t f : {1, 31, 32, 33, 100, 200, 400}) {
        SgdOptions options = plain(0.3F, 0.1F, 4, 3);
        options.objective = objective;
        options.adagrad = adagrad;
        options.linear_decay = adagrad;
        check_options(options, f);
      }
    }
  }
}

TEST(cuda_warp_weighs_a_violation_by_the_draws_it_took) {
  const std::vector<float> losses = cuda::warp_trial_losses(3, 5);
  CHECK(losses.size() == 3);
  const double all = 1 + 1 / 2.0 + 1 / 3.0 + 1 / 4.0;
  CHECK(std::abs(static_cast<double>(losses[0]) - 1) < 1e-6);
  CHECK(std::abs(static_cast<double>(losses[1]) - 1.5 / all) < 1e-6);
  CHECK(std::abs(static_cast<double>(losses[2]) - 1 / all) < 1e-6);
  CHECK(cuda::warp_trial_losses(100, 5).size() == 4);  // of more draws the rank is 0
  // An entry that scores far above all others has no step to take.
  const std::vector<std::int64_t> indptr{0, 1};
  const std::vector<std::int32_t> items{0};
  std::vector<float> users{1.0F};
  std::vector<float> factors{9.0F, 0.5F, 0.0F, -1.0F};
  std::vector<float> bias(4);
  SgdOptions options = plain(0.1F, 0.1F, 2, 5);
  options.objective = SgdObjective::warp;
  options.n_negatives = 3;
  options.warm_start = true;
  const std::vector<float> before = factors;
  cuda::sgd({indptr, items, {}, 4, true}, options, side(users, 1, 1), side(factors, 4, 1, &bias),
            {.after_epoch =
                 [](std::int64_t, double loss) {
                   CHECK(loss == 0);
                   return false;
                 }},
            {});
  CHECK(factors == before);
  CHECK(users[0] == 1.0F);
}

TEST(cuda_sgd_learns_to_rank) {
  const Groups data;
  for (const SgdObjective objective : {SgdObjective::bpr, SgdObjective::warp}) {
    for (const bool adagrad : {false, true}) {
      test::on_every_schedule([&] {
        SgdOptions options = plain(0.2F, 0.001F, 60, 1);
        options.objective = objective;
        options.n_negatives = objective == SgdObjective::warp ? 5 : 1;
        options.adagrad = adagrad;
        const Model model(data.view(), options, 8);
        CHECK(model.losses.back() < 0.5 * model.losses.front());
        for (std::int64_t user = 0; user < 12; ++user) {
          const std::int64_t own = user % 2 * 5;
          for (std::int64_t i = 0; i < 5; ++i) {
            // The one that they have not had is left out: it is as like theirs as training can tell.
            if (i != user % 5) CHECK(model.score(user, own + i, 8) > model.score(user, 5 - own + i, 8));
          }
        }
      });
    }
  }
}

TEST(cuda_sgd_skips_users_who_have_had_everything) {
  const std::vector<std::int64_t> indptr{0, 2, 3};
  const std::vector<std::int32_t> items{0, 1, 1};
  const CsrView interactions{indptr, items, {}, 2, true};
  const SgdOptions once = plain(0.05F, 0.01F, 1, 9);
  const SgdOptions often = plain(0.05F, 0.01F, 4, 9);
  const Model a(interactions, once, 3);
  const Model b(interactions, often, 3);
  CHECK(std::equal(a.users.begin(), a.users.begin() + 3, b.users.begin()));
  CHECK(!std::equal(a.users.begin() + 3, a.users.end(), b.users.begin() + 3));
  const std::vector<std::int64_t> only_them{0, 2};
  const Model none(CsrView{only_them, std::span(items).first(2), {}, 2, true}, once, 3);
  CHECK(std::isnan(none.losses[0]));
}

TEST(cuda_sgd_may_draw_what_the_user_has) {
  const std::vector<std::int64_t> indptr{0, 2};
  const std::vector<std::int32_t> items{0, 1};
  SgdOptions options = plain(0.05F, 0.01F, 1, 9);
  options.reject_positives = false;
  const Model model({indptr, items, {}, 2, true}, options, 3);
  CHECK(!std::isnan(model.losses[0]));
}

TEST(cuda_sgd_refuses_what_it_cannot_do) {
  const Groups data;
  const auto fit = [&](const SgdOptions& options, std::int64_t f) { (void)Model(data.view(), options, f); };
  CHECK_THROWS(fit({.n_epochs = 1}, 513), ConfigError, "1 to 512");
  CHECK_THROWS(fit({.n_epochs = 0}, 3), ConfigError, "n_epochs");
  CHECK_THROWS(fit({.learning_rate = 0.0F}, 3), ConfigError, "learning_rate must be above 0");
  CHECK_THROWS(fit({.popularity_power = -0.5F}, 3), ConfigError, "popularity_power must be 0 or more");
  CHECK_THROWS(fit({.n_negatives = 0}, 3), ConfigError, "max_trials");
  CHECK_THROWS(fit(plain(1e30F, 0.01F, 3, 0), 3), ConfigError, "diverged");
}

TEST(cuda_sgd_draws_by_popularity_what_the_user_has_not) {
  // Items 0 to 5 with 1, 2, 4, 8, 0 and 1 entries; the user has 3.
  const std::vector<float> weights{1.0F, 2.0F, 4.0F, 8.0F, 0.0F, 1.0F};
  const std::vector<std::int32_t> all{0, 1, 2, 3, 4, 5};
  const ItemLottery lottery(all, weights);
  const std::vector<std::int32_t> liked{3};
  const auto n_slots = std::ssize(lottery.slots());
  const cuda::ItemDraws draws{7, 6, lottery.slots().data(), n_slots, n_slots};
  std::vector<int> counts(6, 0);
  constexpr int n = 20'000;
  for (std::uint64_t m = 0; m < n; ++m) ++counts[static_cast<std::size_t>(draws.at(m, liked.data(), 1))];
  CHECK(counts[3] == 0 && counts[4] == 0);
  for (const std::size_t item : {0U, 1U, 2U, 5U}) {
    CHECK(std::abs(counts[item] - n * static_cast<double>(weights[item]) / 8) < 5 * std::sqrt(n / 4.0));
  }
  // Everything that there is to draw is liked.
  const std::vector<std::int32_t> most{0, 1, 2, 3, 5};
  CHECK(draws.at(1, most.data(), 5) == -1);
}

TEST(cuda_sgd_takes_entries_in_blocks_that_fit) {
  const Groups data;
  SgdOptions options = plain(0.2F, 0.001F, 60, 1);
  const auto kernel = cuda::sgd_epoch<1, SgdObjective::bpr, false>;
  test::with_device_limits({.free_bytes = 400}, [&] {
    const int before = test::launches_of(kernel);
    const Model model(data.view(), options, 8);
    CHECK(test::launches_of(kernel) > before + 2 * 60 - 1);
    CHECK(model.losses.back() < 0.5 * model.losses.front());
  });
  test::with_device_limits({.free_bytes = 80}, [&] {
    CHECK_THROWS((void)Model(data.view(), options, 8), DeviceError, "must fit the device's memory");
  });
}
