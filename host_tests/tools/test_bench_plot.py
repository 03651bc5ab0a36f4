"""The plots of `make bench-scaling` (tools/bench/plot.py)."""

import xml.etree.ElementTree as ElementTree

import pytest

from tools.bench import plot

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("greatest", "marks"),
    [
        (0.9, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (5, [0, 1, 2, 3, 4, 5]),
        (38_000, [0, 10_000, 20_000, 30_000, 40_000]),
        (104, [0, 50, 100, 150]),
        (0, [0, 0.2]),
    ],
)
def test_an_axis_from_zero_ends_at_the_first_round_value_that_holds_all(greatest, marks):
    assert plot.ticks(greatest, False) == pytest.approx(marks)


def test_a_logarithmic_axis_has_whole_decades():
    assert plot.ticks(45, True, 0.12) == pytest.approx([0.1, 1, 10, 100])
    assert plot.ticks(1, True, 1) == pytest.approx([1, 10])


def figure(points, logarithmic=False):
    axis = plot.Axis("rate & more", logarithmic, ",.0f")
    return plot.Figure("title", ["one", "other"], ["clients"], [axis], [[[plot.Series(1, points)]]])


def test_points_lie_where_their_values_are():
    root = ElementTree.fromstring(plot.svg(figure([(1, 10), (2, 20), (4, 40)])))
    points = [(float(one.get("cx")), float(one.get("cy"))) for one in root.findall(f"{SVG}circle")][2:]
    (x1, y1), (x2, y2), (x4, y4) = points
    assert x4 - x2 == pytest.approx(2 * (x2 - x1), abs=0.2)
    assert y2 - y4 == pytest.approx(2 * (y1 - y2), abs=0.2)
    assert y1 > y2 > y4  # upwards


def test_texts_are_escaped_and_points_say_their_value():
    root = ElementTree.fromstring(plot.svg(figure([(1, 10), (2, 2000)])))
    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert "rate & more" in texts
    assert [one.text for one in root.iter(f"{SVG}title")] == ["other: 1: 10", "other: 2: 2,000"]


def test_both_themes_have_every_colour():
    light, dark = plot.svg(figure([(1, 1)])).split("@media (prefers-color-scheme: dark)")
    names = {"--surface", "--ink", "--soft", "--grid", "--axis", "--s0", "--s1"}
    assert all(f"{name}: #" in light and f"{name}: #" in dark for name in names)
