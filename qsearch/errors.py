"""The exceptions that qsearch raises on purpose.

::

    QsearchError
    ├── CorpusError            a document that cannot be read, or is not one (path, line)
    ├── EncoderError           a model that cannot be found, loaded or run
    │   └── EncoderMismatch    an encoder that is not the one an index was built with
    ├── IndexFormatError       an index that is missing, half written, damaged or of another version
    ├── IndexExists            a build onto an index that is already there
    ├── IndexBusy              somebody else writes the same index, or keeps it locked
    ├── IndexClosed            an index that was used after it was closed
    ├── IndexWriteError        the disk refused: full, read-only, failing
    ├── OptionError            an option of a build that makes no sense (also a ``ValueError``)
    └── QueryError             a query that has no answer (also a ``ValueError``)

``BuildInterrupted`` and ``ChangeInterrupted`` stand beside it: the ``KeyboardInterrupt`` of a build and
of a change, which say what is kept.

A message says what was expected, what was found, where, and what to do. Nothing but exceptions may
enter this module.
"""

from __future__ import annotations

__all__ = [
    "BuildInterrupted",
    "ChangeInterrupted",
    "CorpusError",
    "EncoderError",
    "EncoderMismatch",
    "IndexBusy",
    "IndexClosed",
    "IndexExists",
    "IndexFormatError",
    "IndexWriteError",
    "OptionError",
    "QsearchError",
    "QueryError",
]


class QsearchError(Exception):
    """Root of every error that qsearch raises on purpose."""


class CorpusError(QsearchError):
    """A corpus cannot be read, or one of its documents is not valid.

    Attributes:
        path: the corpus as the user named it (``-`` for standard input), or ``None``.
        line: the line (or row) number, from 1, or ``None`` when the whole corpus is meant.
    """

    def __init__(self, message: str, *, path: str | None = None, line: int | None = None) -> None:
        """Prefix ``message`` with ``path:line``, as compilers do."""
        place = "" if path is None else path if line is None else f"{path}:{line}"
        super().__init__(f"{place}: {message}" if place else message)
        self.path = path
        self.line = line


class EncoderError(QsearchError):
    """A model cannot be found, loaded or run, or gives unusable embeddings."""


class EncoderMismatch(EncoderError):
    """The encoder at hand is not the one that the index was built with.

    Attributes:
        differences: one sentence per difference, the most telling first.
    """

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        """Keep ``differences`` beside the message."""
        super().__init__(message)
        self.differences = differences


class IndexFormatError(QsearchError):
    """An index is missing, half written, damaged, or of a format this version does not read."""


class IndexExists(QsearchError):
    """There is an index at the target already, and replacing it was not asked for."""


class IndexBusy(QsearchError):
    """Somebody else builds, changes or checks the index, or reads it for longer than a commit waits."""


class IndexClosed(QsearchError):
    """An index was closed, perhaps by another thread, and used afterwards."""


class IndexWriteError(QsearchError):
    """The file system refused a write: the disk is full, read-only or failing."""


class OptionError(QsearchError, ValueError):
    """An option of a build that makes no sense: a number out of its range, or of another type."""


class QueryError(QsearchError, ValueError):
    """A query that has no answer: empty, of another dimension, not finite, k below 1.

    Also where the environment asks for kernels or threads that there are not.
    """


class BuildInterrupted(KeyboardInterrupt):
    """Ctrl-C stopped a build.

    Attributes:
        kept: documents that the next build of the same index need not do again; ``None`` where it was
            stopped before it knew how many an earlier one had kept.
    """

    def __init__(self, kept: int | None) -> None:
        """Say what is kept."""
        if kept is None:
            told = "nothing was done yet; what an earlier build had finished is kept"
        elif kept:
            told = f"{kept:,} documents are finished and kept"
        else:
            told = "no document was finished, nothing is kept"
        super().__init__(told)
        self.kept = kept


class ChangeInterrupted(KeyboardInterrupt):
    """Ctrl-C stopped a change of an index.

    Attributes:
        kept: records that the same change need not do again when it is run once more.
        commit: the commit that it made, where it was only stopped behind that; else ``None``.
        joined: segments that compacting had joined, each group in a commit of its own.
    """

    def __init__(
        self,
        kept: int,
        commit: int | None = None,
        joined: int = 0,
        left: str = "what keeps the index fast is left to the next",
    ) -> None:
        """Say what is kept, and of a change that is done what is ``left``."""
        if commit is not None:
            told = f"the change is done (commit {commit}); {left}"
        elif joined:
            told = f"the index answers as before; {joined:,} segments are joined; compact goes on there"
        elif kept:
            told = f"the index is as it was; {kept:,} records of the change are finished and kept"
        else:
            told = "the index is as it was"
        super().__init__(told)
        self.kept = kept
        self.commit = commit
        self.joined = joined
