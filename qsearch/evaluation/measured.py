"""What was measured, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.evaluation.answers import Answers
from qsearch.evaluation.intervals import Quantity, mean_of
from qsearch.evaluation.timing import Times
from qsearch.evaluation.ways import Way

__all__ = ["Group", "Measured", "WayResult"]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Some of the queries, of one kind.

    Attributes:
        name: what they are, for people.
        members: (q,) bool.
    """

    name: str
    members: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class WayResult:
    """What one way of searching gave.

    Attributes:
        way: its name and options.
        answers: by k: (q, k) positions and scores, and what was looked at.
        ranked: by k: ids of what it found, by query id, best first; at the deepest k, with judgments at
            every one.
        recall: by k: (q,) share of the exact top k that it found; NaN where there is none.
        measures: by name: (q,) against judgments; NaN for queries without a relevant document. Empty where
            there are no judgments.
        unjudged: (q,) share of its best (of the first k) that nobody judged; NaN for queries without
            judgments.
        times: milliseconds.
        batched: at the first k, answers of batches, where these are searched in another way than one query
            alone; ``None``: they are the same.
        batch_recall: (q,) of these, as ``recall``.
    """

    way: Way
    answers: Mapping[int, Answers]
    ranked: Mapping[int, Mapping[str, Sequence[str]]]
    recall: Mapping[int, NDArray[np.float64]]
    measures: Mapping[str, NDArray[np.float64]]
    unjudged: NDArray[np.float64]
    times: Times
    batched: Answers | None = None
    batch_recall: NDArray[np.float64] | None = None

    @property
    def name(self) -> str:
        """Of the way."""
        return self.way.name

    @property
    def documents(self) -> Mapping[str, Sequence[str]]:
        """Ids of what it found at the deepest k, by query id, best first."""
        return self.ranked[max(self.ranked)]

    def documents_at(self, k: int) -> Mapping[str, Sequence[str]]:
        """What a search for k found, or where nobody kept that, the first of what the deepest did."""
        return self.ranked.get(k, self.documents)

    @property
    def exact(self) -> bool:
        """Whether it is exact search, which the others are held against."""
        return not self.way.options


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """How good the answers of an index are, and what they cost.

    Attributes:
        index: what was measured: path, documents, rows, dimensions, commit, encoder, size on disk.
        where: the filter, for people; ``None``: there was none.
        machine: what it was measured on: processor, kernels, threads, date; memory of the process.
        source: where the queries are from, for people.
        queries: their ids, in the order of all arrays.
        texts: their texts; ``None``: there are only vectors.
        groups: kinds of queries, where there are several; the first is what the other numbers are of.
        depths: the k that were asked for, rising.
        exact: (q, deepest k) positions of an exact search; ``None`` where only words were searched.
        ways: one result for each way of searching, in the order asked for.
        judgments: of these queries, by query id, then document id; empty where there are none.
        encoding: milliseconds that the encoder takes for one query, one by one; ``None``: no encoder ran.
        notes: what could not be measured, or is to be known about what was.
        complete: whether it came to its end, or was interrupted.
    """

    index: Mapping[str, Any]
    where: str | None
    machine: Mapping[str, Any]
    source: str
    queries: tuple[str, ...]
    texts: tuple[str, ...] | None
    groups: tuple[Group, ...]
    depths: tuple[int, ...]
    exact: NDArray[np.int64] | None
    ways: tuple[WayResult, ...]
    judgments: Mapping[str, Mapping[str, int]]
    encoding: Times | None
    notes: tuple[str, ...]
    complete: bool

    def __getitem__(self, name: str) -> WayResult:
        """The result of a way, by its name."""
        for one in self.ways:
            if one.name == name:
                return one
        raise KeyError(f"no way {name!r} was measured; there are {[one.name for one in self.ways]}")

    @property
    def own(self) -> NDArray[np.bool_]:
        """(q,) bool: the queries of the first group, or all."""
        if self.groups:
            return self.groups[0].members
        return np.ones(len(self.queries), dtype=np.bool_)

    def recall(self, way: str, k: int, group: Group | None = None) -> Quantity:
        """The mean share of the exact top k that a way finds.

        Args:
            way: its name.
            k: one of the depths.
            group: over its queries; by default those of the first one.

        Raises:
            KeyError: the way, or this k, was not measured.
        """
        members = self.own if group is None else group.members
        recall = _of(self[way].recall, k, "recall at k =")
        return _mean(self[way], recall, self[way].answers[k], members)

    def batch_recall(self, way: str) -> Quantity | None:
        """The same at the first k, of queries that are searched in batches; ``None``: it is the same.

        Raises:
            KeyError: the way was not measured.
        """
        one = self[way]
        if one.batched is None or one.batch_recall is None:
            return None
        return _mean(one, one.batch_recall, one.batched, self.own)

    def measure(self, way: str, name: str) -> Quantity:
        """The mean of a measure against judgments, over the queries that have a relevant document.

        Raises:
            KeyError: the way was not measured, or no such measure of it.
        """
        return mean_of(_of(self[way].measures, name, "measure"))

    def run(self, way: str) -> dict[str, dict[str, float]]:
        """What a way found, at the deepest k: scores by query id, then document id, best first."""
        one = self[way]
        answers = one.answers[self.depths[-1]]
        return {
            query: dict(zip(one.documents[query], scores[positions >= 0].tolist(), strict=True))
            for query, positions, scores in zip(
                self.queries, answers.positions, answers.scores, strict=True
            )
        }


def _mean(
    one: WayResult, recall: NDArray[np.float64], answers: Answers, members: NDArray[np.bool_]
) -> Quantity:
    value = mean_of(recall[members])
    # By definition, or by proof: there is nothing that chance could have spared.
    proven = one.exact or bool(answers.certified[members].all())
    sure = proven and one.way.mode == "meaning"
    return replace(value, interval=None) if sure else value


def _of(values: Mapping[Any, NDArray[np.float64]], key: object, what: str) -> NDArray[np.float64]:
    """One of these.

    Raises:
        KeyError: there is none; it says which there are.
    """
    if key not in values:
        raise KeyError(f"no {what} {key!r}; there are {list(values)}")
    return values[key]
