"""Locks that a forked child can use.

A child of ``os.fork`` has only the thread that forked. A lock that another thread held at that moment
would stay held in the child forever.
"""

from __future__ import annotations

import os
import threading
import weakref

__all__ = ["ProcessLock"]


class ProcessLock:
    """A reentrant lock of this process: a forked child begins with it free, whoever held it before.

    What it guards must be of use to a child as it stands at every moment, or be made anew there.
    """

    def __init__(self) -> None:
        """Make it free."""
        self._lock = threading.RLock()
        _LOCKS.add(self)

    def __enter__(self) -> None:
        """Wait until it is free, and hold it."""
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        """Let go of it."""
        self._lock.release()

    def renew(self) -> None:
        """For a child that was just forked: free it, unless the thread that forked holds it."""
        if not self._lock._is_owned():  # type: ignore[attr-defined]  # Condition relies on it too
            self._lock = threading.RLock()


_LOCKS: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_LOCKS):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
