"""Judgments of relevance (qrels): three columns as in BEIR, four as in TREC."""

from __future__ import annotations

import re
from pathlib import Path

from qsearch.documents.compression import without_suffix
from qsearch.documents.datasets import dataset_judgments, is_dataset
from qsearch.documents.lines import text_lines
from qsearch.documents.relevance import relevance_of
from qsearch.errors import CorpusError, QueryError

__all__ = ["Judgments", "judgments_in", "read_judgments", "table_columns"]

Judgments = dict[str, dict[str, int]]
"""Relevance by query id, then document id; 1 and more is relevant."""

_HEADERS = frozenset(
    [
        "score",
        "relevance",
        "rel",
        "label",
        "grade",
        "judgment",
        "judgement",
        "rating",
        "gain",
        "value",
        "qrel",
    ]
)
"""What a header calls the last column: another word there is a relevance that cannot be."""

_SPLITS = ("test", "dev", "train")
"""Of BEIR, the first that is there is taken."""


def read_judgments(path: str) -> Judgments:
    """Judgments of a file: ``query document relevance``, or TREC's ``query 0 document relevance``.

    Columns are parted by tabs where a line has some, else by white space; a header is passed over, which
    ends with "score", "relevance", "label" or the like.

    Args:
        path: of a file, also a compressed one, ``-``, or of a folder in BEIR's form: of its
            ``qrels/*.tsv`` the test split, where there is one, or the only one; or ``irds:NAME`` for a
            dataset of ir_datasets.

    Raises:
        QueryError: a line is not what it should be, a pair is judged twice in two ways, or there are none.
        CorpusError: the file cannot be read.
    """
    if is_dataset(path):
        return dataset_judgments(path)
    if path != "-" and Path(path).is_dir():
        path = str(judgments_in(Path(path)))
    found: Judgments = {}
    width = 0
    lines = (line for line in text_lines(path, "line of judgments") if line.text.strip())
    for number, line in enumerate(lines):
        cells = table_columns(line.text)
        if not width:
            width = len(cells)
            if width not in (3, 4):
                commas = (
                    "; columns are parted by tabs or white space, not by commas"
                    if "," in line.text
                    else ""
                )
                raise QueryError(
                    f"{line.where}: has {width} column{'s' * (width != 1)}{commas}; {_EXPECTED}"
                )
        if len(cells) != width:
            raise QueryError(
                f"{line.where}: has {len(cells)} columns, the lines before have {width}; {_EXPECTED}"
            )
        query, document, given = cells[0], cells[-2], cells[-1].strip()
        relevance = relevance_of(_number(given))
        if relevance is None:
            if number == 0 and not _HEADERS.isdisjoint(re.split("[^a-z]+", given.casefold())):
                continue
            told = "; a header ends with 'score', 'relevance' or 'label'" * (number == 0)
            raise QueryError(
                f"{line.where}: the relevance must be a whole number of at most a million, found "
                f"{given!r}{told}; {_EXPECTED}"
            )
        of_query = found.setdefault(query, {})
        if of_query.setdefault(document, relevance) != relevance:
            raise QueryError(
                f"{line.where}: document {document!r} is judged {relevance} for query {query!r}, and "
                f"{of_query[document]} further up; leave one of them out"
            )
    if not found:
        raise QueryError(f"{path}: holds no judgments; {_EXPECTED}")
    return found


_EXPECTED = (
    "a line of judgments is 'query document relevance' (BEIR) or 'query 0 document relevance' (TREC), and "
    "ids with white space in them need tabs between the columns"
)


def table_columns(line: str) -> list[str]:
    """The cells of a line, parted by tabs where it has some, as they stand there, else by white space."""
    if "\t" in line:
        return line.strip("\r\n").split("\t")
    return line.split()


def _number(cell: str) -> float | None:
    """The number of a cell; ``None``: it is none, or written as only Python reads it (``1_0``, ``٣``)."""
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def judgments_in(folder: Path) -> Path:
    """The judgments of a folder in BEIR's form.

    Raises:
        CorpusError: there are none, or several.
    """
    places = [folder / "qrels", folder]
    for place in places:
        if not place.is_dir():
            continue
        files = sorted(
            one
            for one in place.iterdir()
            if without_suffix(one.name).endswith((".tsv", ".txt", ".qrels"))
            and (place != folder or without_suffix(one.name).startswith("qrels"))
        )
        by_split = {without_suffix(one.name).partition(".")[0]: one for one in files}
        for split in _SPLITS:
            if split in by_split:
                return by_split[split]
        if len(files) == 1:
            return files[0]
        if files:
            raise CorpusError(
                f"holds several files of judgments ({', '.join(one.name for one in files)}); name one",
                path=str(place),
            )
    raise CorpusError(
        "is a folder without judgments; give the file (BEIR has qrels/test.tsv)", path=str(folder)
    )
