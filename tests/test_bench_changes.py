"""The benchmark of changes runs, and prints what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import ROOT


def test_each_part_prints_its_figures(tmp_path: Path) -> None:
    """With few rows: what it takes is for those who measure to say."""
    generator = np.random.default_rng(0)
    np.save(tmp_path / "vectors.npy", generator.standard_normal((5600, 8)).astype(np.float16))
    np.save(tmp_path / "queries.npy", generator.standard_normal((60, 8)).astype(np.float32))
    lines = [json.dumps({"id": "same", "text": f"text {number}"}) for number in range(40)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench" / "changes.py"]
        + [tmp_path / "vectors.npy", tmp_path / "queries.npy"]
        + ["--corpus", tmp_path / "corpus.jsonl", "--rows", "12000", "--repeats", "1"]
        + ["--only", "add", "deleted", "compact", "open", "sync"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    parts = dict(re.findall(r"^(\w+)\n((?: .*\n?)*)", done.stdout, re.MULTILINE))
    assert set(parts) == {"add", "deleted", "compact", "open", "sync"}
    assert len(re.findall(r"ratio \d+\.\d\d\n", parts["add"])) == 2
    assert parts["deleted"].count("ratio") == 14  # seven indexes, one by one and in a batch
    before, after = re.findall(r"bytes ([\d,]+) before, ([\d,]+) after", parts["compact"])[0]
    assert int(after.replace(",", "")) < 0.7 * int(before.replace(",", ""))
    assert re.search(r"100 segments +\d+\.\d\d \(", parts["open"])
    assert re.search(r"40 documents: .*; 0 were encoded, commit 1\n", parts["sync"])
