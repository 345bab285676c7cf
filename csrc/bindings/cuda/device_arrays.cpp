#include "bindings/cuda/device_arrays.hpp"

#include <pybind11/stl.h>

namespace recsys::bindings {
namespace {

constexpr std::uintptr_t default_stream = 1;  // as DLPack numbers it

void check_tensor(const dlpack::Tensor& tensor, int n_dimensions, const std::string& name, int device) {
  if (tensor.device.type != dlpack::device_cuda && tensor.device.type != dlpack::device_cuda_managed) {
    throw DeviceError(name + " must lie on a CUDA device, got DLPack's device type " +
                      std::to_string(tensor.device.type));
  }
  if (tensor.device.index != device) {
    throw DeviceError(name + " must lie on device cuda:" + std::to_string(device) +
                      ", got cuda:" + std::to_string(tensor.device.index));
  }
  if (tensor.dtype.code != dlpack::code_float || tensor.dtype.bits != 32 || tensor.dtype.lanes != 1) {
    throw DTypeError(name + " must hold float32 on the device, got DLPack's type " + std::to_string(tensor.dtype.code) +
                     " of " + std::to_string(tensor.dtype.bits) + " bits; convert it first");
  }
  if (tensor.n_dimensions != n_dimensions) {
    throw ShapeError(name + " must have " + std::to_string(n_dimensions) + " dimension(s), got " +
                     std::to_string(tensor.n_dimensions));
  }
  std::int64_t expected = 1;
  for (int axis = n_dimensions - 1; axis >= 0 && tensor.strides != nullptr; --axis) {
    if (tensor.shape[axis] > 1 && tensor.strides[axis] != expected) {
      throw DTypeError(name + " must be C-contiguous on the device; make a contiguous copy first");
    }
    expected *= tensor.shape[axis];
  }
}

}  // namespace

FloatInput::FloatInput(const py::object& value, int n_dimensions, const std::string& name, int device,
                       std::uintptr_t stream) {
  if (py::isinstance<py::array>(value)) {
    const auto array = py::reinterpret_borrow<py::array>(value);
    require<float>(array, n_dimensions, name);
    data_ = static_cast<const float*>(array.data());
    shape_.assign(array.shape(), array.shape() + array.ndim());
    return;
  }
  using namespace py::literals;
  const py::object given = value.attr("__dlpack__")("stream"_a = stream == 0 ? default_stream : stream);
  PyObject* const capsule = given.ptr();
  auto* const tensor = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
  if (tensor == nullptr) throw py::error_already_set();
  check_tensor(tensor->tensor, n_dimensions, name, device);
  // From here on the tensor is ours to delete.
  if (PyCapsule_SetName(capsule, "used_dltensor") != 0) throw py::error_already_set();
  tensor_ = tensor;
  data_ = reinterpret_cast<const float*>(static_cast<const char*>(tensor->tensor.data) + tensor->tensor.byte_offset);
  shape_.assign(tensor->tensor.shape, tensor->tensor.shape + n_dimensions);
  on_device_ = true;
}

py::dtype DeviceArray::dtype() const {
  return dtype_.code == dlpack::code_float ? py::dtype::of<float>() : py::dtype::of<std::int64_t>();
}

py::array DeviceArray::to_numpy() const {
  const py::array array(dtype(), std::vector<py::ssize_t>(shape_.begin(), shape_.end()));
  const auto bytes = static_cast<std::size_t>(array.nbytes());
  if (bytes == 0) return array;
  void* const to = py::array(array).mutable_data();
  const py::gil_scoped_release release;
  const DeviceGuard guard(device_);
  cuda::check(cudaMemcpyAsync(to, data_, bytes, cudaMemcpyDeviceToHost, stream_.handle), "copying from the device");
  stream_.synchronize();
  return array;
}

py::capsule DeviceArray::to_dlpack(const py::object& stream) const {
  const auto wanted = stream.is_none() ? static_cast<std::intptr_t>(default_stream) : stream.cast<std::intptr_t>();
  const auto own = static_cast<std::intptr_t>(
      stream_.handle == nullptr ? default_stream : reinterpret_cast<std::uintptr_t>(stream_.handle));
  if (wanted != -1 && wanted != own) {
    const py::gil_scoped_release release;
    stream_.synchronize();
  }
  struct Held {
    dlpack::ManagedTensor managed;
    std::vector<std::int64_t> shape;
    std::shared_ptr<void> memory;
  };
  auto held = std::make_unique<Held>();
  held->shape = shape_;
  held->memory = memory_;
  held->managed = {{data_,
                    {dlpack::device_cuda, device_},
                    static_cast<std::int32_t>(shape_.size()),
                    dtype_,
                    held->shape.data(),
                    nullptr,
                    0},
                   held.get(),
                   [](dlpack::ManagedTensor* managed) { delete static_cast<Held*>(managed->context); }};
  const auto free_unused = [](PyObject* capsule) {
    if (PyCapsule_IsValid(capsule, "dltensor") == 0) return;  // a consumer has taken it over
    auto* const managed = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
    managed->deleter(managed);
  };
  PyObject* const capsule = PyCapsule_New(&held->managed, "dltensor", free_unused);
  if (capsule == nullptr) throw py::error_already_set();
  (void)held.release();
  return py::reinterpret_steal<py::capsule>(capsule);
}

void bind_device_arrays(py::module_& module) {
  py::class_<DeviceArray>(module, "DeviceArray", "An array on a CUDA device; torch.from_dlpack(it) shares its memory.")
      .def_property_readonly("shape", [](const DeviceArray& self) { return py::tuple(py::cast(self.shape())); })
      .def_property_readonly("dtype", &DeviceArray::dtype)
      .def_property_readonly("device", [](const DeviceArray& self) { return "cuda:" + std::to_string(self.device()); })
      .def("numpy", &DeviceArray::to_numpy, "Copy the array to the host.")
      .def(
          "__dlpack__",
          [](const DeviceArray& self, const py::object& stream, const py::kwargs&) { return self.to_dlpack(stream); },
          py::arg("stream") = py::none())
      .def("__dlpack_device__",
           [](const DeviceArray& self) { return py::make_tuple(dlpack::device_cuda, self.device()); });
}

}  // namespace recsys::bindings
