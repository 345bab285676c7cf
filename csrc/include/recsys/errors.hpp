// The errors that the core throws, by value.  One translator in the bindings turns each into the class of the same
// name in recsys_core.errors.  A message names the argument, what was expected, what it got, and the remedy.
#pragma once

#include <stdexcept>

namespace recsys {

// Base of all; catch it to catch them all.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A setting is unknown or out of range.
struct ConfigError : Error {
  using Error::Error;
};

// The data given cannot be used.
struct DataError : Error {
  using Error::Error;
};

// An array has the wrong shape.
struct ShapeError : DataError {
  using DataError::DataError;
};

// An array has the wrong element type or layout.
struct DTypeError : DataError {
  using DataError::DataError;
};

// A device or an instruction set cannot be used.
struct DeviceError : Error {
  using Error::Error;
};

}  // namespace recsys
