"""Making several chunks at once, and taking them in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

from qsearch.kernels import thread_count

__all__ = ["Pipeline", "Stopped", "chunks_at_once"]

T = TypeVar("T")


def chunks_at_once() -> int:
    """Two keep a few threads busy; each is too small to keep many."""
    return max(2, thread_count() // 8)


class Stopped(Exception):
    """Raised in a thread whose work is no longer wanted."""


class Pipeline(Generic[T]):
    """While one chunk is read (by the caller) others are made, and another is taken (made durable).

    A chunk is taken as soon as it is made and all before it are taken, even while the caller waits for
    more to read. What was put before something failed is still taken, but for Ctrl-C, after which
    nothing new is begun.

    Attributes:
        lock: held while a chunk is taken; the caller holds it to use what taking uses.
        most_waiting: chunks that may be known to the caller and not be taken, when the next is put.
    """

    def __init__(self, take: Callable[[T], None], at_once: int) -> None:
        """Make so many chunks ``at_once``; with 0 each is made and taken when it is put."""
        self.lock = threading.Lock()
        self._take = take
        self._at_once = at_once
        self.most_waiting = (
            at_once + 2
        )  # made or being made, one being taken, and the one to be put
        self._stopped = threading.Event()
        self._makers = ThreadPoolExecutor(at_once, "qsearch-make") if at_once else None
        self._taker = ThreadPoolExecutor(1, "qsearch-take") if at_once else None
        self._waiting: deque[Future[None]] = deque()

    def put(self, make: Callable[[], T]) -> None:
        """Have a chunk made and taken; waits while there are too many. Raises what has failed."""
        if self._makers is None or self._taker is None:
            self._take(make())
            return
        while len(self._waiting) > self._at_once:
            self._waiting.popleft().result()
        made = self._makers.submit(make)
        self._waiting.append(self._taker.submit(self._take_when_made, made))

    def check(self) -> None:
        """For those who make: raise ``Stopped`` where what they make is no longer wanted."""
        if self._stopped.is_set():
            raise Stopped

    def _take_when_made(self, made: Future[T]) -> None:
        try:
            chunk = made.result()
            with self.lock:
                self.check()
                self._take(chunk)
        except BaseException:
            self._stopped.set()  # the chunks behind this one must not be taken without it
            raise

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait until all is taken, or stop."""
        if self._makers is None or self._taker is None:
            return
        try:
            if error is None or isinstance(error, Exception):
                while self._waiting:
                    self._waiting.popleft().result()
        except Exception:
            if error is None:  # else the first failure is the one to tell
                raise
        finally:
            with self.lock:  # not in the middle of making a chunk durable
                self._stopped.set()
            self._makers.shutdown(wait=False, cancel_futures=True)
            self._taker.shutdown(wait=False, cancel_futures=True)
