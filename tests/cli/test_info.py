"""``qsearch info`` of an index that is not as it should be."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from qsearch import Index
from tests.cli.running import run


@pytest.mark.parametrize("value", ["null", "-1", '[""]', "no JSON", "1e400"])
def test_what_no_search_needs_may_be_damaged(tmp_path: Path, value: str) -> None:
    Index.build(None, tmp_path / "i", embeddings=np.eye(3)).close()
    names = ("rejected", "truncated", "created", "qsearch", "corpus")
    connection = sqlite3.connect(tmp_path / "i" / "catalog.sqlite")
    for name in names:
        connection.execute("UPDATE settings SET value = ? WHERE key = ?", (value, name))
    connection.commit()
    connection.close()
    shown = run("info", "-i", "i", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("not known (damaged)") == len(names)
    assert all(f"the setting {name!r} of" in shown.stderr for name in names)
    facts = json.loads(run("info", "-i", "i", "--format", "json", cwd=tmp_path).stdout)
    assert {facts[name] for name in names} == {None}
