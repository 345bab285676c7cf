// What the tests of CUDA kernels share.
#pragma once

#include <cuda_runtime.h>

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

template <typename... Params>
int launches_of(void (*kernel)(Params...)) {
  return simt::launches()[reinterpret_cast<const void*>(kernel)];
}

}  // namespace recsys::test
