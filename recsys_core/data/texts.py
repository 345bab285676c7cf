"""Texts as numbers: hashed n-grams of words, or the vectors of a sentence-transformer in ONNX."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recsys_core.errors import ConfigError, FormatError
from recsys_core.types import FloatArray, IndexArray

__all__ = ["SentenceModel", "hashed_ngrams"]

_WORD = re.compile(r"\w+")


def hashed_ngrams(
    texts: Sequence[str | None], n_buckets: int, *, lengths: tuple[int, int] = (3, 5), max_ngrams: int = 256
) -> IndexArray:
    """Words, pairs of words and pieces of words, each as one of ``n_buckets`` numbers.

    Parameters
    ----------
    texts
        Texts; None and "" have no n-grams.
    n_buckets
        Numbers to hash to, at least 1.
    lengths
        Shortest and longest piece of a word, in characters; a word counts with a mark at either end.
    max_ngrams
        Most numbers of a text; the n-grams of its first words are kept.

    Returns
    -------
    numpy.ndarray
        int64 (n_texts, W), at least one column, -1 behind a text's n-grams.

    Notes
    -----
    The hash is CRC-32 of the n-gram in UTF-8, so that it is the same everywhere and for good.  Case, and the ways
    in which Unicode can write one letter, make no difference.

    Examples
    --------
    >>> hashed_ngrams(["Tea", None], 1000, lengths=(9, 9))
    array([[714],
           [ -1]])
    """
    pieces: dict[str, list[int]] = {}
    rows = []
    for text in texts:
        words = _WORD.findall(unicodedata.normalize("NFKC", text or "").casefold())
        row: list[int] = []
        for before, word in zip(["", *words], words, strict=False):
            if len(row) >= max_ngrams:
                break
            if word not in pieces:
                pieces[word] = [_bucket(piece, n_buckets) for piece in _pieces(word, *lengths)]
            row += pieces[word]
            if before:
                row.append(_bucket(f"{before} {word}", n_buckets))
        rows.append(row[:max_ngrams])
    table = np.full((len(rows), max([1, *map(len, rows)])), -1, np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


def _pieces(word: str, shortest: int, longest: int) -> list[str]:
    marked = f"<{word}>"
    lengths = range(shortest, min(longest, len(marked) - 1) + 1)
    return [word, *(marked[start : start + n] for n in lengths for start in range(len(marked) - n + 1))]


def _bucket(piece: str, n_buckets: int) -> int:
    return zlib.crc32(piece.encode()) % n_buckets


class SentenceModel:
    """A sentence-transformer in ONNX, run by onnxruntime.

    Parameters
    ----------
    path
        The ``.onnx`` file, or the folder that holds one, with ``tokenizer.json`` beside it or in the folder above.
    max_tokens
        Longest text, in tokens; the rest is cut off.

    Raises
    ------
    ConfigError
        There is no such file, or the package ``tokenizers`` is missing.
    FormatError
        The graph has inputs other than a tokenizer's, or no output of floats.

    Notes
    -----
    The vector is the output ``sentence_embedding`` where there is one, otherwise the mean of the first output over a
    text's tokens; either is scaled to length 1.
    """

    def __init__(self, path: str | Path, *, max_tokens: int = 128) -> None:
        import onnxruntime

        self.path = _find_graph(Path(path))
        self._tokenizer = _read_tokenizer(self.path, max_tokens)
        self._session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]
        unknown = set(self._inputs) - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown:
            raise FormatError(
                f"{self.path}: expected the inputs input_ids, attention_mask, token_type_ids, got {sorted(unknown)}; "
                "export the model for feature extraction."
            )
        outputs = [each.name for each in self._session.get_outputs()]
        self._output = "sentence_embedding" if "sentence_embedding" in outputs else outputs[0]

    @cached_property
    def n_dims(self) -> int:
        """Length of a vector."""
        return int(self.encode(["a"]).shape[1])

    def encode(self, texts: Sequence[str | None], *, batch_size: int = 64) -> FloatArray:
        """Vectors of texts.

        Parameters
        ----------
        texts
            Texts; None and "" are missing.
        batch_size
            Texts to run at once; the longest are run together.

        Returns
        -------
        numpy.ndarray
            float32 (n_texts, n_dims), rows of length 1; NaN where the text is missing.
        """
        there = [place for place, text in enumerate(texts) if text]
        there.sort(key=lambda place: len(texts[place] or ""))
        batches = [there[start : start + batch_size] for start in range(0, len(there), batch_size)]
        found = [self._encode([texts[place] or "" for place in batch]) for batch in batches]
        n_dims = found[0].shape[1] if found else self.n_dims
        vectors = np.full((len(texts), n_dims), np.nan, np.float32)
        for batch, rows in zip(batches, found, strict=True):
            vectors[batch] = rows
        return vectors

    def _encode(self, texts: list[str]) -> FloatArray:
        encodings = self._tokenizer.encode_batch(texts)
        fed = {
            "input_ids": np.array([each.ids for each in encodings], np.int64),
            "attention_mask": np.array([each.attention_mask for each in encodings], np.int64),
            "token_type_ids": np.array([each.type_ids for each in encodings], np.int64),
        }
        (found,) = self._session.run([self._output], {name: fed[name] for name in self._inputs})
        vectors = np.asarray(found, np.float32)
        if vectors.ndim == 3:
            weights = fed["attention_mask"][:, :, None].astype(np.float32)
            vectors = (vectors * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise FormatError(f"{self.path}: expected an output of one vector a text or a token, got {vectors.shape}.")
        scaled: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return scaled


def _find_graph(path: Path) -> Path:
    found = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
    if len(found) != 1 or not found[0].is_file():
        got = f"{len(found)} in {path}" if path.is_dir() else f"no file {path}"
        raise ConfigError(f"text_model: expected one .onnx file, got {got}; give the path of the file.")
    return found[0]


def _read_tokenizer(graph: Path, max_tokens: int) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ConfigError(
            "text_model: expected the package tokenizers, which reads tokenizer.json; pip install 'recsys-core[text]'."
        ) from None
    for folder in (graph.parent, graph.parent.parent):
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.enable_truncation(max_tokens)
            tokenizer.enable_padding()
            return tokenizer
    raise ConfigError(f"text_model: expected a tokenizer.json beside {graph}, got none.")
