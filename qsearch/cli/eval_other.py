"""What ``qsearch eval`` holds the answers against: another index, or a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qsearch.cli.target import find_index
from qsearch.errors import QueryError

if TYPE_CHECKING:
    from qsearch.documents import Run
    from qsearch.evaluation import Comparison, Evaluation, Way
    from qsearch.evaluation.given import Asked
    from qsearch.index import Index

__all__ = ["Other"]


@dataclass(frozen=True, slots=True)
class Other:
    """An index, or a run.

    Attributes:
        path: of it.
        run: what it holds; ``None``: it is an index.
        by_vectors: whether the queries can be asked there by meaning.
        device: for the encoder of an index.
        backend: likewise.
    """

    path: Path
    run: Run | None
    by_vectors: bool
    device: str
    backend: str

    @classmethod
    def at(cls, path: Path, asked: Asked, device: str, backend: str) -> Other:
        """Look at a path before anything is measured.

        Args:
            path: of an index, or of a run.
            asked: the queries.
            device: for an encoder.
            backend: for an encoder.

        Raises:
            QsearchError: it is neither index nor run, or the queries cannot be asked there.
        """
        from qsearch.documents import read_run
        from qsearch.index import Index
        from qsearch.store.format import CATALOG

        index = find_index(path)
        if not (index / CATALOG).is_file():
            if index.is_dir():
                raise QueryError(
                    f"{path} is a folder without an index; name an index, or a TREC run"
                )
            return cls(path, read_run(str(path)), False, device, backend)
        with Index.open(index) as opened:
            by_words = opened.text_index is not None and asked.texts is not None
            by_vectors = asked.vectors is not None or opened.encoder_identity is not None
            if not by_vectors and not by_words:
                raise QueryError(
                    f"{index} was built without an encoder; give vectors of the queries with --vectors"
                )
            if asked.vectors is not None and asked.vectors.shape[1] != opened.dimensions:
                raise QueryError(
                    f"the vectors of the queries have {asked.vectors.shape[1]:,} dimensions, {index} has "
                    f"{opened.dimensions:,}"
                )
        return cls(index, None, by_vectors, device, backend)

    def check_queries(self, queries: Sequence[str]) -> None:
        """Look at the queries of a run.

        Raises:
            QueryError: it has none of these.
        """
        from qsearch.evaluation.likeness import check_common

        if self.run is not None:
            check_common(queries, self.run, str(self.path))

    def beside(
        self,
        index: Index,
        found: Evaluation,
        ask: Callable[..., Evaluation],
        model: str | None,
        worst: int,
    ) -> Comparison | None:
        """What differs; ``None``: it was interrupted.

        Args:
            index: this one.
            found: here.
            ask: evaluates an index in some ways.
            model: where the encoder of this index is, if that was said.
            worst: see ``compare``.

        Raises:
            QsearchError: the other one cannot be measured.
        """
        from qsearch.evaluation import compare
        from qsearch.index import Index

        if self.run is not None:
            strange = self._strange(index, self.run)
            compared = compare(found, self.run, str(self.path), worst=worst)
            return replace(compared, notes=(*compared.notes, *strange))
        with Index.open(self.path) as looked:
            identity = looked.encoder_identity
        same = identity is not None and identity.model == found.index["encoder"]
        with Index.open(
            self.path, encoder=model if same else None, device=self.device, backend=self.backend
        ) as opened:
            can = {one.name: self._can(opened, one.way) for one in found.ways}
            ways = [one.way for one in found.ways if can[one.name]]
            if not ways:
                why = "" if self.by_vectors else ": it has no encoder; give vectors with --vectors"
                raise QueryError(f"{self.path} cannot be searched in any of these ways{why}")
            try:
                theirs = ask(opened, ways=ways, k=found.depths, timed=False)
            except QueryError as error:
                raise QueryError(f"{self.path}: {error}") from error
        if not theirs.complete:
            return None
        if (
            not theirs.judgments
        ):  # by which nothing can be said of an index that holds nothing judged
            found = replace(found, judgments={})
        compared = compare(found, theirs, str(self.path), worst=worst)
        cannot = [name for name, one in can.items() if not one]
        note = f"{self.path} cannot be searched by {', '.join(cannot)}: not compared"
        return replace(compared, notes=(*compared.notes, note)) if cannot else compared

    def _strange(self, index: Index, run: Run) -> list[str]:
        """What to tell of documents of a run that an index does not hold.

        Raises:
            QueryError: it holds none.
        """
        names = list({name for of_query in run.values() for name in of_query})
        strange = [name for name in names if name not in index]
        if not len(index):
            raise QueryError(f"{index.path} holds no documents")
        if names and len(strange) == len(names):
            raise QueryError(
                f"{index.path} holds none of the documents of {self.path}: the first there is "
                f"{names[0]!r}, the first here {next(iter(index)).id!r}"
            )
        if not strange:
            return []
        return [
            f"{len(strange):,} of the {len(names):,} documents of {self.path} are not in this index"
        ]

    def _can(self, index: Index, way: Way) -> bool:
        """Whether the other index can be searched in this way."""
        if way.mode != "meaning" and index.text_index is None:
            return False
        if way.options.get("method") == "graph" and not index.has_graph:
            return False
        return self.by_vectors or way.mode == "keywords"
