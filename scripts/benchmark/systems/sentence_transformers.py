"""The search helpers of sentence-transformers, which rescore against codes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .base import Data, Floats, Ids, Searcher, Setting, System, padded, unit


class Open(Searcher):
    """An index that a helper made, and the helper."""

    def __init__(self, helper: Callable[..., Any], index: Any, **options: Any) -> None:
        self._helper, self._index, self._options = helper, index, options

    def search(self, queries: Floats, k: int, setting: Setting) -> Ids:
        """With so many times as many candidates."""
        found = self._helper(
            queries, corpus_index=self._index, top_k=k, **self._options, **setting.values
        )[0]
        return padded([[hit["corpus_id"] for hit in hits] for hits in found], k)


class Helper(System):
    """What both have in common."""

    modules = ("sentence_transformers.util.quantization",)

    def settings(self, rows: int) -> list[Setting]:
        """Oversampling, as far as there are rows."""
        return [
            Setting(f"rescore {m}", {"rescore_multiplier": m})
            for m in (2, 4, 10, 40)
            if 100 * m <= rows
        ]

    def load(self) -> None:
        """Import it, which imports torch."""
        super().load()
        logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


class HelperFaiss(Helper):
    """Signs."""

    name = "semantic_search_faiss"
    about = (
        "sentence-transformers' helper on ubinary codes, rescored against the codes, 2 to 40 "
        "times over"
    )
    distributions = ("sentence-transformers", "faiss-cpu")

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Quantize, let the helper make its index, write it."""
        import faiss
        from sentence_transformers.util.quantization import (
            quantize_embeddings,
            semantic_search_faiss,
        )

        faiss.omp_set_num_threads(threads)
        rows = unit(data.rows)
        codes = quantize_embeddings(rows, precision="ubinary")
        index = semantic_search_faiss(
            rows[:1],
            corpus_embeddings=codes,
            corpus_precision="ubinary",
            top_k=1,
            output_index=True,
        )[2]
        faiss.write_index_binary(index, str(folder / "index.faiss"))

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Read it."""
        import faiss
        from sentence_transformers.util.quantization import semantic_search_faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.read_index_binary(str(folder / "index.faiss"))
        return Open(semantic_search_faiss, index, corpus_precision="ubinary")


class HelperUsearch(Helper):
    """Eight bits."""

    name = "semantic_search_usearch"
    about = (
        "sentence-transformers' helper on int8 codes, exact=True (its default), rescored against "
        "the codes, 2 to 10 times over"
    )
    distributions = ("sentence-transformers", "usearch")

    def settings(self, rows: int) -> list[Setting]:
        """More than ten times makes it no better."""
        return [one for one in super().settings(rows) if one.values["rescore_multiplier"] <= 10]

    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Quantize, let the helper make its index, save it with the ranges."""
        from sentence_transformers.util.quantization import (
            quantize_embeddings,
            semantic_search_usearch,
        )

        rows = unit(data.rows)
        ranges = np.vstack([rows.min(axis=0), rows.max(axis=0)])
        codes = quantize_embeddings(rows, precision="int8", ranges=ranges)
        index = semantic_search_usearch(
            rows[:1],
            corpus_embeddings=codes,
            corpus_precision="int8",
            top_k=1,
            ranges=ranges,
            output_index=True,
        )[2]
        index.save(str(folder / "index.usearch"))
        np.save(folder / "ranges.npy", ranges)

    def open(self, data: Data, folder: Path, threads: int) -> Searcher:
        """Load it."""
        from sentence_transformers.util.quantization import semantic_search_usearch
        from usearch.index import Index

        index = Index.restore(str(folder / "index.usearch"))
        ranges = np.load(folder / "ranges.npy", allow_pickle=False)
        return Open(semantic_search_usearch, index, corpus_precision="int8", ranges=ranges)


SYSTEMS: tuple[System, ...] = (HelperFaiss(), HelperUsearch())
