"""Kill −9 at any line of the writer: no index is lost, no finished chunk is encoded again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults import form


@pytest.mark.parametrize(
    ("kills", "kind"), [(form.times(30, 60, 60), "documents"), (form.times(15, 30, 30), "passages")]
)
def test_a_build_killed_anywhere_loses_nothing_and_resumes_to_the_same_result(
    kills: int, kind: str, tmp_path: Path
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests.store.crash_driver", str(tmp_path), str(kills), kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["killed"] == kills
    assert found["again"] == 0
    # The sample reaches every state that there is.
    assert found["old"] > 0
    assert found["half"] > 0
    assert found["new"] > 0
    assert found["durable"] > 0
