"""What can be asked of a build, checked when it is asked."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.passages import DEFAULT_LANGUAGE
from qsearch.errors import OptionError, QueryError
from qsearch.filters import as_field
from qsearch.wording import words

__all__ = ["BuildOptions", "build_options", "check_language"]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build.

    Attributes:
        graph: also build a graph for each segment: single queries at a recall up to some 0.95 then take a
            fraction of the time.
        force: replace an index that is there, when the new one is complete.
        restart: throw an interrupted build away instead of resuming it.
        skip_invalid: leave invalid records out and count them, instead of stopping at the first.
        rejects: where to write the records left out; ``None``: ``<index>.rejects.jsonl``.
        segment_rows: a segment is closed when it has at least so many rows.
        tune_queries: sample queries to measure recall with, as texts (where there is an encoder) or
            as (q, d) vectors; ``None`` takes documents.
        tuned_on: what they are, for people.
        passages: split documents of more tokens than this into passages, each with a vector of its own;
            ``None`` cuts them at the encoder's maximum length.
        overlap: tokens that a passage may share with the one before it, at most half of them.
        language: ISO 639 code, for abbreviations that do not end a sentence, and for the words of the text
            index.
        text_index: keep an index of the words in title and text, for searches by keywords.
        index_fields: fields of the metadata, as conditions have them, on which filters are to be fast.

    Raises:
        OptionError: a value makes no sense.
    """

    graph: bool = False
    force: bool = False
    restart: bool = False
    skip_invalid: bool = False
    rejects: Path | None = None
    segment_rows: int = 1 << 20
    tune_queries: Sequence[str] | NDArray[np.floating] | None = None
    tuned_on: str = "sample queries"
    passages: int | None = None
    overlap: int = 0
    language: str = DEFAULT_LANGUAGE
    text_index: bool = False
    index_fields: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("graph", "force", "restart", "skip_invalid", "text_index"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise OptionError(f"{name} must be True or False, found {getattr(self, name)!r}")
        if self.rejects is not None:
            try:
                object.__setattr__(self, "rejects", Path(self.rejects))
            except TypeError:
                raise OptionError(f"rejects must be a path, found {self.rejects!r}") from None
        if isinstance(self.tune_queries, str | bytes | Mapping):
            raise OptionError(
                "tune_queries must be a list of texts or an array, found "
                + ("a mapping" if isinstance(self.tune_queries, Mapping) else "one text")
            )
        given = self.tune_queries
        if given is not None and not isinstance(given, np.ndarray):
            try:  # once: it may be a generator, or a column of pandas
                object.__setattr__(self, "tune_queries", list(given))
            except TypeError:
                raise OptionError(
                    f"tune_queries must be a list of texts or an array, found {type(given).__name__}"
                ) from None
        if not isinstance(self.language, str):
            raise OptionError(f"language must be a code as 'en', found {self.language!r}")
        if self.text_index:
            check_language(self.language)
        self._check_fields()
        self._check_number("segment_rows", 1)
        self._check_number("overlap", 0)
        if self.passages is None:
            if self.overlap:
                raise OptionError(
                    "an overlap is one of passages; say how long they are with "
                    f"{words().passages}, or leave it out"
                )
            return
        self._check_number("passages", 1)
        if self.overlap > self.passages // 2:
            raise OptionError(
                f"an overlap of {self.overlap} tokens does not go with passages of {self.passages}; "
                f"ask for 0 to {self.passages // 2} with {words().overlap}"
            )

    def _check_fields(self) -> None:
        given = self.index_fields
        names = (given,) if isinstance(given, str) else tuple(given)
        for one in names:
            try:
                field = as_field(one)
            except QueryError as error:
                raise OptionError(f"index_fields: {one!r} names no field ({error})") from error
            if field.parts == ("id",):
                raise OptionError("index_fields: conditions on the id are fast as it is")
        object.__setattr__(self, "index_fields", names)

    def _check_number(self, name: str, least: int) -> None:
        value = getattr(self, name)
        try:
            if isinstance(value, bool):
                raise TypeError
            number = operator.index(value)
        except TypeError:
            raise OptionError(f"{name} must be a whole number, found {value!r}") from None
        if number < least:
            raise OptionError(f"{name} must be at least {least}, found {number}")
        object.__setattr__(self, name, number)


def check_language(language: str) -> None:
    """See that a language of the text index is a code, perhaps with a region behind it.

    Raises:
        OptionError: it is none.
    """
    if not re.fullmatch("[a-z]{2,3}([-_].*)?", language.lower()):
        raise OptionError(
            f"{language!r} is no ISO 639 code of a language; give {words().language} as en, de, zh, ..."
        )


def build_options(given: BuildOptions | Mapping[str, Any] | None) -> BuildOptions:
    """The options, as they may be given: also by their names.

    Raises:
        TypeError: a name is not known; names the nearest that is.
        OptionError: a value makes no sense.
    """
    if given is None:
        return BuildOptions()
    if isinstance(given, BuildOptions):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(
            f"options must be BuildOptions or a mapping of their names, found {type(given).__name__}"
        )
    known = [field.name for field in fields(BuildOptions)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise TypeError(f"unknown build option {name!r}{meant}")
    return BuildOptions(**given)
