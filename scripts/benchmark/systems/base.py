"""What a system is to the harness: it builds an index in a folder, opens it, and answers queries.

A system's file names the settings that its own documentation recommends, and says where it departs from
them. Its library is imported inside the functions that need it: the harness asks every system for its name
and settings, also where the library is not there.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class Unavailable(Exception):
    """The system cannot be measured here, for a reason that the page gives."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One point of a system's range.

    Attributes:
        name: what the page calls it.
        values: what the system makes of it.
        exact: whether its answers are meant to be exact.
        promises: the recall that the system was asked for; ``None`` where it is asked for an effort.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False
    promises: float | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """What a system is given.

    Attributes:
        rows: (n, d) of any length, mapped from a file.
        sample: (s, d) queries that are not measured with, for systems that learn from some.
    """

    rows: Floats
    sample: Floats


class Searcher(ABC):
    """An open index."""

    @abstractmethod
    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """The k nearest rows of each query by cosine.

        Args:
            queries: (q, d) of length 1.
            k: rows wanted for each.
            setting: one of the system's.

        Returns:
            (q, k) numbers of rows, best first; −1 where there are too few.
        """

    def note(self) -> str:
        """What only the open index knows and the page should say; empty: nothing."""
        return ""

    def close(self) -> None:  # noqa: B027 (most have nothing to do)
        """Put back what was changed in the index."""


class System(ABC):
    """A system under test.

    Attributes:
        name: what page and plots call it.
        about: its parameters, for the page.
        distributions: packages whose versions the page names.
        modules: that it imports.
        saves: whether it can write its index; one that cannot builds it each time it is opened.
        batches: whether it takes several queries at once; for one that does not, a loop over them would
            only measure the same again.
        plans: whether it searches several queries at once in another way than one alone.
        most_rows: more are not tried, for the reason in ``why_no_more``.
        environment: variables of its processes.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]]
    modules: ClassVar[tuple[str, ...]] = ()
    saves: ClassVar[bool] = True
    batches: ClassVar[bool] = True
    plans: ClassVar[bool] = False
    most_rows: ClassVar[int | None] = None
    why_no_more: ClassVar[str] = ""
    environment: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def settings(self, rows: int) -> list[Setting]:
        """Its range, for so many rows."""

    def load(self) -> None:
        """Import what it needs, so that the time of that is known apart."""
        for name in self.modules:
            importlib.import_module(name)

    @abstractmethod
    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Make the index in an empty folder; one that cannot save makes it and lets go of it."""

    @abstractmethod
    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Open the index in the folder."""


def unit(rows: NDArray[np.floating]) -> Floats:
    """Rows of length 1."""
    some = np.asarray(rows, dtype=np.float32)
    return np.asarray(some / np.linalg.norm(some, axis=1, keepdims=True), dtype=np.float32)


def save_floats(data: Data, folder: Path) -> Floats:
    """Write the unit rows that candidates are rescored with, and return them."""
    rows = unit(data.rows)
    np.save(folder / "floats.npy", rows)
    return rows


def open_floats(folder: Path) -> Floats:
    """The unit rows, mapped, for ``rescored``.

    A product with so few rows takes longer to be shared out than to be done: from here on NumPy has one
    thread. The system's own threads are its own matter.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, "blas")
    rows: Floats = np.load(folder / "floats.npy", mmap_mode="r", allow_pickle=False)
    return rows


def rescored(queries: Floats, candidates: Ids, rows: Floats, k: int) -> Ids:
    """The k best of each query's candidates by their floats, by NumPy.

    Args:
        queries: (q, d).
        candidates: (q, m) numbers of rows; −1 for none.
        rows: (n, d) of length 1.
        k: at most m.
    """
    there = candidates >= 0
    scores = np.empty(candidates.shape, dtype=np.float32)
    # A product for each query is faster than one einsum over all.
    for i, some in enumerate(candidates):
        scores[i] = rows[np.where(there[i], some, 0)] @ queries[i]
    scores[~there] = -np.inf
    return best(candidates, scores, k)


def best(ids: Ids, scores: Floats, k: int) -> Ids:
    """The k ids of each row with the highest scores, best first."""
    if scores.shape[1] > k:
        some = np.argpartition(scores, -k, axis=1)[:, -k:]
        ids, scores = np.take_along_axis(ids, some, 1), np.take_along_axis(scores, some, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.asarray(np.take_along_axis(ids, order, 1), dtype=np.int64)


def padded(rows: list[list[int]], k: int) -> Ids:
    """Lists of ids as an array, with −1 where there are too few."""
    made = np.full((len(rows), k), -1, dtype=np.int64)
    for i, some in enumerate(rows):
        made[i, : min(k, len(some))] = some[:k]
    return made
