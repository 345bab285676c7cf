// The module _cuda: the operations on a device.
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "bindings/choices.hpp"
#include "bindings/cuda/device_arrays.hpp"
#include "cuda/als.hpp"
#include "cuda/status.hpp"
#include "cuda/topk.hpp"

namespace recsys::bindings {
namespace {

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

DeviceArray solve_histories(const CsrArrays& histories, const py::object& item_factors,
                            const std::optional<py::object>& prior, float gram_weight, float gram_ridge,
                            const std::optional<py::array>& ridge, std::pair<float, float> confidence,
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
  cuda::RowTerms terms{.gram_weight = gram_weight,
                       .ridge = gram_ridge,
                       .weights = {confidence.first, confidence.second, target.first, target.second}};
  if (ridge) terms.ridges = vector_view<float>(*ridge, "ridge");
  const py::gil_scoped_release release;
  const cuda::Stream stream = stream_of(place.second);
  const DeviceMatrix on_device(factors, factors.matrix().size(), stream);
  std::optional<DeviceMatrix> device_prior;
  if (given_prior) device_prior.emplace(*given_prior, f * f, stream);
  std::optional<DeviceMatrix> device_offset;
  if (given_offset) device_offset.emplace(*given_offset, factors.shape(0), stream);
  cuda::require_memory("the vectors of the histories", 4 * checked_product(view.rows(), f));
  auto out = DeviceArray::make<float>({view.rows(), f}, place.first, stream);
  if (device_prior) terms.prior = device_prior->data();
  if (device_offset) terms.item_offset = device_offset->data();
  cuda::solve_rows(view, {on_device.data(), factors.shape(0), f}, terms, matrix_of(out), stream);
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
  bind_training(module);
  module.def("solve_rows", &solve_histories, py::arg("histories"), py::arg("item_factors"), py::kw_only(),
             py::arg("prior"), py::arg("gram_weight"), py::arg("gram_ridge"), py::arg("ridge"), py::arg("confidence"),
             py::arg("target"), py::arg("item_offset"), py::arg("place"));
}
