// The functions of CUDA's runtime that csrc/cuda calls, for the emulated device: memory, which is the heap, streams,
// launches, and what there is to ask about a device.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>

#include "tests/simt/simt.hpp"
#include "tests/simt/streams.hpp"

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidDevice = 101
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrMultiProcessorCount };
enum cudaMemPoolAttr { cudaMemPoolAttrReservedMemCurrent, cudaMemPoolAttrUsedMemCurrent };
inline constexpr unsigned cudaHostRegisterDefault = 0;
inline constexpr unsigned cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDisableTiming = 2;
using cudaStream_t = struct EmulatedStream*;
using cudaEvent_t = struct EmulatedEvent*;
using cudaMemPool_t = struct EmulatedPool*;

struct cudaDeviceProp {
  char name[256];
  int major;
  int minor;
  std::size_t totalGlobalMem;
};

struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  void* attrs = nullptr;
  unsigned numAttrs = 0;
};

namespace recsys::simt {

inline constexpr std::size_t shared_without_asking = 48 << 10;

// Kernels that were allowed more shared memory.
inline std::map<const void*, std::size_t>& shared_limits() {
  static std::map<const void*, std::size_t> limits;
  return limits;
}

// What the emulated device offers; tests change it.
struct DeviceLimits {
  int shared_bytes = 99 << 10;
  int multiprocessors = 4;
  std::size_t free_bytes = std::size_t{1} << 30;  // allocations take from it and give back
  bool pins_memory = true;                        // of the host, where a program asks
};
inline DeviceLimits& device_limits() {
  static DeviceLimits limits;
  return limits;
}

// Sizes of what is allocated.
inline std::map<const void*, std::size_t>& allocations() {
  static std::map<const void*, std::size_t> sizes;
  return sizes;
}

// How many launches there were, for tests that must know which way was taken.
inline std::map<const void*, int>& launches() {
  static std::map<const void*, int> counts;
  return counts;
}

}  // namespace recsys::simt

inline const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidValue:
      break;
  }
  return "cudaErrorInvalidValue";
}
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  if (bytes > recsys::simt::device_limits().free_bytes) return cudaErrorMemoryAllocation;
  *memory = std::malloc(bytes);
  if (*memory == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xCD, bytes);
  recsys::simt::device_limits().free_bytes -= bytes;
  recsys::simt::allocations()[*memory] = bytes;
  return cudaSuccess;
}
inline void emulated_account_free(void* memory) {
  const auto found = recsys::simt::allocations().find(memory);
  if (found == recsys::simt::allocations().end()) return;
  recsys::simt::device_limits().free_bytes += found->second;
  recsys::simt::allocations().erase(found);
}
inline cudaError_t cudaFree(void* memory) {
  recsys::simt::finish_all_streams();
  emulated_account_free(memory);
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) { return cudaMalloc(memory, bytes); }
// The memory can be given out again at once, for work that follows on the stream, which still may use it until then.
inline cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  emulated_account_free(memory);
  recsys::simt::submit(stream, [memory] { std::free(memory); });
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  if (bytes > 0) recsys::simt::submit(stream, [to, from, bytes] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes > 0) recsys::simt::submit(stream, [memory, value, bytes] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  auto timeline = std::make_shared<recsys::simt::Timeline>(recsys::simt::late_streams());
  *stream = reinterpret_cast<cudaStream_t>(timeline.get());
  recsys::simt::timelines()[*stream] = std::move(timeline);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  recsys::simt::present_moment(stream).wait();
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  recsys::simt::present_moment(stream).wait();
  recsys::simt::timelines().erase(stream);
  return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->moment = recsys::simt::present_moment(stream);
  return cudaSuccess;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned = 0) {
  recsys::simt::submit(stream, [moment = event->moment] { moment.wait(); });
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  event->moment.wait();
  return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = recsys::simt::device_limits().free_bytes;
  return cudaSuccess;
}
// Scratch is not pooled.
inline cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t*, int) { return cudaSuccess; }
inline cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void* value) {
  std::memset(value, 0, sizeof(std::uint64_t));
  return cudaSuccess;
}
inline cudaError_t cudaHostRegister(void*, std::size_t, unsigned) {
  return recsys::simt::device_limits().pins_memory ? cudaSuccess : cudaErrorInvalidValue;
}
inline cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  *memory = std::malloc(bytes);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
inline cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaHostUnregister(void*) { return cudaSuccess; }
// One device, as of the version of CUDA whose interface this is.
inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  std::strcpy(properties->name, "emulation");
  properties->major = 8;
  properties->minor = 0;
  properties->totalGlobalMem = recsys::simt::device_limits().free_bytes;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const recsys::simt::DeviceLimits& limits = recsys::simt::device_limits();
  *value = attribute == cudaDevAttrMultiProcessorCount ? limits.multiprocessors : limits.shared_bytes;
  return cudaSuccess;
}

template <typename... Params>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Params...), cudaFuncAttribute, int value) {
  if (value > recsys::simt::device_limits().shared_bytes) return cudaErrorInvalidValue;
  recsys::simt::shared_limits()[reinterpret_cast<const void*>(kernel)] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

template <typename... Params, typename... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), Args&&... args) {
  using recsys::simt::scheduled;
  const void* address = reinterpret_cast<const void*>(kernel);
  const auto limit = recsys::simt::shared_limits().find(address);
  recsys::simt::check_launch(
      config->gridDim, config->blockDim, config->dynamicSmemBytes,
      limit == recsys::simt::shared_limits().end() ? recsys::simt::shared_without_asking : limit->second);
  ++recsys::simt::launches()[address];
  recsys::simt::submit(
      config->stream, [grid = config->gridDim, threads = config->blockDim, shared_bytes = config->dynamicSmemBytes,
                       kernel, held = std::tuple<std::decay_t<Params>...>(std::forward<Args>(args)...)] {
        const std::function<void()> body = [&] { std::apply(kernel, held); };
        const recsys::simt::Schedule order = recsys::simt::schedule();
        for (unsigned z = 0; z < grid.z; ++z) {
          for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
              recsys::simt::Block::run(
                  {scheduled(x, grid.x, order), scheduled(y, grid.y, order), scheduled(z, grid.z, order)}, grid,
                  threads, shared_bytes, order, body);
            }
          }
        }
      });
  return cudaSuccess;
}
