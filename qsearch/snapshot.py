"""What an index holds at one moment, opened: its catalog, its segments, and the ways to search them.

Whoever searches takes a snapshot at the beginning and asks nothing else, so that closing the index, or
opening it anew, in another thread changes nothing in the middle of a search.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsearch.errors import IndexFormatError, QueryError
from qsearch.gpu import Placing
from qsearch.kernels import thread_count
from qsearch.lazily import cached_property
from qsearch.options import FilterOptions, TextSearchOptions, WayOptions, listed
from qsearch.results import Explanation, Hit, SearchResult, StageReport, VectorResult, passage_of
from qsearch.retrieval import Ranking, Request, Searcher, Tuning, stage_ranks
from qsearch.store import (
    Catalog,
    Segment,
    StoredDocument,
    checked_settings,
    measured_segments,
    open_segments,
    set_commit,
)
from qsearch.store.format import SEGMENTS, VECTORS
from qsearch.store.tail import TAIL
from qsearch.wording import words

if TYPE_CHECKING:
    from qsearch.documents import Document
    from qsearch.encoding import EncoderContract
    from qsearch.keywords import TextRequest, TextSearch
    from qsearch.selection import Selections

__all__ = ["Snapshot", "TextQuery"]

_log = logging.getLogger("qsearch")
_OPEN_ATTEMPTS = 5
_DOCUMENTS_AT_A_TIME = 500
_MOST_REQUESTS = 256


@dataclass(frozen=True, slots=True)
class TextQuery:
    """What is asked of a search by text, checked.

    Attributes:
        words: the mode, and how words count.
        meaning: the search by vectors; of one by keywords only its filter.
    """

    words: TextRequest
    meaning: Request


class Snapshot:
    """An open index. Safe to share between threads.

    Attributes:
        path: its directory.
        catalog: documents and settings.
        segments: in document order.
        settings: of the catalog.
        placing: where exact searches run; ``None``: on the CPU.
        searcher: every way of retrieval.
    """

    def __init__(
        self,
        path: Path,
        catalog: Catalog,
        segments: list[Segment],
        settings: dict[str, Any],
        before: Snapshot | None = None,
        device: str = "cpu",
    ) -> None:
        """Use ``open``."""
        self.path = path
        self.catalog = catalog
        self.segments = segments
        self.settings = settings
        if before is not None and before.settings.get("tuning") == settings.get("tuning"):
            self.tuning = before.tuning  # which takes longer to read than all else
        self._requests: dict[tuple[Any, ...], Request] = {}
        self.placing: Placing | None = None
        if device != "cpu":
            self.placing = Placing(segments, device, None if before is None else before.placing)
        self.searcher = Searcher(
            segments,
            self.tuning,
            measured=self._measured,
            graphs=bool(settings.get("graph")),
            documents=self.documents,
            placing=self.placing,
        )

    @classmethod
    def open(cls, path: Path, before: Snapshot | None = None, device: str = "cpu") -> Snapshot:
        """Check sizes and headers of all files, and map them.

        Args:
            path: the directory.
            before: an earlier snapshot of the same index.
            device: where exact searches run, see ``gpu.placing.Placing``.

        Raises:
            IndexFormatError: it is missing, half written, damaged, or of another version.
        """
        for _ in range(_OPEN_ATTEMPTS):
            catalog = Catalog.open(path)
            try:
                with catalog.view():
                    set_commit(catalog)
                    segments = open_segments(path, catalog)
                    settings = checked_settings(catalog, segments)
                    return cls(path, catalog, segments, settings, before, device)
            except BaseException as error:
                catalog.close()
                # Another index may have taken the place of this one between two files.
                if not isinstance(error, IndexFormatError) or not catalog.was_replaced():
                    raise
        raise IndexFormatError(f"{path} is being replaced over and over; try again")

    # What it holds

    @property
    def documents(self) -> int:
        """How many."""
        return int(self.settings["documents"])

    @property
    def commit(self) -> int:
        """Number of the commit that it is of; every change makes the next."""
        return int(self.settings["commit"])

    @property
    def dimensions(self) -> int:
        """Components of a vector."""
        return int(self.settings["dimensions"])

    @property
    def rows(self) -> int:
        """How many vectors."""
        return int(self.settings.get("rows", self.settings["documents"]))

    @property
    def stored_segments(self) -> int:
        """How many segments are on disk."""
        return sum(one.id != TAIL for one in self.segments)

    @property
    def dead_rows(self) -> int:
        """How many rows are of documents that are gone."""
        return sum(one.rows for one in self.segments) - sum(
            one.living_rows for one in self.segments
        )

    @property
    def rows_later(self) -> int:
        """Rows that came after recall was measured; all, where that was too long ago."""
        return sum(one.living_rows for one in self.segments[self._measured :])

    @property
    def _measured(self) -> int:
        """How many segments recall was measured on, from the first on."""
        return measured_segments(
            self.settings,
            [one.id for one in self.segments],
            [*(one.living_rows for one in self.segments)],
        )

    @cached_property
    def contract(self) -> EncoderContract | None:
        """What the index promises about its encoder; ``None`` where it has none."""
        from qsearch.encoding.contract import contract_from_store

        return contract_from_store(self.settings.get("encoder"), self.catalog.canaries())

    @cached_property
    def tuning(self) -> Tuning | None:
        """What was measured about recall; ``None`` where nothing was."""
        stored = self.settings.get("tuning")
        if stored is None:
            return None
        try:
            return Tuning.from_json(stored)
        except ValueError as error:
            _log.warning(
                "what %s holds about recall is damaged (%s): every search is exact; %s tells more",
                self.path,
                error,
                words().verify,
            )
            return None

    # Documents by position

    def ids(self, positions: ArrayLike) -> NDArray[np.object_]:
        """Ids in the shape of ``positions``; ``None`` for −1.

        Raises:
            QueryError: a position is no whole number, or out of range.
        """
        wanted = self._checked_positions(positions, least=-1)
        flat = wanted.ravel()
        found = self.catalog.ids(int(one) for one in flat if one >= 0)
        ids = np.empty(len(flat), dtype=object)
        ids[:] = [found[int(one)] if one >= 0 else None for one in flat]
        return ids.reshape(wanted.shape)

    def documents_at(self, positions: ArrayLike) -> list[Document]:
        """Documents by position.

        Raises:
            QueryError: a position is no whole number, or out of range, or there is more than one axis.
        """
        wanted = self._checked_positions(positions, least=0)
        if wanted.ndim > 1:
            raise QueryError(
                f"positions must have one axis, found the shape {wanted.shape}; take one query's row, "
                "or .ravel()"
            )
        flat = wanted.ravel().tolist()
        found = self.catalog.documents(flat)
        return list(_documents(found[one] for one in flat))

    def all_documents(self) -> Iterator[Document]:
        """Every document, in order; a few are in memory at a time."""
        last = -1
        while some := self.catalog.page(last, _DOCUMENTS_AT_A_TIME):
            yield from _documents(some)
            last = some[-1].position

    def documents_at_each(self, positions: Sequence[int]) -> Iterator[Document]:
        """Documents at positions where there are some, in that order; a few are in memory at a time."""
        for start in range(0, len(positions), _DOCUMENTS_AT_A_TIME):
            some = positions[start : start + _DOCUMENTS_AT_A_TIME]
            found = self.catalog.documents(some)
            yield from _documents(found[one] for one in some)

    def positions_of(self, ids: Sequence[str]) -> list[int]:
        """Positions of the documents of these ids.

        Raises:
            QueryError: there is no document of an id.
        """
        found = self.catalog.positions_of(ids)
        missing = [one for one in ids if one not in found]
        if missing:
            more = f", nor of {len(missing) - 1:,} more" if len(missing) > 1 else ""
            raise QueryError(f"there is no document of the id {missing[0]!r}{more} in {self.path}")
        return [found[one] for one in ids]

    def vectors_at(self, positions: Sequence[int]) -> list[NDArray[np.float32]]:
        """The unit rows of documents: (passages, d) of each; one row where they are not split."""
        starts = [segment.first_document for segment in self.segments]
        found = []
        for position in positions:
            segment = self.segments[bisect.bisect_right(starts, position) - 1]
            first, end = segment.rows_of(position)
            found.append(np.array(segment.vectors[first:end]))
        return found

    def check_vectors(self) -> None:
        """Hold the rows on disk against their checksums.

        Raises:
            IndexFormatError: some are damaged.
        """
        from qsearch.store.merging import check_files

        for segment in self.segments:
            if segment.id == TAIL:  # rows of the catalog, which have checksums of their own
                continue
            directory, files = self.path / SEGMENTS / segment.id, self.catalog.files(segment.id)
            check_files(directory, files, [VECTORS.name], "nothing was written")

    def _checked_positions(self, positions: ArrayLike, least: int) -> NDArray[np.int64]:
        try:
            array = np.asarray(positions)
        except ValueError as error:
            raise QueryError(f"positions must be an array of whole numbers ({error})") from error
        if array.size == 0:
            return array.astype(np.int64)
        if array.dtype.kind not in "iu":
            raise QueryError(f"positions must be whole numbers, found {array.dtype}")
        last = int(self.settings["positions"])
        outside = (array < least) | (array >= last)
        if outside.any():
            raise QueryError(
                f"there is no document at position {array[outside].flat[0]}: the index holds "
                f"{self.documents:,}, at positions from 0 to {last - 1:,}"
            )
        checked: NDArray[np.int64] = array.astype(np.int64)
        if self.documents < last:  # some are gone
            wanted = np.unique(checked[checked >= 0]).tolist()
            missing = set(wanted) - self.catalog.there(wanted)
            if missing:
                raise QueryError(
                    f"there is no document at position {min(missing)}: it was deleted or replaced"
                )
        return checked

    # Answers

    def request(self, k: int, options: dict[str, Any]) -> Request:
        """Check what is asked of a search, and decide how it is done.

        Args:
            k: documents wanted.
            options: ``RetrievalOptions``, all of them.

        Raises:
            QueryError: a value is out of its range, two contradict each other, or the filter is none.
        """
        # Without a condition what filters need is not loaded.
        if options["where"] is None and not options["params"]:
            return self._unfiltered(k, options)
        way = {name: options[name] for name in listed(WayOptions)}
        of_filter = {name: options[name] for name in listed(FilterOptions)}
        if of_filter["where"] is not None:  # what makes no sense is told before that takes time
            self.searcher.request(k, **way)
        return self.searcher.request(k, self.selections.asked(**of_filter), **way)

    def _unfiltered(self, k: int, options: dict[str, Any]) -> Request:
        """A request, kept: the same options come again and again, and a walk takes hardly longer."""
        way = {name: options[name] for name in listed(WayOptions)}
        if self.placing is not None and self.placing.loaded:  # which changes what is best
            return self.searcher.request(k, None, **way)
        # 1, 1.0 and True are equal, and not the same.
        key = (k, *way.values(), type(k), *map(type, way.values()), thread_count())
        try:
            request = self._requests.get(key)
        except TypeError:  # no option can be a list: says which
            return self.searcher.request(k, None, **way)
        if request is None:
            request = self.searcher.request(k, None, **way)
            if len(self._requests) >= _MOST_REQUESTS:
                self._requests = {}
            self._requests[key] = request
        return request

    def answers(
        self, request: Request, queries: NDArray[np.float32], *, explain: bool
    ) -> list[SearchResult]:
        """What a caller who asks for documents gets, for each query.

        Args:
            request: what is asked.
            queries: (q, d) float32, checked.
            explain: whether to say how each result came about.
        """
        request = self.searcher.for_together(request, len(queries))
        ranking = self.searcher.search(queries, request)
        return [
            SearchResult(
                hits,
                bool(ranking.certified[number]),
                "exact" if request.plan.checks and ranking.certified[number] else request.method,
                self.explanation(request, ranking, number, queries[number : number + 1])
                if explain
                else None,
            )
            for number, hits in enumerate(self.hits(ranking))
        ]

    @property
    def hybrid_weight(self) -> float | None:
        """What the index was tuned to; ``None``: it was not."""
        told = self.settings.get("hybrid")
        weight = told.get("weight") if isinstance(told, dict) else None
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            return None
        return float(weight)

    @cached_property
    def selections(self) -> Selections:
        """Filters."""
        from qsearch.selection import Selections

        return Selections(self.catalog, self.segments, int(self.settings["positions"]))

    @cached_property
    def text_search(self) -> TextSearch:
        """Searches by words."""
        from qsearch.keywords import TextSearch

        return TextSearch(self.catalog, self.segments, self.searcher.documents)

    def text_answers(
        self,
        k: int,
        options: dict[str, Any],
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], NDArray[np.float32]],
    ) -> list[SearchResult]:
        """What a caller gets who searches by text, for each query.

        Args:
            k: documents wanted.
            options: ``options.TextSearchOptions``, all of them.
            texts: checked.
            encode: makes (q, d) float32 of them, checked; not called where nobody needs that.
        """
        from qsearch.keywords import hybrid_answers, keyword_answers

        explain = bool(options["explain"])
        asked = self.text_query(k, options)
        request, meaning = asked.words, asked.meaning
        if request.mode == "keywords":
            return keyword_answers(
                self.text_search, request, texts, explain=explain, allowed=meaning.allowed
            )
        if not texts:
            return []
        vectors = encode(texts)
        if request.mode == "meaning":
            return self.answers(meaning, vectors, explain=explain)
        meaning = self.searcher.for_together(meaning, len(vectors))
        ranking = self.searcher.search(vectors, meaning)

        def explained(number: int, rows: NDArray[np.int64]) -> Explanation:
            return self.explanation(meaning, ranking, number, vectors[number : number + 1], rows)

        return hybrid_answers(
            self.text_search,
            request,
            texts,
            vectors,
            ranking,
            explained if explain else None,
            allowed=meaning.allowed,
        )

    def text_query(self, k: int, options: Mapping[str, Any]) -> TextQuery:
        """Check what is asked of a search by text, and decide how it is done.

        Args:
            k: documents wanted.
            options: ``options.TextSearchOptions`` but for those of reranking, all of them.

        Raises:
            QueryError: a value is out of its range, two contradict each other, the filter is none, or
                there is no text index where one is needed.
        """
        from qsearch.keywords import TextRequest

        asked = {name: options[name] for name in listed(TextSearchOptions) if name in options}
        request = TextRequest.checked(k, asked, self.hybrid_weight)
        if request.mode != "meaning":
            self.text_search.required_tokenizer()
        depth = request.depth if request.mode == "hybrid" else k
        return TextQuery(request, self.request(depth, asked))

    def hits(self, ranking: Ranking) -> list[tuple[Hit, ...]]:
        """The documents of a ranking, for each of its queries."""
        documents = self.searcher.documents.documents(ranking.positions)
        spans = self._spans(ranking.positions)
        stored = self.catalog.documents(int(one) for one in documents.ravel() if one >= 0)
        found = []
        for number, (positions, scores) in enumerate(zip(documents, ranking.scores, strict=True)):
            hits: list[Hit] = []
            for place in np.flatnonzero(positions >= 0):
                one = stored[int(positions[place])]
                passage = None if spans is None else passage_of(one, spans[number, place])
                hits.append(
                    Hit(
                        len(hits) + 1,
                        float(scores[place]),
                        one.id,
                        one.text,
                        one.title,
                        one.metadata,
                        passage,
                    )
                )
            found.append(tuple(hits))
        return found

    def arrays(self, ranking: Ranking) -> VectorResult:
        """A ranking as a caller of vectors gets it."""
        return VectorResult(
            self.searcher.documents.documents(ranking.positions),
            ranking.scores,
            ranking.certified,
            self._spans(ranking.positions),
        )

    def explanation(
        self,
        request: Request,
        ranking: Ranking,
        number: int,
        query: NDArray[np.float32],
        rows: NDArray[np.int64] | None = None,
    ) -> Explanation:
        """How the result of one of the queries came about.

        Args:
            request: what was asked.
            ranking: of all queries.
            number: of the query.
            query: (1, d) float32, its vector.
            rows: of the hits; ``None``: those of the ranking.
        """
        positions = ranking.positions[number] if rows is None else rows
        ranks = stage_ranks(self.segments, query, positions[positions >= 0])
        queries = len(ranking.positions)
        reason, recall = request.plan.reason, request.plan.recall
        if request.plan.checks and ranking.certified[number]:
            reason = "what was measured does not speak for this query"
            recall = 1.0
        return Explanation(
            reason,
            recall,
            tuple(
                StageReport(
                    stage.name,
                    int(stage.rows[number]),
                    int(stage.bytes[number]),
                    None if stage.seconds is None else 1000.0 * stage.seconds / queries,
                )
                for stage in ranking.stages
            ),
            tuple(
                {name: int(of_stage[i]) for name, of_stage in ranks.items()}
                for i in range(len(ranks["binary"]))
            ),
        )

    def _spans(self, positions: NDArray[np.int64]) -> NDArray[np.int64] | None:
        documents = self.searcher.documents
        return documents.spans(positions) if documents.split else None


def _documents(stored: Iterable[StoredDocument]) -> Iterator[Document]:
    from qsearch.documents import Document

    for one in stored:
        yield Document(one.id, one.text, one.title, one.metadata)
