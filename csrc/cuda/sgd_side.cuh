// One side of SGD on a device: the embeddings that its steps move, and the caller's arrays that they make.
#pragma once

#include <string>

#include "cuda/finite.cuh"
#include "cuda/sgd.hpp"
#include "cuda/sgd_rows.cuh"
#include "recsys/random.hpp"

namespace recsys::cuda::detail {

inline void clear_floats(float* data, std::int64_t n, Stream stream) {
  if (data == nullptr || n == 0) return;
  check(cudaMemsetAsync(data, 0, static_cast<std::size_t>(n) * sizeof(float), stream.handle), "clearing device memory");
}

// Without features, steps move the caller's arrays; with them, the own embeddings of rows lie beside, and the caller's
// get the sums.
class DeviceSide {
 public:
  DeviceSide(const DeviceSgdSide& outputs, bool adagrad, Stream stream) : outputs_(outputs), stream_(stream) {
    const std::int64_t n = outputs.factors.rows();
    const std::int64_t n_features = outputs.features.cols;
    view_.own = {outputs.factors.data(), outputs.bias, nullptr, nullptr};
    if (n_features > 0) {
      own_ = DeviceBuffer<float>(n * f(), stream);
      own_bias_ = DeviceBuffer<float>(outputs.bias == nullptr ? 0 : n, stream);
      view_.own.vectors = own_.data();
      view_.own.bias = own_bias_.data();
      view_.shared = {outputs.feature_factors.data(), outputs.feature_bias, nullptr, nullptr};
      indptr_ = cuda::upload(outputs.features.indptr.data(), n + 1, stream);
      features_ = cuda::upload(outputs.features.indices.data(), outputs.features.nnz(), stream);
      values_ = cuda::upload(outputs.features.values.data(), outputs.features.nnz(), stream);
      view_.indptr = indptr_.data();
      view_.features = features_.data();
      view_.values = values_.data();
    }
    if (!adagrad) return;
    squares_ = DeviceBuffer<float>(2 * (n + n_features), stream);
    squares_.set_bytes(0, stream);
    view_.own.squares = squares_.data();
    view_.own.bias_squares = squares_.data() + n;
    view_.shared.squares = squares_.data() + 2 * n;
    view_.shared.bias_squares = squares_.data() + 2 * n + n_features;
  }

  // Bytes of it on the device, beside the caller's arrays.
  [[nodiscard]] static std::int64_t bytes(const DeviceSgdSide& side, bool adagrad) {
    const std::int64_t n = side.factors.rows();
    const bool with_features = side.features.cols > 0;
    return (with_features ? 4 * n * (side.factors.cols() + 1) + 8 * (n + 1) + 8 * side.features.nnz() : 0) +
           (adagrad ? 8 * (n + side.features.cols) : 0);
  }

  [[nodiscard]] const SgdSideView& view() const { return view_; }

  // The CPU's start: embeddings at random, but zero for rows that are new to it, without an entry, with features.
  void start(std::uint64_t seed, std::uint64_t random_stream, const std::vector<std::int64_t>& counts) {
    const std::int64_t n = outputs_.factors.rows();
    std::vector<float> packed(static_cast<std::size_t>(n * f()));
    fill_start(packed.data(), n, f(), f(), seed, random_stream);
    for (std::int64_t row = 0; row < n && view_.indptr != nullptr; ++row) {
      if (counts[static_cast<std::size_t>(row)] == 0) std::fill_n(packed.begin() + row * f(), f(), 0.0F);
    }
    send(packed, view_.own.vectors);
    clear_floats(view_.own.bias, n, stream_);
    if (view_.indptr == nullptr) return;
    packed.resize(static_cast<std::size_t>(outputs_.features.cols * f()));
    fill_start(packed.data(), outputs_.features.cols, f(), f(), seed, random_stream + 2);
    send(packed, view_.shared.vectors);
    clear_floats(view_.shared.bias, outputs_.features.cols, stream_);
  }

  // From what the caller's arrays hold: the own embedding is what is left when the features' are taken away.
  void resume() {
    if (view_.indptr == nullptr) return;
    SgdSideView given = view_;
    given.own.vectors = outputs_.factors.data();
    given.own.bias = outputs_.bias;
    add(given, -1.0F, view_.own.vectors, view_.own.bias);
  }

  void write() {
    if (view_.indptr != nullptr) add(view_, 1.0F, outputs_.factors.data(), outputs_.bias);
  }

  // Looks for what was learned and is not finite.
  void look(NonfinitePlace& place) const {
    const std::int64_t n = outputs_.factors.rows();
    place.look(view_.own.vectors, n * f());
    place.look(view_.own.bias, n);
    place.look(view_.shared.vectors, outputs_.features.cols * f());
    place.look(view_.shared.bias, outputs_.features.cols);
  }

 private:
  [[nodiscard]] std::int64_t f() const { return outputs_.factors.cols(); }
  void send(const std::vector<float>& from, float* to) {
    if (from.empty()) return;
    check(cudaMemcpyAsync(to, from.data(), from.size() * sizeof(float), cudaMemcpyHostToDevice, stream_.handle),
          "copying to the device");
    stream_.synchronize();
  }
  void add(const SgdSideView& own, float sign, float* out, float* out_bias) {
    const std::int64_t n = outputs_.factors.rows();
    launch("add_features", add_features, blocks(divide_up(n * warp_size, 256)), 256, 0, stream_, own, n,
           static_cast<int>(f()), sign, out, out_bias);
  }

  DeviceSgdSide outputs_;
  Stream stream_;
  SgdSideView view_{};
  DeviceBuffer<float> own_, own_bias_, squares_, values_;
  DeviceBuffer<std::int64_t> indptr_;
  DeviceBuffer<std::int32_t> features_;
};

}  // namespace recsys::cuda::detail
