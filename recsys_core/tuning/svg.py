"""The few plots that a tuning report needs, as SVG text: no plotting library and nothing to load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Point", "bar_plot", "scatter_plot"]

_WIDTH, _HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 26, 42
_PLAIN, _MUTED, _BEST, _RULE = "#4477aa", "#b8c4d0", "#cc3311", "#dddddd"


@dataclass(frozen=True)
class Point:
    """A mark: where it is, what to say when it is pointed at, and whether it is muted or stands out."""

    x: float | str
    y: float
    hint: str = ""
    style: str = "plain"


def scatter_plot(
    title: str, points: Sequence[Point], *, log: bool = False, line: Sequence[tuple[float, float]] = ()
) -> str:
    """Points over numbers, or over words in the order in which they first come.

    Parameters
    ----------
    title
        Above the plot.
    points
        At least one; those that stand out are drawn last.
    log
        Whether the x axis is logarithmic.
    line
        Corners of a line drawn below the points, x as in the points.
    """
    words = list(dict.fromkeys(point.x for point in points if isinstance(point.x, str)))
    xs = [float(words.index(p.x)) if isinstance(p.x, str) else float(p.x) for p in points]
    x_low, x_high = (-0.5, len(words) - 0.5) if words else _padded(xs, log)
    y_low, y_high = _padded([point.y for point in points], log=False)

    def across(x: float) -> float:
        share = math.log(x / x_low) / math.log(x_high / x_low) if log else (x - x_low) / (x_high - x_low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return _HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_text(_WIDTH / 2, 16, title, "middle", bold=True)]
    for y in _ticks(y_low, y_high, log=False):
        parts.append(f'<path d="M{_LEFT} {up(y):.1f}H{_WIDTH - _RIGHT}" stroke="{_RULE}"/>')
        parts.append(_text(_LEFT - 6, up(y) + 4, f"{y:.4g}", "end"))
    marks = [(float(n), word) for n, word in enumerate(words)]
    marks = marks or [(x, f"{x:.3g}") for x in _ticks(x_low, x_high, log=log)]
    parts += [_text(across(x), _HEIGHT - _BOTTOM + 18, word, "middle") for x, word in marks]
    if line:
        corners = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{corners}" fill="none" stroke="{_BEST}"/>')
    drawn = sorted(zip(xs, points, strict=True), key=lambda pair: ("muted", "plain", "best").index(pair[1].style))
    for x, point in drawn:
        color = {"muted": _MUTED, "plain": _PLAIN, "best": _BEST}[point.style]
        hint = f"<title>{escape(point.hint)}</title>" if point.hint else ""
        parts.append(f'<circle cx="{across(x):.1f}" cy="{up(point.y):.1f}" r="4" fill="{color}">{hint}</circle>')
    return _svg(title, parts, _HEIGHT)


def bar_plot(title: str, bars: Sequence[tuple[str, float]]) -> str:
    """Lying bars for shares from 0 to 1, in the order given."""
    left, step = 130, 24
    parts = [_text(_WIDTH / 2, 16, title, "middle", bold=True)]
    for row, (name, share) in enumerate(bars):
        top = _TOP + row * step
        width = share * (_WIDTH - left - 60)
        parts.append(_text(left - 6, top + 14, name, "end"))
        parts.append(f'<rect x="{left}" y="{top + 3}" width="{width:.1f}" height="{step - 8}" fill="{_PLAIN}"/>')
        parts.append(_text(left + width + 6, top + 14, f"{100 * share:.0f}%", "start"))
    return _svg(title, parts, _TOP + step * len(bars) + 10)


def _padded(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        margin = (high / low) ** 0.05 if high > low else 2.0
        return low / margin, high * margin
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float, *, log: bool) -> list[float]:
    """About five round numbers between the bounds."""
    if log:
        decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        steps = (1,) if len(decades) > 2 else (1, 2, 5)
        lowest = math.floor(math.log10(low))
        candidates = [step * 10.0**decade for decade in range(lowest, lowest + 12) for step in steps]
        return [value for value in candidates if low <= value <= high]
    raw = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _svg(title: str, parts: Sequence[str], height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
