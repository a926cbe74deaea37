"""Locks that a forked child can use.

A child of ``os.fork`` has only the thread that forked. A lock that another thread held at that moment
would stay held in the child forever, and what it guards may be half done.
"""

from __future__ import annotations

import os
import threading
import weakref

__all__ = ["ForkGate", "ProcessLock"]


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


class ForkGate:
    """Many threads may be inside at once, and a fork waits until none is but the one that forks.

    For what is of use only when no thread is at it and can be used by several: a C library with locks of
    its own. Whoever is inside must not wait for anybody outside. A thread may enter more than once.
    """

    def __init__(self) -> None:
        """Open it."""
        self._changed = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}  # how often by thread
        self._forking = 0
        _LOCKS.add(self)

    def __enter__(self) -> None:
        """Wait while a fork is under way, and go in."""
        me = threading.get_ident()
        with self._changed:
            while self._forking not in (0, me) and me not in self._inside:
                self._changed.wait()
            self._inside[me] = self._inside.get(me, 0) + 1

    def __exit__(self, *exception: object) -> None:
        """Go out."""
        me = threading.get_ident()
        with self._changed:
            self._inside[me] -= 1
            if not self._inside[me]:
                del self._inside[me]
            if self._forking:
                self._changed.notify_all()

    def before_fork(self) -> None:
        """For the thread that forks."""
        me = threading.get_ident()
        self._changed.acquire()  # until after the fork
        while self._forking:  # another thread forks
            self._changed.wait()
        self._forking = me
        while self._inside.keys() - {me}:
            self._changed.wait()

    def after_fork(self, *, in_child: bool) -> None:
        """For the same thread, in the parent and in the child."""
        self._forking = 0
        if in_child:  # nobody waits here
            self._changed = threading.Condition(threading.Lock())
        else:
            self._changed.notify_all()
            self._changed.release()


_LOCKS: weakref.WeakSet[ProcessLock | ForkGate] = weakref.WeakSet()
_held: list[ProcessLock | ForkGate] = []


def _before() -> None:
    while True:
        try:
            _held[:] = _LOCKS
            break
        except RuntimeError:  # another thread made a lock meanwhile
            continue
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
