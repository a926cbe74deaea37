"""Tuning a published index to queries: recall measured with them, and the weight of a hybrid search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.errors import IndexBusy
from qsearch.indexing.apply import Changing
from qsearch.indexing.report import Silent
from qsearch.indexing.samples import evenly_chosen
from qsearch.indexing.upkeep import measured_anew, was_measured
from qsearch.store import IndexEditor

__all__ = ["tune_index"]


def tune_index(
    how: Changing,
    name: str,
    queries: NDArray[np.float32],
    hybrid: dict[str, Any] | None,
    was_replaced: Callable[[], bool],
) -> tuple[int, int]:
    """Measure recall with queries, and store that in one commit; returns its number, and of how many.

    The queries are kept, so that recall is measured with them again when the index has changed.

    Args:
        how: of the index.
        name: what the queries are, for people.
        queries: (q, d) float32, checked.
        hybrid: ``weight`` of the meaning, and what it rests on; ``None``: as it is.
        was_replaced: whether another index has taken the place of the one that this rests on.

    Raises:
        IndexBusy: another writer was at it meanwhile, or another index took its place.
        IndexWriteError: the file system refuses; the index is as it was.
    """
    name, chosen = evenly_chosen(name, queries)
    settings = measured_anew(how.index, (name, chosen), how.progress or Silent())
    if hybrid is not None:
        settings["hybrid"] = hybrid
    with IndexEditor.open(how.index, wait=how.wait) as editor:
        if was_replaced():
            raise IndexBusy(
                f"another index took the place of {how.index} while recall was measured; nothing is "
                "stored; open that one, and tune it"
            )
        if not was_measured(editor, settings):
            raise IndexBusy(
                f"{how.index} was changed while recall was measured on it; nothing is stored, tune it again"
            )
        editor.put_samples(chosen)
        return editor.commit(settings), len(chosen)
