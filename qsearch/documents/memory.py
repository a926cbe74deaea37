"""Documents from memory, or from any Python iterable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from qsearch.documents.columns import shown
from qsearch.documents.document import Document, DocumentMapper
from qsearch.documents.fields import Fields, FieldsFound
from qsearch.documents.rejected import InvalidRecord, RejectedRecord
from qsearch.documents.values import plain_record

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
        self._mapper = self._new_mapper(fields)

    def _new_mapper(self, fields: Fields) -> DocumentMapper:
        return DocumentMapper(fields, text_required=self._text_required)

    @property
    def found(self) -> FieldsFound:
        """See ``Corpus``."""
        return self._mapper.found()

    def __iter__(self) -> Iterator[Document | RejectedRecord]:
        mapper = self._mapper = self._new_mapper(self._fields)
        own = self._new_mapper(Fields())
        for number, record in enumerate(self._source, 1):
            try:
                if isinstance(record, Document):
                    yield _checked(own, record, number)
                elif isinstance(record, Mapping):
                    yield mapper.document(plain_record(record), number)
                else:
                    raise InvalidRecord(
                        f"must be a qsearch.Document or a mapping, found a {type(record).__name__}"
                    )
            except InvalidRecord as error:
                yield error.rejected(number, shown(record))


def _checked(mapper: DocumentMapper, document: Document, number: int) -> Document:
    """A document from memory passes the same checks as a record from a file."""
    if not isinstance(document.metadata, Mapping):
        raise InvalidRecord(
            f"the metadata must be a mapping, found a {type(document.metadata).__name__}"
        )
    record = {"id": document.id, "text": document.text, "title": document.title}
    metadata = plain_record(document.metadata)
    checked = mapper.document(plain_record(record) | {"metadata": metadata}, number)
    return Document(checked.id, checked.text, checked.title, metadata, document.line or number)
