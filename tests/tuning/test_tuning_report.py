"""The page that a tuning is written as, and its plots."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from recsys_core.errors import DataError
from recsys_core.models import SearchChoices, SearchRange
from recsys_core.tuning import Trial, Tuning, write_report
from recsys_core.tuning.svg import Point, bar_plot, scatter_plot

SVG = "{http://www.w3.org/2000/svg}"
SPACE = {"kind": SearchChoices(("a<b", "c")), "shrink": SearchRange(0.1, 10.0, log=True)}


def trial(number: int, value: float | None, state: str = "complete", **settings: object) -> Trial:
    error = "shrink & all" if state == "failed" else ""
    return Trial(number, state, settings, value, None if value is None else 0.01, 1.0, error)  # type: ignore[arg-type]


TUNING = Tuning(
    model="shelf",
    metric="ndcg@10",
    higher_is_better=True,
    fixed={"n_shelves": 3},
    space=SPACE,
    trials=(
        trial(0, 0.1, kind="a<b", shrink=0.5),
        trial(1, 0.3, kind="c"),
        trial(2, 0.05, "pruned", kind="a<b", shrink=9.0),
        trial(3, None, "failed", kind="c"),
        trial(4, 0.2, kind="a<b", shrink=0.1),
    ),
    importance={"kind": 0.75, "shrink": 0.25},
)


def plots(page: str) -> dict[str, ET.Element]:
    found = [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page)]
    return {plot.attrib["aria-label"]: plot for plot in found}


def test_the_page_says_what_was_found_and_loads_nothing(tmp_path: Path) -> None:
    write_report(TUNING, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "0.3000 ± 0.0100" in page
    assert "trial 1; default settings: 0.1000" in page
    assert "3 complete, 1 pruned, 1 failed" in page
    assert "shrink &amp; all" in page
    assert "a<b" not in page
    for outside in ("<script", "src=", "href=", "@import", "url("):
        assert outside not in page
    assert list(plots(page)) == ["ndcg@10 by trial", "importance (PED-ANOVA)", "kind", "shrink"]


def test_a_plot_has_a_mark_for_each_trial_with_a_value(tmp_path: Path) -> None:
    write_report(TUNING, tmp_path / "report.html")
    drawn = plots((tmp_path / "report.html").read_text("utf-8"))
    counts = {name: len(plot.findall(f"{SVG}circle")) for name, plot in drawn.items()}
    assert counts == {"ndcg@10 by trial": 4, "importance (PED-ANOVA)": 0, "kind": 4, "shrink": 3}
    hints = [hint.text for hint in drawn["ndcg@10 by trial"].iter(f"{SVG}title")]
    assert sorted(filter(None, hints))[-1] == "trial 4, complete: 0.2000"


def test_without_a_complete_trial_there_is_no_page(tmp_path: Path) -> None:
    empty = Tuning("shelf", "ndcg@10", True, {}, SPACE, (trial(0, 0.1, "pruned", kind="c"),), {})
    with pytest.raises(DataError, match="expected one that is complete"):
        write_report(empty, tmp_path / "report.html")


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("ys", [[0.5], [0.0, 0.0], [-3.0, 1e-9, 4e5]])
def test_points_stand_in_order_and_inside(log: bool, ys: list[float]) -> None:
    points = [Point(10.0**n, y) for n, y in enumerate(ys)]
    plot = ET.fromstring(scatter_plot("p", points, log=log))
    places = sorted((float(c.attrib["cx"]), float(c.attrib["cy"])) for c in plot.iter(f"{SVG}circle"))
    width, height = float(plot.attrib["width"]), float(plot.attrib["height"])
    assert all(0 < x < width and 0 < y < height for x, y in places)
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)  # up is less on the screen
    if log and len(places) == 3:
        assert places[1][0] == pytest.approx((places[0][0] + places[2][0]) / 2, abs=0.1)


def test_bars_are_as_long_as_their_shares() -> None:
    plot = ET.fromstring(bar_plot("b", [("one", 0.75), ("two", 0.25)]))
    long, short = (float(bar.attrib["width"]) for bar in plot.iter(f"{SVG}rect"))
    assert long == pytest.approx(3 * short, rel=0.01)
