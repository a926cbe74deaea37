"""Whether anybody still waits for what is being done: what takes long asks now and then.

A server's client goes, and what it asked for goes on; whoever does it says so (``while_wanted``), and what
may take seconds ends when nobody waits any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["is_wanted", "while_wanted"]

_asked: ContextVar[Callable[[], bool] | None] = ContextVar("qsearch_wanted", default=None)


def is_wanted() -> bool:
    """Whether somebody waits for what this thread, or this task, is doing."""
    asked = _asked.get()
    return asked is None or asked()


@contextmanager
def while_wanted(wanted: Callable[[], bool]) -> Iterator[None]:
    """Let what is done within ask whether somebody waits for it.

    Args:
        wanted: is called often, and from within SQLite: it must be quick, and must not raise.
    """
    token = _asked.set(wanted)
    try:
        yield
    finally:
        _asked.reset(token)
