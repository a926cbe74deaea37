"""The index of words: an FTS5 table over title and text, in the catalog, without a copy of the texts.

SQLite keeps for every token in which documents it stands, and where. What tokens are is the tokenizer's to
say, for documents and queries alike. A document's entries are there as long as its row of ``documents`` is,
whether a reader's commit has it or not; whoever reads leaves out what is not of the commit.

Only tokens come in here as parameters, never as FTS5's query language.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsearch.documents import Document
from qsearch.errors import IndexFormatError, IndexWriteError
from qsearch.store.catalog import Catalog
from qsearch.store.readers import SQLITE
from qsearch.store.schema import TEXT_INDEX, TRIGRAM, text_index_statement, tokenizer_of
from qsearch.wording import words

__all__ = [
    "FIELDS",
    "Occurrences",
    "TextEdits",
    "TextIndexReader",
    "TextIndexSpec",
    "damaged_text_index",
    "drop_text_index",
    "make_text_index",
    "reading_text_index",
    "text_index_problems",
    "tokenized",
    "tokenizer_for",
]

FIELDS = ("title", "text")
"""The columns, in the order of FTS5's sizes. Together they are one field: see ``docs/keywords.md``."""

_WITHOUT_SPACES = frozenset({"zh", "zho", "chi", "yue", "ja", "jpn", "th", "tha"})
"""Languages that put no spaces between words."""

_ENGLISH = frozenset({"en", "eng"})

_CONFIGURATION = [("version", 4)]
"""All that FTS5's own settings may say: a rank function, or another size of pages, are not ours."""

_VOCABULARY = "text_index_tokens"
_HIGHEST = chr(0x10FFFF)


@dataclass(frozen=True, slots=True)
class TextIndexSpec:
    """What a text index is of.

    Attributes:
        language: ISO 639 code.
    """

    language: str

    @property
    def tokenizer(self) -> str:
        """As FTS5 spells it."""
        return tokenizer_for(self.language)

    def to_json(self) -> dict[str, str]:
        """The setting ``text_index``."""
        return {"language": self.language, "tokenizer": self.tokenizer}


def tokenizer_for(language: str) -> str:
    """The tokenizer for texts of a language (ISO 639, a region behind it is passed over).

    >>> tokenizer_for("en-GB"), tokenizer_for("de"), tokenizer_for("ja")
    ('porter unicode61 remove_diacritics 2', 'unicode61 remove_diacritics 2', 'trigram')
    """
    code = language.lower().replace("_", "-").partition("-")[0]
    if code in _WITHOUT_SPACES:
        return TRIGRAM
    plain = "unicode61 remove_diacritics 2"
    return f"porter {plain}" if code in _ENGLISH else plain


# Writing, inside of a transaction


def make_text_index(connection: sqlite3.Connection, tokenizer: str) -> None:
    """Make the text index of all documents, in the place of one that is there.

    Raises:
        IndexWriteError: this SQLite has no FTS5.
    """
    drop_text_index(connection)
    try:
        connection.execute(text_index_statement(tokenizer))
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error) and "no such tokenizer" not in str(error):
            raise
        raise IndexWriteError(
            f"a text index needs SQLite with FTS5, which this Python's {sqlite3.sqlite_version} lacks: use "
            "a Python from python.org, conda or uv"
        ) from error
    connection.execute(f"INSERT INTO {TEXT_INDEX} ({TEXT_INDEX}) VALUES ('rebuild')")  # noqa: S608


def drop_text_index(connection: sqlite3.Connection) -> None:
    """Take the text index away, if there is one."""
    if tokenizer_of(connection) is not None:
        connection.execute(f"DROP TABLE {TEXT_INDEX}")


class TextEdits:
    """The entries of documents that come or go with a change, where the catalog has a text index.

    Attributes:
        replaced: whether another text index takes the place of this one, which may be damaged then.
    """

    def __init__(self, catalog: Catalog) -> None:
        """Look whether there is one."""
        self._catalog = catalog
        self.replaced = False
        with catalog.reading() as connection:
            self._there = tokenizer_of(connection) is not None

    def add(self, documents: Sequence[Document], first: int) -> None:
        """Take in documents whose positions begin at ``first``, inside of a transaction."""
        if self._there:
            with self._editing() as connection:
                connection.executemany(
                    f"INSERT INTO {TEXT_INDEX} (rowid, title, text) VALUES (?, ?, ?)",  # noqa: S608
                    [(first + number, one.title, one.text) for number, one in enumerate(documents)],
                )

    def remove(self, first: int, last: int | None = None) -> None:
        """Take out documents from position ``first`` to ``last``, which ``documents`` must still have.

        FTS5 keeps no texts here, and has to be told what it took in: it finds the entries by tokenizing
        that again.
        """
        if self._there:
            with self._editing() as connection:
                connection.execute(
                    f"INSERT INTO {TEXT_INDEX} ({TEXT_INDEX}, rowid, title, text) "  # noqa: S608
                    "SELECT 'delete', position, title, text FROM documents "
                    "WHERE position >= ? AND position <= ?",
                    (first, (1 << 62) if last is None else last),
                )

    @contextmanager
    def _editing(self) -> Iterator[sqlite3.Connection]:
        connection = self._catalog.writer
        try:
            _check_configuration(connection)
            yield connection
        except (sqlite3.DatabaseError, ValueError) as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
            if code & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
            if not self.replaced:
                raise damaged_text_index(self._catalog, str(error)) from error


# Tokens


def tokenized(tokenizer: str, texts: Sequence[str]) -> list[list[str]]:
    """The tokens of each text, in order, as the index has them: SQLite's own tokenizer makes them.

    Args:
        tokenizer: of the index.
        texts: any; a null character is a space.
    """
    found: list[list[str]] = [[] for _ in texts]
    with SQLITE.inside(), closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(
            f"CREATE VIRTUAL TABLE t USING fts5(a, content='', tokenize='{tokenizer}')"
        )
        connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, instance)")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO t (rowid, a) VALUES (?, ?)",
            ((number, text.replace("\0", " ")) for number, text in enumerate(texts)),
        )
        for number, token in connection.execute("SELECT doc, term FROM v ORDER BY doc, offset"):
            found[number].append(token)
    return found


# Reading


@dataclass(frozen=True, slots=True, eq=False)
class Occurrences:
    """Where a token stands.

    Attributes:
        documents: (n,) int64 positions of documents, one for each occurrence.
        places: (n,) int64: which token of the text that is, times two; one more in a title. So tokens that
            follow each other are two apart, and those of title and text never are.
    """

    documents: NDArray[np.int64]
    places: NDArray[np.int64]


class TextIndexReader:
    """Reads the text index of a catalog, of one moment. Made by ``reading_text_index``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use ``reading_text_index``."""
        self._connection = connection

    def documents(self, token: str, *, prefix: bool = False) -> NDArray[np.int64]:
        """Positions of documents, one for each occurrence of a token; (n,) int64.

        Args:
            token: as the tokenizer makes it.
            prefix: all tokens that begin with it are meant.
        """
        condition, parameters = _condition(token, prefix)
        (found,) = self._connection.execute(
            f"SELECT group_concat(doc) FROM {_VOCABULARY} WHERE {condition}",  # noqa: S608 (ours)
            parameters,
        ).fetchone()
        return _numbers(found)

    def occurrences(self, token: str) -> Occurrences:
        """Every occurrence of a token, with its place."""
        condition, parameters = _condition(token, False)
        documents, places = self._connection.execute(
            "SELECT group_concat(doc), group_concat(2 * offset + (col = 'title')) "  # noqa: S608 (ours)
            f"FROM {_VOCABULARY} WHERE {condition}",
            parameters,
        ).fetchone()
        return Occurrences(_numbers(documents), _numbers(places))

    def lengths(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of all documents that there are entries of, and how many tokens each has.

        Raises:
            ValueError: the sizes are damaged.
        """
        ids, sizes = self._connection.execute(
            f"SELECT group_concat(id), group_concat(hex(sz), '') FROM {TEXT_INDEX}_docsize"  # noqa: S608
        ).fetchone()
        documents = _numbers(ids)
        counts = _varints(bytes.fromhex(sizes or ""))
        if len(counts) != len(FIELDS) * len(documents):
            raise ValueError("sizes of other columns")
        return documents, counts.reshape(-1, len(FIELDS)).sum(axis=1)


def _condition(token: str, prefix: bool) -> tuple[str, tuple[str, ...]]:
    if prefix:
        return "term >= ? AND term < ?", (token, token + 3 * _HIGHEST)
    return "term = ?", (token,)


def _numbers(listed: str | None) -> NDArray[np.int64]:
    """Numbers that SQLite has written one behind the other: in less than half of the time of rows."""
    if not listed:
        return np.empty(0, dtype=np.int64)
    return np.fromstring(listed, dtype=np.int64, sep=",")


def _varints(data: bytes) -> NDArray[np.int64]:
    """FTS5's numbers: seven bits a byte, the highest first, all but the last byte with the high bit set."""
    codes = np.frombuffer(data, dtype=np.uint8).astype(np.int64)
    ends = np.flatnonzero(codes < 0x80)
    if not len(codes):
        return codes
    if not len(ends) or ends[-1] != len(codes) - 1:
        raise ValueError("a number that does not end")
    starts = np.concatenate([[0], ends[:-1] + 1])
    most = int((ends - starts).max())
    if most > 4:
        raise ValueError("a number that cannot be")
    values = codes[ends].copy()
    for before in range(1, most + 1):
        here = ends - before
        there = here >= starts
        values[there] += (codes[here[there]] & 0x7F) << (7 * before)
    return values


@contextmanager
def reading_text_index(catalog: Catalog) -> Iterator[TextIndexReader]:
    """Read the text index, which must be there.

    Raises:
        IndexFormatError: it is damaged, or there is none any more.
    """
    with catalog.view(), catalog.reading() as connection:
        try:
            _check_configuration(connection)
            with _temporary(connection):
                connection.execute(
                    f"CREATE VIRTUAL TABLE temp.{_VOCABULARY} "
                    f"USING fts5vocab('main', '{TEXT_INDEX}', 'instance')"
                )
                yield TextIndexReader(connection)
        except (sqlite3.Error, ValueError, UnicodeDecodeError) as error:
            raise damaged_text_index(catalog, str(error)) from error


@contextmanager
def _temporary(connection: sqlite3.Connection) -> Iterator[None]:
    """Temporary tables may be made inside of this block, and are gone behind it."""
    (before,) = connection.execute("PRAGMA query_only").fetchone()
    connection.execute("PRAGMA query_only = OFF")
    connection.execute("SAVEPOINT temporary")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO temporary")
            connection.execute("RELEASE temporary")
        connection.execute(f"PRAGMA query_only = {int(before)}")


def damaged_text_index(catalog: Catalog, why: str) -> IndexFormatError:
    """The error for a text index that cannot be read: it is made anew, and nothing else is lost."""
    return IndexFormatError(
        f"the text index in {catalog.path} is damaged ({why}); {words().index_text} makes it anew, "
        "searches by meaning do without it"
    )


def _check_configuration(connection: sqlite3.Connection) -> None:
    found = connection.execute(f"SELECT k, v FROM {TEXT_INDEX}_config LIMIT 9").fetchall()  # noqa: S608
    if found != _CONFIGURATION:
        raise ValueError(f"settings of its own, {str(found)[:60]}")


# Verifying


def text_index_problems(catalog: Catalog) -> Iterator[str]:
    """What FTS5's own integrity check finds, which compares every token with the texts.

    The check is a statement that writes, and the catalog may be on a read-only disk: what FTS5 keeps is
    copied into temporary tables, where it is checked against the texts of the catalog.
    """
    with catalog.view(), catalog.reading() as connection:
        tokenizer = tokenizer_of(connection)
        if tokenizer is None:
            return
        try:
            _check_configuration(connection)
            with _temporary(connection):
                _copy(connection, tokenizer)
                connection.execute(
                    f"INSERT INTO temp.{TEXT_INDEX} ({TEXT_INDEX}, rank) "  # noqa: S608 (names)
                    "VALUES ('integrity-check', 1)"
                )
        except (sqlite3.DatabaseError, ValueError) as error:
            yield f"it is damaged, or not of these texts ({error}); {words().index_text} makes it anew"


def _copy(connection: sqlite3.Connection, tokenizer: str) -> None:
    connection.execute(
        "CREATE TEMP VIEW documents AS SELECT position, title, text FROM main.documents"
    )
    connection.execute(text_index_statement(tokenizer, "temp."))
    for shadow in ("data", "idx", "docsize"):
        table = f"{TEXT_INDEX}_{shadow}"
        connection.execute(f"DELETE FROM temp.{table}")  # noqa: S608 (a name)
        connection.execute(f"INSERT INTO temp.{table} SELECT * FROM main.{table}")  # noqa: S608
