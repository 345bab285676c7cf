// Arrays on a device in and out of Python, without copies, by DLPack.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "bindings/cuda/dlpack.hpp"
#include "cuda/runtime.cuh"

namespace recsys::bindings {

// A device and a stream of it, as every function takes them.
using Place = std::pair<int, std::uintptr_t>;

// Makes a device the current one while it lives.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    cuda::check(cudaGetDevice(&before_), "asking for the current device");
    if (device != before_) cuda::check(cudaSetDevice(device), "choosing device " + std::to_string(device));
  }
  ~DeviceGuard() { (void)cudaSetDevice(before_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
};

// A stream given as an integer handle; 0 is the default stream.
inline cuda::Stream stream_of(std::uintptr_t handle) { return {reinterpret_cast<cudaStream_t>(handle)}; }

// A float32 array that the caller holds: a NumPy array, or anything with __dlpack__ on the chosen device.
class FloatInput {
 public:
  FloatInput(const py::object& value, int n_dimensions, const std::string& name, int device, std::uintptr_t stream);
  FloatInput(FloatInput&& other) noexcept
      : tensor_(std::exchange(other.tensor_, nullptr)),
        data_(other.data_),
        shape_(std::move(other.shape_)),
        on_device_(other.on_device_) {}
  ~FloatInput() {
    if (tensor_ != nullptr && tensor_->deleter != nullptr) tensor_->deleter(tensor_);
  }

  [[nodiscard]] const float* data() const { return data_; }
  [[nodiscard]] std::int64_t shape(std::size_t axis) const { return shape_[axis]; }
  [[nodiscard]] bool on_device() const { return on_device_; }
  [[nodiscard]] MatrixView<const float> matrix() const { return {data_, shape_[0], shape_[1]}; }

 private:
  dlpack::ManagedTensor* tensor_ = nullptr;
  const float* data_ = nullptr;
  std::vector<std::int64_t> shape_;
  bool on_device_ = false;
};

// An array of the result.  It is complete once its stream is; whoever reads it by DLPack on another stream, or copies
// it to the host, waits for that.
class DeviceArray {
 public:
  template <typename T>
  static DeviceArray make(std::vector<std::int64_t> shape, int device, cuda::Stream stream) {
    std::int64_t size = 1;
    for (const std::int64_t n : shape) size = checked_product(size, n);
    DeviceArray array;
    array.memory_ = std::make_shared<cuda::DeviceBuffer<T>>(size);
    array.data_ = static_cast<const cuda::DeviceBuffer<T>*>(array.memory_.get())->data();
    array.dtype_ = {std::is_floating_point_v<T> ? dlpack::code_float : dlpack::code_int, sizeof(T) * 8, 1};
    array.shape_ = std::move(shape);
    array.device_ = device;
    array.stream_ = stream;
    return array;
  }

  template <typename T>
  [[nodiscard]] T* data() const {
    return static_cast<T*>(data_);
  }
  [[nodiscard]] const std::vector<std::int64_t>& shape() const { return shape_; }
  [[nodiscard]] int device() const { return device_; }
  [[nodiscard]] py::dtype dtype() const;
  [[nodiscard]] py::array to_numpy() const;
  // `stream` as the protocol has it: None or an integer, where 1 is the default stream and -1 asks not to wait.
  [[nodiscard]] py::capsule to_dlpack(const py::object& stream) const;

 private:
  std::shared_ptr<void> memory_;
  void* data_ = nullptr;
  dlpack::DataType dtype_{};
  std::vector<std::int64_t> shape_;
  int device_ = 0;
  cuda::Stream stream_;
};

inline MatrixView<float> matrix_of(const DeviceArray& array) {
  return {array.data<float>(), array.shape()[0], array.shape()[1]};
}

void bind_device_arrays(py::module_& module);
void bind_training(py::module_& module);

}  // namespace recsys::bindings
