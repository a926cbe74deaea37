"""The page says what was measured, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmark import contests, figures, page, shown, words
from scripts.benchmark.commands import main
from tests.benchmark.world import PAGE, RESULTS, told
from tests.conftest import ROOT


def test_the_page_is_made_of_the_results(measured: Path) -> None:
    results = measured / "benchmarks"
    text = page.text(results)
    assert text == page.text(results)
    assert text.startswith("# qsearch and its peers, measured\n\n<!-- Made by")
    image, sentences = text.split("\n\n")[2:4]
    assert image == "![600 short texts, one thread, one by one](benchmarks/headline.svg)"
    assert sentences.count(". ") == 2
    assert "(benchmarks/recall-registry-10k.svg)" in text[text.index("## 600 short texts") :]
    assert "[below](#600-short-texts)" in text
    assert text.index("## Where another system is better") < text.index("## Who is fastest")
    assert "cannot be imported: No module named 'zvec'" in text
    found = told(measured)
    speed = words.number(np.median([
        1000 / turn["settings"]["exact"]["single"]
        for turn in found["systems"]["NumPy"]["turns"]["1"].values()
    ]))  # fmt: skip
    assert f"| NumPy | exact | 1.0000 | {speed} (" in text
    found["systems"]["faiss FlatIP"]["turns"]["1"]["0"]["settings"]["exact"]["single"] = 1e-3
    found["systems"]["faiss FlatIP"]["turns"]["1"]["1"]["settings"]["exact"]["single"] = 1e-3
    quick = measured / "quick"
    quick.mkdir(exist_ok=True)
    (quick / "registry-10k.json").write_text(json.dumps(found))
    faster = page.text(quick).split("\n\n")[3]
    mine = found["systems"]["qsearch"]["turns"]["1"].values()
    speed, alike = (
        np.median([1000 / turn["settings"][name]["single"] for turn in mine])
        for name in ("recall 0.99", "recall 0.99, alike")
    )
    best_speed = max(speed, alike)
    told_speeds = f"{words.number(best_speed)} queries a second"
    if alike > speed:
        told_speeds = (
            f"{words.number(speed)} queries a second whatever they are like, and {words.number(alike)} "
            "where they are known to be like its sample"
        )
    assert faster.startswith(
        "For 99% of the ten nearest faiss FlatIP answers 1,000,000 queries a second and is the fastest, by "
        "a setting that was found by trying; qsearch, which is asked for the recall and finds the setting "
        f"itself, answers {told_speeds}."
    )
    better = page.text(quick)
    better = better[better.index("## Where another") : better.index("## Who is fastest")]
    assert f"faiss FlatIP {1e6 / best_speed:.1f}× (1,000,000; {words.number(best_speed)})" in better


def test_what_another_system_is_better_in_is_told_with_both_figures(measured: Path) -> None:
    text = page.text(measured / "benchmarks")
    better = text[text.index("## Where another") : text.index("## Who is fastest")]
    found = contests.contests(figures.Measured(told(measured)))
    lost = [one for one in found if one.times > 1]
    assert f"Of {len(found)} comparisons" in better
    assert f"behind in {len(lost)}" in better
    assert better.count("× (") == len(lost)
    for one in lost:
        mark = "≈" * one.close
        assert f"{one.system} {mark}{one.times:.1f}× (" in better


def test_without_avx512_ratios_are_told(measured: Path) -> None:
    found = told(measured)
    slow = json.loads(json.dumps(found["systems"]["qsearch"]))
    for turn in slow["turns"]["1"].values():
        for times in turn["settings"].values():
            times["single"] *= 2
    found["systems"]["qsearch (AVX2)"] = slow
    place = measured / "avx2"
    place.mkdir(exist_ok=True)
    (place / "registry-10k.json").write_text(json.dumps(found))
    text = page.text(place)
    text = text[text.index("## Without AVX-512") :]
    (exact,) = (line for line in text.split("\n") if line.startswith("| 600 short texts | exact |"))
    assert "| 0.50× |" in exact  # one by one
    assert "| ≈1.00× |" in exact  # in batches, where nothing differs


def test_of_a_system_that_is_asked_for_a_recall_what_was_asked_counts(measured: Path) -> None:
    """Not what came by luck: nobody can know before."""
    found = told(measured)
    for one in found["systems"]["qsearch"]["recall"].values():
        one |= {"recall10": 1.0}
    points = figures.Measured(found).points(1)
    for level in (0.99, 0.9):
        reached = [one for one in points if one.system == "qsearch" and one.reaches(level)]
        assert [one.promises for one in reached] == [level, level]  # of any kind, and alike
        others = [one for one in points if one.system == "NumPy" and one.reaches(level)]
        assert all(one.sure for one in others)
        assert others
    for name in ("recall 0.99", "recall 0.99, alike"):
        found["systems"]["qsearch"]["recall"][name]["recall10"] = 0.98
    points = figures.Measured(found).points(1)
    assert not any(one.reaches(0.99) for one in points if one.promises == 0.99)
    exact = figures.fastest(points, None, "single")
    assert {one.system for one in exact.values()} == {"qsearch", "faiss FlatIP", "NumPy"}


def test_what_was_not_run_is_said(measured: Path) -> None:
    found = told(measured)
    del found["systems"]["NumPy"]
    found["systems"]["of an earlier benchmark"] = found["systems"]["faiss FlatIP"]
    assert set(figures.Measured(found).failures()) == {"zvec int8 + floats"}
    place = measured / "left"
    place.mkdir(exist_ok=True)
    (place / "registry-10k.json").write_text(json.dumps(found))
    text = page.text(place)
    assert "of an earlier benchmark" not in text
    left = text[text.index("Not run, for want of time: of 600 short texts: ") :].split("\n")[0]
    assert "NumPy" in left
    assert "hnswlib" in left
    assert "faiss FlatIP" not in left


def test_time_against_rows_is_measured_in_a_run_of_its_own(
    measured: Path, registry: Path, tmp_path: Path
) -> None:
    results = Path(shutil.copytree(measured / "benchmarks", tmp_path / "benchmarks"))
    assert "## Time against number of rows" not in page.text(results)
    common = [
        "--registry",
        str(registry),
        "--work",
        str(tmp_path / "work"),
        "--results",
        str(results),
    ]
    for name, rows in (("registry-10k", 300), ("registry-3m", 600)):
        arguments = ["rows", name, *common, "--systems", "NumPy,faiss FlatIP,SymphonyQG"]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--rows", str(rows), "--rounds", "1", "--limit", "60"])
        assert ended.value.code == 0
    largest = json.loads((results / "rows" / "registry-3m.json").read_text(encoding="utf-8"))
    assert set(largest["systems"]) == {"NumPy", "faiss FlatIP"}  # a graph takes too long
    text = page.text(results)
    section = text[text.index("## Time against number of rows") :].split("\n## ")[0]
    assert "| answers | system | 300 rows | 600 rows | memory MB at 600 |" in section
    (line,) = (one for one in section.split("\n") if one.startswith("| exact answers | NumPy |"))
    turn = largest["systems"]["NumPy"]["turns"]["1"]["0"]
    assert f"| {words.number(turn['settings']['exact']['single'])} |" in line
    assert line.endswith(f"| {words.megabytes(turn['memory']['uss'], unit=False)} |")
    assert "(benchmarks/rows-exact.svg)" in section
    assert "rows-exact.svg" in page.shown_plots(results)
    with pytest.raises(SystemExit, match="there is no 'registry-2m'; there are registry-10k"):
        main(["rows", "registry-2m", *common])


def test_of_two_machines_each_is_told_with_what_was_measured_on_it(measured: Path) -> None:
    found = told(measured)
    place = measured / "machines"
    place.mkdir(exist_ok=True)
    (place / "registry-10k.json").write_text(json.dumps(found))
    assert "measured on this machine" not in page.text(place)
    other = json.loads(json.dumps(found))
    other["data"]["name"] = "registry-30k"
    other["data"]["rows"] = 700
    other["machine"]["processor"] = "another processor"
    (place / "registry-30k.json").write_text(json.dumps(other))
    text = page.text(place)
    assert text.count("; on another processor. Of each system") == 1
    small_print = text[text.index("## How it was measured") :]
    assert "| **measured on this machine** | 600 short texts |" in small_print
    _, told_of_other = small_print.split("| **measured on this machine** | 700 short texts |")
    assert told_of_other.startswith("\n| processor | another processor; ")


def test_a_page_without_results_is_none(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no results"):
        page.text(tmp_path)


def test_the_page_of_this_repository_is_that_of_its_results() -> None:
    """The two come together: no page without results, no results without their page."""
    there = sorted(RESULTS.glob("*.json")) if RESULTS.is_dir() else []
    assert PAGE.is_file() == bool(there)
    if not there:
        return
    assert PAGE.read_text(encoding="utf-8") == page.text(RESULTS)
    plots = page.shown_plots(RESULTS)
    assert {path.name for path in RESULTS.glob("*.svg")} == set(plots)
    for name, one in plots.items():
        assert f"data {shown.digest(one)}" in (RESULTS / name).read_text(encoding="utf-8"), name
    assert sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file()) < 2_000_000


def test_nothing_names_this_machine_or_a_registry() -> None:
    for path in (ROOT / "scripts" / "benchmark").rglob("*"):
        if path.is_file() and path.suffix in (".py", ".txt", ""):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/(work|root|home|tmp|opt)/|https?://", text), path
