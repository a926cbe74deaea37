"""What is no longer as it was when a build was interrupted."""

from __future__ import annotations

from collections.abc import Sequence

from qsearch.documents import Document
from qsearch.indexing.chunks import Record

__all__ = ["change_of"]


def change_of(stored: Sequence[Document], chunk: Sequence[Record], *, given: bool) -> str:
    """The first thing that differs between the documents of a chunk and what it was made of.

    Args:
        stored: documents that the chunk was made into.
        chunk: its records now.
        given: whether the embeddings are given.
    """
    found = [one for one in chunk if isinstance(one, Document)]
    for before, now in zip(stored, found, strict=False):
        place = "" if now.line is None else f" on line {now.line:,}"
        if before.id != now.id:
            return f"there is document {now.id!r}{place} where {before.id!r} was"
        for what, left, right in (
            ("text", before.text, now.text),
            ("title", before.title, now.title),
            ("metadata", dict(before.metadata), dict(now.metadata)),
        ):
            if left != right:
                return f"the {what} of document {now.id!r}{place} is another"
        if before.line != now.line:
            return f"document {now.id!r} was on line {before.line}, is on line {now.line}"
    if len(found) < len(stored):
        return f"it has no document {stored[len(found)].id!r} behind that"
    return "given embeddings are others" if given else "invalid records are others"
