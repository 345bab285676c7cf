"""A bundle that answers requests, through onnxruntime or through the compiled core."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl
import scipy.sparse as sp

from recsys_core.bundle import read_bundle, read_whole
from recsys_core.data import Histories, Interactions
from recsys_core.errors import ConfigError
from recsys_core.export import OnnxRanker
from recsys_core.models import Filters, FittedModel, parts
from recsys_core.types import IndexArray, Ranking

__all__ = ["Runtime", "load"]


@dataclass(frozen=True, eq=False)
class Runtime(FittedModel):
    """A loaded bundle; it answers as the model did that was saved.

    Attributes
    ----------
    manifest
        The content of ``manifest.json``.
    ranker
        The ONNX graph in onnxruntime, or None when the compiled core computes the answers.
    """

    manifest: dict[str, Any] = field(default_factory=dict)
    ranker: OnnxRanker | None = None

    def update(self, interactions: Interactions) -> Runtime:
        """The model with new interactions taken in, to serve from now on.

        Parameters
        ----------
        interactions
            New events, later than all that the model knows.

        Returns
        -------
        Runtime
            A new one, answering on the compiled core, since a graph cannot be updated.  This one stays as it is, so
            that other threads can go on asking it until they are given the new one.  The bundle on disk stays as it
            is, too: :func:`recsys_core.save_bundle` publishes the new one.

        Raises
        ------
        DataError
            The model cannot be updated.
        UnknownModelError, PluginError
            The plugin that made the model is not installed.

        Notes
        -----
        See :meth:`recsys_core.Recommender.partial_fit`.  It needs the plugin, which serving alone does not.
        """
        from recsys_core.registry import create

        made = self.provenance
        name = f"{made.distribution}:{made.name}" if made.distribution else made.name
        fitted = create(name, **made.config).adopt(self).partial_fit(interactions).fitted
        return Runtime(**parts(fitted), manifest=self.manifest)

    def without_users(self, users: Any) -> Runtime:
        """The model without some of its users, to serve from now on; see :meth:`FittedModel.without_users`.

        Returns
        -------
        Runtime
            A new one, answering on the compiled core, since a graph cannot be updated.  The bundle on disk stays as it
            is: :func:`recsys_core.save_bundle` publishes the new one.
        """
        return Runtime(**parts(FittedModel.without_users(self, users)), manifest=self.manifest)

    def with_items(self, item_features: pl.DataFrame) -> Runtime:
        """The model with new items in its catalogue; see :meth:`FittedModel.with_items`.

        Returns
        -------
        Runtime
            A new one, answering on the compiled core, since the graph holds the items that it was exported with;
            :func:`recsys_core.save_bundle` publishes it with a graph of its own.  It needs neither plugin nor torch.
        """
        return Runtime(**parts(super().with_items(item_features)), manifest=self.manifest)

    def _rank(
        self,
        user_index: IndexArray | None,
        histories: Histories | None,
        k: int,
        filters: Filters,
        n_threads: int,
    ) -> Ranking:
        # The graph takes one list of allowed items for all queries.
        if self.ranker is None or sp.issparse(filters.allow):
            return super()._rank(user_index, histories, k, filters, n_threads)
        return self.ranker.rank(user_index, histories, k, filters)


def load(
    path: str | os.PathLike[str],
    *,
    backend: Literal["onnx", "core"] = "onnx",
    n_threads: int = 0,
    verify: bool = True,
) -> Runtime:
    """Load a bundle to recommend from it.

    Parameters
    ----------
    path
        A directory written by :func:`recsys_core.save_bundle`.
    backend
        ``"onnx"`` runs the bundle's graph in onnxruntime, as any other language would.  ``"core"`` runs the same
        scoring form on the compiled core, which is faster on large catalogues; items whose scores differ by less than
        the parity tolerance of the manifest may swap places.  A question with allowed items of its own for every
        query, which a graph has no input for, goes to the core either way.  Where the bundle holds the item index
        (``save_bundle(..., with_index=True)``), the core answers from the file where it is mapped.
    n_threads
        Threads of onnxruntime, 0 for all.  They are fixed here; the ``n_threads`` of a request is for the core.
    verify
        Compare the hash of every file with the manifest's first.

    Returns
    -------
    Runtime

    Raises
    ------
    FormatError
        The bundle cannot be read.
    ConfigError
        ``backend`` is unknown.
    """
    if backend not in ("onnx", "core"):
        raise ConfigError(f"backend: expected 'onnx' or 'core', got {backend!r}.")
    path = Path(path)

    def read(manifest: dict[str, Any]) -> Runtime:
        bundle = read_bundle(path, manifest, verify=verify)
        ranker = None
        if backend == "onnx":
            ranker = OnnxRanker(bundle.model_path, n_threads=n_threads)
            ranker.check_ids(bundle.fitted)
        return Runtime(**parts(bundle.fitted), manifest=manifest, ranker=ranker)

    return read_whole(path, read)
