"""An evaluation beside another one, or beside the run of another system, query by query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import read_run
from qsearch.errors import QueryError
from qsearch.evaluation.evaluation import Evaluation
from qsearch.evaluation.intervals import Difference, Quantity, difference, holm, mean_of
from qsearch.evaluation.likeness import Rankings, check_common, checked_run, of_run, unlike
from qsearch.evaluation.measures import judged_at, measures_at
from qsearch.evaluation.tables import (
    NOTHING,
    Table,
    counted,
    markdown_of,
    shown_difference,
    shown_quantity,
)
from qsearch.retrieval.searcher import whole_number

__all__ = ["Compared", "Comparison", "Lost", "compare"]

_BEST = 3
"""Hits of a query that are shown beside each other."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One measure of one way, here and there.

    Attributes:
        way: of this index.
        measure: its name: against judgments, or ``recall@k``, against each index's own exact search.
        ours: its mean here.
        theirs: its mean there.
        difference: ours without theirs.
        corrected: its probability, corrected for all that were compared and are not equal of every query
            (``holm``): what cannot differ is no further chance to find a difference.
    """

    way: str
    measure: str
    ours: Quantity
    theirs: Quantity
    difference: Difference
    corrected: float


@dataclass(frozen=True, slots=True)
class Lost:
    """A query that is answered worse here than there.

    Attributes:
        query: its id.
        text: its text, if it has one.
        ours: the measure here; or, without judgments, the share in common.
        theirs: the measure there; NaN without judgments.
        our_best: ids of the first documents here.
        their_best: there.
        relevant: ids of relevant documents, those that one of both found and the most relevant first, with
            their ranks here and there, from 1; ``None``: it was not found.
    """

    query: str
    text: str | None
    ours: float
    theirs: float
    our_best: tuple[str, ...]
    their_best: tuple[str, ...]
    relevant: tuple[tuple[str, int | None, int | None], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What differs. Made by ``compare``.

    Attributes:
        name: of the other one.
        rows: every way and measure.
        overlap: by way: (q,) share of the first k that both have; NaN where one found nothing.
        depth: that k.
        losses: by way: the measure that queries lose by, and the queries, worst first.
        notes: what could not be compared.
    """

    name: str
    rows: tuple[Compared, ...]
    overlap: Mapping[str, NDArray[np.float64]]
    depth: int
    losses: Mapping[str, tuple[str, tuple[Lost, ...]]]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        """What was compared."""
        ways = ", ".join(self.overlap)
        return f"<Comparison with {self.name}: {len(self.rows):,} differences, {ways}>"

    def to_markdown(self) -> str:
        """All tables and notes, as Markdown."""
        return markdown_of(self.tables(), self.notes) + "\n"

    def tables(self) -> list[Table]:
        """For people."""
        found = []
        if self.rows:
            cells = tuple(
                (
                    one.way,
                    one.measure,
                    shown_quantity(replace(one.ours, interval=None)),
                    shown_quantity(replace(one.theirs, interval=None)),
                    shown_difference(one.difference.mean, one.difference.interval),
                    _probability(one.difference),
                    _probability(one.difference, one.corrected),
                )
                for one in self.rows
            )
            header = ("way", "measure", "here", "there", "difference", "p", "p (Holm)")
            tests = sum(_is_test(one.difference) for one in self.rows)
            title = f"Beside {self.name}: " + (
                f"differences, p by randomisation, alone and corrected for {counted(tests, 'test')}"
                if tests
                else "nothing differs, of no query"
            )
            found.append(Table(title, header, cells, keys=2))
        shared = tuple(
            (way, shown_quantity(mean_of(values))) for way, values in self.overlap.items()
        )
        title = f"Documents in common with {self.name}"
        found.append(Table(title, ("way", f"share of the first {self.depth}"), shared))
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "other": self.name,
            "differences": [
                {
                    "way": one.way,
                    "measure": one.measure,
                    "ours": one.ours.to_dict(),
                    "theirs": one.theirs.to_dict(),
                    "difference": {
                        **one.difference.to_dict(),
                        "p_holm": None if np.isnan(one.corrected) else one.corrected,
                    },
                }
                for one in self.rows
            ],
            "overlap": {
                way: {"depth": self.depth, **mean_of(values).to_dict()}
                for way, values in self.overlap.items()
            },
            "losses": {
                way: {
                    "measure": measure,
                    "queries": [
                        {
                            "query": one.query,
                            "text": one.text,
                            "ours": one.ours,
                            "theirs": None if np.isnan(one.theirs) else one.theirs,
                            "our_best": list(one.our_best),
                            "their_best": list(one.their_best),
                            "relevant": [
                                {"id": name, "our_rank": here, "their_rank": there}
                                for name, here, there in one.relevant
                            ],
                        }
                        for one in lost
                    ],
                }
                for way, (measure, lost) in self.losses.items()
            },
            "notes": list(self.notes),
        }


def compare(
    ours: Evaluation,
    theirs: Evaluation | Mapping[str, Iterable[str] | Mapping[str, float]] | str | Path,
    name: str | None = None,
    *,
    worst: int = 0,
) -> Comparison:
    """Hold an evaluation against another one of the same queries, or against a run.

    Args:
        ours: of this index.
        theirs: of another index, whose ways of the same names are compared; or a run, which every way is
            compared with: the path of a TREC run, ids of documents by query id, best first, or scores by
            query id and document id. Queries that a run does not answer have found nothing, as in
            ``trec_eval -c``.
        name: of the other one; ``None``: the path of a run, or "the other".
        worst: so many of the queries that lose most are told, of each way: by the first measure, or where
            there are no judgments by the documents in common.

    Raises:
        QueryError: they have no query in common, or no way.

    Examples:
        >>> from qsearch import Index, evaluate
        >>> texts = ["a kitten is a young cat", "the stock market fell", "dogs bark at strangers"]
        >>> index = Index.build([{"id": str(i), "text": text} for i, text in enumerate(texts)], tmp / "i")
        >>> found = evaluate(index, {"q": "baby feline"}, {"q": {"0": 1}}, k=2, ways=["exact"], timed=False)
        >>> compare(found, {"q": ["1", "0"]}).rows[0].difference.mean > 0
        True
    """
    if not isinstance(ours, Evaluation):
        raise QueryError(f"an Evaluation is compared, found {type(ours).__name__}")
    if ours.groups or (isinstance(theirs, Evaluation) and theirs.groups):
        raise QueryError("what was measured with queries made of documents cannot be compared")
    worst = whole_number("worst", worst)
    if worst < 0:
        raise QueryError(f"worst must be at least 0, found {worst}")
    notes: list[str] = []
    if isinstance(theirs, str | Path):
        name = name or str(theirs)
        theirs = read_run(str(theirs))
    name = name or "the other"
    queries = ours.queries
    pairs: list[tuple[str, Mapping[int, Rankings]]] = []
    if isinstance(theirs, Evaluation):
        names = {one.name for one in theirs.ways}
        pairs = [
            (one.name, {k: theirs[one.name].documents_at(k) for k in ours.depths})
            for one in ours.ways
            if one.name in names
        ]
        if not pairs:
            raise QueryError(f"{name} was not measured in any of the ways of this index")
        notes += unlike(ours, theirs, name)
    else:
        if not isinstance(theirs, Mapping):
            raise QueryError(f"a run is ids by query id, found {_found(theirs)}")
        ranked = checked_run(theirs)
        pairs = [(one.name, dict.fromkeys(ours.depths, ranked)) for one in ours.ways]
        notes += of_run(ours, theirs, ranked, name)
    common: set[str] = set()
    if pairs:
        common = check_common(queries, pairs[0][1][ours.depths[-1]], name)
    asked = np.array([query in common for query in queries], dtype=np.bool_)
    here = asked if isinstance(theirs, Evaluation) else np.ones(len(queries), dtype=np.bool_)
    if len(common) < len(queries):
        told = f"{name} answers {len(common):,} of {len(queries):,} queries; "
        if isinstance(theirs, Evaluation):
            notes.append(f"{told}only these count")
        else:
            notes.append(f"{told}of the others it has found nothing, which counts as 0")
    pairs, same = _different(ours, pairs)
    notes += same
    depth = ours.depths[0]
    measures = measures_at(ours.depths)
    rows: list[Compared] = []
    overlap, losses = {}, {}
    for way, rankings in pairs:
        overlap[way] = np.where(here, _shared(ours, way, rankings[depth], depth), np.nan)
        by_measure: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        if ours.judgments:
            there = judged_at(rankings, ours.judgments, measures, queries)
            for measure in measures:
                mine = np.where(here, ours[way].measures[measure.name], np.nan)
                other = np.where(here, there[measure.name], np.nan)
                by_measure[measure.name] = mine, other
        recalls = {}
        if isinstance(theirs, Evaluation):
            recalls = _recalls(ours, theirs, way)
        for named, (mine, other) in (by_measure | recalls).items():
            shown = mean_of(mine), mean_of(other), difference(mine, other)
            rows.append(Compared(way, named, *shown, float("nan")))
        if worst:
            judged_by = [name for name, (mine, _) in by_measure.items() if not np.isnan(mine).all()]
            first = judged_by[0] if judged_by else f"in common@{depth}"
            # What was not asked there has nothing in common, and loses nothing.
            shared = np.where(asked, overlap[way], np.nan)
            values = by_measure[first] if judged_by else (shared, None)
            losses[way] = first, _worst(ours, way, rankings[ours.depths[-1]], values, worst)
    deepest = ours.depths[-1]
    if not any(np.nansum(_shared(ours, way, one[deepest], deepest)) for way, one in pairs):
        notes.append(
            f"{name} has no document in common with this index among the first {deepest:,} of any query: "
            "if that should not be, are they of the same corpus, with the same ids?"
        )
    alone = [one.difference.probability for one in rows]
    tested = [_is_test(one.difference) for one in rows]
    together = holm([p if test else np.nan for p, test in zip(alone, tested, strict=True)])
    return Comparison(
        name,
        tuple(
            replace(one, corrected=corrected if test else p)
            for one, test, corrected, p in zip(rows, tested, together, alone, strict=True)
        ),
        overlap,
        depth,
        losses,
        tuple(notes),
    )


def _recalls(
    ours: Evaluation, theirs: Evaluation, way: str
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """What a way finds of each index's own exact search, here and there, by depth; NaN: not of both."""
    if ours[way].exact or ours[way].way.words:
        return {}
    if all(_is_proven(one, way) for one in (ours, theirs)):
        return {}  # both find all, and chance has no part in it
    places = {query: number for number, query in enumerate(theirs.queries)}
    at = np.array([places.get(query, -1) for query in ours.queries])
    found = {}
    for k in ours.depths:
        if k in theirs[way].recall:
            other = np.where(at < 0, np.nan, theirs[way].recall[k][at])
            mine = np.where(at < 0, np.nan, ours[way].recall[k])
            found[f"recall@{k}"] = mine, other
    return found


def _is_proven(found: Evaluation, way: str) -> bool:
    return all(one.certified.all() for one in found[way].answers.values())


def _different(
    ours: Evaluation, pairs: list[tuple[str, Mapping[int, Rankings]]]
) -> tuple[list[tuple[str, Mapping[int, Rankings]]], list[str]]:
    """Ways without those that find what another one finds, here and there: each is tested once."""
    kept: list[tuple[str, Mapping[int, Rankings]]] = []
    same: dict[str, list[str]] = {}
    for way, rankings in pairs:
        for other, known in kept:
            if all(
                ours[way].documents_at(k) == ours[other].documents_at(k) and rankings[k] == known[k]
                for k in ours.depths
            ):
                same.setdefault(other, []).append(way)
                break
        else:
            kept.append((way, rankings))
    return kept, [
        f"{', '.join(names)} found what {other} did, here and there: compared once"
        for other, names in same.items()
    ]


def _found(thing: object) -> str:
    """What is no run."""
    kind = type(thing).__name__
    return f"{kind}: compare with what evaluate() found of it" if kind == "Index" else kind


def _is_test(found: Difference) -> bool:
    return not found.equal and not np.isnan(found.probability)


def _probability(found: Difference, corrected: float | None = None) -> str:
    """Of a difference; where nothing differs there is nothing that chance could make."""
    value = found.probability if corrected is None else corrected
    return f"{value:.4f}" if _is_test(found) and not np.isnan(value) else NOTHING


def _shared(ours: Evaluation, way: str, theirs: Rankings, depth: int) -> NDArray[np.float64]:
    """The share of the first ``depth`` that both have, of the longer of the two."""
    found = np.full(len(ours.queries), np.nan)
    for number, query in enumerate(ours.queries):
        mine = set(ours[way].documents_at(depth)[query][:depth])
        other = set(theirs.get(query, ())[:depth])
        if mine or other:
            found[number] = len(mine & other) / max(len(mine), len(other))
    return found


def _worst(
    ours: Evaluation,
    way: str,
    theirs: Rankings,
    values: tuple[NDArray[np.float64], NDArray[np.float64] | None],
    count: int,
) -> tuple[Lost, ...]:
    """The queries that lose most.

    Args:
        ours: the evaluation.
        way: of it.
        theirs: the other ranking.
        values: a measure here and there; or the share in common, and ``None``.
        count: most that are told.
    """
    mine, there = values
    best = np.ones(len(mine)) if there is None else there
    lost = np.where(np.isnan(mine - best), 0.0, best - mine)
    order = [int(one) for one in np.argsort(-lost, kind="stable")[:count] if lost[one] > 0]
    return tuple(
        Lost(
            ours.queries[one],
            None if ours.texts is None else ours.texts[one],
            float(mine[one]),
            float("nan") if there is None else float(there[one]),
            tuple(ours[way].documents[ours.queries[one]][:_BEST]),
            tuple(theirs.get(ours.queries[one], ())[:_BEST]),
            _relevant(
                ours.judgments.get(ours.queries[one], {}),
                ours[way].documents[ours.queries[one]],
                theirs.get(ours.queries[one], ()),
            ),
        )
        for one in order
    )


def _relevant(
    judgments: Mapping[str, int], here: Sequence[str], there: Sequence[str]
) -> tuple[tuple[str, int | None, int | None], ...]:
    """Relevant documents, those that were found and the most relevant first, with their two ranks."""
    names = [name for name, value in judgments.items() if value > 0]
    ours, theirs = ({name: rank for rank, name in enumerate(one, 1)} for one in (here, there))
    neither = len(judgments) + max(len(ours), len(theirs))
    best = {name: min(ours.get(name, neither), theirs.get(name, neither)) for name in names}
    return tuple(
        (name, ours.get(name), theirs.get(name))
        # What neither has found stands behind.
        for name in sorted(names, key=lambda name: (best[name] == neither, -judgments[name]))
    )
