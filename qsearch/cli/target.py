"""Which index a command means when it is not named."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from qsearch.cli.files import same_file
from qsearch.errors import IndexFormatError
from qsearch.store.format import CATALOG
from qsearch.store.holding import unfinished

__all__ = [
    "INDEXES",
    "backend_option",
    "default_target",
    "device_option",
    "find_index",
    "index_argument",
    "index_option",
    "model_option",
    "named_index",
    "wait_option",
]

INDEXES = Path("indexes")
"""Where indexes are kept, below the current directory."""

index_option = click.option(
    "-i",
    "--index",
    "index",
    type=click.Path(path_type=Path),
    envvar="QSEARCH_INDEX",
    help="Index directory. May be left out where indexes/ holds one index.",
)


index_argument = click.argument(
    "path", required=False, type=click.Path(path_type=Path), metavar="[INDEX]"
)
"""The same without ``-i``, for commands that take no other arguments."""


device_option = click.option(
    "--device",
    envvar="QSEARCH_DEVICE",
    default="auto",
    show_default=True,
    help="Where the model runs, and exact searches: auto, cpu, cuda, cuda:1, … auto and cuda take all GPUs "
    "of one kind; cuda:0,cuda:2 takes some.",
)


model_option = click.option(
    "-m",
    "--model",
    envvar="QSEARCH_MODEL",
    help="Model, where it is not at the place that the index names. It must be the same.",
)


backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "onnx", "torch"]),
    default="auto",
    show_default=True,
    help="What runs the model. onnx: ONNX Runtime, on the CPU in float32, starts at once and is faster; "
    "auto: onnx where that is possible.",
)


wait_option = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="How long to wait for another writer of the index.  [default: not at all]",
)


def find_index(named: Path | None) -> Path:
    """The named index, or the only one in ``indexes/``.

    A bare name also means the index of that name in ``indexes/``.

    Raises:
        IndexFormatError: there is none, or more than one.
    """
    if named is not None:
        inside = INDEXES / named
        bare = len(named.parts) == 1 and not named.exists()
        there = (inside / CATALOG).is_file() or unfinished(inside) is not None
        return inside if bare and there else named
    found = sorted(
        path.parent
        for path in INDEXES.glob(f"*/{CATALOG}")
        if path.parent.suffix not in (".building", ".replaced")
    )
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(path) for path in found)
        raise IndexFormatError(f"there are several indexes ({names}); choose one with -i")
    for staging in sorted(INDEXES.glob("*.building")):
        told = unfinished(staging.with_suffix(""))
        if told is not None:
            raise IndexFormatError(told)
    raise IndexFormatError(
        "there is no index in indexes/; make one with 'qsearch build CORPUS', or name one with -i"
    )


def named_index(path: Path | None, index: Path | None) -> Path:
    """The index of a command that takes it as an argument or with ``-i``; see ``find_index``.

    Raises:
        click.UsageError: it is given twice, and not the same.
    """
    source = click.get_current_context().get_parameter_source("index")
    if (
        path is not None
        and index is not None
        and not same_file(find_index(path), find_index(index))
    ):
        if source is not ParameterSource.ENVIRONMENT:
            raise click.UsageError(f"two indexes are named, {path} and, with -i, {index}; name one")
        index = None
    return find_index(path or index)


def default_target(corpus: str) -> Path:
    """Where the index of ``corpus`` goes: ``indexes/<name without its format>``, or that of a folder."""
    if corpus == "-":
        return INDEXES / "stdin"
    from qsearch.documents import corpus_stem

    return INDEXES / corpus_stem(corpus)
