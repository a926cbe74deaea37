"""What can be asked of a search: each option once, with type, default and meaning.

The signatures and help of the library's methods, the command line, and whatever else hands searches
on are made of these.
"""

from __future__ import annotations

import difflib
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_args, get_type_hints

__all__ = [
    "FUSIONS",
    "METHODS",
    "MODES",
    "WORDS",
    "ChangeOptions",
    "FilterOptions",
    "Option",
    "RetrievalOptions",
    "SearchOptions",
    "TextSearchOptions",
    "WayOptions",
    "documented",
    "listed",
    "settled",
]

METHODS = ("exact", "cascade", "binary", "graph")
"""Ways of retrieval by name, see ``RetrievalOptions.method``."""

MODES = ("meaning", "keywords", "hybrid")
"""What a text is searched by, see ``TextSearchOptions.mode``."""

FUSIONS = ("convex", "rrf")
"""How the two rankings of a hybrid search become one, see ``TextSearchOptions.fusion``."""


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of an option beside its type.

    Attributes:
        default: where it is not given.
        help: what it means, for people who may be typing Python or a command.
    """

    default: Any
    help: str


class FilterOptions(TypedDict, total=False):
    """Options of whatever takes the documents for which a condition holds."""

    where: Annotated[
        str | Mapping[str, Any] | None,
        Option(
            None,
            "Only documents for which this holds: a condition on fields of their metadata, id and title, "
            "in SQL's words (\"year >= 2020 AND lang IN ('en', 'de') AND NOT archived\") or as a mapping "
            '({"year": {"$gte": 2020}}). The answer is exact among these.',
        ),
    ]
    params: Annotated[
        Mapping[str, Any] | None,
        Option(None, "Values of the :names in the condition."),
    ]
    missing_fields_ok: Annotated[
        bool,
        Option(
            False, "Let the condition speak of fields that no document has; else that is an error."
        ),
    ]


class WayOptions(TypedDict, total=False):
    """How it is searched."""

    recall: Annotated[
        float | Literal["exact"],
        Option(
            "exact",
            "exact: the answer of a search over all float rows, proven. Below 1: as many candidates as "
            "reach this share of it, by what was measured on this index, with 95% confidence; where "
            "that would not be faster, the search is exact. It is measured for queries of many kinds: one "
            "that is too unlike the documents, and the sample, for what was measured is answered exactly.",
        ),
    ]
    method: Annotated[
        str | None,
        Option(
            None,
            "A way of retrieval by name, instead of a recall: exact; cascade (binary, then int8 codes, "
            "then floats); binary (candidates by these codes, then floats); graph "
            "(candidates by a graph, where one was built).",
        ),
    ]
    candidates: Annotated[
        int | None,
        Option(
            None,
            "How many, for cascade and binary (1,000 if not given) and graph (100); at least k.",
        ),
    ]
    all_passages: Annotated[
        bool,
        Option(
            False,
            "Where documents are split into passages: the k nearest passages, of whatever documents, "
            "instead of documents each by its best passage. Not at a recall below 1.",
        ),
    ]
    alike: Annotated[
        bool,
        Option(
            False,
            "With a recall below 1: it is promised for queries that are like those it was measured with "
            "(yours, where you gave some), and not for queries of any kind. That is faster.",
        ),
    ]


class RetrievalOptions(WayOptions, FilterOptions, total=False):
    """Options of every search; those of ``Index.search_vectors``."""


class RecordOptions(TypedDict, total=False):
    """How records are read: options of the methods of ``Index.changes``."""

    embeddings: Annotated[
        Any,
        Option(
            None,
            "Numbers made elsewhere, one row for each record, as ``Index.build`` takes them; for an index "
            "that was built from vectors.",
        ),
    ]
    input_format: Annotated[
        str | None, Option(None, "Of a file, where its name does not tell: see ``Index.build``.")
    ]
    delimiter: Annotated[str | None, Option(None, "What parts the columns of CSV and TSV.")]
    encoding: Annotated[str | None, Option(None, "Of a text file that is not UTF-8.")]
    fields: Annotated[
        Any, Option(None, "Which field is which, as ``Fields`` or as a mapping of its names.")
    ]
    skip_invalid: Annotated[
        bool, Option(False, "Leave invalid records out and count them, instead of stopping.")
    ]
    rejects: Annotated[
        Any, Option(None, "Where to write these; by default ``<index>.rejects.jsonl``.")
    ]


class ChangeOptions(RecordOptions, total=False):
    """Options of every change that takes documents; those of ``Index.add``, ``upsert`` and ``sync``."""

    wait: Annotated[
        float, Option(0.0, "Seconds to wait for another writer, before IndexBusy is raised.")
    ]
    progress: Annotated[Any, Option(None, "Is told what is done.")]


class SearchOptions(RetrievalOptions, total=False):
    """Options of a search for documents; those of ``Index.search_by_vectors``."""

    explain: Annotated[
        bool,
        Option(
            False,
            "Tell how the result came about: what each stage did, and where each hit stood in it. "
            "Takes time.",
        ),
    ]


class TextSearchOptions(SearchOptions, total=False):
    """Options of a search by text; those of ``Index.search`` and ``Index.search_batch``."""

    mode: Annotated[
        Literal["meaning", "keywords", "hybrid"],
        Option(
            "meaning",
            "meaning: the nearest documents by their vectors. keywords: the best by the words that they "
            "share with the query (BM25); no encoder is loaded. hybrid: the best by either, scored by "
            "both. The last two need a text index.",
        ),
    ]
    weight: Annotated[
        float | None,
        Option(
            None,
            "Of the meaning in a hybrid score, 0 to 1; what is left is that of the words. What the index "
            "was tuned to, or 0.8, if not given.",
        ),
    ]
    fusion: Annotated[
        Literal["convex", "rrf"],
        Option(
            "convex",
            "How a hybrid search makes one score of two: convex (the weighted mean of both, each put "
            "between 0 and 1) or rrf (reciprocal ranks).",
        ),
    ]
    depth: Annotated[
        int | None,
        Option(
            None,
            "How many of the best by meaning, and by words, a hybrid search looks at; at least k. Three "
            "times k, and at least 100, if not given.",
        ),
    ]
    k1: Annotated[
        float, Option(1.2, "Of BM25: how much further occurrences of a word count, from 0.")
    ]
    b: Annotated[
        float,
        Option(0.75, "Of BM25: how much the length of a document counts against it, 0 to 1."),
    ]
    rerank: Annotated[
        Any,
        Option(
            None,
            "Score the best hits again with a cross-encoder, which reads query and text together, and "
            "order them by that: a model by name or path (cross-encoder/ms-marco-MiniLM-L6-v2), in Python "
            "also a CrossEncoder or a Reranker. It runs where, and as, the encoder does.",
        ),
    ]
    rerank_depth: Annotated[
        int,
        Option(
            50,
            "How many hits are scored again: at least k. The time grows with it, and no hit beyond it can "
            "come up.",
        ),
    ]


WORDS = ("mode", "weight", "fusion", "depth", "k1", "b")
"""Options of ``TextSearchOptions`` that say whether, and how, words count."""


@cache
def listed(options: type) -> dict[str, tuple[Any, Option]]:
    """The type and the ``Option`` of each option of a TypedDict of this module, by name."""
    found = {}
    for name, hint in get_type_hints(options, include_extras=True).items():
        of_type, option = get_args(hint)
        found[name] = (of_type, option)
    return found


def settled(options: type, given: Mapping[str, Any], caller: str) -> dict[str, Any]:
    """All options: what was given, else the default.

    Args:
        options: a TypedDict of this module.
        given: by name.
        caller: for the message, as ``search()``.

    Raises:
        TypeError: one is not known; names the nearest that is.
    """
    known = listed(options)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise TypeError(f"{caller} got an unexpected keyword argument {name!r}{meant}")
    return {name: given.get(name, option.default) for name, (_, option) in known.items()}


_Method = TypeVar("_Method", bound=Callable[..., Any])


def documented(options: type) -> Callable[[_Method], _Method]:
    """Show a method's options in its signature and its docstring, as if they had been written there.

    Args:
        options: the TypedDict that ``**options`` of the method is.
    """

    def decorate(method: _Method) -> _Method:
        known = listed(options)
        signature = inspect.signature(method)
        plain = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        plain += [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=of_type
            )
            for name, (of_type, option) in known.items()
        ]
        method.__signature__ = signature.replace(parameters=plain)  # type: ignore[attr-defined]
        method.__doc__ = _with_options(method.__doc__ or "", known)
        return method

    return decorate


def _with_options(doc: str, known: Mapping[str, tuple[Any, Option]]) -> str:
    """The docstring, with the options in the place of its line about them."""
    lines: list[str] = []
    for line in doc.split("\n"):
        if line.lstrip().startswith("**options:"):
            first = line[: len(line) - len(line.lstrip())]
            for name, (_, option) in known.items():
                lines += textwrap.wrap(
                    f"{name}: {option.help}",
                    100,
                    initial_indent=first,
                    subsequent_indent=first + "    ",
                )
        else:
            lines.append(line)
    return "\n".join(lines)
