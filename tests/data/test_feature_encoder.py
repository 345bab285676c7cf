from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from recsys_core.data import FeatureEncoder
from recsys_core.errors import ConfigError, DataError, DTypeError, FormatError

FILMS = pl.DataFrame(
    {
        "item_id": [1, 2, 3, 4],
        "title": ["Alien", "Brazil", "Casablanca", "Dune"],
        "genres": [["sf", "horror"], ["sf", "sf"], [], None],
        "studio": pl.Series(["fox", "uni", None, "fox"], dtype=pl.Categorical),
        "colour": [True, True, False, None],
        "year": [1979, 1985, 1942, None],
        "always": [7, 7, 7, 7],
    }
)


def test_each_kind_of_column_becomes_the_columns_it_should() -> None:
    encoder = FeatureEncoder.from_table(FILMS, min_count=1)
    titles = tuple(f"title={title}" for title in FILMS["title"])
    rest = ("genres=horror", "genres=sf", "studio=fox", "studio=uni", "colour=false", "colour=true", "year")
    assert encoder.names == titles + rest
    matrix = encoder.encode(FILMS)
    assert (matrix.format, matrix.dtype, matrix.has_canonical_format) == ("csr", np.float32, True)
    years = np.array([1979.0, 1985.0, 1942.0])
    z = (years - years.mean()) / years.std()
    expected = np.hstack(
        [
            np.eye(4),
            np.array(
                [[1, 1, 1, 0, 0, 1, z[0]], [0, 1, 0, 1, 0, 1, z[1]], [0, 0, 0, 0, 1, 0, z[2]], [0, 0, 1, 0, 0, 0, 0]]
            ),
        ]
    )
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-6)


def test_what_one_row_alone_has_is_left_out() -> None:
    assert FeatureEncoder.from_table(FILMS).names == ("genres=sf", "studio=fox", "colour=true", "year")
    assert FeatureEncoder.from_table(FILMS, columns=["studio"]).names == ("studio=fox",)


def test_a_later_table_has_the_same_columns() -> None:
    encoder = FeatureEncoder.from_table(FILMS)
    later = pd.DataFrame({"year": [2000.0, np.nan], "colour": [None, True], "studio": ["fox", "a24"], "extra": [1, 2]})
    later["genres"] = [["love"], ["love", "sf"]]
    matrix = encoder.encode(later).toarray()
    assert matrix.shape == (2, 4)
    np.testing.assert_array_equal(matrix[:, :3], [[0, 1, 0], [1, 0, 1]])
    assert matrix[0, 3] > 0
    assert matrix[1, 3] == 0
    nothing = pl.DataFrame({"genres": [None], "studio": [None], "colour": [None], "year": [None]})
    assert encoder.encode(nothing).nnz == 0
    assert encoder.encode(FILMS.head(0)).shape == (0, 4)


def test_times_do_not_depend_on_their_unit() -> None:
    days = [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 3, 12), None]
    frame = pl.DataFrame({"released": days})
    in_ms = frame.select(pl.col("released").cast(pl.Datetime("ms")))
    encoder = FeatureEncoder.from_table(frame)
    np.testing.assert_allclose(encoder.encode(frame).toarray(), [[-1.0], [1.0], [0.0]], rtol=1e-6)
    np.testing.assert_array_equal(encoder.encode(in_ms).toarray(), encoder.encode(frame).toarray())
    date = pl.DataFrame({"released": [dt.date(2024, 1, 1)]})
    assert encoder.encode(date).toarray() == pytest.approx(-1.0)


def test_codes_in_lists_are_values_and_numbers_are_quantities() -> None:
    frame = pl.DataFrame({"attributes": [[3, 10], [10, 3]], "price": [1, 3]})
    encoder = FeatureEncoder.from_table(frame)
    assert encoder.names == ("attributes=10", "attributes=3", "price")
    np.testing.assert_array_equal(encoder.encode(frame).toarray(), [[1, 1, -1], [1, 1, 1]])


def test_round_trip_through_json() -> None:
    encoder = FeatureEncoder.from_table(FILMS)
    again = FeatureEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    assert (again.encode(FILMS) != encoder.encode(FILMS)).nnz == 0


def test_errors_name_the_column_and_the_remedy() -> None:
    encoder = FeatureEncoder.from_table(FILMS)
    with pytest.raises(DataError, match=r"expected a column 'genres', got 'year'"):
        encoder.encode(FILMS.select("year"))
    with pytest.raises(DataError, match="expected a column 'length'"):
        FeatureEncoder.from_table(FILMS, columns=["length"])
    with pytest.raises(DTypeError, match=r"features\['year'\]: expected numbers or times as in the first table"):
        encoder.encode(FILMS.with_columns(pl.col("year").cast(pl.String)))
    with pytest.raises(DTypeError, match=r"features\['studio'\]: expected strings"):
        encoder.encode(FILMS.with_columns(studio=pl.lit(1)))
    with pytest.raises(DTypeError, match=r"features\['box'\]: .* leave it out with columns="):
        FeatureEncoder.from_table(pl.DataFrame({"box": [{"w": 1}, {"w": 2}]}))
    with pytest.raises(DataError, match=r"features\['price'\]: expected finite numbers, got inf in row 1"):
        FeatureEncoder.from_table(pl.DataFrame({"price": [1.0, np.inf]}))
    with pytest.raises(DataError, match=r"got none in columns 'title'; lower min_count"):
        FeatureEncoder.from_table(FILMS, columns=["title"])
    with pytest.raises(ConfigError, match="min_count: expected an integer of at least 1, got 0"):
        FeatureEncoder.from_table(FILMS, min_count=0)
    with pytest.raises(FormatError, match=r"expected what FeatureEncoder\.to_dict returns"):
        FeatureEncoder.from_dict({"columns": [{"name": "x"}]})
    with pytest.raises(DataError, match="at least one column"):
        FeatureEncoder(())
