"""Amazon Beauty as the authors of S3-Rec prepared it.

K. Zhou et al., "S3-Rec: Self-Supervised Learning for Sequential Recommendation with Mutual Information Maximization",
CIKM 2020.  The reviews behind it: J. McAuley et al., "Image-Based Recommendations on Styles and Substitutes", SIGIR
2015.  Neither states a licence; the data is for research.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import polars as pl

from recsys_core.data import Interactions
from recsys_core.errors import DataError
from recsys_datasets.sources import Files, Source, Url, find_files

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["load_beauty_s3rec", "read_sequences"]

_SEQUENCES: Final = "Beauty.txt"
_ATTRIBUTES: Final = "Beauty_item2attributes.json"
_COUNTS: Final = {"users": 22_363, "items": 12_101}

BEAUTY_SOURCES: Final[tuple[Source, ...]] = (
    Url(
        "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data",
        {
            _SEQUENCES: "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
            _ATTRIBUTES: "129e40f67486f6877eff0f5318cfa8530ee8ac23d8b0d1de04e1bb7a2ba0b2d4",
        },
    ),
)


def load_beauty_s3rec(*, cache_dir: str | os.PathLike[str] | None = None, progress: bool = False) -> Interactions:
    """Load Amazon Beauty, 5-core: the item sequences of 22,363 people over 12,101 items, oldest first.

    Parameters
    ----------
    cache_dir
        Folder to keep the files in; the user's cache folder for recsys_core if None.
    progress
        Whether to show how far a download is, on standard error if that is a terminal.

    Returns
    -------
    Interactions
        All weights are 1, and there are no times: the rows are in time order.  Item features: attributes, a list
        of numbers that stand for categories and brands.

    Raises
    ------
    DataError
        If no source works, or the files do not have the published counts.

    Notes
    -----
    The sources, in order: ``$RECSYS_DATA_DIR/beauty-s3rec``, the cache, the authors' repository.  This is not the
    Beauty of BERT4Rec: results on the two do not compare.
    """
    files = find_files("beauty-s3rec", _is_complete, BEAUTY_SOURCES, cache_dir=cache_dir, progress=progress)
    interactions = read_sequences(files)
    counts = {"users": interactions.n_users, "items": interactions.n_items}
    if counts != _COUNTS:
        raise DataError(
            f"beauty-s3rec: expected {_COUNTS}, got {counts} in {files.folder}; delete that folder to fetch it again"
        )
    return interactions


def read_sequences(files: Files) -> Interactions:
    """Read lines of ``user item item ...`` and the attributes of items, whatever their number."""
    lines = pl.Series("line", (files.folder / _SEQUENCES).read_text(encoding="utf-8").splitlines())
    fields = pl.DataFrame({"fields": lines.str.split(" ")})
    events = (
        fields.select(pl.col("fields").list.first().alias("user_id"), pl.col("fields").list.slice(1).alias("item_id"))
        .explode("item_id")
        .cast(pl.Int64)
    )
    attributes = json.loads((files.folder / _ATTRIBUTES).read_text(encoding="utf-8"))
    features = pl.DataFrame({"item_id": list(map(int, attributes)), "attributes": list(attributes.values())})
    return Interactions.from_frame(events, item_features=features, source=files.source)


def _is_complete(folder: Path) -> bool:
    return (folder / _SEQUENCES).is_file() and (folder / _ATTRIBUTES).is_file()
