// What CUDA finds on this machine, without making a context on any device.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace recsys::cuda {

struct DeviceInfo {
  std::string name;
  int major;  // compute capability
  int minor;
  std::int64_t memory;  // bytes
};

struct Status {
  int driver_version = 0;     // of CUDA, as 1000 major + 10 minor, that the driver supports; 0: there is no driver
  int runtime_version = 0;    // that this module was built with
  std::string architectures;  // compiled in: "75-real,...,120", a bare number with PTX too
  std::string error;          // why devices cannot be counted, by CUDA's own name; empty if they can
  std::vector<DeviceInfo> devices;
};

[[nodiscard]] Status status();

}  // namespace recsys::cuda
