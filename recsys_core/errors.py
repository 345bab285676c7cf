"""Every error that recsys_core raises on purpose.

::

    RecsysError
    ├── ConfigError          (also ValueError)    a setting is unknown, of the wrong type or out of range
    ├── DataError            (also ValueError)    the data given cannot be used
    │   ├── ShapeError                            an array has the wrong shape
    │   └── DTypeError                            an array or column has the wrong type
    ├── NotFittedError                            a model is used before ``fit``
    ├── UnknownIdError       (also KeyError)      a user or an item that the model does not know
    ├── UnknownModelError    (also KeyError)      no plugin registers this name
    ├── PluginError                               a plugin is broken, or two plugins collide
    ├── FormatError                               a bundle or a file cannot be read
    ├── ExportError                               a model cannot be exported, or failed its parity check
    └── DeviceError                               a device or an instruction set cannot be used

A message names the argument, says what was expected, what it got, and how to mend it.  The compiled core
throws C++ counterparts of ``ConfigError``, ``DataError``, ``ShapeError``, ``DTypeError`` and ``DeviceError``, which
arrive in Python as these very classes.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DTypeError",
    "DataError",
    "DeviceError",
    "ExportError",
    "FormatError",
    "NotFittedError",
    "PluginError",
    "RecsysError",
    "ShapeError",
    "UnknownIdError",
    "UnknownModelError",
]


class RecsysError(Exception):
    """Base of all errors of this library; catch it to catch them all."""


class ConfigError(RecsysError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(RecsysError, ValueError):
    """The data given cannot be used."""


class ShapeError(DataError):
    """An array has the wrong shape."""


class DTypeError(DataError):
    """An array or column has the wrong type."""


class NotFittedError(RecsysError):
    """A model is used before ``fit``."""


class _LookupError(RecsysError, KeyError):
    # KeyError prints the repr of its argument; a message should read as a message.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnknownIdError(_LookupError):
    """A user or an item that the model does not know."""


class UnknownModelError(_LookupError):
    """No plugin registers this name."""


class PluginError(RecsysError):
    """A plugin is broken, or two plugins claim one name."""


class FormatError(RecsysError):
    """A bundle or a file cannot be read."""


class ExportError(RecsysError):
    """A model cannot be exported, or its ONNX graph disagrees with it."""


class DeviceError(RecsysError):
    """A device or an instruction set cannot be used."""
