"""What the tests of changes have in common."""

from __future__ import annotations

from typing import Any

import pytest

import qsearch.store.editor
from qsearch import Index, verify_index


def records(first: int, count: int, words: str = "cat dog") -> list[dict[str, Any]]:
    return [
        {"id": f"d{number}", "text": f"{words} number {number}", "n": number}
        for number in range(first, first + count)
    ]


def ids(index: Index) -> list[str]:
    return [document.id for document in index]


def sound(index: Index) -> bool:
    report = verify_index(index.path, deep=True)
    assert not report.problems
    return report.ok


def sync_cut_short(index: Index, corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt a sync when all of it was kept, and nothing committed."""

    def stop(editor: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(qsearch.store.editor.IndexEditor, "_new_tail", stop)
        with pytest.raises(KeyboardInterrupt):
            index.sync(corpus)
