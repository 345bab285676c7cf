from __future__ import annotations

import gzip
import re

import polars as pl
import pytest

from recsys_core.data import Interactions
from recsys_core.errors import ConfigError, DataError, FormatError

TABLE = pl.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"], "weight": [1.5, 2.0], "note": ["x", "y"]})


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.tab", "t.CSV", "t.parquet", "t.pq", "t.csv.gz", "v1.2.tsv.gz"])
def test_each_format_reads_alike(tmp_path, name):
    path = tmp_path / name
    if name.endswith(("parquet", "pq")):
        TABLE.write_parquet(path)
    else:
        text = TABLE.write_csv(separator="," if ".csv" in name.lower() else "\t").encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    interactions = Interactions.read(path)
    assert interactions.to_frame().rows() == [(1, "a", 1.5), (2, "b", 2.0)]
    assert interactions.source == str(path)


def test_no_header_and_another_separator(tmp_path):
    path = tmp_path / "u.data"
    path.write_text("196|242|3|881250949\n186|302|3|891717742\n")
    interactions = Interactions.read(path, separator="|", names=["user_id", "item_id", "weight", "datetime"])
    assert interactions.to_frame()["user_id"].to_list() == [196, 186]
    assert str(interactions.to_frame()["datetime"][0]) == "1997-12-04 15:55:49+00:00"


def test_an_id_far_down_may_make_the_column_one_of_strings(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("user_id,item_id\n" + "".join(f"{i},{i}\n" for i in range(5000)) + "B0,1\n")
    assert Interactions.read(path).users.dtype == "string"


@pytest.mark.parametrize(("name", "line"), [("t.csv", "line 5"), ("t.csv.gz", "a line")])
def test_a_line_with_too_many_fields_is_named(tmp_path, name, line):
    text = 'user_id,item_id\n1,a\n2,"b,\nc"\n3,c,4\n4,d,5\n'
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    with pytest.raises(FormatError) as caught:
        Interactions.read(tmp_path / name)
    told = f"'{tmp_path / name}': {line} has more fields than the first; mend it, or quote what holds the separator"
    assert str(caught.value) == f"path: cannot read {told}"


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"expected a file, got '.*gone.csv', which does not exist"):
        Interactions.read(tmp_path / "gone.csv")
    (tmp_path / "t.parquet").write_text("no parquet")
    with pytest.raises(FormatError, match="cannot read"):
        Interactions.read(tmp_path / "t.parquet")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(FormatError, match="cannot read"):
        Interactions.read(tmp_path / "empty.csv")
    (tmp_path / "t.dat").write_text("1::2\n")
    with pytest.raises(ConfigError, match=r"expected one character for 't.dat', got '::'"):
        Interactions.read(tmp_path / "t.dat", separator="::")
    with pytest.raises(
        ConfigError, match=r"since only the suffixes .csv, .tsv, .tab and .parquet tell .*separator=','"
    ):
        Interactions.read(tmp_path / "t.dat")
    with pytest.raises(DataError, match=r"^path: expected a file, got '.*', which is a folder$"):
        Interactions.read(tmp_path)
    (tmp_path / "wide.csv").write_text("user_id,item_id\n1,2\n", encoding="utf-16")
    with pytest.raises(
        FormatError, match=r"^path: expected UTF-8 in 'wide.csv', got UTF-16; convert it, such as by `iconv"
    ):
        Interactions.read(tmp_path / "wide.csv")
    (tmp_path / "t.csv").write_text("user,item_id\n1,2\n")
    with pytest.raises(DataError, match=r"""pass columns={"user_id": 'user'}"""):
        Interactions.read(tmp_path / "t.csv")


@pytest.mark.parametrize(("name", "separator"), [("t.csv", ";"), ("t.csv", "\t"), ("t.csv", "|"), ("t.tsv", ",")])
def test_a_header_that_is_one_field_tells_of_another_separator(tmp_path, name, separator):
    path = tmp_path / name
    path.write_text(f"user_id{separator}item_id\n1{separator}2\n")
    with pytest.raises(DataError) as caught:
        Interactions.read(path)
    assert f"if fields end there, pass separator={separator!r}" in str(caught.value)
    assert len(Interactions.read(path, separator=separator)) == 1


def test_an_unmapped_column_of_a_file_is_mentioned(tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_text("user_id,item_id,timestamp\n1,2,3\n")
    Interactions.read(path)
    assert "the column 'timestamp' looks like it" in caplog.text


def test_ids_keep_their_leading_zeros(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id,weight\n007,1,2\n7,2,3\n07,1,4\n")
    read = Interactions.read(path)
    assert read.users.ids.to_list() == ["007", "07", "7"]
    assert read.items.ids.to_list() == [1, 2]
    assert read.weight.tolist() == [2, 3, 4]
    as_numbers = Interactions.read(path, schema={"user_id": pl.Int64})
    assert as_numbers.users.ids.to_list() == [7]


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.parquet"])
def test_a_file_of_foreign_column_names_is_refused_like_a_frame(tmp_path, name):
    frame = pl.DataFrame({"userId": [1, 2], "movieId": [3, 4]})
    frame.write_csv(tmp_path / name) if name.endswith("csv") else frame.write_parquet(tmp_path / name)
    with pytest.raises(DataError) as of_frame:
        Interactions.from_frame(frame)
    assert "columns={\"user_id\": 'userId'" in str(of_frame.value)
    for read in (lambda: Interactions.read(tmp_path / name), lambda: Interactions.from_frame(frame.lazy())):
        with pytest.raises(DataError, match="^" + re.escape(str(of_frame.value)) + "$"):
            read()
    columns = {"user_id": "userId", "item_id": "movieId"}
    assert len(Interactions.read(tmp_path / name, columns=columns)) == 2
