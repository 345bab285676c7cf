// Numbers on a device that are not finite.
#pragma once

#include <string_view>

#include "cuda/rounding.cuh"
#include "cuda/runtime.cuh"
#include "recsys/views.hpp"

namespace recsys::cuda {

// The lowest place of a number that is not finite, of all arrays that were looked at.
class NonfinitePlace {
 public:
  explicit NonfinitePlace(Stream stream) : lowest_(1, stream), stream_(stream) { lowest_.set_bytes(0xFF, stream); }

  void look(const float* values, std::int64_t n);

  // -1 where all are finite.
  [[nodiscard]] std::int64_t get() const { return static_cast<std::int64_t>(download(lowest_, stream_)[0]); }

 private:
  DeviceBuffer<unsigned long long> lowest_;
  Stream stream_;
};

// One thread a number.  Static, since several translation units hold it.
static __global__ void find_nonfinite(const float* values, std::int64_t n, unsigned long long* lowest) {
  const std::int64_t at = global_thread();
  if (at < n && !is_finite(values[at])) atomicMin(lowest, static_cast<unsigned long long>(at));
}

inline void NonfinitePlace::look(const float* values, std::int64_t n) {
  if (values == nullptr || n == 0) return;
  launch("find_nonfinite", find_nonfinite, blocks(divide_up(n, 256)), 256, 0, stream_, values, n, lowest_.data());
}

// As recsys::check_finite, for a matrix [rows, cols] on the device.
inline void check_finite_on_device(const float* values, std::int64_t rows, std::int64_t cols, std::string_view name,
                                   Stream stream) {
  NonfinitePlace place(stream);
  place.look(values, rows * cols);
  const std::int64_t at = place.get();
  if (at < 0) return;
  float value = 0;
  check(cudaMemcpyAsync(&value, values + at, sizeof(value), cudaMemcpyDeviceToHost, stream.handle),
        "copying from the device");
  stream.synchronize();
  throw_nonfinite(name, at / cols, at % cols, value);
}

}  // namespace recsys::cuda
