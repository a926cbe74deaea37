"""An option of a search is defined once, and stands wherever a search can be asked for."""

from __future__ import annotations

import inspect
from pathlib import Path

import click
import numpy as np
import pytest

from qsearch import BuildOptions, Index
from qsearch.cli import cli
from qsearch.errors import QueryError
from qsearch.options import RetrievalOptions, SearchOptions, TextSearchOptions, listed, settled
from tests.encoders import HashedWords


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Index.search, TextSearchOptions),
        (Index.search_batch, TextSearchOptions),
        (Index.search_vectors, RetrievalOptions),
        (Index.search_by_vectors, SearchOptions),
    ],
)
def test_methods_show_every_option(method: object, options: type) -> None:
    parameters = inspect.signature(method).parameters
    for name, (_, option) in listed(options).items():
        assert parameters[name].default == option.default
        assert option.help.split()[0] in method.__doc__.split(f"{name}: ")[1].split("\n")[0]
    assert "options" not in parameters
    assert "**options" not in method.__doc__


def test_the_command_line_has_every_option() -> None:
    command = cli.get_command(click.Context(cli), "query")
    there = {parameter.name: parameter for parameter in command.params}
    for name, (_, option) in listed(TextSearchOptions).items():
        if name == "params":  # which are given one by one, and say so
            assert there[name].multiple
            continue
        assert there[name].default == option.default
        assert there[name].help == option.help


def test_what_is_not_given_has_its_default() -> None:
    assert settled(RetrievalOptions, {"recall": 0.9}, "f") == {
        "recall": 0.9,
        "method": None,
        "candidates": None,
        "all_passages": False,
        "alike": False,
        "where": None,
        "params": None,
        "missing_fields_ok": False,
    }


def test_an_option_that_there_is_not_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    index = Index.build(None, tmp_path / "i", embeddings=np.eye(3))
    with pytest.raises(TypeError, match="'recal'; did you mean 'recall'"):
        index.search_vectors(np.eye(3), recal=0.9)
    with pytest.raises(TypeError, match="'nonsense'; there are recall, method"):
        index.search("a", nonsense=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 2.0}, "k must be a whole number, found 2.0"),
        ({"k": "2"}, "k must be a whole number, found '2'"),
        ({"k": True}, "k must be a whole number, found True"),
        ({"k": 0}, "k must be at least 1"),
        ({"candidates": 50.5}, "candidates must be a whole number, found 50.5"),
        ({"candidates": "50"}, "candidates must be a whole number, found '50'"),
        ({"candidates": np.True_}, "candidates must be a whole number, found"),
        ({"candidates": 1}, "candidates must be at least k = 2, found 1"),
        ({"recall": "0.9", "method": None}, "recall must be 'exact' or a number"),
        ({"method": "fast"}, "unknown method 'fast'"),
    ],
)
def test_values_that_make_no_sense_are_errors_of_their_own(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    index = Index.build(None, tmp_path / "i", embeddings=np.eye(3))
    with pytest.raises(QueryError, match=message):
        index.search_vectors(np.eye(3), **{"k": 2, "method": "binary", **options})


def test_what_was_asked_before_does_not_hide_what_is_none(tmp_path: Path) -> None:
    index = Index.build(None, tmp_path / "i", embeddings=np.eye(3))
    index.search_vectors(np.eye(3), 1, recall=1)
    for k in (True, 1.0, "1", [1], np.True_):
        with pytest.raises(QueryError, match="k must be a whole number"):
            index.search_vectors(np.eye(3), k, recall=1)
    for recall in (True, "1", [1], {}):
        with pytest.raises(QueryError, match="recall must be 'exact' or a number"):
            index.search_vectors(np.eye(3), 1, recall=recall)
    for k in range(1, 1000):  # what is kept has an end
        index.search_vectors(np.eye(3)[:1], k)
    assert len(index._open._requests) <= 256


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    index = Index.build(None, tmp_path / "i", embeddings=np.eye(3))
    found = index.search_vectors(np.eye(3), np.int32(2), method="binary", candidates=np.uint8(3))
    assert found.positions[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("method", ["binary", "graph", "cascade"])
def test_more_candidates_than_there_are_rows_are_all_rows(tmp_path: Path, method: str) -> None:
    options = BuildOptions(graph=True)
    index = Index.build(None, tmp_path / "i", embeddings=np.eye(3), options=options)
    for many in (4, 10**12, 10**30):
        found = index.search_vectors(np.eye(3), 10**30, method=method, candidates=many * 10**30)
        assert found.positions[:, 0].tolist() == [0, 1, 2]
        assert found.positions.shape == (3, 3)


def test_documents_found_by_vector_are_those_found_by_text(tmp_path: Path) -> None:
    index = Index.build(
        [{"id": str(n), "text": f"cat {n} sat"} for n in range(9)],
        tmp_path / "i",
        encoder=HashedWords(),
    )
    texts = ["cat 4", "sat 7"]
    vectors = index.encoder.encode_queries(texts)
    by_text = index.search_batch(texts, 3, explain=True)
    by_vector = index.search_by_vectors(vectors.tolist(), 3, explain=True)
    assert [tuple(one) for one in by_text] == [tuple(one) for one in by_vector]
    assert all(one.explanation is not None for one in by_vector)
    with pytest.raises(QueryError, match="dimensions"):
        index.search_by_vectors([[1.0]])
