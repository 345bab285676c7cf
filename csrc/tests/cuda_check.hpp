// What the tests of CUDA kernels share.
#pragma once

#include <cuda_runtime.h>

#include "cuda/streams.cuh"
#include "tests/simt/simt.hpp"

namespace recsys::test {

// A result that depends on the order of threads shows a race.
template <typename Check>
void on_every_schedule(Check&& check) {
  for (const auto schedule : {simt::Schedule::ascending, simt::Schedule::descending, simt::Schedule::scattered}) {
    simt::schedule() = schedule;
    check();
  }
  simt::schedule() = simt::Schedule::ascending;
}

template <typename Check>
void with_device_limits(simt::DeviceLimits limits, Check&& check) {
  struct Restore {
    simt::DeviceLimits before;
    ~Restore() { simt::device_limits() = before; }
  };
  const Restore restore{simt::device_limits()};
  simt::device_limits() = limits;
  check();
}

// Calls check(stream) with kernels, copies beside them, and both as late as they may be.
template <typename Check>
void on_late_streams(Check&& check) {
  for (const auto& [kernels, copies] : {std::pair{true, false}, std::pair{false, true}, std::pair{true, true}}) {
    simt::late_streams() = kernels;
    const cuda::OwnedStream stream;
    simt::late_streams() = copies;
    check(stream.get());
    simt::late_streams() = false;
  }
}

template <typename... Params>
int launches_of(void (*kernel)(Params...)) {
  return simt::launches()[reinterpret_cast<const void*>(kernel)];
}

}  // namespace recsys::test
