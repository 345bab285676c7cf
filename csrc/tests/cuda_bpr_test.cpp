// The kernel of BPR, compiled for the processor.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "cuda/bpr.cuh"
#include "tests/check.hpp"
#include "tests/cuda_check.hpp"

namespace {

using namespace recsys;

using cuda::BprOptions;

struct Model {
  std::vector<float> users;
  std::vector<float> items;
  std::vector<float> bias;
  std::vector<double> losses;

  Model(const CsrView& interactions, const BprOptions& options, std::int64_t f)
      : users(static_cast<std::size_t>(interactions.rows() * f), 99.0F),
        items(static_cast<std::size_t>(interactions.cols * f), 99.0F),
        bias(static_cast<std::size_t>(interactions.cols), 99.0F) {
    cuda::bpr(interactions, options, {users.data(), interactions.rows(), f}, {items.data(), interactions.cols, f},
              bias.data(),
              [this](std::int64_t, double loss) {
                losses.push_back(loss);
                return false;
              },
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

TEST(cuda_bpr_permutation_visits_everything_once) {
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

TEST(cuda_bpr_draws_other_items_evenly) {
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

TEST(cuda_bpr_takes_the_steps_of_the_formula) {
  // One entry and one other item leave nothing to chance.
  const std::vector<std::int64_t> indptr{0, 1};
  const std::vector<std::int32_t> items{1};
  const CsrView interactions{indptr, items, {}, 2, true};
  for (const std::int64_t f : {1, 31, 32, 33, 100, 200, 400}) {
    const auto n = static_cast<std::size_t>(f);
    const Model model(interactions, {.learning_rate = 0.3F, .regularization = 0.1F, .n_epochs = 3, .seed = 3}, f);
    PaddedMatrix start_users(1, f);
    PaddedMatrix start_items(2, f);
    fill_start(start_users, 3, 1);
    fill_start(start_items, 3, 2);
    std::vector<double> x(start_users.row(0), start_users.row(0) + f);
    std::vector<double> z(start_items.row(0), start_items.row(0) + f);
    std::vector<double> y(start_items.row(1), start_items.row(1) + f);
    double bias_y = 0;
    double bias_z = 0;
    for (std::size_t epoch = 0; epoch < 3; ++epoch) {
      double margin = bias_y - bias_z;
      for (std::size_t c = 0; c < n; ++c) margin += x[c] * (y[c] - z[c]);
      CHECK(std::abs(model.losses[epoch] - std::log(1 + std::exp(-margin))) < 1e-5);
      const double pull = 1 / (1 + std::exp(margin));
      for (std::size_t c = 0; c < n; ++c) {
        const double u = x[c];
        x[c] += 0.3 * (pull * (y[c] - z[c]) - 0.1 * u);
        y[c] += 0.3 * (pull * u - 0.1 * y[c]);
        z[c] += 0.3 * (-pull * u - 0.1 * z[c]);
      }
      bias_y += 0.3 * (pull - 0.1 * bias_y);
      bias_z += 0.3 * (-pull - 0.1 * bias_z);
    }
    for (std::size_t c = 0; c < n; ++c) {
      CHECK(std::abs(static_cast<double>(model.users[c]) - x[c]) < 1e-5);
      CHECK(std::abs(static_cast<double>(model.items[c]) - z[c]) < 1e-5);
      CHECK(std::abs(static_cast<double>(model.items[n + c]) - y[c]) < 1e-5);
    }
    CHECK(std::abs(static_cast<double>(model.bias[1]) - bias_y) < 1e-5);
    CHECK(std::abs(static_cast<double>(model.bias[0]) - bias_z) < 1e-5);
  }
}

TEST(cuda_bpr_learns_to_rank) {
  const Groups data;
  const BprOptions options{.learning_rate = 0.2F, .regularization = 0.001F, .n_epochs = 60, .seed = 1};
  const Model model(data.view(), options, 8);
  CHECK(model.losses.back() < 0.5 * model.losses.front());
  for (std::int64_t user = 0; user < 12; ++user) {
    const std::int64_t own = user % 2 * 5;
    for (std::int64_t i = 0; i < 5; ++i) {
      // The one that they have not had is left out: it is as like theirs as training can tell.
      if (i != user % 5) CHECK(model.score(user, own + i, 8) > model.score(user, 5 - own + i, 8));
    }
  }
}

TEST(cuda_bpr_skips_users_who_have_had_everything) {
  const std::vector<std::int64_t> indptr{0, 2, 3};
  const std::vector<std::int32_t> items{0, 1, 1};
  const CsrView interactions{indptr, items, {}, 2, true};
  const BprOptions once{.n_epochs = 1, .seed = 9};
  const BprOptions often{.n_epochs = 4, .seed = 9};
  const Model a(interactions, once, 3);
  const Model b(interactions, often, 3);
  CHECK(std::equal(a.users.begin(), a.users.begin() + 3, b.users.begin()));
  CHECK(!std::equal(a.users.begin() + 3, a.users.end(), b.users.begin() + 3));
  const std::vector<std::int64_t> only_them{0, 2};
  const Model none(CsrView{only_them, std::span(items).first(2), {}, 2, true}, once, 3);
  CHECK(std::isnan(none.losses[0]));
}

TEST(cuda_bpr_refuses_what_it_cannot_do) {
  const Groups data;
  const auto fit = [&](const BprOptions& options, std::int64_t f) { (void)Model(data.view(), options, f); };
  CHECK_THROWS(fit({.n_epochs = 1}, 513), ConfigError, "1 to 512");
  CHECK_THROWS(fit({.n_epochs = 0}, 3), ConfigError, "n_epochs");
  CHECK_THROWS(fit({.learning_rate = 0.0F}, 3), ConfigError, "learning_rate must be above 0");
  CHECK_THROWS(fit({.learning_rate = 1e30F, .n_epochs = 3}, 3), ConfigError, "diverged");
}
