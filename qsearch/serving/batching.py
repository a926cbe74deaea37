"""Searches that come while others are going on are done together: a batch takes little longer than one.

Nobody waits for others to come. A request that finds nobody at work is searched at once; what comes
meanwhile is the next batch. So one client has the time of a single search, and many have the throughput of
batches.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from traceback import clear_frames
from typing import Any, Protocol

__all__ = ["Answered", "Batches", "Overloaded", "Part", "Request", "Served", "TooLarge"]

_WORKERS = 4
"""Kinds of searches that are done at a time. What waits for words, or for a filter, is not waited for."""

_SLOW_WORKERS = 2
"""Of these, for searches that may take long: the others are there for all that do not."""

_AT_A_TIME = 2
"""Batches of a kind that are done at a time: what else would come to them waits and is one batch."""

_SECONDS = 0.2
"""What a batch should take at most, so that one request of many queries does not keep others waiting."""

_FIRST, _LEAST, _MOST = 16, 8, 1024
"""Queries of a batch, of a kind that nothing is known of, and the bounds of what becomes of it."""

_HITS = 1 << 14
"""Of a batch: all of them are in memory at once, with their texts."""

_BYTES = 256 << 20
"""Of an answer."""

_SMALL, _LARGE = 4, 4
"""Requests of more queries than these are large, and so many of them are searched by turns: more
would all be done late, and their results wait in memory for each other.
"""

_KINDS_KNOWN = 256

_MOST_WAITING = 16_384
"""Queries. More would wait for longer than anybody does."""


class Request(Protocol):
    """What is asked for: some queries that may be searched in parts."""

    @property
    def key(self) -> str:
        """Equal for requests that may be searched together."""

    @property
    def hits(self) -> int:
        """Wanted for each query, at most."""

    @property
    def slow(self) -> bool:
        """Whether a single query may take seconds."""

    def __len__(self) -> int:
        """How many queries."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some queries of a request.

    Attributes:
        request: this one.
        first: query to begin with.
        last: query to end before.
    """

    request: Any
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request was answered.

    Attributes:
        results: one for each query, as JSON.
        waited: seconds before the first of them was searched.
        worked: seconds from then to the end of the last.
        together: queries of the largest of these.
    """

    results: list[bytes]
    waited: float
    worked: float
    together: int


@dataclass(slots=True)
class Served:
    """What was done so far.

    Attributes:
        requests: that were answered.
        queries: of these.
        batches: that it took.
        failed: requests that were refused by the index, or failed.
        turned_away: requests that found too many others waiting.
        left: requests whose clients had gone.
    """

    requests: int = 0
    queries: int = 0
    batches: int = 0
    failed: int = 0
    turned_away: int = 0
    left: int = 0


class Overloaded(Exception):
    """So many wait already that another one would wait for too long."""


class TooLarge(Exception):
    """The answer has more bytes than one may."""


@dataclass(slots=True, eq=False)
class _Waiting:
    request: Any
    future: Future[Answered]
    came: float
    taken: int = 0
    found: int = 0
    size: int = 0
    results: list[bytes] = field(init=False)  # parts may be done in any order
    began: float = float("inf")
    together: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        self.results = [b""] * len(self.request)

    @property
    def left(self) -> int:
        return len(self.request) - self.taken


class Batches:
    """Does searches together that come together. Safe to share between threads.

    Attributes:
        served: what was done so far.
    """

    def __init__(
        self,
        search: Callable[[Sequence[Part], Callable[[], bool]], list[list[bytes]]],
        *,
        workers: int = _WORKERS,
    ) -> None:
        """Start the threads.

        Args:
            search: gives the results of each part, which are all of one kind, as JSON. It is told whom to
                ask whether anybody waits for them still, where it takes long.
            workers: batches, of different kinds, that are searched at a time.
        """
        self.served = Served()
        self._search = search
        self._changed = threading.Condition()
        self._kinds: OrderedDict[str, list[_Waiting]] = OrderedDict()
        self._running: dict[str, int] = {}
        self._slow = 0
        self._paces: OrderedDict[str, float] = OrderedDict()
        self._waiting = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"qsearch-serve-{number}", daemon=True)
            for number in range(workers)
        ]
        for one in self._threads:
            one.start()

    def submit(self, request: Request) -> Future[Answered]:
        """Have a request searched.

        Returns:
            Its answer to come. Whoever needs it no more cancels it.

        Raises:
            Overloaded: too many wait.
            RuntimeError: ``close`` was called.
        """
        future: Future[Answered] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the server is stopping")
            if self._waiting + len(request) > _MOST_WAITING:
                self.served.turned_away += 1
                raise Overloaded(f"{self._waiting:,} queries are waiting")
            self._waiting += len(request)
            one = _Waiting(request, future, time.perf_counter())
            self._kinds.setdefault(request.key, []).append(one)
            self._changed.notify()
        return future

    @property
    def waiting(self) -> int:
        """Queries that nobody has begun to search."""
        return self._waiting

    def close(self, seconds: float | None = None) -> None:
        """Take no more; what waits is searched. Returns when that is done.

        Args:
            seconds: after so many what still waits is given up, and what is being searched is not waited
                for.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        last = None if seconds is None else time.monotonic() + seconds
        for one in self._threads:
            one.join(None if last is None else max(0.0, last - time.monotonic()))
        with self._changed:
            for waiting in [one for some in self._kinds.values() for one in some]:
                waiting.future.cancel()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                batch = self._next()
                while not batch:
                    if self._closed and not self._kinds:
                        return
                    self._changed.wait()
                    batch = self._next()
                if self._kinds:  # there may be work for another one
                    self._changed.notify()
            request = batch[0][0].request
            key, slow = request.key, request.slow
            del request
            try:
                self._answer(batch)
            finally:
                with self._changed:
                    self._slow -= slow
                    self._running[key] -= 1
                    if not self._running[key]:
                        del self._running[key]
                    self._changed.notify_all()

    def _next(self) -> list[tuple[_Waiting, Part]]:
        """The next batch: of the kind that has waited longest, a part of each request in turn."""
        for key in list(self._kinds):
            if self._running.get(key, 0) >= _AT_A_TIME:
                continue
            slow = self._kinds[key][0].request.slow
            if slow and self._slow >= _SLOW_WORKERS:
                continue
            waiting = self._kinds.pop(key)
            there = []
            for one in waiting:
                if one.future.cancelled():
                    self._waiting -= one.left
                    self._still_wanted(one)
                else:
                    there.append(one)
            if not there:
                continue
            batch, rest = _shared_out(there, self._most(there[0].request))
            self._waiting -= sum(part.last - part.first for _, part in batch)
            if rest:
                self._kinds[key] = rest
            self._running[key] = self._running.get(key, 0) + 1
            self._slow += slow
            return batch
        return []

    def _most(self, request: Request) -> int:
        pace = self._paces.get(request.key)
        queries = _FIRST if pace is None else int(min(_MOST, max(_LEAST, _SECONDS / pace)))
        return max(1, min(queries, _HITS // request.hits))

    def _answer(self, batch: list[tuple[_Waiting, Part]]) -> None:
        began = time.perf_counter()
        parts = [part for _, part in batch]
        queries = sum(part.last - part.first for part in parts)
        try:
            found = self._search(parts, lambda: not all(one.future.cancelled() for one, _ in batch))
        except BaseException as error:  # whatever it is, somebody waits for word of it
            clear_frames(error.__traceback__)  # a model that was loaded in vain is not kept with it
            self._answer_each(batch, error)
            return
        took = time.perf_counter() - began
        with self._changed:
            self.served.batches += 1
            self._paces[parts[0].request.key] = took / queries
            self._paces.move_to_end(parts[0].request.key)
            if len(self._paces) > _KINDS_KNOWN:
                self._paces.popitem(last=False)
            for (one, part), results in zip(batch, found, strict=True):
                one.began = min(one.began, began)
                one.results[part.first : part.last] = results
                one.found += len(results)
                one.size += sum(map(len, results))
                one.together = max(one.together, queries)
                if one.size > _BYTES:
                    one.results.clear()
                    self._failed(
                        one,
                        TooLarge(
                            f"the answer is larger than {_BYTES >> 20} MiB; ask for fewer hits or queries"
                        ),
                    )
                elif one.found == len(one.request):
                    self._done(one)

    def _answer_each(self, batch: list[tuple[_Waiting, Part]], error: BaseException) -> None:
        """After an error: it is for those alone whom it is about."""
        if len(batch) > 1:
            for one in batch:
                if one[0].future.cancelled():  # nobody waits for it
                    with self._changed:
                        self._still_wanted(one[0])
                else:
                    self._answer([one])
            return
        with self._changed:
            self._failed(batch[0][0], error)

    def _failed(self, one: _Waiting, error: BaseException) -> None:
        """No more of it is searched, and who waits for it is told."""
        queue = self._kinds.get(one.request.key, [])
        if one in queue:  # the rest of it
            queue.remove(one)
            self._waiting -= one.left
            if not queue:
                del self._kinds[one.request.key]
        if self._still_wanted(one):
            self.served.failed += 1
            one.future.set_exception(error)

    def _done(self, one: _Waiting) -> None:
        if self._still_wanted(one):
            self.served.requests += 1
            self.served.queries += len(one.request)
            waited, worked = one.began - one.came, time.perf_counter() - one.began
            one.future.set_result(Answered(one.results, waited, worked, one.together))

    def _still_wanted(self, one: _Waiting) -> bool:
        """Whether somebody waits for it, for the first who asks; nobody does after an error or a cancel."""
        if one.ended:
            return False
        one.ended = True
        wanted = one.future.set_running_or_notify_cancel()
        self.served.left += not wanted
        return wanted


def _shared_out(
    waiting: Sequence[_Waiting], most: int
) -> tuple[list[tuple[_Waiting, Part]], list[_Waiting]]:
    """Queries of one batch, and who has some left."""
    large = [one for one in waiting if len(one.request) > _SMALL]
    small = [one for one in waiting if len(one.request) <= _SMALL]
    # Large ones first: small ones, that come again and again, would take all the room. Either stay in the
    # order in which they came, so that who came first is done first.
    there = large[:_LARGE] + small
    room = most
    taken = [0] * len(there)
    for share in (max(1, most // len(there)), most):  # as much for each, then what is left
        for place, one in enumerate(there):
            count = min(one.left - taken[place], share, room)
            taken[place] += count
            room -= count
    batch = []
    for one, count in zip(there, taken, strict=True):
        if count:
            batch.append((one, Part(one.request, one.taken, one.taken + count)))
            one.taken += count
    return batch, [one for one in large + small if one.left]
