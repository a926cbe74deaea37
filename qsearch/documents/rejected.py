"""Records that are no documents: why, and what could be set so that they were."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["InvalidRecord", "RejectedRecord", "Remedy"]

Remedy = Literal["id field", "text field", "encoding", "taken", "numbered"]
"""What the caller can name so that a record is read. Reasons are stored and written to files, and do
not know who reads them; whoever raises an error of a record gives this advice in words of its own."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that is no document, and why.

    Attributes:
        line: line or row number, from 1.
        reason: one sentence without a full stop.
        raw: the record as it stood in the file, or its beginning where it is very long; in UTF-8 where
            the file is in another encoding.
        remedy: what could help, where something could; not stored in an index.
    """

    line: int
    reason: str
    raw: bytes = b""
    remedy: Remedy | None = field(default=None, compare=False)


class InvalidRecord(ValueError):
    """Raised while a record is turned into a document; the reader adds the place."""

    def __init__(self, reason: str, remedy: Remedy | None = None) -> None:
        """Keep ``remedy`` beside the reason."""
        super().__init__(reason)
        self.remedy = remedy

    def rejected(self, line: int, raw: bytes) -> RejectedRecord:
        """The record that it was raised for."""
        return RejectedRecord(line, str(self), raw, self.remedy)
