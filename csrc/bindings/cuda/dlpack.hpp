// The part of DLPack's C interface (version 0.8, which every producer still speaks) that arrays on a device need.
// https://dmlc.github.io/dlpack/latest/c_api.html; the names and layouts are fixed there.
#pragma once

#include <cstdint>

namespace recsys::bindings::dlpack {

inline constexpr std::int32_t device_cuda = 2;
inline constexpr std::int32_t device_cuda_managed = 13;
inline constexpr std::uint8_t code_int = 0;
inline constexpr std::uint8_t code_float = 2;

struct Device {
  std::int32_t type;
  std::int32_t index;
};

struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t n_dimensions;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: contiguous
  std::uint64_t byte_offset;
};

struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor*);
};

}  // namespace recsys::bindings::dlpack
