"""Locks that a forked child can use.

A child of ``os.fork`` has only the thread that forked. A lock that another thread held at that moment
would stay held in the child forever, and what it guards may be half done.
"""

from __future__ import annotations

import _thread
import importlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["ForkGate", "ProcessLock"]


_PATIENCE = 5.0
"""Seconds that a fork waits at most for modules that other threads import."""


class ProcessLock(_thread.RLock):  # type: ignore[misc]  # it may be inherited from
    """A reentrant lock of this process: a forked child begins with it free, whoever held it before.

    What it guards must be of use to a child as it stands at every moment, or be made anew there. Where it
    is of use only when no other thread is at it (a C library with locks of its own), a fork has to wait.

    Ctrl-C may come between any two steps of Python's, also inside of a method ``__enter__`` that is written
    in it, and would leave a lock held. Those of the interpreter's own lock are one step.
    """

    def __init__(self, *, fork_waits: bool = False) -> None:
        """Make it free.

        Args:
            fork_waits: a fork waits until no other thread holds it. Whoever holds it must not wait for
                another lock.
        """
        super().__init__()
        self._fork_waits = fork_waits
        _LOCKS.add(self)

    def before_fork(self) -> bool:
        """For the thread that forks; ``False``: not now, and nothing has changed."""
        return not self._fork_waits or self.acquire(timeout=_TRY)

    def after_fork(self, *, in_child: bool) -> None:
        """For the same thread, in the parent and in the child."""
        if self._fork_waits:
            self.release()
        elif in_child and not self._is_owned():  # type: ignore[attr-defined]  # as Condition does
            self._at_fork_reinit()  # type: ignore[attr-defined]  # and logging


class ForkGate:
    """Many threads may be inside at once, and a fork waits until none is but the one that forks.

    For what is of use only when no thread is at it and can be used by several: a C library with locks of
    its own. Whoever is inside must not wait for anybody outside. A thread may enter more than once.

    It has no lock: each step that changes it is one of the interpreter's, so that Ctrl-C, which may come
    between any two, leaves nobody inside and nothing held.
    """

    def __init__(self) -> None:
        """Open it."""
        self._inside: dict[object, int] = {}  # the thread of each that is
        self._forking = 0
        _LOCKS.add(self)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Wait while a fork is under way, and be inside for the length of the block."""
        me, token = threading.get_ident(), object()
        inside = self._inside
        try:
            inside[token] = me
            # Said before it is looked, as the other does: one of both sees the other.
            while self._forking not in (0, me) and me not in self._without(token):
                inside.pop(token, None)
                time.sleep(_LOOK)
                inside[token] = me
            yield
        finally:
            inside.pop(token, None)

    def _without(self, token: object) -> list[int]:
        return [thread for one, thread in list(self._inside.items()) if one is not token]

    def before_fork(self) -> bool:
        """For the thread that forks; ``False``: not now, and nothing has changed."""
        me = threading.get_ident()
        ends = time.monotonic() + _TRY
        self._forking = me
        while set(self._inside.values()) - {me}:
            if time.monotonic() > ends:
                self._forking = 0
                return False
            time.sleep(_LOOK)
        return True

    def after_fork(self, *, in_child: bool) -> None:
        """For the same thread, in the parent and in the child."""
        me = threading.get_ident()
        if in_child:  # the other threads are not there
            for token, thread in list(self._inside.items()):
                if thread != me:
                    del self._inside[token]
        self._forking = 0


_forks = threading.RLock()
"""Held by the thread that forks: one at a time, whoever else does."""

_TRY = 0.05
"""Seconds that a fork waits for one lock while it has others."""

_BEHIND = 0.05
"""Seconds after which Ctrl-C comes that was held back."""

_LOOK = 0.0005
"""Seconds between two looks at who is inside."""

_LOCKS: weakref.WeakSet[ProcessLock | ForkGate] = weakref.WeakSet()
_held: list[ProcessLock | ForkGate] = []
_ctrl_c: list[Any] = []  # who deals with it, while a fork is under way, and whether it came


def _before() -> None:
    _forks.acquire()
    _hold_back()
    while not _taken():
        time.sleep(_LOOK)
    ends = time.monotonic() + _PATIENCE
    while _others_import() and time.monotonic() < ends:
        time.sleep(0.001)


def _taken() -> bool:
    """Take all locks, or none: whoever has one may wait for another that is taken already."""
    while True:
        try:
            locks = list(_LOCKS)
            break
        except RuntimeError:  # another thread made a lock meanwhile
            continue
    for lock in sorted(locks, key=lambda one: isinstance(one, ProcessLock)):
        if not lock.before_fork():
            for taken in reversed(_held):
                taken.after_fork(in_child=False)
            _held.clear()
            return False
        _held.append(lock)
    return True


def _hold_back() -> None:
    """Ctrl-C waits until after the fork: what is raised here is lost, with half of the locks taken."""
    _ctrl_c.clear()
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is threading.main_thread() and callable(handler):
        _ctrl_c.append(handler)
        signal.signal(signal.SIGINT, lambda *ignored: _ctrl_c.append(True))


def _others_import() -> bool:
    """Whether another thread imports a module for a function of ours: a child could never import it.

    What a program imports by itself may be its whole life.
    """
    me = threading.get_ident()
    locks: Any = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})
    owners = {getattr(lock(), "owner", None) for lock in list(locks.values())} - {None, me}
    return any(_is_ours(frame) for one, frame in sys._current_frames().items() if one in owners)


def _is_ours(frame: FrameType | None) -> bool:
    """Whether one of the functions that are being called is of this package."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] == "qsearch":
            return True
        frame = frame.f_back
    return False


def _after(in_child: bool) -> None:
    for lock in reversed(_held):
        lock.after_fork(in_child=in_child)
    _held.clear()
    handler, *came = _ctrl_c or [None]
    _ctrl_c.clear()
    _forks.release()
    if handler is not None:
        signal.signal(signal.SIGINT, handler)
        if came and not in_child:  # behind the end of this function, whose exceptions are lost too
            threading.Timer(_BEHIND, os.kill, (os.getpid(), signal.SIGINT)).start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(False),
        after_in_child=lambda: _after(True),
    )
