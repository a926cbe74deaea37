"""What is said of records and their fields: in the words of the caller, where an error is made."""

from __future__ import annotations

import logging

from qsearch.documents import Corpus, RejectedRecord, Role, encoding_advice
from qsearch.errors import CorpusError
from qsearch.wording import words

__all__ = ["advice_for", "check_fields"]

_logger = logging.getLogger(__name__)


def advice_for(record: RejectedRecord) -> str:
    """What could help against the reason of a rejected record, to be said after it; often nothing."""
    return {
        None: "",
        "id field": f"; name the field that holds it with {words().id_field}",
        "text field": f"; name the field that holds it with {words().text_field}",
        "encoding": f"; {encoding_advice(record.raw)}" if record.remedy == "encoding" else "",
        "taken": f"; {words().upsert} replaces it",
        "numbered": f"; give the records ids of their own, or name the field with {words().id_field}",
    }[record.remedy]


def check_fields(corpus: Corpus, *, again: bool = False) -> None:
    """Hold the fields that a corpus, read to its end, turned out to have against those that were named.

    Says that documents are numbered where a field could hold their ids, but not ``again``.

    Raises:
        CorpusError: no record has a field that was named.
    """
    found = corpus.found
    if found.missing and found.seen:
        raise _missing_fields(corpus)
    if found.id_like and not again:
        _logger.warning(
            "%s: no record has an id, so %s numbers are used; %s could hold ids: name it with %s",
            corpus.name,
            found.numbered_by,
            " or ".join(map(repr, found.id_like[:4])),
            words().id_field,
        )


def _missing_fields(corpus: Corpus) -> CorpusError:
    options: dict[Role, str] = {
        "id": words().id_field,
        "text": words().text_field,
        "title": words().title_field,
        "metadata": words().metadata_field,
    }
    found = corpus.found
    named = " or ".join(f"{name!r} ({options[role]})" for role, name in found.missing)
    seen = ", ".join(map(repr, found.seen))
    return CorpusError(f"no record has a field {named}; there are {seen}", path=corpus.name)
