"""From texts to answers: what is measured of each package is a file that a user could have written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.benchmark import contests, ends, sections
from scripts.benchmark.commands import main
from tests.conftest import ROOT


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    folder = tmp_path / "judged"
    folder.mkdir()
    texts = {
        "e": " ",
        "a": "a cat sits",
        "b": "a dog barks",
        "c": "stars shine",
        "d": "ships carry freight",
    }
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        for name, text in texts.items():
            file.write(json.dumps({"_id": name, "title": f"title {name}", "text": text}) + "\n")
    (folder / "queries.jsonl").write_text(
        '{"_id": "1", "text": "cats"}\n{"_id": "2", "text": "x"}\n'
    )
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    return folder


def test_a_snippet_is_measured_from_texts_to_answers(
    judged: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    results = tmp_path / "benchmarks"
    with pytest.raises(SystemExit) as ended:
        main(
            ["endtoend", "--texts", str(judged), "--model", str(tiny_bert), "--rounds", "1"]
            + ["--systems", "qsearch,txtai", "--work", str(tmp_path / "work"), "--limit", "120"]
            + ["--results", str(results)]
        )
    assert ended.value.code == 0
    found = json.loads((results / "endtoend.json").read_text(encoding="utf-8"))
    about = {
        "name": "endtoend",
        "title": judged.name,
        "rows": 4,
        "without_text": 1,
        "queries": 5,
        "judged_queries": 1,
    }
    assert found["data"] == about
    one = found["systems"]["qsearch"]
    assert one["lines"] == 7
    built, opened = one["turns"]["build"]["0"], one["turns"]["open"]["0"]
    assert 0 < built["built"] <= built["first"] <= built["last"]
    assert 0 < opened["first"] <= opened["last"]
    assert opened["memory"]["uss"] > 0 < built["bytes"]
    assert "txtai" in found["systems"]["txtai"]["failed"]["reason"]
    assert contests.ends_of(found).keys() == {"qsearch"}
    assert "| qsearch |" in sections.endtoend(found)


def test_snippets_are_there_and_counted() -> None:
    folder = ROOT / "scripts" / "benchmark" / "endtoend"
    assert {path.name for path in folder.glob("*.py")} == {
        "__init__.py",
        *(file for file, _ in ends.SNIPPETS.values()),
    }
    assert ends.lines(folder / "sentence_transformers.py") == 15
