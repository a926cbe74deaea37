"""A small run of the benchmark, and what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.benchmark.commands import main
from scripts.benchmark.systems.base import unit
from tests.conftest import ROOT

RESULTS = ROOT / "docs" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"


def clustered(rows: int, queries: int, d: int = 64) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    centres = generator.standard_normal((20, d))
    made = centres[generator.integers(20, size=rows)] + 0.7 * generator.standard_normal((rows, d))
    asked = made[generator.integers(rows, size=queries)] + 0.3 * generator.standard_normal(
        (queries, d)
    )
    return made.astype(np.float32), unit(asked)


def run(registry: Path, place: Path, *arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            ["run", "registry-10k", "--registry", str(registry), "--work", str(place / "work")]
            + ["--results", str(place / "benchmarks"), "--builds", "1", "--threads", "1"]
            + ["--setting", "0.01", "--limit", "60", "--rows", "600", *arguments]
        )
    assert ended.value.code == 0


def told(place: Path) -> dict[str, Any]:
    return json.loads((place / "benchmarks" / "registry-10k.json").read_text(encoding="utf-8"))
