"""The plots of `make bench-scaling` (tools/bench/scaling.py)."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from tools import build
from tools.bench import scaling

IMAGES = build.ROOT / "docs" / "img"


@pytest.fixture
def figures():
    """Those behind the plot of the documents."""
    return json.loads((IMAGES / "scaling.json").read_text(encoding="utf-8"))


@pytest.fixture
def points(figures):
    return figures["points"]


def test_the_plot_in_the_documents_is_drawn_from_the_figures_beside_it(tmp_path, capsys):
    again = tmp_path / "again.svg"

    assert scaling.main(["--from-json", str(IMAGES / "scaling.json"), "--svg", str(again)]) == 0

    assert again.read_bytes() == (IMAGES / "scaling.svg").read_bytes(), "make bench-scaling ARGS=--from-json"


def test_another_figure_is_another_plot(tmp_path, figures):
    figures["points"][0]["rate"] *= 2

    scaling.draw(figures, tmp_path / "other.svg")

    assert (tmp_path / "other.svg").read_bytes() != (IMAGES / "scaling.svg").read_bytes()


def test_a_load_that_did_not_fit_has_no_point(tmp_path, figures, points):
    for point in points:
        point["fits"] = point["axis"] != "meters"

    scaling.draw(figures, tmp_path / "without.svg")

    meters = sum(point["axis"] == "meters" for point in points)
    assert meters
    assert drawn(tmp_path / "without.svg") == drawn(IMAGES / "scaling.svg") - 3 * meters


def drawn(path):
    """The number of points of a plot: the markers that are clipped to their panel, which those of the axes are not."""
    svg = "{http://www.w3.org/2000/svg}"
    groups = ElementTree.parse(path).iter(svg + "g")
    return sum(len(group.findall(svg + "use")) for group in groups if group.get("clip-path"))


def test_drawing_needs_a_file_to_draw_into(capsys):
    with pytest.raises(SystemExit):
        scaling.parse(["--from-json", "figures.json"])
    assert "--svg FILE is missing" in capsys.readouterr().err
