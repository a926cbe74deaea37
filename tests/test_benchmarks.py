"""The benchmark measures what it says, and its page says what was measured."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.benchmark import (
    commands,
    contests,
    ends,
    figures,
    machine,
    page,
    running,
    sections,
    shown,
    words,
)
from scripts.benchmark import data as data_sets
from scripts.benchmark.commands import main
from scripts.benchmark.results import Results, rounded, shortened
from scripts.benchmark.systems import systems
from scripts.benchmark.systems.base import Data, Setting, Unavailable, best, padded, rescored, unit
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


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    rows, queries = clustered(600, 40)
    np.save(folder / "vectors.f16.npy", rows.astype(np.float16))
    np.save(folder / "query_vectors.f32.npy", queries)
    return folder


@pytest.fixture(scope="module")
def measured(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a real run, small, in a folder as docs/benchmarks is."""
    place = tmp_path_factory.mktemp("benchmark")
    run(
        registry,
        place,
        "--systems",
        "qsearch,faiss FlatIP,usearch int8,NumPy,zvec",
        "--rounds",
        "2",
    )
    return place


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


# The harness


def test_every_system_that_is_there_is_measured_in_processes_of_its_own(measured: Path) -> None:
    found = told(measured)
    assert found["data"]["rows"] == 600
    assert found["machine"] == machine.machine()
    assert machine.engine() in found["systems"]["qsearch"]["versions"]["qsearch"]
    for name in ("qsearch", "faiss FlatIP", "usearch int8 + floats", "NumPy"):
        one = found["systems"][name]
        assert "failed" not in one, one
        assert one["builds"][0]["seconds"] > 0
        assert one["builds"][0]["bytes"] > 10_000
        assert set(one["turns"]["1"]) == {"0", "1"}
        for turn in one["turns"]["1"].values():
            assert turn["memory"]["uss"] > 1_000_000
            assert turn["cold"]["seconds"] >= turn["cold"]["first"] > 0
            for times in turn["settings"].values():
                assert times["single"] > 0 < times["batch"]
        assert max(known["recall10"] for known in one["recall"].values()) > 0.95
        assert set(one["recall"]) == set(one["turns"]["1"]["0"]["settings"])
    assert found["systems"]["NumPy"]["recall"]["exact"]["recall100"] == 1.0
    assert found["systems"]["qsearch"]["recall"]["exact"]["recall10"] == 1.0


def test_what_is_not_installed_gets_a_reason(measured: Path) -> None:
    found = told(measured)["systems"]["zvec int8 + floats"]
    if "zvec" in sys.modules or found["versions"]:
        pytest.fail("zvec is there: name another package that is not")
    assert found["failed"] == {
        "stage": "build",
        "reason": "cannot be imported: No module named 'zvec'",
    }


def test_what_was_measured_is_not_measured_again(measured: Path, registry: Path) -> None:
    before = told(measured)
    run(registry, measured, "--systems", "NumPy,zvec", "--rounds", "2")
    assert told(measured) == before
    run(registry, measured, "--systems", "NumPy", "--rounds", "3")
    after = told(measured)["systems"]["NumPy"]
    assert {number: after["turns"]["1"][number] for number in "01"} == before["systems"]["NumPy"][
        "turns"
    ]["1"]
    assert set(after["turns"]["1"]) == {"0", "1", "2"}
    run(registry, measured, "--systems", "NumPy", "--rounds", "2", "--again")
    assert set(told(measured)["systems"]["NumPy"]["turns"]["1"]) == {"0", "1"}


def test_a_run_stops_when_its_time_is_over_and_another_goes_on(
    registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--registry", str(registry), "--work", str(tmp_path / "work"), "--systems", "NumPy"]
    with pytest.raises(SystemExit) as ended:
        main(["run", "registry-10k", *common, "--results", str(tmp_path), "--minutes", "0"])
    assert ended.value.code == 3
    assert "to go on" in capsys.readouterr().out


def test_another_machine_is_another_file(measured: Path, tmp_path: Path) -> None:
    found = told(measured)
    found["machine"]["processor"] = "an abacus"
    (tmp_path / "registry-10k.json").write_text(json.dumps(found))
    with pytest.raises(SystemExit, match="another machine.*an abacus"):
        Results(tmp_path, "registry-10k").begin(found["data"])
    found = told(measured)
    (tmp_path / "registry-10k.json").write_text(json.dumps(found))
    with pytest.raises(SystemExit, match="other data"):
        Results(tmp_path, "registry-10k").begin(found["data"] | {"rows": 7})


def test_of_an_earlier_method_and_of_other_settings_the_builds_that_are_the_same_are_kept(
    measured: Path, registry: Path, tmp_path: Path
) -> None:
    place = tmp_path / "copy"
    shutil.copytree(measured, place)
    before, found = told(place), told(place)
    found["method"] = 1
    found["systems"]["NumPy"]["builds"][0]["seconds"] = 1234.0
    found["systems"]["faiss FlatIP"]["builds"][0]["seconds"] = 1234.0
    found["systems"]["faiss FlatIP"]["about"] = "built in another way"
    (place / "benchmarks" / "registry-10k.json").write_text(json.dumps(found))
    run(registry, place, "--systems", "NumPy,faiss FlatIP", "--rounds", "1")
    after = told(place)["systems"]
    assert after["NumPy"]["builds"][0]["seconds"] == 1234.0
    assert after["faiss FlatIP"]["builds"][0]["seconds"] < 1000
    for name in ("NumPy", "faiss FlatIP"):
        assert set(after[name]["turns"]["1"]) == {"0"}
        assert after[name]["turns"]["1"]["0"] != before["systems"][name]["turns"]["1"]["0"]
    assert after["qsearch"]["turns"] == after["qsearch"]["recall"] == {}


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "crashed with SIGILL .illegal"),
        (
            "import sys; print('x: /home/me/lib/y.so is old'); sys.exit(4)",
            "status 4: x: …/y.so is old",
        ),
        ("import time; time.sleep(60)", "not done within 1 s"),
    ],
)
def test_a_crash_and_a_hang_become_reasons(tmp_path: Path, program: str, reason: str) -> None:
    script = tmp_path / "child.py"
    script.write_text(program)
    told = running.run_child([str(script)], {}, tmp_path, "child", 1.0, 1, {})
    assert re.search(reason, told["failed"])
    assert "/home" not in told["failed"]


def test_children_are_tied_to_their_processors(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(
        "import json, os, sys\n"
        "told = {'threads': os.environ['OMP_NUM_THREADS'], 'more': os.environ['MORE']}\n"
        "told['processors'] = len(os.sched_getaffinity(0))\n"
        "open(sys.argv[2], 'w').write(json.dumps(told))\n"
    )
    told = running.run_child([str(script)], {}, tmp_path, "child", 60.0, 1, {"MORE": "yes"})
    assert (told["threads"], told["more"], told["processors"]) == ("1", "yes", 1)
    assert machine.cores() >= 1


def test_files_are_let_go_of_before_a_cold_start(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 10_000)
    running.evict(tmp_path)
    assert (tmp_path / "deep" / "file").read_bytes() == b"x" * 10_000


# Truth and recall


def test_the_truth_is_that_of_all_cosines() -> None:
    rows, queries = clustered(3000, 9)
    rows *= np.random.default_rng(0).uniform(0.2, 3.0, size=(3000, 1)).astype(np.float32)
    positions, scores = data_sets.truth(rows, queries)
    wide = rows.astype(np.float64)
    cosines = queries.astype(np.float64) @ (wide / np.linalg.norm(wide, axis=1, keepdims=True)).T
    cosines /= np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    assert (positions == np.argsort(-cosines, axis=1)[:, :100]).all()
    assert np.allclose(scores, -np.sort(-cosines, axis=1)[:, :100])


def test_recall_counts_rows_that_are_as_near() -> None:
    rows = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 2, 3]] + np.float32(0.01)
    queries = unit(rows[:1])
    _, scores = data_sets.truth(rows, queries)

    def recall(*found: int) -> float:
        return data_sets.recall(rows, queries, np.array([found]), scores, len(found))[0]

    assert recall(0, 1) == recall(2, 1) == 1.0  # three rows are equal
    assert recall(2, 2) == 0.5  # one row is one row
    assert recall(0, 4) == recall(0, -1) == 0.5


def test_candidates_are_ordered_by_their_floats() -> None:
    rows, queries = clustered(200, 5)
    rows = unit(rows)
    scores = queries @ rows.T
    order = np.argsort(-scores, axis=1)
    candidates = np.concatenate(
        [order[:, 5:40][:, ::-1], order[:, :5], np.full((5, 2), -1)], axis=1
    )
    assert (rescored(queries, candidates, rows, 10) == order[:, :10]).all()
    assert (best(order, np.take_along_axis(scores, order, 1), 3) == order[:, :3]).all()
    assert padded([[1, 2, 3], [4]], 2).tolist() == [[1, 2], [4, -1]]


def test_data_sets_are_made_of_what_there_is(registry: Path) -> None:
    folders = {"registry": registry}
    some = data_sets.registry(folders, 50)
    assert some.rows.shape == (50, 64)
    assert len(some.queries) == len(some.sample) == 20
    assert not set(map(bytes, some.queries)) & set(map(bytes, some.sample))
    more = data_sets.registry(folders, 900)
    assert len(more.rows) == 900
    assert np.allclose(np.linalg.norm(more.rows, axis=1), 1, atol=1e-3)
    assert "OMP_NUM_THREADS" not in data_sets.os.environ  # search.py's, put back


def test_token_embeddings_are_asked_with_what_is_not_among_them() -> None:
    made = data_sets.tokens({}, None)
    assert made.rows.shape == (29_522, 384)
    lengths = np.linalg.norm(made.rows, axis=1)
    assert lengths.max() > 1.5 * lengths.min()
    assert len(made.queries) == len(made.sample) == 150


# The systems


HERE = (
    ["qsearch", "qsearch without graph", "qsearch untuned", "NumPy"]
    + ["faiss FlatIP", "faiss FlatL2Panorama", "faiss HNSW32_SQ8 + floats"]
    + ["faiss BinaryFlat + floats", "faiss IVF RaBitQfs + floats"]
    + ["usearch int8 + floats", "semantic_search_faiss", "semantic_search_usearch"]
)
"""Systems of packages that the project installs."""


@pytest.mark.parametrize("name", list(systems()))
@pytest.mark.filterwarnings("ignore")
def test_a_system_finds_what_is_near(name: str, tmp_path: Path) -> None:
    import onnxruntime  # noqa: F401 (cannot be imported behind usearch, see retrieval/old_graph.py)

    rows, queries = clustered(900, 6)
    data = Data(rows * np.float32(3), queries)
    truth, _ = data_sets.truth(rows, queries)
    system = systems()[name]
    try:
        system.load()
    except (ImportError, Unavailable) as error:
        if name in HERE:
            raise
        # Packages of the benchmark alone, which its environment has and the project's does not want; and
        # the kernels for AVX2, which are qsearch's own where there is no AVX-512.
        pytest.skip(f"is not installed here: {error}")
    system.build(data, tmp_path, 1)
    searcher = system.open(data, tmp_path, 1)
    for setting in system.settings(len(rows)):
        assert isinstance(setting, Setting)
        for k in (10, 100):
            found = searcher.search(queries, k, setting)
            assert found.shape == (6, k)
            assert (searcher.search(queries[:1], k, setting)[0] == found[0]).mean() > 0.9
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found[:, :10], truth[:, :10], strict=True)]
    assert np.mean(shares) > (0.999 if setting.exact else 0.4 if "search_faiss" in name else 0.8)
    searcher.close()


def test_systems_have_names_and_settings_of_their_own() -> None:
    for name, system in systems().items():
        assert system.name == name
        assert system.distributions
        for rows in (1000, 30_000, 1_000_000):
            names = [one.name for one in system.settings(rows)]
            assert names
            assert len(set(names)) == len(names)
    slugs = [running.slug(name) for name in systems()]
    assert len(set(slugs)) == len(slugs)


def test_one_command_measures_what_there_is_data_for(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ON_THE_PAGE", ("registry-10k", "scifact"))
    arguments = [
        "all",
        "--registry",
        str(registry),
        "--systems",
        "faiss FlatIP,NumPy",
        "--rounds",
        "1",
    ]
    for option, name in (("--work", "work"), ("--results", "benchmarks"), ("--page", "page.md")):
        arguments += [option, str(tmp_path / name)]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--minutes", "0"])
    assert "no results" in str(ended.value)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert [one.name for one in (tmp_path / "benchmarks").glob("*.json")] == ["registry-10k.json"]
    text = (tmp_path / "page.md").read_text()
    assert "| NumPy | exact | 1.0000 |" in text
    assert (tmp_path / "benchmarks" / "headline.svg").is_file()


# The page


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
        assert f"{one.system} {one.times:.1f}× (" in better


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
    assert "| 1.00× |" in exact  # in batches


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


def test_what_failed_in_a_turn_is_not_shown_and_tried_again(measured: Path, registry: Path) -> None:
    path = measured / "benchmarks" / "registry-10k.json"
    before = told(measured)
    found = told(measured)
    found["systems"]["NumPy"]["failed"] = {"stage": "turn", "reason": "out of memory"}
    assert not any(one.system == "NumPy" for one in figures.Measured(found).points(1))
    path.write_text(json.dumps(found))
    run(registry, measured, "--systems", "NumPy", "--rounds", "2")
    assert told(measured) == before


def test_an_index_that_was_built_again_has_no_old_turns(measured: Path, registry: Path) -> None:
    before = told(measured)["systems"]["NumPy"]
    built = measured / "work" / "indexes" / "registry-10k" / "numpy.built"
    assert built.read_text() == before["index"]
    built.write_text("another")
    run(registry, measured, "--systems", "NumPy", "--rounds", "2")
    after = told(measured)["systems"]["NumPy"]
    assert after["index"] == "another"
    assert after["turns"] != before["turns"]
    assert after["builds"] == before["builds"]


def test_what_is_no_setting_any_more_is_dropped() -> None:
    known: dict[str, Any] = {
        "settings": {"new": {}},
        "recall": {"old": {}, "new": {}},
        "turns": {"1": {"0": {"settings": {"old": {}, "new": {}}}}},
    }
    running.forget_settings(known)
    assert known["recall"] == {"new": {}}
    assert known["turns"]["1"]["0"]["settings"] == {"new": {}}


def test_a_build_beside_others_is_made_again(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter([0.5, 0.01])
    real = running.run_child

    def beside(command: Any, job: dict[str, Any], *arguments: Any) -> dict[str, Any]:
        return real(command, job, *arguments) | {
            "others": next(shares) if job["kind"] == "build" else 0.0
        }

    monkeypatch.setattr(running, "run_child", beside)
    run(registry, tmp_path, "--systems", "NumPy", "--rounds", "1")
    one = told(tmp_path)["systems"]["NumPy"]
    assert len(one["busy"]) == len(one["builds"]) == 1
    assert one["builds"][0]["others"] == 0.01


def test_another_qsearch_than_that_of_the_repository_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.fullmatch(r"[0-9a-f]{10}\+?", machine.engine())
    (tmp_path / "qsearch").mkdir()
    (tmp_path / "qsearch" / "index.py").write_text("")
    machine.engine.cache_clear()
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="pip install --no-deps"):
        machine.engine()
    machine.engine.cache_clear()


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


def test_results_are_short_and_the_same_when_read_again() -> None:
    value = {"a": [1.0, 2.34567], "b": {"c": 0.999871, "d": {"e": None}, "f": []}, "g": "x {["}
    text = shortened(json.dumps(rounded(value), indent=1))
    assert json.loads(text) == {
        "a": [1.0, 2.346],
        "b": {"c": 0.99987, "d": {"e": None}, "f": []},
        "g": "x {[",
    }
    assert '"a": [1.0, 2.346]' in text


def test_nothing_names_this_machine_or_a_registry() -> None:
    for path in (ROOT / "scripts" / "benchmark").rglob("*"):
        if path.is_file() and path.suffix in (".py", ".txt", ""):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/(work|root|home|tmp|opt)/|https?://", text), path


# From end to end


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
