"""Datasets of the package ir_datasets by name: their documents, queries and judgments.

``irds:beir/scifact/test`` is written as PyTerrier and ir-measures write it. The package downloads what it
does not have, and keeps it (in ``~/.ir_datasets``, or where ``IR_DATASETS_HOME`` says). It is imported when
such a name is given.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from qsearch.documents.columns import shown
from qsearch.documents.document import Document, DocumentMapper
from qsearch.documents.fields import Fields, FieldsFound
from qsearch.documents.rejected import InvalidRecord, RejectedRecord
from qsearch.documents.relevance import relevance_of
from qsearch.documents.values import plain_record
from qsearch.errors import CorpusError, QueryError

__all__ = [
    "DatasetCorpus",
    "dataset_judgments",
    "dataset_queries",
    "dataset_stem",
    "has_judgments",
    "is_dataset",
]

_PREFIX = "irds:"
_Kind = Literal["docs", "queries", "qrels"]
_KINDS: dict[_Kind, str] = {"docs": "documents", "queries": "queries", "qrels": "judgments"}
_PARTS = ("text", "body", "abstract")
"""Fields that a document's text is usually made of, and that are not kept a second time."""
_QUERY_TEXTS = ("text", "query", "title")
_NAMED = 6
_LONGEST_REASON = 1000


def is_dataset(name: str) -> bool:
    """Whether a name is one of ir_datasets.

    >>> is_dataset("irds:beir/scifact/test"), is_dataset("scifact/")
    (True, False)
    """
    return name.startswith(_PREFIX)


def dataset_stem(name: str) -> str:
    """What an index of a dataset is called.

    >>> dataset_stem("irds:beir/scifact/test")
    'beir-scifact-test'
    """
    return _key(name).replace("/", "-") or "irds"


class DatasetCorpus:
    """The documents of a dataset as a ``Corpus``.

    The id is ``doc_id`` and the title ``title``, where no others are named. The text is what ir_datasets
    calls a document's default text, without the title that stands in front of it. Of the other fields
    those are metadata that JSON can hold, but not those that the text is made of (``text``, ``body``,
    ``abstract``).
    """

    rereadable = True

    def __init__(self, name: str, fields: Fields, text_required: bool) -> None:
        """Look the dataset up; nothing is downloaded yet.

        Raises:
            CorpusError: ir_datasets is not installed, does not know it, or it has no documents.
        """
        self.name = name
        self._dataset = _loaded(name, "docs")
        self._given = fields
        self._fields = replace(fields, id=fields.id or "doc_id")
        self._text_required = text_required
        self._mapper = self._new_mapper()

    def _new_mapper(self) -> DocumentMapper:
        return DocumentMapper(self._fields, text_required=self._text_required)

    @property
    def found(self) -> FieldsFound:
        """See ``Corpus``."""
        return self._mapper.found()

    def __iter__(self) -> Iterator[Document | RejectedRecord]:
        mapper = self._mapper = self._new_mapper()
        for number, given in enumerate(_each(self.name, self._dataset, "docs"), 1):
            try:
                yield mapper.document(self._record(given), number)
            except InvalidRecord as error:
                yield error.rejected(number, shown(given))

    def _record(self, given: Any) -> dict[str, Any]:
        fields = given._asdict()
        record = plain_record({name: value for name, value in fields.items() if _is_plain(value)})
        if self._given.text is None:
            for name in _PARTS:
                if name not in self._given.named("metadata"):
                    record.pop(name, None)
            titles = (record[one] for one in self._fields.wanted("title") if one in record)
            text = _text(given, fields, next(titles, None))
            if text is not None:
                record["text"] = text
        return record


def dataset_queries(name: str) -> Iterator[tuple[str, str]]:
    """(id, text) of every query of a dataset: the default text, as ir_datasets calls it.

    Raises:
        CorpusError: ir_datasets is not installed, does not know the dataset or cannot read it, or it has no
            queries.
        QueryError: a query has no text.
    """
    for query in _each(name, _loaded(name, "queries"), "queries"):
        default = getattr(query, "default_text", None)
        texts = (getattr(query, one, None) for one in _QUERY_TEXTS)
        text = next((one for one in texts if one), None) if default is None else default()
        if not isinstance(text, str):
            raise QueryError(f"{name}: query {query.query_id} has no text")
        yield str(query.query_id), text


def dataset_judgments(name: str) -> dict[str, dict[str, int]]:
    """Relevance by query id, then document id; of several judgments of a pair the highest.

    Several there are where parts of a query are judged apart.

    Raises:
        CorpusError: ir_datasets is not installed, does not know the dataset or cannot read it, or it has no
            judgments.
        QueryError: one has no relevance that is a whole number.
    """
    found: dict[str, dict[str, int]] = {}
    for one in _each(name, _loaded(name, "qrels"), "qrels"):
        given = getattr(one, "relevance", None)
        relevance = relevance_of(given)
        if relevance is None:
            raise QueryError(
                f"{name}: the relevance of document {one.doc_id!r} for query {one.query_id!r} must be a "
                f"whole number, found {given!r}; write the judgments to a file, and give that"
            )
        of_query = found.setdefault(str(one.query_id), {})
        document = str(one.doc_id)
        of_query[document] = max(relevance, of_query.get(document, relevance))
    if not found:
        raise QueryError(f"{name}: holds no judgments")
    return found


def has_judgments(name: str) -> bool:
    """Whether a dataset comes with judgments.

    Raises:
        CorpusError: ir_datasets is not installed, or does not know it.
    """
    return _has(_loaded(name, None), "qrels")


def _key(name: str) -> str:
    return name.removeprefix(_PREFIX).strip("/")


def _has(dataset: Any, kind: _Kind) -> bool:
    return bool(getattr(dataset, f"has_{kind}")())


def _loaded(name: str, kind: _Kind | None) -> Any:
    """The dataset of a name, which is to have what is asked for.

    Raises:
        CorpusError: it has not, or there is none.
    """
    try:
        import ir_datasets
    except ImportError as error:
        raise CorpusError(
            f"is a name of a dataset of ir_datasets, which cannot be imported ({error}): pip install "
            "ir-datasets",
            path=name,
        ) from error
    except OSError as error:
        raise CorpusError(
            f"ir_datasets cannot be used ({error}); IR_DATASETS_HOME says where it keeps its data",
            path=name,
        ) from error
    key = _key(name)
    try:
        dataset = ir_datasets.load(key)
    except KeyError:
        near = difflib.get_close_matches(key, list(ir_datasets.registry), 1)
        meant = f"; did you mean {_PREFIX}{near[0]}?" if near else "; 'ir_datasets list' names them"
        raise CorpusError(f"ir_datasets has no dataset of this name{meant}", path=name) from None
    if kind is not None and not _has(dataset, kind):
        raise CorpusError(
            f"has no {_KINDS[kind]}{_others(ir_datasets.registry, key, kind)}", path=name
        )
    return dataset


def _others(registry: Any, key: str, kind: _Kind) -> str:
    """Which datasets have what this one has not: those that it is part of, or that are part of it."""
    related = [
        one
        for one in sorted(registry)
        if (one.startswith(f"{key}/") or key.startswith(f"{one}/")) and _has(registry[one], kind)
    ]
    if not related:
        return ""
    more = ", …" if len(related) > _NAMED else ""
    return "; there are some in " + ", ".join(f"{_PREFIX}{one}" for one in related[:_NAMED]) + more


def _each(name: str, dataset: Any, kind: _Kind) -> Iterator[Any]:
    """What a dataset holds, which may have to be downloaded first.

    Raises:
        CorpusError: it cannot be had; says what ir_datasets says.
    """
    try:
        yield from getattr(dataset, f"{kind}_iter")()
    except Exception as error:  # of a network, an archive, a parser, a package that is not there
        reason = f"{str(error).strip() or type(error).__name__:.{_LONGEST_REASON}}"
        raise CorpusError(
            f"ir_datasets cannot give its {_KINDS[kind]}: {reason}", path=name
        ) from error


def _is_plain(value: Any) -> bool:
    """Whether metadata can hold it."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return not hasattr(value, "_fields") and all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | datetime.date)


def _text(given: Any, fields: Mapping[str, Any], title: Any) -> Any:
    """The default text of a document, without the title in front of it; ``None``: it has none."""
    default = getattr(given, "default_text", None)
    if default is None:  # as clinicaltrials and codesearchnet
        return next((fields[one] for one in _PARTS if isinstance(fields.get(one), str)), None)
    text = default()
    if not isinstance(text, str) or not isinstance(title, str) or not text.startswith(title):
        return text
    between, rest = text[len(title) : len(title) + 1], text[len(title) + 1 :]
    return rest if not between or between.isspace() else text
