"""The MovieLens data sets of GroupLens, University of Minnesota.

F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM Transactions on Interactive
Intelligent Systems 5(4), 2015.  Their licence allows research, not commercial use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from recsys_core.data import Interactions
from recsys_core.errors import DataError
from recsys_datasets.sources import Files, Source, Wheel, Zip, find_files

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["load_ml_100k", "load_ml_latest_small", "read_ml_100k"]

_GROUPLENS: Final = "https://files.grouplens.org/datasets/movielens"
_GROUPLENS_100K: Final = ("u.data", "u.item", "u.user")
_RECBOLE_100K: Final = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
_LATEST_SMALL: Final = ("ratings.csv", "movies.csv")
_COUNTS_100K: Final = {"ratings": 100_000, "users": 943, "films": 1_682}

ML_100K_SOURCES: Final[tuple[Source, ...]] = (
    Zip(
        f"{_GROUPLENS}/ml-100k.zip",
        tuple(f"ml-100k/{name}" for name in _GROUPLENS_100K),
        md5="0e33842e24a9c977be4e0107933c0723",
    ),
    # RecBole ships the data set as its example, so a package index is enough where GroupLens cannot be reached.
    Wheel(
        "recbole==1.2.1",
        tuple(f"recbole/dataset_example/ml-100k/{name}" for name in _RECBOLE_100K),
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    ),
)
ML_LATEST_SMALL_SOURCES: Final[tuple[Source, ...]] = (
    # No digest: GroupLens says that this archive may change.
    Zip(f"{_GROUPLENS}/ml-latest-small.zip", tuple(f"ml-latest-small/{name}" for name in _LATEST_SMALL)),
)

# The last 19 columns of u.item, in this order.
_GENRES: Final = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

# Columns that would be read as numbers, as far as they look like it.
_TEXT: Final = ("title", "year", "zip_code", "release_date", "video_release_date")


def load_ml_100k(*, cache_dir: str | os.PathLike[str] | None = None, progress: bool = False) -> Interactions:
    """Load MovieLens 100K: 100,000 ratings from 1 to 5 by 943 people of 1,682 films, September 1997 to April 1998.

    Parameters
    ----------
    cache_dir
        Folder to keep the files in; the user's cache folder for recsys_core if None.
    progress
        Whether to show how far a download is, on standard error if that is a terminal.

    Returns
    -------
    Interactions
        Weights are the ratings.  Item features: title, year, genres (a list); user features: age, gender,
        occupation, zip_code.  ``source`` says where the files came from.

    Raises
    ------
    DataError
        If no source works, or the files do not have the published counts.

    Notes
    -----
    The sources, in order: ``$RECSYS_DATA_DIR/ml-100k``, in GroupLens' layout or RecBole's; the cache; GroupLens;
    the wheel of RecBole from the package index, which contains the data set.
    """
    files = find_files("ml-100k", _has_ml_100k, ML_100K_SOURCES, cache_dir=cache_dir, progress=progress)
    interactions = read_ml_100k(files)
    counts = {"ratings": len(interactions), "users": interactions.n_users, "films": interactions.n_items}
    if counts != _COUNTS_100K:
        raise DataError(
            f"ml-100k: expected {_COUNTS_100K}, got {counts} in {files.folder}; delete that folder to fetch it again"
        )
    return interactions


def load_ml_latest_small(*, cache_dir: str | os.PathLike[str] | None = None, progress: bool = False) -> Interactions:
    """Load MovieLens latest-small: 100,836 ratings from 0.5 to 5 by 610 people of 9,724 films as of September 2018.

    Parameters
    ----------
    cache_dir, progress
        As in :func:`load_ml_100k`.

    Returns
    -------
    Interactions
        Weights are the ratings.  Item features: title, year, genres (a list).

    Raises
    ------
    DataError
        If no source works.

    Notes
    -----
    The sources, in order: ``$RECSYS_DATA_DIR/ml-latest-small``, the cache, GroupLens, who may publish a newer one.
    """
    files = find_files(
        "ml-latest-small",
        lambda folder: _has(folder, _LATEST_SMALL),
        ML_LATEST_SMALL_SOURCES,
        cache_dir=cache_dir,
        progress=progress,
    )
    films = pl.read_csv(files.folder / "movies.csv").select(
        pl.col("movieId").alias("item_id"),
        *_title_and_year(pl.col("title")),
        _genre_list(pl.col("genres").str.replace("(no genres listed)", "", literal=True), "|"),
    )
    return Interactions.from_frame(
        pl.read_csv(files.folder / "ratings.csv"),
        columns={"user_id": "userId", "item_id": "movieId", "weight": "rating", "datetime": "timestamp"},
        item_features=films,
        time_unit="s",
        source=files.source,
    )


def read_ml_100k(files: Files) -> Interactions:
    """Read a folder in GroupLens' or RecBole's layout of ml-100k, whatever the number of its rows."""
    read = _read_grouplens if _has(files.folder, _GROUPLENS_100K) else _read_recbole
    ratings, films, people = read(files.folder)
    return Interactions.from_frame(
        ratings, item_features=films, user_features=people, time_unit="s", source=files.source
    )


def _has_ml_100k(folder: Path) -> bool:
    return _has(folder, _GROUPLENS_100K) or _has(folder, _RECBOLE_100K)


def _has(folder: Path, names: tuple[str, ...]) -> bool:
    return all((folder / name).is_file() for name in names)


def _read_grouplens(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    ratings = _read_table(folder / "u.data", "\t", ["user_id", "item_id", "weight", "datetime"])
    columns = ["item_id", "title", "release_date", "video_release_date", "address", *_GENRES]
    films = _read_table(folder / "u.item", "|", columns)
    flags = [pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in _GENRES if genre != "unknown"]
    films = films.select(
        "item_id", *_title_and_year(pl.col("title")), pl.concat_list(flags).list.drop_nulls().alias("genres")
    )
    people = _read_table(folder / "u.user", "|", ["user_id", "age", "gender", "occupation", "zip_code"])
    return ratings, films, people


def _read_recbole(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    ratings = _read_table(folder / "ml-100k.inter", "\t", ["user_id", "item_id", "weight", "datetime"], header=True)
    films = _read_table(folder / "ml-100k.item", "\t", ["item_id", "title", "year", "genres"], header=True)
    # One title, with "(V)" for video behind its year, was cut in the wrong place: there the year is in the title.
    films = films.select(
        "item_id",
        *_title_and_year(pl.format("{} ({})", "title", "year")),
        _genre_list(pl.col("genres").str.replace("unknown", "", literal=True), " "),
    )
    columns = ["user_id", "age", "gender", "occupation", "zip_code"]
    people = _read_table(folder / "ml-100k.user", "\t", columns, header=True)
    return ratings, films, people


def _read_table(path: Path, separator: str, columns: list[str], *, header: bool = False) -> pl.DataFrame:
    content: Any = path.read_bytes()
    if path.name.startswith("u."):
        content = content.decode("latin-1").encode()  # GroupLens' files are older than UTF-8
    return pl.read_csv(
        content,
        separator=separator,
        has_header=False,
        skip_rows=int(header),
        new_columns=columns,
        quote_char=None,
        schema_overrides={name: pl.String for name in columns if name in _TEXT},
    )


def _title_and_year(text: pl.Expr) -> list[pl.Expr]:
    """Take "Heat (1995)" apart; without a year the title stays whole and the year is null."""
    return [
        text.str.replace(r"\s*\(\d{4}\).*$|\s*\(unkonwn\)$", "").str.replace("unkonwn", "unknown").alias("title"),
        text.str.extract(r"\((\d{4})\)", 1).cast(pl.Int32).alias("year"),
    ]


def _genre_list(text: pl.Expr, separator: str) -> pl.Expr:
    parts = text.fill_null("").str.split(separator)
    return parts.list.filter(pl.element() != "").alias("genres")
