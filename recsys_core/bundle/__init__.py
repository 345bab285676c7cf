"""Bundles: fitted models as directories of plain files, published whole."""

from __future__ import annotations

from recsys_core.bundle.bundle import Bundle, load_bundle, read_bundle, save_bundle
from recsys_core.bundle.manifest import FORMAT_VERSION, read_whole

__all__ = ["FORMAT_VERSION", "Bundle", "load_bundle", "read_bundle", "read_whole", "save_bundle"]
