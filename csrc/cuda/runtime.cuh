// CUDA's runtime as this library uses it: every call checked, memory owned, launches typed.
//
// Memory.  A DeviceBuffer with a stream is scratch: taken from a pool and given back in the stream's order, so that it
// costs no synchronization.  One without lives as long as an object does, and its release waits for the device.
//
// Streams are parameters throughout; a null stream is CUDA's default stream.  Nothing here is thread-safe by itself,
// but different threads may call different objects.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "recsys/errors.hpp"
#include "recsys/views.hpp"

namespace recsys::cuda {

inline void check(cudaError_t error, const std::string& doing) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // an error that can be survived is not to be reported to whoever calls next
  throw DeviceError("CUDA failed while " + doing + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) +
                    ")");
}

// A stream as a value, so that a pointer or a 0 is not taken for one by accident.
struct Stream {
  cudaStream_t handle = nullptr;

  void synchronize() const { check(cudaStreamSynchronize(handle), "waiting for the stream"); }
};

[[nodiscard]] inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  check(cudaDeviceGetAttribute(&value, attribute, device), "asking for the device's limits");
  return value;
}

// Bytes that can be allocated now: what the device has free, and what its pool of scratch holds unused.
[[nodiscard]] inline std::int64_t free_memory() {
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  int device = 0;
  cudaMemPool_t pool = nullptr;
  std::uint64_t held = 0;
  std::uint64_t used = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  check(cudaDeviceGetDefaultMemPool(&pool, device), "asking for the device's pool");
  check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &held), "asking for the pool's size");
  check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), "asking for the pool's use");
  return static_cast<std::int64_t>(free) + static_cast<std::int64_t>(held - std::min(held, used));
}

// Says what does not fit, before anything fails.
[[noreturn]] inline void throw_too_little_memory(const std::string& what, std::int64_t needed, std::int64_t room) {
  throw DeviceError(what + " must fit the device's memory: " + std::to_string(needed) + " bytes are needed and " +
                    std::to_string(room) + " can be used; free some, or take a larger device");
}
inline void require_memory(const std::string& what, std::int64_t needed) {
  const std::int64_t room = free_memory();
  if (needed > room) throw_too_little_memory(what, needed, room);
}

template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::int64_t size) : size_(size) {
    if (bytes() > 0) check(cudaMalloc(memory(), bytes()), describe());
  }
  DeviceBuffer(std::int64_t size, Stream stream) : size_(size), stream_(stream), scratch_(true) {
    if (bytes() > 0) check(cudaMallocAsync(memory(), bytes(), stream_.handle), describe());
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    DeviceBuffer moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_ == nullptr) return;
    (void)(scratch_ ? cudaFreeAsync(data_, stream_.handle) : cudaFree(data_));  // nobody is left to be told
  }

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(checked_product(size_, static_cast<std::int64_t>(sizeof(T))));
  }

  void set_bytes(int value, Stream stream) {
    if (bytes() > 0) check(cudaMemsetAsync(data_, value, bytes(), stream.handle), "clearing device memory");
  }
  void upload(const T* from, Stream stream) {
    if (bytes() == 0) return;
    check(cudaMemcpyAsync(data_, from, bytes(), cudaMemcpyHostToDevice, stream.handle), "copying to the device");
  }
  void download(T* to, Stream stream) const {
    if (bytes() == 0) return;
    check(cudaMemcpyAsync(to, data_, bytes(), cudaMemcpyDeviceToHost, stream.handle), "copying from the device");
  }

 private:
  void** memory() { return reinterpret_cast<void**>(&data_); }
  [[nodiscard]] std::string describe() const { return "allocating " + std::to_string(bytes()) + " bytes"; }
  void swap(DeviceBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(stream_, other.stream_);
    std::swap(scratch_, other.scratch_);
  }

  T* data_ = nullptr;
  std::int64_t size_ = 0;
  Stream stream_;
  bool scratch_ = false;
};

template <typename T>
[[nodiscard]] DeviceBuffer<T> upload(const T* from, std::int64_t size, Stream stream) {
  DeviceBuffer<T> buffer(size, stream);
  buffer.upload(from, stream);
  return buffer;
}

// Waits for the stream.
template <typename T>
[[nodiscard]] std::vector<T> download(const DeviceBuffer<T>& buffer, Stream stream) {
  std::vector<T> values(static_cast<std::size_t>(buffer.size()));
  buffer.download(values.data(), stream);
  stream.synchronize();
  return values;
}

template <typename... Params, typename... Args>
void launch(const char* name, void (*kernel)(Params...), dim3 grid, int n_threads, std::int64_t shared_bytes,
            Stream stream, Args&&... args) {
  constexpr std::int64_t without_asking = 48 << 10;
  if (shared_bytes > without_asking) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
          std::string("reserving shared memory for ") + name);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(n_threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = stream.handle;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), std::string("launching ") + name);
}

// A grid of n blocks in x.
[[nodiscard]] inline dim3 blocks(std::int64_t n) { return {static_cast<unsigned>(n)}; }

[[nodiscard]] constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
[[nodiscard]] constexpr std::int64_t round_up_to(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

}  // namespace recsys::cuda
