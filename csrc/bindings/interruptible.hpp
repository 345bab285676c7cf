// Ctrl-C during an operation.
#pragma once

#include <pybind11/pybind11.h>

#include "recsys/interrupt.hpp"

namespace recsys::bindings {

// Releases the GIL, and takes it back every 50 ms at most to see whether a signal came.  What its handler raises
// travels through the C++ code to the caller.
class Interruptible {
 public:
  Interruptible() : scope_(check_signals) {}

 private:
  static void check_signals() {
    const pybind11::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
  }

  pybind11::gil_scoped_release release_;
  InterruptScope scope_;
};

}  // namespace recsys::bindings
