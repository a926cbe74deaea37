"""Pictures say what they are of, and can be read."""

from __future__ import annotations

import itertools
import warnings
import xml.dom.minidom
from pathlib import Path

import numpy as np
import pytest

from qsearch import Index, OptionError
from qsearch.evaluation import evaluate
from qsearch.evaluation.plotting import _apart
from tests.evaluation.world import JUDGMENTS, QUERIES


def test_a_picture_says_what_it_is_of(index: Index, tmp_path: Path) -> None:
    ways = ["exact", "0.99", "binary", "keywords"]
    found = evaluate(index, QUERIES, JUDGMENTS, k=(5, 10), ways=ways, where="even")
    found.plot(tmp_path / "report.svg")
    drawn = (tmp_path / "report.svg").read_text()
    for told in ("30 queries, where even", "recall 0.99", "exact search: ", "keywords: not here"):
        assert told in drawn, told  # texts, not outlines
    assert "nDCG@5 against judgments" in drawn


def test_labels_of_several_lines_do_not_cover_each_other() -> None:
    lines = [1, 3, 2, 1, 4]
    places = _apart([0.97, 0.971, 0.9, 0.972, 1.0], (0.8, 1.0), 0.05, lines)
    halves = [0.5 * 0.05 * 0.2 * count for count in lines]
    order = np.argsort(places)
    for one, other in itertools.pairwise(order):
        assert places[other] - places[one] >= halves[one] + halves[other] - 1e-12
    assert list(order) == [2, 0, 1, 3, 4]  # as the values
    assert max(places) <= 1.0


def test_a_picture_of_left_out_documents_and_dollars(index: Index, tmp_path: Path) -> None:
    where = {"even": {"$eq": True}, "id": {"$ne": "x$y"}}
    found = evaluate(index, k=10, sample=40, ways=["exact", "binary:40"], where=where, timed=False)
    assert found.exact is not None
    assert (found.exact >= 0).all()
    figure = found.plot(tmp_path / "report.svg")
    (line,) = (line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) > 2)
    assert np.min(line.get_ydata()) > 0.5
    assert "$eq" in (tmp_path / "report.svg").read_text()
    with pytest.raises(OptionError, match="neither times nor judgments"):
        evaluate(index, QUERIES, k=5, ways=["exact"], timed=False).plot(tmp_path / "no.svg")


def test_latency_is_drawn_as_it_is_spread(index: Index) -> None:
    found = evaluate(index, QUERIES, k=5, ways=["exact", "binary"])
    for way in found.ways:
        way.times.singles[:] = [1.0] * 90 + [2.0] * 9 + [64.0]
    (axes,) = (one for one in found.plot().axes if one.get_title(loc="left").startswith("latency"))
    assert [one.get_text() for one in axes.get_yticklabels()] == ["binary", "exact"]
    assert len(axes.patches) == 2
    for patch in axes.patches:
        heights, edges, base = patch.get_data()
        (drawn,) = np.nonzero(heights > base)
        shares = (heights[drawn] - base) / (heights.max() - base)
        assert np.round(90 * shares).tolist() == [90, 9, 1]
        assert np.all(edges[drawn] <= [1.0, 2.0, 64.0])
        assert np.all(edges[drawn + 1] >= [1.0, 2.0, 64.0])


@pytest.mark.parametrize("milliseconds", [0.0239, 0.0265, 0.0291, 1.0, 37.0])
def test_one_point_has_an_axis_too(index: Index, milliseconds: float) -> None:
    found = evaluate(index, QUERIES, k=3, ways=["exact", "keywords"])
    for way in found.ways:
        way.times.singles[:] = [milliseconds] * 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = found.plot()
        figure.canvas.draw()
    for axes in figure.axes[:2]:
        low, high = axes.get_xlim()
        assert low < 0.9 * milliseconds < 1.1 * milliseconds < high
        assert any(low < tick < high for tick in axes.get_xticks())


def test_ranks_are_whole_numbers(index: Index) -> None:
    found = evaluate(index, QUERIES, k=3, ways=["exact", "binary:12"])
    (axes,) = (one for one in found.plot().axes if one.get_title(loc="left").startswith("share"))
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_a_picture_is_sound_whatever_stands_in_names(index: Index, tmp_path: Path) -> None:
    where = (
        "id != 'a\x1bx' AND id NOT IN ("
        + ", ".join(f"'none{number}'" for number in range(300))
        + ")"
    )
    ways = {"a\x1bb": {"method": "binary"}, "exact": {}}
    found = evaluate(index, QUERIES, k=5, ways=ways, where=where, timed=False)
    found.plot(tmp_path / "report.svg")
    drawn = (tmp_path / "report.svg").read_text()
    xml.dom.minidom.parseString(drawn)
    assert "a\\x1bb" in drawn
    assert "none299" not in drawn  # a long condition is cut


def test_no_panel_of_judgments_without_a_relevant_document(index: Index) -> None:
    found = evaluate(index, QUERIES, {next(iter(QUERIES)): {"no": 0}}, k=5, ways=["exact"])
    assert not any("judgments" in one.get_title(loc="left") for one in found.plot().axes)
