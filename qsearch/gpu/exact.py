"""Exact search with the codes on GPUs: which rows lie where, and the answers of all of them together."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import unit_rows
from qsearch.errors import IndexFormatError, QueryError
from qsearch.gpu.rows import DeviceRows, bytes_of_rows
from qsearch.gpu.search import DeviceSearch, Result
from qsearch.gpu.slabs import Slab, slabs_of
from qsearch.gpu.steps import TorchSteps
from qsearch.locks import ProcessLock
from qsearch.retrieval.allowed import Allowed
from qsearch.retrieval.exact import ExactSearch
from qsearch.retrieval.ranking import Ranking, Stage, merged
from qsearch.store import Segment
from qsearch.store.tail import TAIL
from qsearch.streams import free_bytes, settle
from qsearch.wording import first_line, words

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceExact", "Loaded"]

_log = logging.getLogger("qsearch")

_SHARE = 0.85
"""Of the memory that is free, that codes and rows may take: searches need some too."""

_MOST_K = 1 << 14
"""More rows for a query are for the CPU."""

_MANY = 65
"""So many queries go through kernels that fewer do not."""

_TRIED = 10
"""Best rows of a query, and segments, that are tried out."""

_WORKSPACE = 1 << 30
"""Bytes that a search takes at most, by its places and what lies between its steps."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was put on devices.

    Attributes:
        rows: of the index.
        bytes: that they take there.
        seconds: that it took.
        devices: their names.
        whole: whether all rows stay there; else they come in slabs for every search.
    """

    rows: int
    bytes: int
    seconds: float
    devices: tuple[str, ...]
    whole: bool


class DeviceExact:
    """Exact search over the segments of an index, whose codes lie on GPUs: answers as ``ExactSearch``.

    They are the same to the bit. Rows that are in no segment on disk yet, segments of before there were
    rotated codes, and few rows that a filter allows are searched by the CPU.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        devices: Sequence[str],
        *,
        before: DeviceExact | None = None,
        steps: Any = None,
        budget: int | None = None,
        lenient: bool = False,
    ) -> None:
        """Load what the memory of the devices holds.

        Args:
            segments: of the index, in document order.
            devices: as torch names them, one at least; each holds a part.
            before: of an earlier commit: what has not changed is copied from there.
            steps: who does the steps; by default Triton on a GPU that has it, else torch.
            budget: bytes that a device may take; by default most of what is free.
            lenient: whether the CPU takes over, with a warning, where a device fails.
        """
        import torch

        started = time.perf_counter()
        self._segments = list(segments)
        self._here = [one.id != TAIL and one.rotated is not None for one in segments]
        self._living = Allowed.living(segments)
        self._cpu = ExactSearch(segments)
        self._elsewhere = ExactSearch(
            [one for one, here in zip(segments, self._here, strict=True) if not here]
        )
        self._lock = ProcessLock()
        self._lenient, self.broken = lenient, False
        self._forgotten = self._damaged = False
        names = list(dict.fromkeys(map(torch.device, devices)))
        self._steps = steps or steps_of(names[0])
        budgets = [_budget(one) if budget is None else budget for one in names]
        numbered = [
            (number, one)
            for number, (one, here) in enumerate(zip(segments, self._here, strict=True))
            if here
        ]
        needed = sum(bytes_of_rows(one) for _, one in numbered)
        if needed > sum(budgets) and before is not None:  # there is no room beside it
            before.forget()
            before = None
            budgets = [_budget(one) if budget is None else budget for one in names]
        whole = needed <= sum(budgets)
        self._slabs = slabs_of(numbered, names, budgets, whole=whole) if numbered else []
        if whole:
            old = {} if before is None else before.loaded_rows()
            for slab in self._slabs:
                rows = DeviceRows(slab.segments, slab.device, old.get(slab.device))
                slab.search = DeviceSearch(rows, self._steps)
                settle(slab.device)
        self._pool = ThreadPoolExecutor(len(names)) if len(names) > 1 else None
        self.loaded = Loaded(
            sum(one.rows for slab in self._slabs for one in slab.segments),
            sum(one.bytes for one in self.loaded_rows().values()),
            time.perf_counter() - started,
            tuple(map(str, names)),
            whole,
        )

    def loaded_rows(self) -> dict[torch.device, DeviceRows]:
        """By device, what stays there."""
        return {slab.device: slab.search.rows for slab in self._slabs if slab.search is not None}

    def try_out(self) -> None:
        """Search alone and in a batch, and hold the answers against the CPU's.

        What does not work on this machine is found out now, and an answer that is not the CPU's to the bit
        is the last one.

        Raises:
            QueryError: it does not work, and the CPU is not to take over.
            RuntimeError: the answers differ.
        """
        living = self._living.rows
        if not (self._slabs and self.loaded.whole and living):
            return
        k = min(_TRIED, living)
        try:
            rows = [
                segment.vectors[[0, segment.rows // 2, segment.rows - 1]]
                for segment, here in zip(self._segments, self._here, strict=True)
                if here
            ]
            queries = np.concatenate(
                [*rows[:_TRIED], np.eye(2, rows[0].shape[1], dtype=np.float32)]
            )
            queries = queries[unit_rows(queries)[1]]
            expected = self._cpu.search(queries, k)
        except IndexFormatError:
            return  # damage is told where it is met
        every = np.arange(len(queries))
        # What comes again is recorded, and then done again for other queries than were recorded.
        tried = [
            every,
            every[:1],
            np.resize(every, _MANY),
            every[::-1],
            every[1:2],
            every,
            every[:1],
        ]
        for some in tried:
            found = self.search(queries[some], k)
            same = np.array_equal(found.positions, expected.positions[some])
            if not same or found.scores.tobytes() != expected.scores[some].tobytes():
                raise RuntimeError("it gives other answers than the CPU")

    def forget(self) -> None:
        """Give the memory back, when the search that is going on is done. The CPU searches from then on."""
        with self._lock:
            self._forgotten = True
            for slab in self._slabs:
                slab.search = None

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        threads: int | None = None,
        allowed: Allowed | None = None,
    ) -> Ranking:
        """See ``ExactSearch.search``.

        Raises:
            IndexFormatError: a row is damaged.
        """
        if self.broken or not self._slabs or k > _MOST_K or not len(queries):
            return self._cpu.search(queries, k, threads, allowed)
        allowed = allowed or self._living
        started = time.perf_counter()
        try:
            with self._lock:
                found = None if self._forgotten else self._search(queries, k, allowed)
        except FloatingPointError:
            # The CPU finds the segment, and says what to do; or it does not meet the rows, because it
            # scores fewer: then its answer is as sound as ever.
            answer = self._cpu.search(queries, k, threads, allowed)
            if not self._damaged:
                self._damaged = True
                _log.warning(
                    "rows on %s are damaged, and searches that meet them run on the CPU; find them with "
                    "%s, and if it finds none, open the index again",
                    ", ".join(self.loaded.devices),
                    words().verify,
                )
            return answer
        except Exception as failure:  # Triton's errors are of no kind that they share
            where = ", ".join(self.loaded.devices)
            told = f"{type(failure).__name__}: {first_line(failure)}"
            if not self._lenient:
                raise QueryError(
                    f"the search on {where} failed ({told}); search on the CPU with "
                    f"{words().device} cpu"
                ) from failure
            self.broken = True
            _log.warning("the search on %s failed (%s): searching on the CPU", where, told)
            return self._cpu.search(queries, k, threads, allowed)
        if found is None:
            return self._cpu.search(queries, k, threads, allowed)
        ranking = self._ranking(found, queries, k, allowed, time.perf_counter() - started)
        if all(self._here):
            return ranking
        others = allowed.of([not one for one in self._here])
        if others.rows:
            more = self._elsewhere.search(queries, min(k, others.rows), threads, others)
            ranking = merged(ranking, more, k)
        return ranking

    def _search(self, queries: NDArray[np.float32], k: int, allowed: Allowed) -> list[Result]:
        work: list[tuple[Slab, int]] = []
        for slab in self._slabs:
            count = slab.living if allowed is self._living else slab.allowed(allowed)
            if count:
                work.append((slab, min(k, count)))

        def of_slab(slab: Slab, most: int) -> Result:
            search = slab.search
            if search is None:
                rows = DeviceRows(slab.segments, slab.device)
                search = DeviceSearch(rows, self._steps, stays=False)
            chosen = None if allowed is self._living else slab.chosen(search.rows, allowed)
            return search.search(queries, most, chosen)

        def of_device(device: torch.device) -> list[Result]:
            # One after the other: each may take all the memory that there is.
            return [of_slab(*one) for one in work if one[0].device == device]

        devices = list(dict.fromkeys(slab.device for slab, _ in work))
        if self._pool is None:
            return [one for device in devices for one in of_device(device)]
        running = [self._pool.submit(of_device, device) for device in devices]
        try:
            wait(running)
        finally:  # also where one has failed, or Ctrl-C has come: the next search would find others at it
            wait(running)
        return [one for some in running for one in some.result()]

    def _ranking(
        self,
        found: Sequence[Result],
        queries: NDArray[np.float32],
        k: int,
        allowed: Allowed,
        seconds: float,
    ) -> Ranking:
        """One ranking of the answers of all slabs."""
        count, d = queries.shape
        certified = np.ones(count, dtype=np.bool_)

        def stages() -> tuple[Stage, ...]:
            every = np.zeros(count, dtype=np.int64)
            scanned = every + sum(
                rows for rows, here in zip(allowed.counts, self._here, strict=True) if here
            )
            size = every + sum(
                one.rotated.blocks.nbytes + one.rotated.bounds.nbytes
                for one, here in zip(self._segments, self._here, strict=True)
                if here and one.rotated is not None
            )
            reached = every + sum(one.reached for one in found)
            rescored = every + sum(one.rescored for one in found)
            where = ", ".join(self.loaded.devices)
            return (
                Stage(f"rotated codes on {where}", scanned, size, seconds),
                Stage("int8 codes", reached, reached * (d + 8), None),
                Stage("floats", rescored, rescored * 4 * d, None),
            )

        if len(found) == 1:
            return Ranking(found[0].positions, found[0].scores, certified, stages)
        nothing = np.empty((count, 0), dtype=np.int64)
        ranking = Ranking(nothing, nothing.astype(np.float32), certified, stages())
        for one in found:
            width = min(k, ranking.positions.shape[1] + one.positions.shape[1])
            ranking = merged(ranking, Ranking(one.positions, one.scores, certified), width)
        return ranking


def steps_of(device: torch.device) -> Any:
    """Who does the steps on a device: Triton, where there is one for it."""
    if device.type == "cuda":
        try:
            from qsearch.gpu.kernels import TritonSteps
        except ImportError:
            return TorchSteps()
        return TritonSteps()
    return TorchSteps()


def _budget(device: torch.device) -> int:
    free = free_bytes(device)
    return 1 << 62 if free is None else max(0, int(_SHARE * free) - _WORKSPACE)
