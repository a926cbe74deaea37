"""What things are called where a message tells what to do: in Python, and on the command line.

A message of the library says ``BuildOptions(force=True)``, the same message of the command line
``--force``. Whoever raises an error takes the words from here (``words()``), and knows nothing of who
reads them; the command line puts its own in their place for as long as it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = [
    "ACTED_ON",
    "PYTHON",
    "Words",
    "first_line",
    "legible",
    "printable",
    "speaking",
    "speaking_here",
    "words",
]

ACTED_ON = (
    *range(0x20), 0x7F, *range(0x80, 0xA0),  # control characters: C0, delete, C1
    0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # change the direction of text
    0x2028, 0x2029,  # end a line
    *range(0xD800, 0xE000),  # halves of surrogate pairs, which are no text
    0xFFFE, 0xFFFF,  # nor are these, and no picture that is XML may hold them
)  # fmt: skip
"""What a terminal acts on instead of showing it, or that changes how what stands beside it is shown."""

_ESCAPES = {one: chr(one).encode("unicode_escape").decode("ascii") for one in ACTED_ON}


def legible(text: str) -> str:
    r"""A text that can be written anywhere: names of files need not be UTF-8.

    Examples:
        >>> legible("caf\udce9.jsonl")
        'caf\\udce9.jsonl'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with everything escaped that a terminal would act on.

    Args:
        text: may come from anywhere.
        lines: whether ends of lines and tabs may stay.

    >>> printable("a\x1b]0;title\x07b\n"), printable("a\nb", lines=True)
    ('a\\x1b]0;title\\x07b\\n', 'a\nb')
    """
    if text.isprintable():  # none of these is
        return text
    if lines:
        return "\n".join("\t".join(map(printable, one.split("\t"))) for one in text.split("\n"))
    return text.translate(_ESCAPES)


def first_line(error: BaseException) -> str:
    """What an error says first; of one that says nothing, its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The name of everything that a message advises. Each reads on after "add", "give" or "with"."""

    allow_empty: str
    allow_host: str
    backend: str
    build: str
    delimiter: str
    device: str
    encoding: str
    force: str
    graph: str
    host: str
    id_field: str
    index_field: str
    index_graph: str
    index_text: str
    input_format: str
    language: str
    max_length: str
    metadata_field: str
    missing_fields_ok: str
    missing_ok: str
    model: str
    other_place: str
    overlap: str
    params: str
    passages: str
    port: str
    rebuild: str
    rejects: str
    rerank: str
    restart: str
    search_vectors: str
    skip_invalid: str
    text_field: str
    title_field: str
    truncate_dim: str
    upgrade: str
    upsert: str
    vectors: str
    verify: str
    wait: str


PYTHON = Words(
    allow_empty="allow_empty=True",
    allow_host="hosts=",
    backend="backend",
    build="Index.build",
    delimiter="delimiter=",
    device="device",
    encoding="encoding=",
    force="BuildOptions(force=True)",
    graph="BuildOptions(graph=True)",
    host="host",
    id_field="Fields(id=...)",
    index_field="Index.index_fields",
    index_graph="Index.index_graph",
    index_text="Index.index_text",
    input_format="input_format=",
    language="BuildOptions(language=...)",
    max_length="SentenceEncoder(max_length=...)",
    metadata_field="Fields(metadata=...)",
    missing_fields_ok="missing_fields_ok=True",
    missing_ok="missing_ok=True",
    model="encoder=",
    other_place="another path",
    overlap="BuildOptions(overlap=...)",
    params="params=",
    passages="BuildOptions(passages=...)",
    port="port",
    rebuild="Index.build(..., options=BuildOptions(force=True))",
    rejects="rejects=",
    rerank="rerank=",
    restart="BuildOptions(restart=True)",
    search_vectors="Index.search_vectors",
    skip_invalid="skip_invalid=True",
    text_field="Fields(text=...)",
    title_field="Fields(title=...)",
    truncate_dim="SentenceEncoder(truncate_dim=...)",
    upgrade="qsearch.upgrade_index",
    upsert="Index.upsert",
    vectors="embeddings=",
    verify="qsearch.verify_index",
    wait="wait=...",
)

_spoken = PYTHON
_spoken_here: ContextVar[Words | None] = ContextVar("_spoken_here", default=None)


def words() -> Words:
    """The words of whoever reads the messages of this process, or of what this thread is doing."""
    return _spoken_here.get() or _spoken


@contextmanager
def speaking_here(these: Words) -> Iterator[None]:
    """Use other words in this thread, or this task."""
    token = _spoken_here.set(these)
    try:
        yield
    finally:
        _spoken_here.reset(token)


@contextmanager
def speaking(these: Words) -> Iterator[None]:
    """Use other words, in all threads."""
    global _spoken
    before, _spoken = _spoken, these
    try:
        yield
    finally:
        _spoken = before
