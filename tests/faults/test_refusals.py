"""What the system refuses in the middle of a change is told, and harms nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults import form
from tests.faults.recorded import HISTORIES
from tests.faults.shim import preloaded, told

WHOLE = "tail"
"""In this one, which commits a small change, every call is refused in every way, in the suite too."""

SOME = {"large": 40, "compact": 30, "upgrade": 20, "merge": 30, "passages": 20}
"""Refusals of the others, by ``scripts/faults``, chosen by chance. The long form has all of each."""


@pytest.mark.parametrize("name", form.times([WHOLE], [WHOLE, *SOME], list(HISTORIES)))
def test_what_is_refused_is_told_and_the_next_try_works(
    library: Path, quick: Path, name: str
) -> None:
    """ENOSPC, EIO, EMFILE, EACCES at the n-th call, reading too, and a disk that is full from there on."""
    count = 0 if form.LONG else SOME.get(name, 0)
    arguments = (0, count, form.PART, form.PARTS)
    found: dict[str, Any] = preloaded(
        library, "refusal_worker", name, str(quick), *map(str, arguments)
    )
    assert not found["failures"], told(found["failures"])
    print(f"{name}: {found['checked']} of {found['cases']} refusals")
    if form.PARTS == 1:
        assert found["checked"] == (count or found["cases"])
    assert min(found["calls"]) > 100
