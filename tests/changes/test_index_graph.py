"""A graph for an index that was built without one, and the end of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qsearch import BuildOptions, Index, QsearchError, verify_index
from qsearch.errors import ChangeInterrupted
from qsearch.retrieval import Tuning
from qsearch.store import IndexEditor
from tests.cli.running import run
from tests.encoders import HashedWords
from tests.retrieval.test_recall import world

ROWS = 5000


pytestmark = pytest.mark.usefixtures("quickly_measured")


def files_of(path: Path) -> dict[str, bytes]:
    return {
        one.name: one.read_bytes()
        for one in (path / "segments").glob("*/*")
        if one.name in ("links.npy", "sketches.npy", "center.npy")
    }


def sound(path: Path) -> bool:
    return not verify_index(path, deep=True).problems


def test_the_graph_that_is_made_later_is_the_one_of_a_build(tmp_path: Path) -> None:
    rows = world(ROWS, 1)
    built = Index.build(None, tmp_path / "a", embeddings=rows, options=BuildOptions(graph=True))
    index = Index.build(None, tmp_path / "b", embeddings=rows)
    before = index.commit
    assert not index.has_graph
    with pytest.raises(QsearchError, match="the index has no graph; Index.index_graph makes one"):
        index.search_vectors(rows[:1], method="graph")
    commit = index.index_graph()
    assert index.commit == commit > before
    assert index.has_graph
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") != {}
    assert index.tuning is not None
    assert [len(one.beams) > 0 for one in index.tuning.curves] == [
        len(one.beams) > 0 for one in built.tuning.curves
    ]
    assert any(one.beams for one in index.tuning.curves)
    found = index.search_vectors(rows[:50], method="graph")
    assert np.array_equal(
        found.positions, built.search_vectors(rows[:50], method="graph").positions
    )
    assert sound(tmp_path / "b")
    assert index.index_graph() == commit  # there is nothing to do
    index.add(None, embeddings=world(ROWS, 2))  # what comes later has one too
    assert all(one.graph is not None for one in index._open.segments if one.rows > 4096)


def test_recall_is_measured_with_a_graph_that_it_was_not_measured_with(tmp_path: Path) -> None:
    rows = world(ROWS, 1)
    index = Index.build(None, tmp_path / "i", embeddings=rows, options=BuildOptions(graph=True))
    made = index.tuning
    assert made is not None
    before = files_of(tmp_path / "i")
    # As an earlier qsearch left it, or one that was stopped between the graph and its measuring, or damage.
    for left in ({**made.to_json(), "version": 2}, replace_beams(made).to_json(), {"version": 3}):
        with IndexEditor.open(tmp_path / "i") as editor:
            editor.commit({"tuning": left})
        index = Index.open(tmp_path / "i")
        assert index.tuning is None or not any(one.beams for one in index.tuning.curves)
        commit = index.commit
        assert index.index_graph() > commit
        assert any(one.beams for one in index.tuning.curves)
        assert files_of(tmp_path / "i") == before
        assert index.index_graph() == index.commit == commit + 1
    assert sound(tmp_path / "i")


def test_a_change_measures_recall_that_another_qsearch_measured(tmp_path: Path) -> None:
    index = Index.build(None, tmp_path / "i", embeddings=world(ROWS, 1))
    assert index.tuning is not None
    with IndexEditor.open(tmp_path / "i") as editor:
        editor.commit({"tuning": {**index.tuning.to_json(), "version": 2}})
    index = Index.open(tmp_path / "i")
    assert index.tuning is None
    assert index.search_vectors(world(5, 3), recall=0.9).certified.all()
    index.add(None, embeddings=world(3, 2))
    assert index.tuning is not None


def test_a_damaged_graph_of_a_small_segment_is_made_anew(tmp_path: Path) -> None:
    options = BuildOptions(graph=True, segment_rows=4096)
    with Index.build(None, tmp_path / "i", embeddings=world(ROWS, 1), options=options) as built:
        assert [one.rows for one in built._open.segments] == [4096, ROWS - 4096]
        last = built._open.segments[-1].id
    path = tmp_path / "i" / "segments" / last / "links.npy"
    before = path.read_bytes()
    for damage in (before[:-1] + bytes([before[-1] ^ 1]), before[:-7], None):
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
        index = Index.open(tmp_path / "i")
        with pytest.raises(QsearchError, match="Index.index_graph makes another"):
            index.search_vectors(world(1, 3), method="graph")
        index.index_graph()
        index.search_vectors(world(1, 3), method="graph")
        assert path.read_bytes() == before
        index.close()


def test_recall_is_measured_where_segments_are_smaller_than_beams(tmp_path: Path) -> None:
    """A beam that gives way to a scan ends nowhere, and there is no gap as large as that."""
    generator = np.random.default_rng(0)
    words = [f"word{n:04}" for n in range(1500)]
    records = [{"id": str(n), "text": " ".join(generator.choice(words, 40))} for n in range(4000)]
    options = BuildOptions(graph=True, segment_rows=1)
    with Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options) as index:
        assert len(index._open.segments) > 20
        assert index.tuning is not None
        assert any(curve.beams for curve in index.tuning.curves)
    assert sound(tmp_path / "i")


def test_ctrl_c_while_recall_is_measured_says_what_measures_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.build(None, tmp_path / "i", embeddings=world(ROWS, 1))

    def stopped(*ignored: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("qsearch.indexing.apply.measure_again", stopped)
        with pytest.raises(
            ChangeInterrupted, match="Index.index_graph, once more, measures"
        ) as one:
            index.index_graph()
        assert one.value.commit == 2
        with pytest.raises(ChangeInterrupted, match="the index is as it was"):
            Index.open(tmp_path / "i").index_graph()  # nothing but the measuring is left
    index = Index.open(tmp_path / "i")
    assert index.has_graph
    assert not any(one.beams for one in index.tuning.curves)
    index.index_graph()
    assert any(one.beams for one in index.tuning.curves)
    assert sound(tmp_path / "i")


def replace_beams(tuning: Tuning) -> Tuning:
    return replace(tuning, curves=tuple(replace(one, beams=()) for one in tuning.curves))


def test_a_damaged_graph_is_made_anew(tmp_path: Path) -> None:
    rows = world(ROWS, 1)
    Index.build(None, tmp_path / "i", embeddings=rows, options=BuildOptions(graph=True)).close()
    before = files_of(tmp_path / "i")
    for name in before:
        (path,) = (tmp_path / "i" / "segments").glob(f"*/{name}")
        for bad in (before[name][:-1] + bytes([before[name][-1] ^ 1]), before[name][:200]):
            path.write_bytes(bad)
            with Index.open(tmp_path / "i") as index:
                with pytest.raises(QsearchError, match="Index.index_graph makes another"):
                    index.search_vectors(rows[:1], method="graph")
                index.index_graph()
                found = index.search_vectors(rows[:9], method="graph")
                assert found.positions[:, 0].tolist() == list(range(9))
            assert files_of(tmp_path / "i") == before
            assert sound(tmp_path / "i")


def test_a_graph_is_taken_away_and_not_made_again_by_changes(tmp_path: Path) -> None:
    path = tmp_path / "i"
    index = Index.build(None, path, embeddings=world(ROWS, 1), options=BuildOptions(graph=True))
    exact = index.search_vectors(world(20, 3))
    index.index_graph(drop=True)
    assert not index.has_graph
    assert index.tuning is not None
    assert not any(one.beams for one in index.tuning.curves)
    assert np.array_equal(index.search_vectors(world(20, 3)).positions, exact.positions)
    assert index.index_graph(drop=True) == index.commit
    index.add(None, embeddings=world(ROWS, 2))
    index.compact()
    assert not index.has_graph
    assert files_of(path) == {}
    assert sound(path)


def test_the_command_says_what_became_of_it(tmp_path: Path) -> None:
    path = tmp_path / "i"
    Index.build(None, path, embeddings=world(3000, 1)).close()
    np.save(tmp_path / "q.npy", world(1, 3))
    query = ("query", "--vectors", "q.npy", "-i", "i", "--method", "graph")
    failed = run(*query, cwd=tmp_path)
    assert failed.returncode
    assert "'qsearch index-graph' makes one" in failed.stderr
    for arguments, graph in (([], "yes"), ([], "yes"), (["--drop"], "none")):
        done = run("index-graph", "i", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert re.search(rf"^graph +{graph}$", done.stderr, re.MULTILINE)
        assert bool(run(*query, cwd=tmp_path).returncode) == (graph == "none")
