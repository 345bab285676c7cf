// Training on a device: ALS, and BPR and WARP.
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>

#include "bindings/arrays.hpp"
#include "bindings/callback.hpp"
#include "bindings/choices.hpp"
#include "bindings/cuda/device_arrays.hpp"
#include "bindings/sgd_options.hpp"
#include "cuda/als.hpp"
#include "cuda/sgd.hpp"

namespace recsys::bindings {
namespace {

// Copies an array given, on either side of the bus, to one of the result.
void copy_into(const DeviceArray& to, const py::object& from, int n_dimensions, const std::string& name,
               const Place& place) {
  const FloatInput given(from, n_dimensions, name, place.first, place.second);
  std::int64_t size = 1;
  for (std::size_t axis = 0; axis < to.shape().size(); ++axis) {
    if (given.shape(axis) != to.shape()[axis]) {
      throw ShapeError(name + " must have " + std::to_string(to.shape()[axis]) + " entries along axis " +
                       std::to_string(axis) + ", got " + std::to_string(given.shape(axis)));
    }
    size *= to.shape()[axis];
  }
  const cuda::Stream stream = stream_of(place.second);
  cuda::check(cudaMemcpyAsync(to.data<float>(), given.data(), static_cast<std::size_t>(size) * sizeof(float),
                              cudaMemcpyDefault, stream.handle),
              "copying to the device");
  stream.synchronize();
}

using HostFactors = std::tuple<py::array_t<float>, py::array_t<float>>;

// Returns factors on the device, or, given `into`, writes them there, to the host, and returns nothing; `initial` is
// then what those arrays hold.
py::object fit_als(const CsrArrays& interactions, std::int64_t n_factors, float regularization,
                   float regularization_exponent, float alpha, float unobserved_weight, std::int64_t n_iterations,
                   const std::string& solver, std::int64_t n_cg_steps, std::int64_t block_size,
                   const std::optional<std::tuple<py::object, py::object>>& initial, double tolerance,
                   std::uint64_t random_state, const py::object& callback, bool compute_loss, bool mixed_precision,
                   std::optional<HostFactors>& into, const Place& place) {
  const CsrView view = csr_view(interactions, "interactions");
  if (n_factors < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(n_factors));
  const AlsOptions options{.regularization = regularization,
                           .regularization_exponent = regularization_exponent,
                           .alpha = alpha,
                           .unobserved_weight = unobserved_weight,
                           .n_iterations = n_iterations,
                           .solver = parse_solver(solver),
                           .n_cg_steps = n_cg_steps,
                           .block_size = block_size,
                           .warm_start = initial.has_value(),
                           .tolerance = tolerance,
                           .seed = random_state};
  const cuda::AlsTuning tuning{.mixed_precision = mixed_precision};
  const bool wants_loss = compute_loss && !callback.is_none();
  const DeviceGuard guard(place.first);
  const cuda::Stream stream = stream_of(place.second);
  if (into) {
    auto& [users, items] = *into;
    require<float>(users, 2, "user_factors");
    require<float>(items, 2, "item_factors");
    const MatrixView<float> user_view = mutable_view(users);
    const MatrixView<float> item_view = mutable_view(items);
    const py::tuple factors = py::make_tuple(users, items);
    const AlsMonitor monitor{.wants_loss = wants_loss,
                             .wants_factors = !callback.is_none(),
                             .after_iteration = progress_callback(callback, factors)};
    const py::gil_scoped_release release;
    cuda::als(view, options, user_view, item_view, false, monitor, stream, tuning);
    return py::none();
  }
  cuda::require_memory("both factor matrices, which ops.als(device=...) keeps on the host where need be,",
                       4 * checked_product(view.rows() + view.cols, n_factors));
  const auto users = DeviceArray::make<float>({view.rows(), n_factors}, place.first, stream);
  const auto items = DeviceArray::make<float>({view.cols, n_factors}, place.first, stream);
  if (initial) {
    copy_into(users, std::get<0>(*initial), 2, "initial.user_factors", place);
    copy_into(items, std::get<1>(*initial), 2, "initial.item_factors", place);
  }
  const py::tuple factors = py::make_tuple(users, items);
  const AlsMonitor monitor{.wants_loss = wants_loss, .after_iteration = progress_callback(callback, factors)};
  {
    const py::gil_scoped_release release;
    cuda::als(view, options, matrix_of(users), matrix_of(items), true, monitor, stream, tuning);
  }
  return factors;
}

// What is learned of one side, on the device: factors, and where it has features their embeddings.
struct TrainedSide {
  DeviceArray factors;
  std::optional<DeviceArray> bias;
  CsrView features;
  std::optional<DeviceArray> feature_factors;
  std::optional<DeviceArray> feature_bias;

  TrainedSide(std::int64_t n, std::int64_t f, bool with_bias, const std::optional<CsrArrays>& given,
              const std::string& name, const Place& place)
      : factors(DeviceArray::make<float>({n, f}, place.first, stream_of(place.second))) {
    const auto vector = [&](std::int64_t size) {
      return DeviceArray::make<float>({size}, place.first, stream_of(place.second));
    };
    if (with_bias) bias = vector(n);
    if (!given) return;
    features = csr_view(*given, name + "_features");
    feature_factors = DeviceArray::make<float>({features.cols, f}, place.first, stream_of(place.second));
    if (with_bias) feature_bias = vector(features.cols);
  }
  [[nodiscard]] static std::int64_t bytes(std::int64_t n, std::int64_t f, const std::optional<CsrArrays>& given) {
    return 4 * checked_product(n + (given ? std::get<3>(*given) : 0), f + 1);
  }
  [[nodiscard]] cuda::DeviceSgdSide view() const {
    const auto data = [](const std::optional<DeviceArray>& array) { return array ? array->data<float>() : nullptr; };
    return {matrix_of(factors), data(bias), features,
            feature_factors ? matrix_of(*feature_factors) : MatrixView<float>{}, data(feature_bias)};
  }
};

// The parts of `initial` and of the result: of users and items the factors, of items the bias, and then the factors of
// the features of both and their bias, None where there are no features.
py::tuple fit_sgd(const CsrArrays& interactions, std::int64_t n_factors, const py::dict& steps,
                  const std::optional<CsrArrays>& user_features, const std::optional<CsrArrays>& item_features,
                  const std::optional<py::tuple>& initial, const py::object& callback, bool wants_factors,
                  const Place& place) {
  const CsrView view = csr_view(interactions, "interactions");
  if (n_factors < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(n_factors));
  SgdOptions options = sgd_options(steps);
  options.warm_start = initial.has_value();
  const DeviceGuard guard(place.first);
  const cuda::Stream stream = stream_of(place.second);
  cuda::require_memory("what BPR and WARP learn", TrainedSide::bytes(view.rows(), n_factors, user_features) +
                                                      TrainedSide::bytes(view.cols, n_factors, item_features));
  const TrainedSide users(view.rows(), n_factors, false, user_features, "user", place);
  const TrainedSide items(view.cols, n_factors, true, item_features, "item", place);
  const std::pair<const char*, std::optional<DeviceArray>> parts[] = {
      {"user_factors", users.factors},
      {"item_factors", items.factors},
      {"item_bias", items.bias},
      {"user_feature_factors", users.feature_factors},
      {"item_feature_factors", items.feature_factors},
      {"item_feature_bias", items.feature_bias},
  };
  py::tuple factors(std::size(parts));
  for (std::size_t i = 0; i < std::size(parts); ++i) {
    const auto& [name, part] = parts[i];
    if (part && initial) {
      copy_into(*part, (*initial)[i], static_cast<int>(part->shape().size()), std::string("initial.") + name, place);
    }
    factors[i] = part ? py::cast(*part) : py::none();
  }
  const SgdMonitor monitor{.wants_factors = wants_factors, .after_epoch = progress_callback(callback, factors)};
  const py::gil_scoped_release release;
  cuda::sgd(view, options, users.view(), items.view(), monitor, stream);
  return factors;
}

}  // namespace

void bind_training(py::module_& module) {
  module.def("als", &fit_als, py::arg("interactions"), py::arg("n_factors"), py::kw_only(), py::arg("regularization"),
             py::arg("regularization_exponent"), py::arg("alpha"), py::arg("unobserved_weight"),
             py::arg("n_iterations"), py::arg("solver"), py::arg("n_cg_steps"), py::arg("block_size"),
             py::arg("initial"), py::arg("tolerance"), py::arg("random_state"), py::arg("callback"),
             py::arg("compute_loss"), py::arg("mixed_precision"), py::arg("into"), py::arg("place"));
  module.def("sgd", &fit_sgd, py::arg("interactions"), py::arg("n_factors"), py::kw_only(), py::arg("steps"),
             py::arg("user_features"), py::arg("item_features"), py::arg("initial"), py::arg("callback"),
             py::arg("wants_factors"), py::arg("place"));
}

}  // namespace recsys::bindings
