"""Which documents hold a term, and how often: read from the text index, and kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsearch.keywords.bm25 import Counts
from qsearch.keywords.queries import Term
from qsearch.lazily import cached_property
from qsearch.locks import ProcessLock
from qsearch.store import Catalog
from qsearch.store.text_index import TextIndexReader, reading_text_index

__all__ = ["MOST_BYTES", "Postings"]

MOST_BYTES = 1 << 26
"""So many bytes of counts are kept for the next queries."""


class Postings:
    """The text index of one commit. Safe to share between threads.

    Attributes:
        living: (N,) int64 positions of the documents of the commit, rising: document number i is at
            ``living[i]``.
    """

    def __init__(self, catalog: Catalog, living: NDArray[np.int64]) -> None:
        """Read what is asked for from now on.

        Args:
            catalog: of the index.
            living: positions of the documents of the commit.
        """
        self.living = living
        self._catalog = catalog
        self._lock = ProcessLock()
        self._kept: OrderedDict[Term, Counts] = OrderedDict()
        self._bytes = 0

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each document, title and text together."""
        with reading_text_index(self._catalog) as reader:
            documents, sizes = reader.lengths()
            found = np.zeros(len(self.living), dtype=np.int64)
            numbers, here = self.numbers(documents)
            found[numbers] = sizes[here]
            return found

    def numbers(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The numbers of the documents at positions, where these are of the commit, and where they are.

        Args:
            positions: (n,) any.

        Returns:
            As many numbers as are of the commit, in the same order; (n,) bool.
        """
        if not len(self.living):
            return np.empty(0, dtype=np.int64), np.zeros(len(positions), dtype=np.bool_)
        numbers = np.searchsorted(self.living, positions).clip(max=len(self.living) - 1)
        here = self.living[numbers] == positions
        return numbers[here], here

    def counts(self, terms: Sequence[Term]) -> list[Counts]:
        """Documents of the commit that hold each term.

        Raises:
            IndexFormatError: the text index is damaged.
        """
        with self._lock:
            found = {term: self._kept[term] for term in terms if term in self._kept}
            for term in found:
                self._kept.move_to_end(term)
        missing = [term for term in dict.fromkeys(terms) if term not in found]
        if missing:
            with reading_text_index(self._catalog) as reader:
                for term in missing:
                    found[term] = self._read(reader, term)
                    self._keep(term, found[term])
        return [found[term] for term in terms]

    def _keep(self, term: Term, counts: Counts) -> None:
        with self._lock:
            if term not in self._kept:
                self._kept[term] = counts
                self._bytes += counts.nbytes
            while self._bytes > MOST_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def _read(self, reader: TextIndexReader, term: Term) -> Counts:
        if len(term.tokens) > 1:
            numbers = self._holding_phrase(reader, term.tokens)
        else:
            found = reader.documents(term.tokens[0], prefix=term.prefix)
            numbers = self.numbers(found)[0]
        if (np.diff(numbers) < 0).any():  # of several tokens, one behind the other
            numbers = np.sort(numbers)
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        counts = np.diff(starts, append=len(numbers))
        return Counts(numbers[starts].astype(np.int32), counts.astype(np.int32))

    def _holding_phrase(self, reader: TextIndexReader, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Numbers of documents, one for each place where the tokens follow each other."""
        keys: NDArray[np.int64] | None = None
        for offset, token in enumerate(tokens):
            found = reader.occurrences(token)
            if found.documents.shape != found.places.shape:
                raise ValueError("occurrences without a place")
            # Where the first of the tokens would stand; a place before the first is in no document.
            inside = (found.places >= 2 * offset) & (found.places < 1 << 31)
            numbers, here = self.numbers(found.documents[inside])
            places = found.places[inside][here] - 2 * offset
            of_token = np.unique((numbers << 32) | places)
            keys = of_token if keys is None else np.intersect1d(keys, of_token, assume_unique=True)
            if not len(keys):
                break
        return np.empty(0, dtype=np.int64) if keys is None else keys >> 32
