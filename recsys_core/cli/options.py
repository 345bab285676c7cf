"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "ColumnsOption",
    "ConfigOption",
    "DatasetOption",
    "KOption",
    "MetricOption",
    "PathOption",
    "RerankerOption",
    "SeparatorOption",
    "SetOption",
    "SplitOption",
    "ThreadsOption",
    "UserFeaturesOption",
]

_DATA = "Data"
_RUN = "Configuration"

DatasetOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME", help="A registered data set, such as ml-100k.", rich_help_panel=_DATA),
]
PathOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--path", metavar="FILE", help="Interactions: CSV, TSV or Parquet.", rich_help_panel=_DATA),
]
ColumnsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="PART=NAME,...",
        help="Names of the columns, such as user_id=userId,weight=rating; the parts are user_id, item_id, weight "
        "and datetime. An empty name leaves an optional one out.",
        rich_help_panel=_DATA,
    ),
]
SeparatorOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--separator",
        metavar="CHARACTER",
        help="Between the fields of a text file, such as ';' or '|', or tab; told from the suffix if left out.",
        rich_help_panel=_DATA,
    ),
]
ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="TOML", help="A run file with [data], [model], [split], [evaluate].", rich_help_panel=_RUN
    ),
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="One setting, such as model.n_factors=128; overrides the run file and may be repeated.",
        rich_help_panel=_RUN,
    ),
]
SplitOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="METHOD",
        help="How to part train and test: global_time (default), leave_last, random or users. Its settings: "
        "--set split.NAME=VALUE.",
        rich_help_panel="Evaluation",
    ),
]
KOption: TypeAlias = Annotated[
    list[int] | None,
    typer.Option(
        "--k", min=1, metavar="K", help="Length of the lists; repeat for several.", rich_help_panel="Evaluation"
    ),
]
MetricOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="A metric, such as ndcg or recall@20; repeat for several.",
        rich_help_panel="Evaluation",
    ),
]
RerankerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--reranker",
        metavar="NAME,KEY=VALUE,...",
        help="A re-ranker that chooses from the model's best, such as calibrated,column=genres,trade_off=0.5; "
        "n_candidates=N says from how many.",
    ),
]
ThreadsOption: TypeAlias = Annotated[
    int, typer.Option("--threads", min=0, metavar="N", help="Threads for ranking, 0 for all.")
]
UserFeaturesOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--user-features",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="CSV, TSV or Parquet: what is known of those who ask, for a model that reads it. A row for each "
        "--history, in their order, or alone for people without one; a column user_id names them.",
    ),
]
