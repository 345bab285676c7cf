"""Running the checks: as a function that reports, or as parameters of a pytest test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsys_core.errors import PluginError
from recsys_core.registry import Entry, default_registry
from recsys_core.testing.checks import CHECKS
from recsys_core.testing.checks.datasets import DATASET_CHECKS, DatasetSubject
from recsys_core.testing.checks.metrics import METRIC_CHECKS, MetricSubject
from recsys_core.testing.checks.rerankers import RERANKER_CHECKS, RerankerSubject
from recsys_core.testing.outcome import CheckFailedError, NotApplicable
from recsys_core.testing.report import CheckResult, ConformanceReport
from recsys_core.testing.subject import Registered, Subject

if TYPE_CHECKING:
    import pytest

__all__ = ["Kit", "check_conformance", "find_kit", "parametrize_with_checks"]


@dataclass(frozen=True)
class Kit:
    """What everything of one kind promises.

    Attributes
    ----------
    subject
        Its ``of`` makes a thing of this kind ready for the checks.
    checks
        Each returns when the promise of its docstring is kept, and raises
        :class:`~recsys_core.testing.CheckFailedError` or :class:`~recsys_core.testing.NotApplicable` otherwise.
    """

    subject: type[Registered]
    checks: tuple[Callable[[Any], None], ...]


_KITS = {
    "recommender": Kit(Subject, CHECKS),
    "metric": Kit(MetricSubject, METRIC_CHECKS),
    "reranker": Kit(RerankerSubject, RERANKER_CHECKS),
    "dataset": Kit(DatasetSubject, DATASET_CHECKS),
}


def find_kit(kind: str) -> Kit:
    """The kit of a kind: ours, or one that a plugin registers, as that of encoders is.

    Raises
    ------
    UnknownModelError
        Nobody has checks of this kind.
    PluginError
        What the plugin makes is not a kit.
    """
    if kind in _KITS:
        return _KITS[kind]
    kit = default_registry().create(kind, kind="kit")
    if not isinstance(kit, Kit):
        raise PluginError(f"kit {kind!r}: expected the plugin to make a recsys_core.testing.Kit, got {kit!r}.")
    return kit


def check_conformance(
    what: str | Entry | Callable[..., Any], *, kind: str = "recommender", settings: Mapping[str, Any] | None = None
) -> ConformanceReport:
    """Run every check on a recommender, an encoder, a metric, a re-ranker or a data set.

    Parameters
    ----------
    what
        A registered name, an :class:`~recsys_core.registry.Entry`, or a class (of a data set, the function that loads
        it), for which the checks of its plugin do not apply.
    kind
        What it is: ``"recommender"``, ``"encoder"``, ``"metric"``, ``"reranker"`` or ``"dataset"``.  An entry says so
        itself.
    settings
        Settings to make it with, such as smaller sizes for a slow model.  One check makes it without them.

    Returns
    -------
    ConformanceReport

    Raises
    ------
    UnknownModelError
        No plugin registers the name, or the kit of the kind.
    PluginError
        What the plugin names cannot be imported.

    Notes
    -----
    A recommender is fitted about twenty times on a few hundred events, and once on two thousand.  An encoder is
    exported to ONNX twice.  A data set is loaded twice, from the network if it has to.

    Examples
    --------
    >>> report = check_conformance("popularity")
    >>> report.passed, report.failed
    (True, ())
    >>> print(check_conformance("ndcg", kind="metric"))  # doctest: +ELLIPSIS
    recsys-core:ndcg: 5 of 5 checks passed...
    """
    kind = what.spec.kind if isinstance(what, Entry) else kind
    kit = find_kit(kind)
    subject = kit.subject.of(what, settings)
    return ConformanceReport(subject.name, tuple(_run(check, subject) for check in kit.checks), kind)


def parametrize_with_checks(
    things: Iterable[str | Entry | Callable[..., Any]] | None = None,
    *,
    kind: str = "recommender",
    settings: Mapping[str, Any] | None = None,
) -> pytest.MarkDecorator:
    """Make a pytest test of every check of everything given.

    The test takes one argument, ``check``, and calls it; a check that does not apply is skipped with its reason::

        from recsys_core.testing import parametrize_with_checks

        @parametrize_with_checks(["my_model"])
        def test_model(check):
            check()

        @parametrize_with_checks(["my_encoder"], kind="encoder")
        def test_encoder(check):
            check()

    Parameters
    ----------
    things
        What to check, as in :func:`check_conformance`; all that is registered of the kind by default.
    kind
        What they are, as in :func:`check_conformance`.
    settings
        Settings to make them with.
    """
    import pytest

    kit = find_kit(kind)
    chosen = default_registry().entries(kind) if things is None else things
    subjects = [kit.subject.of(thing, settings) for thing in chosen]
    parameters = [
        pytest.param(_skipping(check, subject), id=f"{subject.name}-{check_name(check)}")
        for subject in subjects
        for check in kit.checks
    ]
    return pytest.mark.parametrize("check", parameters)


def check_name(check: Callable[[Any], None]) -> str:
    """What reports call a check."""
    return check.__name__.removeprefix("check_")


def _run(check: Callable[[Any], None], subject: Registered) -> CheckResult:
    start = time.perf_counter()
    try:
        check(subject)
    except NotApplicable as reason:
        return CheckResult(check_name(check), "not applicable", str(reason), time.perf_counter() - start)
    except Exception as fault:
        message = str(fault) if isinstance(fault, CheckFailedError) else f"{type(fault).__name__}: {fault}"
        return CheckResult(check_name(check), "failed", message, time.perf_counter() - start)
    return CheckResult(check_name(check), "passed", "", time.perf_counter() - start)


def _skipping(check: Callable[[Any], None], subject: Registered) -> Callable[[], None]:
    def run() -> None:
        import pytest

        try:
            check(subject)
        except NotApplicable as reason:
            pytest.skip(f"not applicable: {reason}")

    return run
