"""Running the checks: as a function that reports, or as parameters of a pytest test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from recsys_core.models import Recommender
from recsys_core.registry import Entry, list_models
from recsys_core.testing.checks import CHECKS, Check
from recsys_core.testing.outcome import CheckFailedError, NotApplicable
from recsys_core.testing.report import CheckResult, ConformanceReport
from recsys_core.testing.subject import Subject

if TYPE_CHECKING:
    import pytest

__all__ = ["check_recommender", "parametrize_with_checks"]


def check_recommender(
    model: str | Entry | type[Recommender], *, settings: Mapping[str, Any] | None = None
) -> ConformanceReport:
    """Run every check on a recommender.

    Parameters
    ----------
    model
        A registered name, an :class:`~recsys_core.registry.Entry`, or a subclass of
        :class:`~recsys_core.models.Recommender`, for which the checks of its plugin do not apply.
    settings
        Settings to make it with, such as smaller sizes for a slow model.  One check makes it without them.

    Returns
    -------
    ConformanceReport

    Raises
    ------
    UnknownModelError
        No plugin registers the name.
    PluginError
        The plugin's class cannot be imported.

    Notes
    -----
    The model is fitted about twenty times on a few hundred events, and once on two thousand.

    Examples
    --------
    >>> report = check_recommender("popularity")
    >>> report.passed, report.failed
    (True, ())
    """
    subject = Subject.of(model, settings)
    return ConformanceReport(subject.name, tuple(_run(check, subject) for check in CHECKS))


def parametrize_with_checks(
    models: Iterable[str | Entry | type[Recommender]] | None = None, *, settings: Mapping[str, Any] | None = None
) -> pytest.MarkDecorator:
    """Make a pytest test of every check of every model.

    The test takes one argument, ``check``, and calls it; a check that does not apply is skipped with its reason::

        from recsys_core.testing import parametrize_with_checks

        @parametrize_with_checks(["my_model"])
        def test_conformance(check):
            check()

    Parameters
    ----------
    models
        What to check, as in :func:`check_recommender`; all registered recommenders by default.
    settings
        Settings to make them with.
    """
    import pytest

    subjects = [Subject.of(model, settings) for model in (list_models() if models is None else models)]
    parameters = [
        pytest.param(_skipping(check, subject), id=f"{subject.name}-{check_name(check)}")
        for subject in subjects
        for check in CHECKS
    ]
    return pytest.mark.parametrize("check", parameters)


def check_name(check: Check) -> str:
    """What reports call a check."""
    return check.__name__.removeprefix("check_")


def _run(check: Check, subject: Subject) -> CheckResult:
    start = time.perf_counter()
    try:
        check(subject)
    except NotApplicable as reason:
        return CheckResult(check_name(check), "not applicable", str(reason), time.perf_counter() - start)
    except Exception as fault:
        message = str(fault) if isinstance(fault, CheckFailedError) else f"{type(fault).__name__}: {fault}"
        return CheckResult(check_name(check), "failed", message, time.perf_counter() - start)
    return CheckResult(check_name(check), "passed", "", time.perf_counter() - start)


def _skipping(check: Check, subject: Subject) -> Callable[[], None]:
    def run() -> None:
        import pytest

        try:
            check(subject)
        except NotApplicable as reason:
            pytest.skip(f"not applicable: {reason}")

    return run
