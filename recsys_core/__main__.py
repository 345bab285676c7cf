"""``python -m recsys_core`` is the command ``recsys``."""

from __future__ import annotations

from recsys_core.cli import main

if __name__ == "__main__":
    main()
