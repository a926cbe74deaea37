"""What an evaluation and another one, or a run, have in common, and by what they are unlike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qsearch.documents import Run
from qsearch.encoding import EncoderIdentity
from qsearch.encoding.contract import encoders_unlike
from qsearch.errors import QueryError
from qsearch.evaluation.tables import counted

if TYPE_CHECKING:
    from qsearch.evaluation.evaluation import Evaluation

__all__ = ["Rankings", "check_common", "checked_run", "of_run", "unlike"]

Rankings = Mapping[str, Sequence[str]]
"""Document ids by query id, best first."""


def check_common(queries: Sequence[str], there: Iterable[str], name: str) -> set[str]:
    """The queries that both have.

    Raises:
        QueryError: none.
    """
    other = list(there)
    common = set(queries) & set(other)
    if not common:
        raise QueryError(
            f"{name} has no query in common with these: the first here is {queries[0]!r}, there "
            f"{next(iter(other), None)!r}"
        )
    return common


def checked_run(run: Mapping[Any, Any]) -> dict[str, list[str]]:
    """Ids by query id, as texts.

    Raises:
        QueryError: they are no such ids, or scores are no numbers.
    """
    found: dict[str, list[str]] = {}
    for query, documents in run.items():
        # Nothing that has no order: of a set nobody knows what is best.
        if isinstance(documents, str | bytes | set | frozenset) or not isinstance(
            documents, Iterable
        ):
            raise QueryError(
                f"a run is several ids by query id, best first; found {documents!r} for query {query!r}"
            )
        some = list(documents)
        if isinstance(documents, Mapping):
            scores = {one: _score(score, one, query) for one, score in documents.items()}
            some.sort(key=lambda one: -scores[one])  # equal ones as they come
        if not all(isinstance(one, str | int) for one in some):
            raise QueryError(
                f"a run is ids by query id, or scores by query id and document id; found "
                f"{next(one for one in some if not isinstance(one, str | int))!r} for query {query!r}"
            )
        names = [str(one) for one in some]
        if len(set(names)) < len(names):
            raise QueryError(f"a document stands twice among those of query {query!r}")
        if str(query) in found:
            raise QueryError(f"query {str(query)!r} stands twice in a run")
        found[str(query)] = names
    return found


def _score(value: object, document: object, query: object) -> float:
    """Of a document in a run.

    Raises:
        QueryError: it is no number, or NaN, which is neither more nor less than any.
    """
    try:
        score = math.nan if isinstance(value, str) else float(value)  # type: ignore[arg-type]  # what is no number is refused
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if math.isnan(score):
        raise QueryError(
            f"the score of {document!r} for query {query!r} must be a number, found {value!r}"
        )
    return score


def unlike(ours: Evaluation, theirs: Evaluation, name: str) -> list[str]:
    """What two indexes do not have in common, by which a difference may come about."""
    notes = []
    if ours.depths[-1] > theirs.depths[-1]:
        notes.append(
            f"{name} was searched to {counted(theirs.depths[-1], 'document')}, this index to "
            f"{ours.depths[-1]:,}: behind these it has found nothing"
        )
    texts = [dict(zip(one.queries, one.texts or (), strict=False)) for one in (ours, theirs)]
    other = sum(texts[0][query] != text for query, text in texts[1].items() if query in texts[0])
    if other:
        have = "query of the same id has" if other == 1 else "queries of the same id have"
        notes.append(f"{other:,} {have} another text there")
    here, there = ours.index["documents"], theirs.index["documents"]
    if here != there:
        notes.append(
            f"{name} holds {counted(there, 'document')}, this index {here:,}: the fewer there are, the "
            "easier it is to find the right ones"
        )
    weights = [one.index["hybrid_weight"] for one in (ours, theirs)]
    by_both = any(one.way.mode == "hybrid" and "weight" not in one.way.options for one in ours.ways)
    if by_both and weights[0] != weights[1]:
        notes.append(
            f"{name} weighs the meaning by {weights[1]:g} in hybrid searches, this index by {weights[0]:g}"
        )
    notes += _encoders(ours, theirs, name)
    here, there = (_split(one.index["passages"]) for one in (ours, theirs))
    if here != there:
        notes.append(f"documents are split otherwise: {name} {there}, this index {here}")
    notes += [f"{name}: {note}" for note in theirs.notes if note not in ours.notes]
    if ours.where != theirs.where:
        notes.append(
            f"{name} was searched {_filter(theirs.where)}, this index {_filter(ours.where)}"
        )
    return notes


def _encoders(ours: Evaluation, theirs: Evaluation, name: str) -> list[str]:
    """By what the encoders differ."""
    here, there = (one.index["encoder_identity"] for one in (ours, theirs))
    if here is None or there is None:
        if here is there:
            return []
        which, other = (name, "this index") if there is None else ("this index", name)
        return [f"{which} was built without an encoder, {other} with one"]
    differing = encoders_unlike(EncoderIdentity.from_json(there), EncoderIdentity.from_json(here))
    return [f"{name} has another encoder: {'; '.join(differing)}"] if differing else []


def _split(passages: Mapping[str, Any] | None) -> str:
    if passages is None:
        return "not at all"
    return (
        f"into passages of {passages['tokens']:,} tokens, of which {passages['overlap']:,} overlap"
    )


def _filter(where: str | None) -> str:
    return "without a filter" if where is None else f"where {where}"


def of_run(ours: Evaluation, given: Mapping[Any, Any], run: Rankings, name: str) -> list[str]:
    """What to know of a run before it is compared.

    Args:
        ours: the evaluation.
        given: the run as it was given, with scores or without.
        run: see ``checked_run``.
        name: of it.
    """
    notes = []
    otherwise = given.ranked_otherwise if isinstance(given, Run) else 0
    if otherwise:
        notes.append(
            f"{name}: the ranks of {otherwise:,} of {len(run):,} queries are not in the order of their "
            "scores; the highest score counts as best, as in trec_eval, and no rank"
        )
    known = set(ours.queries)
    asked = [documents for query, documents in given.items() if str(query) in known]
    tied = sum(
        isinstance(documents, Mapping) and len(set(documents.values())) < len(documents)
        for documents in asked
    )
    if tied:
        first = "of the better rank" if isinstance(given, Run) else "that stands first"
        notes.append(
            f"{name} gives documents of {tied:,} of {len(asked):,} queries the same score: here the one "
            f"{first} is better, by trec_eval the one of the higher id, and measures differ by that"
        )
    deepest, depth = max(map(len, run.values()), default=0), ours.depths[-1]
    if deepest < depth:
        notes.append(
            f"{name} goes to {counted(deepest, 'document')} a query, these answers to "
            f"{depth:,}: measures at {depth:,} are as if it had found nothing behind"
        )
    if ours.where is not None:
        notes.append(f"{name} is taken as it is: the filter ({ours.where}) is of this index alone")
    return notes
