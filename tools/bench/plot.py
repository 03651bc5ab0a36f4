"""Small plots side by side as an SVG 1.1 file that follows the reader's light or dark theme.

In:  rows of panels that share a vertical axis, columns that share a horizontal one. Out: the file's text. Lines through
points, the points' values as tooltips; vertical axes begin at 0, or are logarithmic.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_LEFT, _TOP, _WIDTH, _HEIGHT = 92, 84, 186, 132
_GAP_X, _GAP_Y, _RIGHT, _BOTTOM = 26, 34, 24, 60
_STYLE = """\
svg { --surface: #fcfcfb; --ink: #0b0b0b; --soft: #52514e; --grid: #e1e0d9; --axis: #a9a89f;
  --s0: #2a78d6; --s1: #eb6834 }
@media (prefers-color-scheme: dark) { svg { --surface: #1a1a19; --ink: #ffffff; --soft: #c3c2b7; --grid: #2c2c2a;
  --axis: #6b6a64; --s0: #3987e5; --s1: #d95926 } }
text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: var(--soft) }
.title { font-size: 15px; font-weight: 600; fill: var(--ink) }
.head { font-weight: 600; fill: var(--ink) }
.end { text-anchor: end }
.middle { text-anchor: middle }
.surface { fill: var(--surface) }
.grid { stroke: var(--grid); stroke-width: 1 }
.axis { stroke: var(--axis); stroke-width: 1 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.point { stroke: var(--surface); stroke-width: 2 }
.l0 { stroke: var(--s0) } .l1 { stroke: var(--s1) }
.p0 { fill: var(--s0) } .p1 { fill: var(--s1) }"""


class Series(NamedTuple):
    """A line: its place among the series (0 or 1, its colour), and (x, y) points."""

    number: int
    points: list[tuple[float, float]]


class Axis(NamedTuple):
    """A vertical axis: what it shows, whether by powers of ten, how a value is written."""

    title: str
    logarithmic: bool
    form: str  # for format()


class Figure(NamedTuple):
    """`panels[row][column]`: the series of a panel."""

    title: str
    series: list[str]
    columns: list[str]
    rows: list[Axis]
    panels: list[list[list[Series]]]


def ticks(greatest: float, logarithmic: bool, least: float = 0.0) -> list[float]:
    """Round values from the bottom of an axis to its top, which holds `greatest` (and, by powers of ten, `least`)."""
    if logarithmic:
        low, high = math.floor(math.log10(least)), math.ceil(math.log10(greatest))
        return [10.0**power for power in range(low, max(high, low + 1) + 1)]
    step = 10.0 ** math.floor(math.log10(greatest)) if greatest > 0 else 1.0
    for part in (0.2, 0.5, 1.0, 2.0):
        if greatest / (part * step) <= 5:
            step *= part
            break
    return [step * number for number in range(max(1, math.ceil(greatest / step - 1e-9)) + 1)]


def _place(value: float, marks: Sequence[float], logarithmic: bool) -> float:
    """0 at the first mark, 1 at the last."""
    if logarithmic:
        value, marks = math.log10(value), [math.log10(mark) for mark in marks]
    return (value - marks[0]) / (marks[-1] - marks[0])


def svg(figure: Figure) -> str:
    """The file."""
    width = _LEFT + len(figure.columns) * (_WIDTH + _GAP_X) - _GAP_X + _RIGHT
    height = _TOP + len(figure.rows) * (_HEIGHT + _GAP_Y) - _GAP_Y + _BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(figure.title)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="surface" width="{width}" height="{height}" rx="8"/>',
        f'<text class="title" x="{_LEFT}" y="30">{escape(figure.title)}</text>',
        *_legend(figure.series),
    ]
    for column, name in enumerate(figure.columns):
        x = _LEFT + column * (_WIDTH + _GAP_X) + _WIDTH / 2
        out.append(f'<text class="head middle" x="{x:g}" y="{height - 18}">{escape(name)}</text>')
    for row, axis in enumerate(figure.rows):
        y = _TOP + row * (_HEIGHT + _GAP_Y)
        out.append(f'<text class="head" x="{_LEFT}" y="{y - 10}">{escape(axis.title)}</text>')
        values = [y for panel in figure.panels[row] for series in panel for _, y in series.points]
        marks = ticks(max(values), axis.logarithmic, min(values))
        for column, panel in enumerate(figure.panels[row]):
            shown = sorted({x for panels in figure.panels for series in panels[column] for x, _ in series.points})
            corner = (_LEFT + column * (_WIDTH + _GAP_X), y)
            last = row == len(figure.rows) - 1
            out += _panel(corner, axis, marks, panel, shown, column == 0, last, figure.series)
    return "\n".join([*out, "</svg>"]) + "\n"


def _legend(series: list[str]) -> list[str]:
    out, x = [], _LEFT
    for number, name in enumerate(series):
        out.append(f'<line class="line l{number}" x1="{x}" y1="50" x2="{x + 18}" y2="50"/>')
        out.append(f'<circle class="point p{number}" cx="{x + 9}" cy="50" r="4.5"/>')
        out.append(f'<text x="{x + 26}" y="54">{escape(name)}</text>')
        x += 50 + 7 * len(name)
    return out


def _panel(
    corner: tuple[int, int],
    axis: Axis,
    marks: Sequence[float],
    panel: list[Series],
    shown: list[float],
    labelled: bool,
    last: bool,
    names: list[str],
) -> list[str]:
    left, top = corner
    bottom = top + _HEIGHT
    span = max(shown) - min(0, min(shown)) or 1

    def x_of(value: float) -> float:
        return left + 8 + (_WIDTH - 16) * (value - min(0, min(shown))) / span

    def y_of(value: float) -> float:
        return bottom - _HEIGHT * _place(value, marks, axis.logarithmic)

    out = []
    for mark in marks:
        style, at = "axis" if mark == marks[0] else "grid", f"{y_of(mark):.1f}"
        out.append(f'<line class="{style}" x1="{left}" y1="{at}" x2="{left + _WIDTH}" y2="{at}"/>')
        if labelled:
            out.append(f'<text class="end" x="{left - 8}" y="{y_of(mark) + 4:.1f}">{mark:{axis.form}}</text>')
    if last:
        free = left - 100.0
        for value in shown:
            if x_of(value) - free >= 22:
                free = x_of(value)
                out.append(f'<text class="middle" x="{free:.1f}" y="{bottom + 18}">{value:g}</text>')
    for series in panel:
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in series.points)
        out.append(f'<polyline class="line l{series.number}" points="{path}"/>')
        for x, y in series.points:
            tip = escape(f"{names[series.number]}: {x:g}: {y:{axis.form}}")
            out.append(
                f'<circle class="point p{series.number}" cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="4.5">'
                f"<title>{tip}</title></circle>"
            )
    return out
