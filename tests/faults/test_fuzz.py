"""Nothing that is read can do harm: the fuzzing in its shortest form, and what it has found before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import form
from tests.faults.fuzz_defects import DEFECTS, Defect
from tests.faults.fuzz_driver import ROOT, WEIGHTS, missing, run_target
from tests.faults.fuzz_found import FOUND
from tests.faults.shim import preloaded, told

SECONDS = form.times(1.0, 120.0 / len(WEIGHTS), 3600.0 / len(WEIGHTS) / form.PARTS)
"""For each target: two minutes for all in ``scripts/faults``, an hour in its long form; ``scripts/fuzz
--seconds`` takes as long as it is told."""


@pytest.mark.parametrize("name", WEIGHTS)
def test_no_input_that_is_tried_breaks_anything(tmp_path: Path, name: str) -> None:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    found = run_target(name, SECONDS, tmp_path)
    assert not found.found, found.found
    assert not found.ended, found.ended
    assert found.executions >= 6  # those of the seeds, on a machine that is busy
    assert found.edges >= 50


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda one: one.name)
def test_a_defect_that_is_planted_changes_what_is_there(defect: Defect) -> None:
    """Whether it is found takes longer: scripts/fuzz --planted."""
    source = (ROOT / "qsearch" / defect.file).read_text(encoding="utf-8")
    assert defect.planted(source) != source
    assert defect.target in WEIGHTS


def test_what_broke_something_once_does_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cases = [(name, data.hex()) for name, data, _ in FOUND]
    outcomes = preloaded(None, "fuzz_replay", tasks=cases)
    failures = [
        f"{what}\n{failure}"
        for (_, _, what), failure in zip(FOUND, outcomes, strict=True)
        if failure is not None
    ]
    assert len(outcomes) == len(FOUND)
    assert not failures, told(failures)
