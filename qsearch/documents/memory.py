"""Documents from memory, or from any Python iterable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from qsearch.documents.columns import shown
from qsearch.documents.document import (
    Document,
    DocumentMapper,
    Fields,
    InvalidRecord,
    RejectedRecord,
)

__all__ = ["IterableCorpus"]


class IterableCorpus:
    """Documents or mappings as a ``Corpus``."""

    def __init__(
        self,
        source: Iterable[Document | Mapping[str, Any]],
        fields: Fields,
        text_required: bool,
    ) -> None:
        self.name = "<documents>"
        self.rereadable = isinstance(source, Sequence)
        self._source = source
        self._fields = fields
        self._text_required = text_required

    def __iter__(self) -> Iterator[Document | RejectedRecord]:
        mapper = DocumentMapper(self._fields, text_required=self._text_required)
        own = DocumentMapper(Fields(), text_required=self._text_required)
        for number, record in enumerate(self._source, 1):
            try:
                if isinstance(record, Document):
                    yield _checked(own, record, number)
                elif isinstance(record, Mapping):
                    yield mapper.document(record, number)
                else:
                    raise InvalidRecord(
                        f"must be a qsearch.Document or a mapping, found a {type(record).__name__}"
                    )
            except InvalidRecord as error:
                yield RejectedRecord(number, str(error), shown(record))


def _checked(mapper: DocumentMapper, document: Document, number: int) -> Document:
    """A document from memory passes the same checks as a record from a file."""
    if not isinstance(document.metadata, Mapping):
        raise InvalidRecord(
            f"the metadata must be a mapping, found a {type(document.metadata).__name__}"
        )
    record = {"id": document.id, "text": document.text, "title": document.title}
    checked = mapper.document({**record, "metadata": dict(document.metadata)}, number)
    return Document(
        checked.id, checked.text, checked.title, dict(document.metadata), document.line or number
    )
