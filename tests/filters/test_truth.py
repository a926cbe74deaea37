"""What a condition holds for: SQLite, and arrays of indexed fields, against Python's own evaluation."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from qsearch import Index, verify_index
from qsearch.filters.conditions import Exists, Field, fields_of, spelled
from qsearch.store.fields import known_fields
from qsearch.store.selecting import select
from tests.filters.oracle import says
from tests.filters.worlds import CONDITIONS, METADATA, ODD, PLAIN

EXAMPLES = 20
EACH = 40
"""Conditions that are asked of each index."""


def record(number: int, metadata: dict[str, Any]) -> dict[str, Any]:
    title = {"title": f"T{number % 3}"} if number % 2 else {}
    return {"id": f"d{number}", "text": f"text {number}", **title, **metadata}


def as_oracle(one: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in one.items() if name not in ("id", "text", "title")}
    return {"id": one["id"], "title": one.get("title"), "metadata": plain}


def chosen(index: Index, condition: Any) -> list[str]:
    snapshot = index._open
    known = known_fields(snapshot.catalog)
    found = select(
        snapshot.catalog, known, condition, snapshot.settings["positions"], missing_ok=True
    )
    living = [
        position
        for position in np.flatnonzero(found).tolist()
        if position in snapshot.catalog.there([position])
    ]
    return [document.id for document in index.documents(living)]


def expected(records: Sequence[dict[str, Any]], condition: Any) -> list[str]:
    return [one["id"] for one in records if says(condition, as_oracle(one)) is True]


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


# A failure is told as it was met: an example takes too long to be made smaller.
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    metadata=st.lists(METADATA, min_size=1, max_size=12),
    more=st.lists(METADATA, min_size=12, max_size=12),
    conditions=st.lists(CONDITIONS, min_size=EACH, max_size=EACH),
    indexed=st.sets(
        st.sampled_from([*PLAIN, *(one for one in ODD if one), "o", "title"]), max_size=6
    ),
)
def test_a_condition_holds_for_the_documents_that_python_says(
    metadata: list[dict[str, Any]],
    more: list[dict[str, Any]],
    conditions: list[Any],
    indexed: set[str],
) -> None:
    """As built, after changes, for a reader that stayed behind, and compacted."""
    folder = Path(tempfile.mkdtemp())
    try:
        before = [record(number, one) for number, one in enumerate(metadata)]
        names = [spelled((one,)) for one in sorted(indexed)] + ["o.x"]
        index = Index.build(
            before, folder / "i", embeddings=rows(len(before)), options={"index_fields": names}
        )
        for condition in conditions[: EACH // 4]:
            assert chosen(index, condition) == expected(before, condition), condition
        reader = Index.open(folder / "i")
        # Other metadata for every second one, new documents, and some that go.
        now = [
            record(number, more[number] if number % 2 else one)
            for number, one in enumerate(metadata)
        ]
        now += [record(number, more[number]) for number in range(len(metadata), 12)]
        with index.changes() as changes:
            vectors = np.concatenate([rows(len(before)), rows(12)[len(before) :]])
            changes.upsert(now, embeddings=vectors)
            changes.delete(["d0"])
        now = now[1:]
        for condition in conditions[EACH // 4 : EACH // 2]:
            assert chosen(index, condition) == expected(now, condition), condition
        for condition in conditions[EACH // 2 : -EACH // 4]:
            assert chosen(reader, condition) == expected(before, condition), condition
        assert not verify_index(folder / "i", deep=True).problems
        index.compact()
        for condition in conditions[-EACH // 4 :]:
            assert chosen(index, condition) == expected(now, condition), condition
            assert chosen(reader, condition) == expected(before, condition), condition
        assert not verify_index(folder / "i", deep=True).problems
        counted = {one.name: one.documents for one in index.fields if one.documents}
        for one in index.fields:
            if one.documents:
                assert counted[one.name] == sum(
                    says(Exists(Field(_parts(one.name), exact=True)), as_oracle(each)) is True
                    for each in now
                )
    finally:
        shutil.rmtree(folder)


def _parts(name: str) -> tuple[str, ...]:
    from qsearch.filters import as_field

    return as_field(name).parts


def test_the_conditions_of_this_test_speak_of_every_kind_of_field() -> None:
    """Chance decides what is asked: over many examples all of it is."""
    seen: set[tuple[str, ...]] = set()

    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    @given(CONDITIONS)
    def collect(condition: Any) -> None:
        seen.update(field.parts for field in fields_of(condition))

    collect()
    assert {("a",), ("o", "x"), ("id",), ("title",), ('quo"te',), ("dot", "ted")} <= seen
