"""Parquet, a batch of rows at a time. Needs the extra ``parquet``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qsearch.documents.columns import shown, unique_columns
from qsearch.documents.document import Document, DocumentMapper
from qsearch.documents.fields import Fields, FieldsFound
from qsearch.documents.lines import MAX_RECORD_BYTES
from qsearch.documents.rejected import InvalidRecord, RejectedRecord
from qsearch.documents.values import duration_text, plain_record
from qsearch.errors import CorpusError

__all__ = ["ParquetCorpus"]


class ParquetCorpus:
    """A Parquet file as a ``Corpus``."""

    def __init__(self, name: str, fields: Fields, text_required: bool) -> None:
        self.name = name
        self.rereadable = True
        self._fields = fields
        self._text_required = text_required
        self._mapper = self._new_mapper()
        if name == "-":
            raise CorpusError("Parquet cannot be read from a stream; give a file", path=name)
        try:
            import pyarrow.parquet  # noqa: F401 (only whether it is there)
        except ImportError as error:
            raise CorpusError("Parquet needs pyarrow: pip install pyarrow", path=name) from error

    def _new_mapper(self) -> DocumentMapper:
        return DocumentMapper(self._fields, text_required=self._text_required, numbered_by="row")

    @property
    def found(self) -> FieldsFound:
        """See ``Corpus``."""
        return self._mapper.found()

    def __iter__(self) -> Iterator[Document | RejectedRecord]:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        mapper = self._mapper = self._new_mapper()
        number = 0
        # Opened here, because pyarrow takes a name for an address and would ask a network for it.
        try:
            file = open(self.name, "rb")  # noqa: SIM115 (closed below, where errors of reading are told)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CorpusError(f"cannot be opened ({reason})", path=self.name) from error
        try:
            with file, ParquetFile(file) as parquet:
                names = unique_columns(self.name, parquet.schema_arrow.names, 1)
                for batch in parquet.iter_batches(batch_size=512):
                    columns = [_cells(column) for column in batch.columns]
                    for values in zip(*columns, strict=True):
                        number += 1
                        yield _parquet_row(mapper, dict(zip(names, values, strict=True)), number)
                rows = parquet.metadata.num_rows
        except (ArrowException, OSError, UnicodeDecodeError) as error:
            raise CorpusError(
                f"is not a readable Parquet file ({error})", path=self.name, line=number + 1
            ) from error
        if number != rows:
            raise CorpusError(
                f"is damaged: it has {number:,} rows and names {rows:,}", path=self.name
            )


@dataclass(frozen=True, slots=True, repr=False)
class _Unreadable:
    """Stands for a Parquet value that Python has no type for."""

    reason: str

    def __repr__(self) -> str:
        return "<unreadable>"


def _parquet_row(
    mapper: DocumentMapper, record: Mapping[str, Any], number: int
) -> Document | RejectedRecord:
    try:
        for name, value in record.items():
            if isinstance(value, _Unreadable):
                raise InvalidRecord(f"the value of {name!r} cannot be read ({value.reason})")
        if _characters(record) > MAX_RECORD_BYTES:
            raise InvalidRecord(f"is longer than {MAX_RECORD_BYTES >> 20} MiB")
        return mapper.document(plain_record(record), number)
    except InvalidRecord as error:
        return error.rejected(number, shown(record))


_LONG = (str, bytes, list, Mapping)


def _characters(record: Mapping[str, Any]) -> int:
    """What a record has as JSON at least: a few bytes of Parquet may be a list of millions of zeros."""
    count = 0
    waiting: list[Any] = [record]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str | bytes):
            count += len(value)
        elif isinstance(value, Mapping):
            waiting += [one for one in value.values() if isinstance(one, _LONG)]
        else:  # a list: of numbers there are at least a digit and a comma each
            count += 2 * len(value)
            waiting += [one for one in value if isinstance(one, _LONG)]
    return count


def _cells(column: Any) -> list[Any]:
    if getattr(column.type, "unit", None) == "ns":
        # What pyarrow makes of these depends on whether pandas is installed.
        return [_cell(value, _nanoseconds) for value in column]
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # one value spoils the column
        return [_cell(value, lambda one: one.as_py()) for value in column]


def _nanoseconds(value: Any) -> Any:
    """A moment, a time of day or a duration in nanoseconds: as text where Python has no type for it."""
    import pyarrow

    if not value.is_valid:
        return None
    microseconds, rest = divmod(value.value, 1000)
    if pyarrow.types.is_duration(value.type):
        return duration_text(value.value)
    if pyarrow.types.is_timestamp(value.type):
        coarse = pyarrow.timestamp("us", value.type.tz)
    else:
        coarse = pyarrow.time64("us")
    moment = pyarrow.scalar(microseconds, coarse).as_py()
    if not rest:
        return moment
    text = moment.isoformat(timespec="microseconds")
    digits = text.index(".") + 7
    return f"{text[:digits]}{rest:03d}{text[digits:]}"


def _cell(value: Any, read: Callable[[Any], Any]) -> Any:
    """One Parquet value; moments that Python cannot hold as text, where Arrow can write them."""
    from pyarrow import ArrowException, types

    try:
        return read(value)
    except (ValueError, OverflowError) as error:
        reason: Exception = error
        if types.is_timestamp(value.type) or types.is_time(value.type):
            try:
                text = str(value.cast("string").as_py())
            except ArrowException as other:  # a time zone that there is not
                reason = other
            else:
                if text[:1].isdigit():
                    return text.replace(" ", "T")
        return _Unreadable(str(reason))
