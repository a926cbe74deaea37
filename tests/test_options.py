"""An option of a search is defined once, and stands wherever a search can be asked for."""

from __future__ import annotations

import inspect
from pathlib import Path

import click
import numpy as np
import pytest

from qsearch import Index
from qsearch.cli import cli
from qsearch.options import RetrievalOptions, SearchOptions, listed, settled


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Index.search, SearchOptions),
        (Index.search_batch, SearchOptions),
        (Index.search_vectors, RetrievalOptions),
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
    for name, (_, option) in listed(SearchOptions).items():
        assert there[name].default == option.default
        assert there[name].help == option.help


def test_what_is_not_given_has_its_default() -> None:
    assert settled(RetrievalOptions, {"recall": 0.9}, "f") == {
        "recall": 0.9,
        "method": None,
        "candidates": None,
        "all_passages": False,
    }


def test_an_option_that_there_is_not_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    index = Index.build(None, tmp_path / "i", embeddings=np.eye(3))
    with pytest.raises(TypeError, match="'recal'; did you mean 'recall'"):
        index.search_vectors(np.eye(3), recal=0.9)
    with pytest.raises(TypeError, match="'nonsense'; there are recall, method"):
        index.search("a", nonsense=1)
