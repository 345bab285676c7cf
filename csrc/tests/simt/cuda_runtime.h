// Stands for CUDA's <cuda_runtime.h> where kernels are compiled for the processor (tests/simt/simt.hpp): the part of
// the language's built-ins and of the runtime that csrc/cuda uses, under the same names, with the same meaning.
//
// Device memory is the heap, a stream is done when a call returns, and rounding is that of IEEE 754 as on a device.
#pragma once

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>

#include "tests/simt/simt.hpp"

#define __global__ inline  // several tests may include a kernel
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline void __syncthreads(std::source_location site = std::source_location::current()) {
  recsys::simt::Block::current().barrier(false, site);
}
inline int __syncthreads_or(int predicate, std::source_location site = std::source_location::current()) {
  return recsys::simt::Block::current().barrier(predicate != 0, site) != 0;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU, std::source_location site = std::source_location::current()) {
  recsys::simt::Block::current().exchange(mask, {}, site);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              std::source_location site = std::source_location::current()) {
  const unsigned self = recsys::simt::Block::current().lane();
  const auto group = self / static_cast<unsigned>(width) * static_cast<unsigned>(width);
  return recsys::simt::exchange(mask, value, site)[group + static_cast<unsigned>(lane) % static_cast<unsigned>(width)];
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int = 32,
                  std::source_location site = std::source_location::current()) {
  const unsigned self = recsys::simt::Block::current().lane();
  return recsys::simt::exchange(mask, value, site)[self ^ static_cast<unsigned>(lanes)];
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int = 32,
                 std::source_location site = std::source_location::current()) {
  const unsigned self = recsys::simt::Block::current().lane();
  return recsys::simt::exchange(mask, value, site)[self < delta ? self : self - delta];
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location site = std::source_location::current()) {
  const auto all = recsys::simt::exchange(mask, predicate, site);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) votes |= (mask >> lane & 1U) != 0 && all[lane] != 0 ? 1U << lane : 0U;
  return votes;
}

// Threads are switched at barriers only, so a plain update is an atomic one.
template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = before + value;
  return before;
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = value < before ? value : before;
  return before;
}
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = value > before ? value : before;
  return before;
}
template <typename T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = before & value;
  return before;
}
template <typename T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  const T before = *address;
  *address = before | value;
  return before;
}

inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyint(value)); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned value) { return std::bit_cast<float>(value); }
inline int __popc(unsigned value) { return std::popcount(value); }
inline int __ffsll(long long value) {
  return value == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(value)) + 1;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(a) * b) >> 32);
}
template <typename T>
T __ldg(const T* address) {
  return *address;
}

// The runtime.

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
using cudaStream_t = struct EmulatedStream*;
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
inline cudaError_t cudaFree(void* memory) {
  const auto found = recsys::simt::allocations().find(memory);
  if (found != recsys::simt::allocations().end()) {
    recsys::simt::device_limits().free_bytes += found->second;
    recsys::simt::allocations().erase(found);
  }
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) { return cudaMalloc(memory, bytes); }
inline cudaError_t cudaFreeAsync(void* memory, cudaStream_t) { return cudaFree(memory); }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
  if (bytes > 0) std::memset(memory, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
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
inline cudaError_t cudaHostRegister(void*, std::size_t, unsigned) { return cudaSuccess; }
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
  const std::tuple<std::decay_t<Params>...> held(std::forward<Args>(args)...);
  const std::function<void()> body = [&] { std::apply(kernel, held); };
  const dim3 grid = config->gridDim;
  const recsys::simt::Schedule order = recsys::simt::schedule();
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        recsys::simt::Block::run(
            {scheduled(x, grid.x, order), scheduled(y, grid.y, order), scheduled(z, grid.z, order)}, grid,
            config->blockDim, config->dynamicSmemBytes, order, body);
      }
    }
  }
  return cudaSuccess;
}
