"""What a run of the checks found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["CheckResult", "ConformanceReport"]


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check.

    Attributes
    ----------
    name
        Name of the check, without ``check_``.
    outcome
        ``"passed"``, ``"failed"`` or ``"not applicable"``.
    message
        What went wrong, or why the check does not apply; empty when it passed.
    seconds
        Time it took.
    """

    name: str
    outcome: Literal["passed", "failed", "not applicable"]
    message: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the check ran and found nothing; a check that does not apply has not passed."""
        return self.outcome == "passed"

    def __str__(self) -> str:
        line = f"{self.outcome:<14}  {self.name:<24}  {self.seconds:6.2f} s"
        return f"{line}  {self.message}" if self.message else line


@dataclass(frozen=True)
class ConformanceReport:
    """Outcome of all checks on one thing that a plugin registers.

    Attributes
    ----------
    name
        What was checked.
    results
        One result a check, in the order of the kit.
    kind
        What it is: ``"recommender"``, ``"encoder"``, ``"metric"``, ``"reranker"`` or ``"dataset"``.
    """

    name: str
    results: tuple[CheckResult, ...]
    kind: str = "recommender"

    @property
    def n_checks(self) -> int:
        """Number of checks that ran; those that do not apply are left out."""
        return sum(result.outcome != "not applicable" for result in self.results)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The results that failed."""
        return tuple(result for result in self.results if result.outcome == "failed")

    @property
    def not_applicable(self) -> tuple[CheckResult, ...]:
        """The checks that say nothing about it."""
        return tuple(result for result in self.results if result.outcome == "not applicable")

    @property
    def passed(self) -> bool:
        """Whether checks ran and none failed."""
        return self.n_checks > 0 and not self.failed

    def __str__(self) -> str:
        skipped = len(self.not_applicable)
        summary = f"{self.name}: {self.n_checks - len(self.failed)} of {self.n_checks} checks passed"
        if skipped:
            summary += f", {skipped} not applicable"
        lines, first = [summary], dict[str, str]()
        for result in self.results:
            where = first.setdefault(result.message, result.name)
            repeats = result.outcome == "failed" and where != result.name
            lines.append(f"  {replace(result, message=f'as {where}') if repeats else result}")
        return "\n".join(lines)
