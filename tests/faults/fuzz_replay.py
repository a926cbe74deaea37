"""Checks single inputs of the fuzzing, each in a child: what it takes is no atheris.

``python -m tests.faults.fuzz_replay`` reads a JSON list of pairs from standard input, of the name of a
target and the input in hexadecimal, and prints what went wrong with each, or null; with files of
``.fuzz/findings`` as arguments it checks these, whose names begin with that of their target.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults.children import run_cases
from tests.faults.fuzzing import Target, limit_memory

MOST_SECONDS = 60.0


def target(name: str) -> Target:
    """The target of a name."""
    found: Target = importlib.import_module(f"tests.faults.fuzz_{name}").TARGET
    return found


def replay(cases: Sequence[tuple[str, bytes]]) -> list[str | None]:
    """What went wrong with each of some inputs."""
    log = logging.getLogger("qsearch")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    for name in {name for name, _ in cases}:
        target(name).seeds()  # what it is made from is made once, and not in every child

    limit_memory()

    def check(case: tuple[str, bytes]) -> None:
        name, data = case
        if not target(name).check(data):
            raise ValueError(f"{name}: this is no input: {data[:200]!r}")

    return run_cases(list(cases), check, seconds=MOST_SECONDS)


def main(files: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="qsearch-fuzz-") as scratch:
        tempfile.tempdir = scratch
        _main(files)


def _main(files: Sequence[str]) -> None:
    if not files:
        cases = [(name, bytes.fromhex(data)) for name, data in json.load(sys.stdin)]
        print(json.dumps(replay(cases)))
        return
    some = [(Path(one).name.partition("-")[0], Path(one).read_bytes()) for one in files]
    for file, failure in zip(files, replay(some), strict=True):
        print(f"{file}: {failure or 'nothing is wrong'}")


if __name__ == "__main__":
    main(sys.argv[1:])
