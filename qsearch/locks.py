"""Locks that a forked child can use.

A child of ``os.fork`` has only the thread that forked. A lock that another thread held at that moment
would stay held in the child forever, and what it guards may be half done.
"""

from __future__ import annotations

import os
import threading
import weakref

__all__ = ["ProcessLock"]


class ProcessLock:
    """A reentrant lock of this process: a forked child begins with it free, whoever held it before.

    What it guards must be of use to a child as it stands at every moment, or be made anew there. Where it
    is of use only when no other thread is at it (a C library with locks of its own), a fork has to wait.
    """

    def __init__(self, *, fork_waits: bool = False) -> None:
        """Make it free.

        Args:
            fork_waits: a fork waits until no other thread holds it. Whoever holds it must not wait for
                another lock.
        """
        self._lock = threading.RLock()
        self._fork_waits = fork_waits
        _LOCKS.add(self)

    def __enter__(self) -> None:
        """Wait until it is free, and hold it."""
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        """Let go of it."""
        self._lock.release()

    def before_fork(self) -> None:
        """For the thread that forks."""
        if self._fork_waits:
            self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """For the same thread, in the parent and in the child."""
        if self._fork_waits:
            self._lock.release()
        elif in_child and not self._lock._is_owned():  # type: ignore[attr-defined]  # as Condition does
            self._lock = threading.RLock()


_LOCKS: weakref.WeakSet[ProcessLock] = weakref.WeakSet()
_held: list[ProcessLock] = []


def _before() -> None:
    _held[:] = _LOCKS
    for lock in _held:
        lock.before_fork()


def _after(in_child: bool) -> None:
    for lock in _held:
        lock.after_fork(in_child=in_child)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(False),
        after_in_child=lambda: _after(True),
    )
