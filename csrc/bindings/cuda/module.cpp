// The module _cuda: the operations on a device.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "bindings/cuda/device_arrays.hpp"
#include "cuda/als.hpp"
#include "cuda/sgd.hpp"
#include "cuda/status.hpp"
#include "cuda/topk.hpp"

namespace recsys::bindings {
namespace {

// A device and a stream of it, as every function takes them.
using Place = std::pair<int, std::uintptr_t>;

py::dict cuda_status() {
  const cuda::Status found = cuda::status();
  py::list devices;
  for (const cuda::DeviceInfo& device : found.devices) {
    devices.append(py::dict(py::arg("name") = device.name,
                            py::arg("capability") = py::make_tuple(device.major, device.minor),
                            py::arg("memory") = device.memory));
  }
  return py::dict(py::arg("driver_version") = found.driver_version, py::arg("runtime_version") = found.runtime_version,
                  py::arg("architectures") = found.architectures, py::arg("error") = found.error,
                  py::arg("devices") = devices);
}

Metric parse_metric(const std::string& metric) {
  if (metric == "dot") return Metric::dot;
  if (metric == "cosine") return Metric::cosine;
  throw ConfigError("metric must be \"dot\" or \"cosine\", got \"" + metric + "\"");
}

Method parse_method(const std::string& method) {
  if (method == "auto") return Method::automatic;
  if (method == "float32") return Method::float32;
  if (method == "compact") return Method::compact;
  throw ConfigError("method must be \"auto\", \"float32\" or \"compact\", got \"" + method + "\"");
}

// One list for all queries, or a pattern with a row for each.
using Allow = std::optional<std::variant<CsrPattern, py::array>>;

// The memory of a device matrix, wherever it came from.
class DeviceMatrix {
 public:
  DeviceMatrix(const FloatInput& input, std::int64_t size, cuda::Stream stream) : data_(input.data()) {
    if (input.on_device()) return;
    copied_ = cuda::upload(input.data(), size, stream);
    data_ = copied_.data();
  }
  [[nodiscard]] const float* data() const { return data_; }

 private:
  const float* data_;
  cuda::DeviceBuffer<float> copied_;
};

class BoundIndex {
 public:
  BoundIndex(const py::object& item_factors, const std::optional<py::object>& item_bias, const std::string& metric,
             const Place& place)
      : device_(place.first) {
    const DeviceGuard guard(device_);
    const FloatInput factors(item_factors, 2, "item_factors", device_, place.second);
    const Metric parsed = parse_metric(metric);
    std::optional<FloatInput> bias;
    if (item_bias) {
      bias.emplace(*item_bias, 1, "item_bias", device_, place.second);
      if (bias->shape(0) != factors.shape(0)) {
        throw ShapeError("item_bias must have one entry an item, " + std::to_string(factors.shape(0)) + ", got " +
                         std::to_string(bias->shape(0)));
      }
      if (bias->on_device() != factors.on_device()) {
        throw DeviceError("item_bias must lie where item_factors does, both on the device or both on the host");
      }
    }
    const py::gil_scoped_release release;
    index_.emplace(factors.matrix(), bias ? bias->data() : nullptr, factors.on_device(), parsed,
                   stream_of(place.second));
  }

  [[nodiscard]] const cuda::ItemIndex& index() const { return *index_; }

  [[nodiscard]] std::pair<DeviceArray, DeviceArray> topk(const py::object& queries, std::int64_t k,
                                                         const std::optional<CsrPattern>& exclude, const Allow& allow,
                                                         const std::optional<py::array>& deny,
                                                         const std::string& method, std::uintptr_t stream) const {
    if (k < 1) throw ConfigError("k must be at least 1, got " + std::to_string(k));
    const DeviceGuard guard(device_);
    const FloatInput vectors(queries, 2, "queries", device_, stream);
    cuda::TopkRequest request;
    request.queries = vectors.matrix();
    request.queries_on_device = vectors.on_device();
    if (exclude) request.exclude = pattern_view(*exclude, "exclude");
    if (allow) {
      if (const auto* rows = std::get_if<CsrPattern>(&*allow)) {
        request.allow_each = pattern_view(*rows, "allow");
      } else {
        request.allow = vector_view<std::int64_t>(std::get<py::array>(*allow), "allow");
      }
    }
    if (deny) request.deny = vector_view<std::int64_t>(*deny, "deny");
    request.method = parse_method(method);
    const cuda::Stream on = stream_of(stream);
    const py::gil_scoped_release release;
    auto indices = DeviceArray::make<std::int64_t>({vectors.shape(0), k}, device_, on);
    auto scores = DeviceArray::make<float>({vectors.shape(0), k}, device_, on);
    cuda::topk(*index_, request, k, indices.data<std::int64_t>(), scores.data<float>(), on);
    return {std::move(indices), std::move(scores)};
  }

 private:
  int device_;
  std::optional<cuda::ItemIndex> index_;
};

AlsSolver parse_solver(const std::string& name) {
  if (name == "auto") return AlsSolver::automatic;
  if (name == "cholesky") return AlsSolver::cholesky;
  if (name == "cg") return AlsSolver::cg;
  throw ConfigError("solver must be \"auto\", \"cholesky\" or \"cg\", got \"" + name + "\"");
}

MatrixView<float> matrix_of(const DeviceArray& array) {
  return {array.data<float>(), array.shape()[0], array.shape()[1]};
}

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

// As progress_callback, for a callback that is given the factors too.
auto factors_callback(const py::object& callback, const py::tuple& factors) {
  return [&callback, &factors](std::int64_t step, double loss) {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (callback.is_none()) return false;
    const py::object answer = callback(step, loss, factors);
    const int stop = PyObject_IsTrue(answer.ptr());
    if (stop < 0) throw py::error_already_set();
    return stop == 1;
  };
}

py::tuple fit_als(const CsrArrays& interactions, std::int64_t n_factors, float regularization,
                  float regularization_exponent, float alpha, float unobserved_weight, std::int64_t n_iterations,
                  const std::string& solver, std::int64_t n_cg_steps,
                  const std::optional<std::tuple<py::object, py::object>>& start, double tolerance,
                  std::uint64_t random_state, const py::object& callback, bool compute_loss, const Place& place) {
  const CsrView view = csr_view(interactions, "interactions");
  if (n_factors < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(n_factors));
  const AlsOptions options{.regularization = regularization,
                           .regularization_exponent = regularization_exponent,
                           .alpha = alpha,
                           .unobserved_weight = unobserved_weight,
                           .n_iterations = n_iterations,
                           .solver = parse_solver(solver),
                           .n_cg_steps = n_cg_steps,
                           .warm_start = start.has_value(),
                           .tolerance = tolerance,
                           .seed = random_state};
  const DeviceGuard guard(place.first);
  const cuda::Stream stream = stream_of(place.second);
  const auto users = DeviceArray::make<float>({view.rows(), n_factors}, place.first, stream);
  const auto items = DeviceArray::make<float>({view.cols, n_factors}, place.first, stream);
  if (start) {
    copy_into(users, std::get<0>(*start), 2, "start[0]", place);
    copy_into(items, std::get<1>(*start), 2, "start[1]", place);
  }
  const py::tuple factors = py::make_tuple(users, items);
  const AlsMonitor monitor{.wants_loss = compute_loss && !callback.is_none(),
                           .after_iteration = factors_callback(callback, factors)};
  const py::gil_scoped_release release;
  cuda::als(view, options, matrix_of(users), matrix_of(items), monitor, stream);
  return factors;
}

SgdObjective parse_objective(const std::string& name) {
  if (name == "bpr") return SgdObjective::bpr;
  if (name == "warp") return SgdObjective::warp;
  throw ConfigError("objective must be \"bpr\" or \"warp\", got \"" + name + "\"");
}

py::tuple fit_sgd(const CsrArrays& interactions, std::int64_t n_factors, const std::string& objective, bool adagrad,
                  bool linear_decay, float learning_rate, float regularization, std::int64_t n_epochs,
                  std::int64_t n_negatives, bool reject_positives, std::uint64_t random_state,
                  const std::optional<std::tuple<py::object, py::object, py::object>>& initial,
                  const py::object& callback, const Place& place) {
  const CsrView view = csr_view(interactions, "interactions");
  if (n_factors < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(n_factors));
  const SgdOptions options{.objective = parse_objective(objective),
                           .adagrad = adagrad,
                           .linear_decay = linear_decay,
                           .learning_rate = learning_rate,
                           .regularization = regularization,
                           .n_epochs = n_epochs,
                           .n_negatives = n_negatives,
                           .reject_positives = reject_positives,
                           .seed = random_state,
                           .warm_start = initial.has_value()};
  const DeviceGuard guard(place.first);
  const cuda::Stream stream = stream_of(place.second);
  const auto users = DeviceArray::make<float>({view.rows(), n_factors}, place.first, stream);
  const auto items = DeviceArray::make<float>({view.cols, n_factors}, place.first, stream);
  const auto bias = DeviceArray::make<float>({view.cols}, place.first, stream);
  if (initial) {
    copy_into(users, std::get<0>(*initial), 2, "initial.user_factors", place);
    copy_into(items, std::get<1>(*initial), 2, "initial.item_factors", place);
    copy_into(bias, std::get<2>(*initial), 1, "initial.item_bias", place);
  }
  const py::tuple factors = py::make_tuple(users, items, bias);
  const SgdMonitor monitor{.wants_factors = false, .after_epoch = factors_callback(callback, factors)};
  const py::gil_scoped_release release;
  cuda::sgd(view, options, matrix_of(users), matrix_of(items), bias.data<float>(), monitor, stream);
  return factors;
}

DeviceArray solve_histories(const CsrArrays& histories, const py::object& item_factors,
                            const std::optional<py::object>& prior, float ridge, std::pair<float, float> confidence,
                            std::pair<float, float> target, const std::optional<py::object>& item_offset,
                            const Place& place) {
  const CsrView view = csr_view(histories, "histories");
  const DeviceGuard guard(place.first);
  const FloatInput factors(item_factors, 2, "item_factors", place.first, place.second);
  const std::int64_t f = factors.shape(1);
  std::optional<FloatInput> given_prior;
  if (prior) {
    given_prior.emplace(*prior, 2, "prior", place.first, place.second);
    if (given_prior->shape(0) != f || given_prior->shape(1) != f) {
      throw ShapeError("prior must have shape (" + std::to_string(f) + ", " + std::to_string(f) + "), got (" +
                       std::to_string(given_prior->shape(0)) + ", " + std::to_string(given_prior->shape(1)) + ")");
    }
  }
  std::optional<FloatInput> given_offset;
  if (item_offset) {
    given_offset.emplace(*item_offset, 1, "item_offset", place.first, place.second);
    if (given_offset->shape(0) != factors.shape(0)) {
      throw ShapeError("item_offset must have one entry for each row of item_factors, " +
                       std::to_string(factors.shape(0)) + ", got " + std::to_string(given_offset->shape(0)));
    }
  }
  const py::gil_scoped_release release;
  const cuda::Stream stream = stream_of(place.second);
  const DeviceMatrix on_device(factors, factors.matrix().size(), stream);
  std::optional<DeviceMatrix> device_prior;
  if (given_prior) device_prior.emplace(*given_prior, f * f, stream);
  std::optional<DeviceMatrix> device_offset;
  if (given_offset) device_offset.emplace(*given_offset, factors.shape(0), stream);
  auto out = DeviceArray::make<float>({view.rows(), f}, place.first, stream);
  cuda::solve_rows(view, {on_device.data(), factors.shape(0), f}, device_prior ? device_prior->data() : nullptr, ridge,
                   {confidence.first, confidence.second, target.first, target.second},
                   device_offset ? device_offset->data() : nullptr, matrix_of(out), stream);
  return out;
}

}  // namespace
}  // namespace recsys::bindings

PYBIND11_MODULE(_cuda, module) {
  namespace py = pybind11;
  using namespace recsys::bindings;
  module.doc() = "The operations on a CUDA device.  Use them through recsys_core.ops.cuda.";
  register_errors(module);
  bind_device_arrays(module);
  module.def("status", &cuda_status);
  py::class_<BoundIndex>(module, "ItemIndex")
      .def(py::init<const py::object&, const std::optional<py::object>&, const std::string&, const Place&>(),
           py::arg("item_factors"), py::arg("item_bias"), py::arg("metric"), py::arg("place"))
      .def_property_readonly("n_items", [](const BoundIndex& self) { return self.index().n_items(); })
      .def_property_readonly("n_factors", [](const BoundIndex& self) { return self.index().n_factors(); })
      .def("topk", &BoundIndex::topk, py::arg("queries"), py::arg("k"), py::arg("exclude"), py::arg("allow"),
           py::arg("deny"), py::arg("method"), py::arg("stream"));
  module.def("als", &fit_als, py::arg("interactions"), py::arg("n_factors"), py::kw_only(), py::arg("regularization"),
             py::arg("regularization_exponent"), py::arg("alpha"), py::arg("unobserved_weight"),
             py::arg("n_iterations"), py::arg("solver"), py::arg("n_cg_steps"), py::arg("start"), py::arg("tolerance"),
             py::arg("random_state"), py::arg("callback"), py::arg("compute_loss"), py::arg("place"));
  module.def("sgd", &fit_sgd, py::arg("interactions"), py::arg("n_factors"), py::kw_only(), py::arg("objective"),
             py::arg("adagrad"), py::arg("linear_decay"), py::arg("learning_rate"), py::arg("regularization"),
             py::arg("n_epochs"), py::arg("n_negatives"), py::arg("reject_positives"), py::arg("random_state"),
             py::arg("initial"), py::arg("callback"), py::arg("place"));
  module.def("solve_rows", &solve_histories, py::arg("histories"), py::arg("item_factors"), py::kw_only(),
             py::arg("prior"), py::arg("ridge"), py::arg("confidence"), py::arg("target"), py::arg("item_offset"),
             py::arg("place"));
}
