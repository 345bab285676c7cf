"""The installed version, read from the distribution's metadata so that it is written down once."""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("recsys-core")
