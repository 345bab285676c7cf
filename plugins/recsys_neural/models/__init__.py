"""The neural recommenders, one file each; importing them needs torch."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("torch") is None:
    raise ImportError("the neural models need torch; install it with: pip install 'recsys-core[torch]'")
