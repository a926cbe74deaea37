"""Files that are no corpus: what they are, and how a corpus is made of them."""

from __future__ import annotations

from qsearch.documents.encodings import encoding_advice
from qsearch.errors import CorpusError
from qsearch.wording import words

__all__ = ["MAGICS", "refuse_content", "refuse_name", "refuse_zeros"]

_TEXT = "extract its text first, and give that as a .txt file (a document a line) or as JSON Lines"
_CSV = "save its table as CSV, and give that"
_UNPACK = "unpack it, and give the file with the documents"

_KINDS = {
    "PDF": ("a PDF document", _TEXT),
    "Word": ("a Word document", _TEXT),
    "slides": ("a presentation", _TEXT),
    "OpenDocument": ("an OpenDocument text", _TEXT),
    "RTF": ("an RTF document", _TEXT),
    "EPUB": ("an EPUB book", _TEXT),
    "HTML": ("a page of HTML", _TEXT),
    "XML": ("XML", _TEXT),
    "workbook": ("a spreadsheet", _CSV),
    "Office": ("an Office document", "save it as text, or its table as CSV, and give that"),
    "ZIP": ("a ZIP archive", _UNPACK),
    "archive": ("an archive", _UNPACK),
    "database": ("a database", "export a table as CSV, and give that"),
    "image": ("an image", "qsearch searches texts"),
    "Arrow": ("an Arrow file", "save its table as Parquet, and give that"),
    "pickle": ("a Python pickle", "save its table as Parquet or JSON Lines, and give that"),
}

_SUFFIXES = {
    ".pdf": "PDF",
    ".doc": "Word",
    ".docx": "Word",
    ".ppt": "slides",
    ".pptx": "slides",
    ".odt": "OpenDocument",
    ".rtf": "RTF",
    ".epub": "EPUB",
    ".htm": "HTML",
    ".html": "HTML",
    ".xhtml": "HTML",
    ".xml": "XML",
    ".xls": "workbook",
    ".xlsx": "workbook",
    ".xlsm": "workbook",
    ".ods": "workbook",
    ".zip": "ZIP",
    ".tar": "archive",
    ".tgz": "archive",
    ".7z": "archive",
    ".rar": "archive",
    ".db": "database",
    ".sqlite": "database",
    ".sqlite3": "database",
    ".arrow": "Arrow",
    ".feather": "Arrow",
    ".pickle": "pickle",
    ".pkl": "pickle",
}

MAGICS = {
    b"%PDF-": "PDF",
    b"PK\x03\x04": "ZIP",
    b"PK\x05\x06": "ZIP",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "Office",
    b"{\\rtf": "RTF",
    b"7z\xbc\xaf\x27\x1c": "archive",
    b"Rar!\x1a\x07": "archive",
    b"SQLite format 3\0": "database",
    b"\x89PNG\r\n\x1a\n": "image",
    b"\xff\xd8\xff": "image",
    b"GIF87a": "image",
    b"GIF89a": "image",
    b"ARROW1\0\0": "Arrow",
    b"PAR1\x15": "Parquet",
    b"\x93NUMPY": "NumPy",
}
"""How such files begin."""

# Archives whose first entry tells what they really are.
_PACKED = {b"[Content_Types].xml": "Office", b"mimetypeapplication/epub": "EPUB"}
_PACKED |= {b"mimetypeapplication/vnd.oasis": "Office", b"word/": "Word", b"xl/": "workbook"}


def refuse_name(name: str, suffix: str) -> None:
    """Refuse a file whose name says that it is no corpus.

    Raises:
        CorpusError: it does.
    """
    if suffix == ".npy":
        raise _holds_embeddings(name)
    if kind := _SUFFIXES.get(suffix):
        raise _error(name, kind)


def refuse_content(name: str, head: bytes, *, adjustable: bool = True) -> None:
    """Refuse a file whose first bytes are those of something that is no text.

    Args:
        name: of the file.
        head: its first bytes.
        adjustable: whether the caller can name a format and an encoding, as for a corpus.

    Raises:
        CorpusError: they do.
    """
    kind = next((kind for magic, kind in MAGICS.items() if head.startswith(magic)), None)
    if head[257:262] == b"ustar":
        kind = "archive"
    if kind == "ZIP":
        kind = next((inner for entry, inner in _PACKED.items() if entry in head[:200]), kind)
    if kind == "NumPy":
        raise _holds_embeddings(name)
    if kind == "Parquet":
        advice = "save its table as JSON Lines or CSV, and give that"
        if adjustable:
            advice = f"give parquet with {words().input_format}, or name it so"
        raise CorpusError(f"is a Parquet file; {advice}", path=name)
    if kind is not None:
        raise _error(name, kind)


def refuse_zeros(name: str, line: bytes, *, adjustable: bool = True) -> None:
    """Refuse a file whose first line holds NUL, which no text has and hardly anything else lacks.

    Args:
        name: of the file.
        line: the first one.
        adjustable: see ``refuse_content``.

    Raises:
        CorpusError: they do.
    """
    if b"\0" in line:
        advice = encoding_advice(line) if adjustable else "save it in UTF-8"
        raise CorpusError(f"holds NUL bytes, and is no text ({advice})", path=name)


def _error(name: str, kind: str) -> CorpusError:
    what, advice = _KINDS[kind]
    return CorpusError(f"is {what}; {advice}", path=name)


def _holds_embeddings(name: str) -> CorpusError:
    return CorpusError(
        f"holds an array of NumPy and no documents; embeddings are given with {words().vectors}",
        path=name,
    )
