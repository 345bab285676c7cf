// A Python callback of two numbers as the C++ operations take it: (step, loss) or (done, total).
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace recsys::bindings {

// Called without the GIL on the thread that made the call.  Also where there is no callback it looks for signals, so
// that Ctrl-C ends a fit at the next step where nothing else does.  What the callback raises travels through the C++
// code to the caller.
// Borrows `callback`, and what it is given behind the two numbers.
template <typename... More>
auto progress_callback(const pybind11::object& callback, const More&... more) {
  return [&callback, &more...](std::int64_t step, auto number) {
    const pybind11::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
    if (callback.is_none()) return false;
    const pybind11::object answer = callback(step, number, more...);
    const int stop = PyObject_IsTrue(answer.ptr());
    if (stop < 0) throw pybind11::error_already_set();
    return stop == 1;
  };
}

}  // namespace recsys::bindings
