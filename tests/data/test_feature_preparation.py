"""Feature tables and texts as the arrays that encoders take."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_core.data import FeaturePreparation, SentenceModel, hashed_ngrams
from recsys_core.errors import ConfigError, DataError, FormatError

FILMS = pl.DataFrame(
    {
        "item_id": [1, 2, 3, 4],
        "title": ["The Tea", "A Rum Do", "Two Teas", None],
        "year": [1990.0, 2000.0, float("nan"), None],
        "genres": [["war", "love"], ["war"], ["love"], []],
        "colour": [True, True, False, None],
    }
)


def test_hashed_ngrams_are_the_same_everywhere() -> None:
    # A change of these numbers would make every saved model of texts wrong.
    assert hashed_ngrams(["Tea cup", "", None], 1000, lengths=(4, 4)).tolist() == [
        [714, 645, 921, 388, 307, 535, 370],
        [-1] * 7,
        [-1] * 7,
    ]
    assert hashed_ngrams([], 10).shape == (0, 1)


def test_case_and_spelling_of_letters_make_no_difference() -> None:
    one, other = hashed_ngrams(["CAFÉ Straße", "cafe\u0301 strasse"], 1 << 20)
    assert one.tolist() == other.tolist()


def test_alike_words_share_pieces() -> None:
    tea, teas, rum = (set(row[row >= 0].tolist()) for row in hashed_ngrams(["teapot", "teapots", "rum"], 1 << 20))
    assert len(tea & teas) > len(tea) / 2
    assert not tea & rum


def test_a_long_text_keeps_its_first_words() -> None:
    long, short = "one two three " * 100, "one two three"
    cut = hashed_ngrams([long], 1000, max_ngrams=20)
    assert cut.shape == (1, 20)
    assert cut[0].tolist() == hashed_ngrams([short], 1000)[0, :20].tolist()


def test_numbers_categories_and_texts() -> None:
    preparation = FeaturePreparation.from_table(FILMS, n_buckets=500)
    assert preparation.text_columns == ("title",)
    arrays = preparation.arrays(FILMS)
    np.testing.assert_array_equal(arrays["numeric"], np.float32([[-1], [1], [np.nan], [np.nan]]))
    assert arrays["categorical"].tolist() == [[0, 1, 2], [1, -1, 2], [0, -1, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(arrays["text"], hashed_ngrams(FILMS["title"].to_list(), 500))
    assert preparation.sizes(arrays) == {
        "n_numeric": 1,
        "widths": (2, 1),
        "n_values": 3,
        "n_buckets": 500,
        "vector_dims": 0,
    }
    assert arrays["categorical"].dtype == np.int64
    assert arrays["numeric"].dtype == np.float32


def test_another_table_is_read_as_training_read_its_own() -> None:
    preparation = FeaturePreparation.from_table(FILMS.head(3))
    other = FILMS.with_columns(
        pl.Series("genres", [["love", "crime", "war"], ["crime"], None, ["war"]]), pl.Series("year", [2010, None, 1, 2])
    )
    read = FeaturePreparation.from_dict(json.loads(json.dumps(preparation.to_dict())))
    assert read == preparation
    arrays = read.arrays(other)
    assert arrays["categorical"][:, :2].tolist() == [[0, 1], [-1, -1], [-1, -1], [1, -1]]
    assert arrays["numeric"][0] == 3
    assert arrays["numeric"][2] == -10  # an outlier does not run away
    assert np.isnan(arrays["numeric"][1])


def test_a_list_longer_than_any_of_training_is_cut() -> None:
    table = pl.DataFrame({"item_id": [1, 2, 3], "tags": [["a"], ["a"], ["b"]]})
    preparation = FeaturePreparation.from_table(table, min_count=1)
    arrays = preparation.arrays(pl.DataFrame({"tags": [["b", "a"], []]}))
    assert arrays["categorical"].tolist() == [[0], [-1]]


def test_text_columns_can_be_named() -> None:
    preparation = FeaturePreparation.from_table(FILMS, text_columns=[], min_count=1)
    assert "title" in [column.name for column in preparation.encoder.columns]
    with pytest.raises(DataError, match="expected columns of the features, got titel"):
        FeaturePreparation.from_table(FILMS, text_columns=["titel"])
    with pytest.raises(DataError, match="expected a column beside the ids"):
        FeaturePreparation.from_table(FILMS.select("item_id"))
    with pytest.raises(FormatError, match=r"what FeaturePreparation\.to_dict returns"):
        FeaturePreparation.from_dict({})


def test_a_sentence_model_gives_one_vector_a_text(sentence_model: Path) -> None:
    model = SentenceModel(sentence_model, max_tokens=2)
    assert model.n_dims == 2
    vectors = model.encode(["Cup", None, "green tea", "Green Tea cup", ""], batch_size=2)
    half = np.sqrt(0.5)  # of the first two words, the rest is cut off
    expected = [[0.6, 0.8], [np.nan] * 2, [half, half], [half, half], [np.nan] * 2]
    np.testing.assert_allclose(vectors, np.float32(expected), rtol=1e-6)
    assert model.encode([]).shape == (0, 2)
    preparation = FeaturePreparation.from_table(FILMS, text_model=str(sentence_model))
    titles = FILMS.with_columns(pl.Series("title", ["green", "tea", "cup", None]))
    assert preparation.sizes(preparation.arrays(titles))["vector_dims"] == 2


def test_a_sentence_model_that_is_not_there(sentence_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"expected one \.onnx file, got no file"):
        SentenceModel(sentence_model / "other.onnx")
    (sentence_model / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"expected a tokenizer\.json beside"):
        SentenceModel(sentence_model)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"pip install 'recsys-core\[text\]'"):
        SentenceModel(sentence_model)
