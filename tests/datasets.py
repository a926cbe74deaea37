"""Datasets of ir_datasets for tests, made here: nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from tests.encoders import WORDS

__all__ = [
    "DOCUMENTS",
    "Article",
    "Judgment",
    "Paper",
    "Plain",
    "Query",
    "Stance",
    "Trial",
    "article",
    "made",
    "register",
]

DOCUMENTS = 60


class Plain(NamedTuple):
    """As most collections: one text, which is the default text."""

    doc_id: str
    text: str

    def default_text(self) -> str:
        return self.text


class Article(NamedTuple):
    """As BEIR's: a title, a text, and more."""

    doc_id: str
    text: str
    title: str
    year: int
    authors: list[str]

    def default_text(self) -> str:
        return f"{self.title} {self.text}"


class Stance(Enum):
    """No value that JSON holds."""

    PRO = 1


class Paper(NamedTuple):
    """As PubMed's: a text of two fields, and values that metadata cannot hold."""

    doc_id: str
    title: str
    abstract: str
    body: str
    journal: str
    source: bytes
    stance: Stance
    spans: tuple[Plain, ...]

    def default_text(self) -> str:
        return f"{self.title} {self.abstract} {self.body}"


class Trial(NamedTuple):
    """As those of clinical trials: nothing is the text by default."""

    doc_id: str
    title: str
    summary: str


class Query(NamedTuple):
    """A query with more than a text."""

    query_id: str
    title: str
    narrative: str

    def default_text(self) -> str:
        return self.title


class Judgment(NamedTuple):
    """A judgment of a part of a query."""

    query_id: str
    doc_id: str
    relevance: Any
    subtopic: str = ""


def article(number: int) -> Article:
    words = [WORDS[(number * step) % len(WORDS)] for step in (1, 3, 7, 11, 17)]
    return Article(f"d{number}", " ".join(words), f"the {number}th", 1900 + number, ["A", "B"])


def register(
    name: str,
    documents: Iterable[Any] | None = None,
    queries: Iterable[Any] | None = None,
    judgments: Iterable[Any] | None = None,
) -> str:
    """Make a dataset of a name known; what is ``None`` it does not have."""
    import ir_datasets
    from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries

    class Docs(BaseDocs):  # type: ignore[misc]
        def docs_iter(self) -> Iterator[Any]:
            return iter(documents or ())

    class Queries(BaseQueries):  # type: ignore[misc]
        def queries_iter(self) -> Iterator[Any]:
            return iter(queries or ())

    class Qrels(BaseQrels):  # type: ignore[misc]
        def qrels_iter(self) -> Iterator[Any]:
            return iter(judgments or ())

        def qrels_defs(self) -> dict[int, str]:
            return {}

    parts = [
        made()
        for made, given in ((Docs, documents), (Queries, queries), (Qrels, judgments))
        if given is not None
    ]
    ir_datasets.registry.register(name, ir_datasets.Dataset(*parts))
    return f"irds:{name}"


def made(home: Path) -> str:
    """A dataset, and the one that it is a part of, in a home that is not the user's."""
    # It is asked when the package is imported, and later.
    os.environ["IR_DATASETS_HOME"] = str(home)
    os.environ["IR_DATASETS_TMP"] = str(home)
    documents = [article(number) for number in range(DOCUMENTS)]
    queries = [Query(f"q{one}", " ".join(article(one).text.split()[:3]), "no") for one in range(12)]
    judgments = [Judgment(f"q{one}", f"d{one}", 1) for one in range(12)]
    register("qsearch", documents)
    return register("qsearch/made/test", documents, queries, judgments)
