"""Defects that are planted, one at a time, to see how long the fuzzing takes to find each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFECTS", "Defect"]


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that somebody could take out.

    Attributes:
        name: for the command line.
        target: that should find it.
        file: of qsearch, its end.
        old: what stands there, once.
        new: what takes its place.
    """

    name: str
    target: str
    file: str
    old: str
    new: str

    def planted(self, source: str) -> str:
        """A module with it.

        Raises:
            ValueError: what it takes the place of is not there, or more than once.
        """
        if source.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} has {self.old!r} {source.count(self.old)} times"
            )
        return source.replace(self.old, self.new)


DEFECTS = (
    Defect(
        "header of an array",
        "arrays",
        "store/segment.py",
        "if whole[:HEADER_BYTES].tobytes() != npy_header(array.dtype, shape):",
        "if False:",
    ),
    Defect("size of an array", "arrays", "store/segment.py", "if size != expected:", "if False:"),
    Defect(
        "checksum of passages",
        "arrays",
        "store/soundness.py",
        "if found != expected:",
        "if False:",
    ),
    Defect(
        "checksum of a row",
        "catalog",
        "store/catalog.py",
        "if not isinstance(one.vector, bytes) or one.values() != row:",
        "if not isinstance(one.vector, bytes):",
    ),
    Defect(
        "checksum of the lists",
        "catalog",
        "store/verify.py",
        'if found != expected:\n        yield f"checksum is {found}, should be {expected}"',
        "if False:\n        yield",
    ),
    Defect(
        "types of a list",
        "catalog",
        "store/catalog.py",
        'self._check_types("masks", (segment,), (living, documents))',
        "pass",
    ),
    Defect(
        "settings of a change",
        "catalog",
        "store/opening.py",
        "if name in settings and not sound(settings[name]):\n            raise",
        "if False:\n            raise",
    ),
    Defect(
        "depth of metadata",
        "corpora",
        "documents/document.py",
        "if _nesting_above(kept, MAX_NESTING):",
        "if False:",
    ),
    Defect(
        "errors of gzip",
        "corpora",
        "documents/compression.py",
        '_opened(gzip.GzipFile(fileobj=plain, mode="rb"), zlib.error)',
        '_opened(gzip.GzipFile(fileobj=plain, mode="rb"))',
    ),
    Defect(
        "surrogates",
        "corpora",
        "documents/document.py",
        "place = surrogate_in(value)\n",
        "place = None\n",
    ),
    Defect(
        "line ends of JSON",
        "corpora",
        "documents/lines.py",
        'content = line.removesuffix(b"\\n").removesuffix(b"\\r")',
        'content = line.rstrip(b"\\r\\n")',
    ),
    Defect(
        "rows of Parquet that cannot be",
        "parquet",
        "documents/parquet.py",
        "except (ValueError, OverflowError) as error:",
        "except OverflowError as error:",
    ),
    Defect(
        "JSON of queries",
        "queries",
        "documents/queries.py",
        "except (ValueError, RecursionError) as error:",
        "except ValueError as error:",
    ),
    Defect(
        "size of a vector file",
        "embeddings",
        "documents/vectors.py",
        "if size < expected and not header.dtype.hasobject:",
        "if False:",
    ),
    Defect(
        "title of an export",
        "export",
        "cli/records.py",
        'or named["title_field"] is not None or similar:',
        'or named["title_field"] is not None:',
    ),
)
"""A check that is left out, a comparison that is, an exception that is not expected, a mistake."""
