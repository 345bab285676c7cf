#include <cuda_runtime.h>

#include "cuda/status.hpp"

namespace recsys::cuda {

Status status() {
  Status found;
  found.architectures = RECSYS_CUDA_ARCHITECTURES;
  (void)cudaDriverGetVersion(&found.driver_version);
  (void)cudaRuntimeGetVersion(&found.runtime_version);
  int n_devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&n_devices);
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    found.error = cudaGetErrorName(error);
    return found;
  }
  for (int device = 0; device < n_devices; ++device) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
    found.devices.push_back(
        {properties.name, properties.major, properties.minor, static_cast<std::int64_t>(properties.totalGlobalMem)});
  }
  return found;
}

}  // namespace recsys::cuda
