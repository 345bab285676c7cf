"""From torch modules to the graphs that forms carry: the same answers, and a clear word about what cannot be one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from recsys_core.data import Histories, IdMap
from recsys_core.errors import ConfigError, ExportError
from recsys_core.export import check_parity, encoder_from_torch, export_onnx, scorer_from_torch
from recsys_core.models import DotForm, FittedModel, PairForm

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

N_ITEMS, N_DIMS, MAX_LENGTH = 60, 8, 12
FACTORS = np.random.default_rng(0).normal(size=(N_ITEMS, N_DIMS)).astype(np.float32)


class Attention(torch.nn.Module):
    """One causal head over embedded items and positions counted from the end."""

    def __init__(self, max_length: int = MAX_LENGTH, own_table: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.max_length = max_length
        self.positions = torch.nn.Parameter(torch.randn(max_length, N_DIMS))
        self.query = torch.nn.Linear(N_DIMS, N_DIMS)
        self.dropout = torch.nn.Dropout(0.5)
        self.own_table = torch.nn.Embedding(N_ITEMS, N_DIMS) if own_table else None

    def attend(self, history: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        length = history.shape[1]
        valid = history >= 0
        x = torch.nn.functional.embedding(history.clamp(min=0), table) * valid.unsqueeze(-1)
        x = self.dropout(x + self.positions[self.max_length - length :])
        itself = torch.eye(length, dtype=torch.bool, device=history.device)
        visible = (torch.ones_like(itself).tril() & valid.unsqueeze(1)) | itself
        scores = (self.query(x) @ x.transpose(1, 2)).masked_fill(~visible, -torch.inf)
        return (scores.softmax(-1) @ x)[:, -1]

    def forward(self, history: torch.Tensor, item_factors: torch.Tensor) -> torch.Tensor:
        return self.attend(history, item_factors)


class AttentionWithItsOwnTable(Attention):
    def forward(self, history: torch.Tensor) -> torch.Tensor:
        return self.attend(history, self.own_table.weight)


def fitted(encoder) -> FittedModel:
    rng = np.random.default_rng(3)
    rows = Histories.from_lists([rng.integers(0, N_ITEMS, n) for n in (0, 1, 5, 12, 30, 2, 7)])
    return FittedModel(
        DotForm(FACTORS, encoder=encoder), IdMap(list(range(7))), IdMap([f"i{i}" for i in range(N_ITEMS)]), rows
    )


@pytest.mark.parametrize("own_table", [False, True])
def test_a_fitted_module_is_torch_free_and_exports(own_table, tmp_path) -> None:
    module = AttentionWithItsOwnTable(own_table=True) if own_table else Attention()
    module.train()
    encoder = encoder_from_torch(module, FACTORS, max_length=MAX_LENGTH)
    assert module.training, "the module is given back as it came"
    assert encoder.takes_item_factors is not own_table
    model = fitted(encoder)
    with torch.no_grad():
        expected = module.eval()(
            torch.from_numpy(model.histories.newest(MAX_LENGTH)), *(() if own_table else (torch.from_numpy(FACTORS),))
        )
    np.testing.assert_allclose(encoder.encode(model.histories, FACTORS), expected.numpy(), atol=1e-5)
    export_onnx(model, tmp_path / "model.onnx")
    assert check_parity(model, tmp_path / "model.onnx").max_error < 1e-5


def test_a_history_of_one_item_is_long_enough(tmp_path) -> None:
    model = fitted(encoder_from_torch(Attention(1), FACTORS, max_length=1))
    export_onnx(model, tmp_path / "model.onnx")
    scores = model.recommend_indices(histories=Histories.from_lists([[4], [9, 4]]), filter_seen=False).scores
    np.testing.assert_array_equal(scores[0], scores[1])


class MeanOverPadding(Attention):
    def forward(self, history, item_factors):
        return torch.nn.functional.embedding(history.clamp(min=0), item_factors).mean(1)


class MeanOverNothing(Attention):
    def forward(self, history, item_factors):
        valid = (history >= 0).unsqueeze(-1)
        rows = torch.nn.functional.embedding(history.clamp(min=0), item_factors) * valid
        return rows.sum(1) / valid.sum(1)


class ValueDependent(Attention):
    def forward(self, history, item_factors):
        if (history > 5).any():
            return item_factors[: history.shape[0]]
        return item_factors[: history.shape[0]] * 2


class TooWide(Attention):
    def forward(self, history, item_factors):
        return torch.cat([self.attend(history, item_factors)] * 2, dim=1)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (MeanOverPadding, "more padding within"),
        (MeanOverNothing, "finite numbers"),
        (ValueDependent, "ValueDependent: torch cannot export it"),
        (TooWide, r"TooWide: expected queries of shape \(1, 8\), got \(1, 16\)"),
    ],
)
def test_modules_that_break_the_contract_are_refused(module, message) -> None:
    with pytest.raises(ExportError, match=message):
        encoder_from_torch(module(), FACTORS, max_length=MAX_LENGTH)


def test_lengths_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_length: expected an integer of at least 1, got 0"):
        encoder_from_torch(Attention(), FACTORS, max_length=0)


class Scorer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layers = torch.nn.Sequential(torch.nn.Linear(2 * N_DIMS, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1))

    def forward(self, query: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([query, item], dim=1)).squeeze(1)


class MatrixOfScores(Scorer):
    def forward(self, query, item):
        return query @ item.T


@pytest.mark.parametrize("two_stages", [False, True])
def test_a_scorer_of_pairs_exports(two_stages, tmp_path) -> None:
    module = Scorer()
    users = np.random.default_rng(4).normal(size=(7, N_DIMS)).astype(np.float32)
    encoder = encoder_from_torch(Attention(), FACTORS, max_length=MAX_LENGTH)
    retriever = DotForm(FACTORS, encoder=encoder) if two_stages else None
    form = PairForm(FACTORS, scorer_from_torch(module, FACTORS, users), users, encoder, retriever, 9)
    model = dataclasses.replace(fitted(encoder), form=form)
    export_onnx(model, tmp_path / "model.onnx")
    queries = encoder.encode(model.histories, FACTORS) if two_stages else users
    with torch.no_grad():
        items = torch.from_numpy(FACTORS)
        expected = torch.stack([module(torch.from_numpy(query).expand(N_ITEMS, -1), items) for query in queries])
    ranking = model.recommend_indices(np.arange(7), k=5, filter_seen=False)
    np.testing.assert_allclose(ranking.scores, np.take_along_axis(expected.numpy(), ranking.indices, 1), atol=1e-5)


def test_a_scorer_that_does_not_score_pairs_is_refused() -> None:
    with pytest.raises(ExportError, match=r"MatrixOfScores: expected scores of shape \(1,\), got \(1, 1\)"):
        scorer_from_torch(MatrixOfScores(), FACTORS, FACTORS)
