"""What takes long to make, made by one of pytest-xdist's workers for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The path of what ``make`` makes there, in the first worker that asks; others wait for it.

    Args:
        factory: of this worker.
        name: of what is made, in this run of the tests.
        make: is given the path. If it raises, the next who asks tries again.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    path = shared / "made once" / name / "made"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = path.with_name("done")
    with FileLock(path.with_name("lock")):
        if not done.exists():
            make(path)
            done.touch()
    return path
