// Steps through the features of users and items, on an emulated device and on the processor.
#include <cmath>
#include <cstdint>
#include <vector>

#include "recsys/sgd.hpp"
#include "tests/check.hpp"
#include "tests/cuda_sgd_fit.hpp"

namespace {

using namespace recsys;
using test::plain;
using test::side;

// Users and items with features, and one step an epoch that is to be taken: the CPU takes the same.
struct FeatureModel {
  std::vector<float> users = std::vector<float>(2 * 5);
  std::vector<float> items = std::vector<float>(4 * 5);
  std::vector<float> bias = std::vector<float>(4);
  std::vector<float> user_features = std::vector<float>(2 * 5);
  std::vector<float> item_features = std::vector<float>(3 * 5);
  std::vector<float> feature_bias = std::vector<float>(3);
  std::vector<double> losses;

  FeatureModel(const SgdOptions& options, bool on_device) {
    // Items 2 and 3 have no entry and are never drawn: for user 1 there is nothing to draw, and for user 0 item 1
    // alone.
    const std::vector<std::int64_t> indptr{0, 1, 3};
    const std::vector<std::int32_t> columns{0, 0, 1};
    const CsrView interactions{indptr, columns, {}, 4, true};
    const std::vector<std::int64_t> user_ends{0, 2, 3};
    const std::vector<std::int32_t> user_columns{0, 1, 1};
    const std::vector<float> user_values{1.0F, 0.5F, 2.0F};
    const CsrView of_users{user_ends, user_columns, user_values, 2};
    const std::vector<std::int64_t> item_ends{0, 1, 3, 3, 4};
    const std::vector<std::int32_t> item_columns{0, 0, 2, 1};
    const std::vector<float> item_values{1.0F, -1.0F, 0.7F, 3.0F};
    const CsrView of_items{item_ends, item_columns, item_values, 3};
    const SgdMonitor monitor{.wants_factors = false, .after_epoch = [this](std::int64_t, double loss) {
                               losses.push_back(loss);
                               return false;
                             }};
    if (on_device) {
      cuda::sgd(interactions, options, {{users.data(), 2, 5}, nullptr, of_users, {user_features.data(), 2, 5}, nullptr},
                {{items.data(), 4, 5}, bias.data(), of_items, {item_features.data(), 3, 5}, feature_bias.data()},
                monitor, {});
    } else {
      sgd(interactions, options, {{users.data(), 2, 5}, {}, of_users, {user_features.data(), 2, 5}, {}},
          {{items.data(), 4, 5}, bias, of_items, {item_features.data(), 3, 5}, feature_bias}, monitor);
    }
  }
  [[nodiscard]] std::vector<const std::vector<float>*> parts() const {
    return {&users, &items, &bias, &user_features, &item_features, &feature_bias};
  }
};

}  // namespace

TEST(cuda_sgd_moves_features_as_the_cpu_does) {
  for (const SgdObjective objective : {SgdObjective::bpr, SgdObjective::warp}) {
    for (const bool adagrad : {false, true}) {
      SgdOptions options = plain(0.1F, 0.1F, 3, 5);
      options.objective = objective;
      options.adagrad = adagrad;
      options.n_negatives = objective == SgdObjective::warp ? 4 : 1;
      options.n_threads = 1;
      const FeatureModel want(options, false);
      const FeatureModel got(options, true);
      for (std::size_t part = 0; part < want.parts().size(); ++part) {
        const std::vector<float>& a = *want.parts()[part];
        const std::vector<float>& b = *got.parts()[part];
        for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::abs(a[i] - b[i]) < 1e-5F);
      }
      for (std::size_t epoch = 0; epoch < 3; ++epoch) CHECK(std::abs(want.losses[epoch] - got.losses[epoch]) < 1e-5);
      // An item without an entry is its features alone: item 3 is three times feature 1.
      for (std::size_t c = 0; c < 5; ++c) CHECK(std::abs(got.items[15 + c] - 3 * got.item_features[5 + c]) < 1e-6F);
    }
  }
}

TEST(cuda_sgd_goes_on_from_features) {
  SgdOptions options = plain(0.05F, 0.01F, 1, 5);
  FeatureModel model(options, true);
  const FeatureModel before = model;
  CHECK(before.losses[0] > 0);
  // A learning rate next to nothing leaves everything as it was, sums included.
  options.learning_rate = 1e-20F;
  options.warm_start = true;
  const std::vector<std::int64_t> indptr{0, 1, 3};
  const std::vector<std::int32_t> columns{0, 0, 1};
  const std::vector<std::int64_t> item_ends{0, 1, 3, 3, 4};
  const std::vector<std::int32_t> item_columns{0, 0, 2, 1};
  const std::vector<float> item_values{1.0F, -1.0F, 0.7F, 3.0F};
  cuda::sgd({indptr, columns, {}, 4, true}, options, side(model.users, 2, 5),
            {{model.items.data(), 4, 5},
             model.bias.data(),
             {item_ends, item_columns, item_values, 3},
             {model.item_features.data(), 3, 5},
             model.feature_bias.data()},
            {}, {});
  for (std::size_t i = 0; i < model.items.size(); ++i) CHECK(std::abs(model.items[i] - before.items[i]) < 1e-6F);
  CHECK(model.item_features == before.item_features);
}
