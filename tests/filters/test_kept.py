"""What is kept of conditions, and conditions that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import qsearch.selection
import qsearch.store.selecting
from qsearch import Index, QueryError
from qsearch.patience import is_wanted, while_wanted


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    rows = np.eye(8, dtype=np.float32)[np.arange(1200) % 8]
    some = [{"id": str(n), "text": f"cat {n}", "n": n} for n in range(1200)]
    with Index.build(some, tmp_path_factory.mktemp("kept") / "index", embeddings=rows) as opened:
        yield opened


def test_a_condition_ends_when_nobody_waits_for_it(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.store.selecting, "_INSTRUCTIONS", 50)
    looks: list[int] = []

    def wanted() -> bool:
        looks.append(1)
        return len(looks) < 20

    with while_wanted(wanted), pytest.raises(QueryError, match="nobody waits"):
        index.count("n > 7")
    assert 20 <= len(looks) <= 22  # it ended at once
    assert is_wanted()
    assert index.count("n > 7") == 1192


def test_conditions_are_kept_with_what_their_words_take(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.selection, "_MOST_BYTES", 20_000)
    selections = index._open.selections
    numbers = ", ".join(str(100 + n) for n in range(1000))
    for least in range(30):
        assert index.count(f"n > {least} AND n IN ({numbers})") == 1000
    kept = list(selections._kept)
    assert 1 <= len(kept) < 4  # each has words of more than 5,000 characters
    assert selections._bytes >= sum(map(len, kept))
    assert index.count(f"n > 29 AND n IN ({numbers})") == 1000
    assert list(selections._kept) == kept
    index.count("n > 1")
    index.count("n > 1")
    held = sum(qsearch.selection._size(*one) for one in selections._kept.items())
    assert selections._bytes == held <= 20_000
