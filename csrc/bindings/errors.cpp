#include "recsys/errors.hpp"

#include <string>

#include "bindings/bindings.hpp"

namespace recsys::bindings {
namespace {

namespace py = pybind11;

void set_error(const char* class_name, const char* message) {
  const py::object type = py::module_::import("recsys_core.errors").attr(class_name);
  PyErr_SetString(type.ptr(), message);
}

void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const ShapeError& error) {
    set_error("ShapeError", error.what());
  } catch (const DTypeError& error) {
    set_error("DTypeError", error.what());
  } catch (const DataError& error) {
    set_error("DataError", error.what());
  } catch (const ConfigError& error) {
    set_error("ConfigError", error.what());
  } catch (const DeviceError& error) {
    set_error("DeviceError", error.what());
  } catch (const Error& error) {
    set_error("RecsysError", error.what());
  }
}

void raise(const std::string& kind, const std::string& message) {
  if (kind == "ShapeError") throw ShapeError(message);
  if (kind == "DTypeError") throw DTypeError(message);
  if (kind == "DataError") throw DataError(message);
  if (kind == "ConfigError") throw ConfigError(message);
  if (kind == "DeviceError") throw DeviceError(message);
  throw Error(message);
}

}  // namespace

void register_errors(py::module_& module) {
  py::register_local_exception_translator(translate);
  module.def("_raise", &raise, py::arg("kind"), py::arg("message"),
             "Throw the C++ error called `kind`, so that a test can see what arrives.");
}

}  // namespace recsys::bindings
