// SGD as its tests on a device run it.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/sgd.hpp"

namespace recsys::test {

// Plain steps, all of one length.
inline SgdOptions plain(float learning_rate, float regularization, std::int64_t n_epochs, std::uint64_t seed) {
  return {.adagrad = false,
          .linear_decay = false,
          .learning_rate = learning_rate,
          .regularization = regularization,
          .n_epochs = n_epochs,
          .seed = seed};
}

inline cuda::DeviceSgdSide side(std::vector<float>& factors, std::int64_t n, std::int64_t f,
                                std::vector<float>* bias = nullptr) {
  return {.factors = {factors.data(), n, f},
          .bias = bias == nullptr ? nullptr : bias->data(),
          .features = {},
          .feature_factors = {},
          .feature_bias = nullptr};
}

}  // namespace recsys::test
