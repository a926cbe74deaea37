"""The file of rejected records: a JSON object a line, with line, reason and what stood there."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qsearch.documents import Corpus, Embeddings, RejectedRecord
from qsearch.errors import IndexWriteError
from qsearch.store.holding import index_around
from qsearch.wording import words

__all__ = ["check_rejects", "rejects_path", "write_rejects"]


def rejects_path(index: Path, asked: Path | None) -> Path:
    """Where the rejected records of a build or change of ``index`` go: beside it, unless asked for."""
    return asked or index.with_name(index.name + ".rejects.jsonl")


def check_rejects(
    index: Path, asked: Path | None, skip_invalid: bool, *read: Corpus | Embeddings | None
) -> None:
    """Find out early whether ``write_rejects`` will be able to, and may.

    Args:
        index: what is built or changed.
        asked: where the user wants them.
        skip_invalid: whether there may be any.
        read: what records come from, which may be files.

    Raises:
        IndexWriteError: it will not, or what is there is read from or of an index.
    """
    if asked is None and not skip_invalid:
        return
    path = rejects_path(index, asked)
    for name in (one.name for one in read if one is not None):
        for file in (name, name.rpartition(":")[0]):  # an array of several in a file
            if path.exists() and os.path.exists(file) and os.path.samefile(path, file):
                raise IndexWriteError(
                    f"{path} is what is read; give another file for the rejected records with "
                    f"{words().rejects}"
                )
    if asked is None:  # beside the index, where there need not be a folder yet
        return
    if index_around(path) is not None:
        raise IndexWriteError(
            f"{path} lies inside of an index; give another file for the rejected records with "
            f"{words().rejects}"
        )
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise IndexWriteError(
            f"the rejected records cannot be written to {path}; give a file in a directory that is "
            f"there and writable with {words().rejects}"
        )


def write_rejects(path: Path, rejects: Iterable[RejectedRecord]) -> None:
    """Write all rejects, replacing what is at ``path``.

    Raises:
        IndexWriteError: the file system refuses.
    """
    try:
        with open(path, "w", encoding="utf-8") as file:
            for reject in rejects:
                file.write(json.dumps(_reject_record(reject), ensure_ascii=False) + "\n")
    except OSError as error:
        raise IndexWriteError(f"{path} cannot be written ({error.strerror})") from error


def _reject_record(reject: RejectedRecord) -> dict[str, Any]:
    record: dict[str, Any] = {"line": reject.line, "reason": reject.reason}
    try:
        record["raw"] = reject.raw.decode("utf-8")
    except UnicodeDecodeError:
        record["raw_base64"] = base64.b64encode(reject.raw).decode("ascii")
    return record
