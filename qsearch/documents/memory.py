"""Documents from memory: from any Python iterable, or a frame of pandas."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from qsearch.documents.columns import shown, unique_columns
from qsearch.documents.document import Document, DocumentMapper
from qsearch.documents.fields import Fields, FieldsFound
from qsearch.documents.rejected import InvalidRecord, RejectedRecord
from qsearch.documents.values import plain_record
from qsearch.errors import CorpusError

__all__ = ["IterableCorpus"]


class IterableCorpus:
    """Documents or mappings as a ``Corpus``."""

    def __init__(
        self,
        source: Iterable[Document | Mapping[str, Any]],
        fields: Fields,
        text_required: bool,
    ) -> None:
        """Read ``source``, which may also be a ``pandas.DataFrame``.

        Raises:
            CorpusError: it is nothing that holds documents, or a frame with two columns of one name.
        """
        self.name = "<documents>"
        if isinstance(source, Mapping | bytes | bytearray) or not _is_iterable(source):
            advice = "; one document is given as [document], those of a dictionary as .values()"
            raise CorpusError(
                f"must be a path, or an iterable of documents or mappings, found {type(source).__name__}"
                + advice * isinstance(source, Mapping),
                path=self.name,
            )
        if _is_pandas(source, "DataFrame"):
            source = _Frame(source, self.name)
        self.rereadable = isinstance(source, Sequence | _Frame)
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
        for number, given in enumerate(self._source, 1):
            record = _of_a_frame(given)
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


def _of_a_frame(record: Any) -> Any:
    """A mapping where it is a row as ``DataFrame.iterrows`` or ``itertuples`` gives it."""
    if _is_pandas(record, "Series"):
        return record.to_dict()
    if isinstance(record, tuple) and hasattr(record, "_asdict"):
        return record._asdict()
    return record


class _Frame:
    """The rows of a frame as mappings, each column in the type that it has.

    The index of a frame is a column too where it has a name, as after ``set_index``.
    """

    def __init__(self, frame: Any, name: str) -> None:
        if any(level is not None for level in frame.index.names):
            frame = frame.reset_index(allow_duplicates=True)
        self._names = unique_columns(name, [str(one) for one in frame.columns], 1)
        self._frame = frame

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._frame.itertuples(index=False, name=None):
            yield dict(zip(self._names, row, strict=True))


def _is_iterable(source: object) -> bool:
    return isinstance(source, Iterable) or hasattr(source, "__getitem__")


def _is_pandas(value: object, kind: str) -> bool:
    """Without importing pandas: whoever has a value of it has done so."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, getattr(pandas, kind, ()))


def _checked(mapper: DocumentMapper, document: Document, number: int) -> Document:
    """A document from memory passes the same checks as a record from a file."""
    if not isinstance(document.metadata, Mapping):
        raise InvalidRecord(
            f"the metadata must be a mapping, found a {type(document.metadata).__name__}"
        )
    line = document.line
    if line is not None and not (type(line) is int and 0 <= line < 1 << 63):
        raise InvalidRecord("the line must be a whole number below 2**63, or None")
    record = {"id": document.id, "text": document.text, "title": document.title}
    metadata = plain_record(document.metadata)
    checked = mapper.document(plain_record(record) | {"metadata": metadata}, number)
    # As JSON has it: to JSON 1 and "1" are one name.
    metadata = checked.metadata.get("metadata", {})
    return Document(checked.id, checked.text, checked.title, metadata, document.line or number)
