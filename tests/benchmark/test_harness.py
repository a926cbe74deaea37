"""The benchmark measures what it says, in processes of its own, and goes on where it was stopped."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmark import commands, figures, machine, running
from scripts.benchmark.commands import main
from scripts.benchmark.results import Results, rounded, shortened
from tests.benchmark.world import run, told


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
    monkeypatch.setattr(running, "MOST_BUSY", 3)
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


def test_results_are_short_and_the_same_when_read_again() -> None:
    value = {"a": [1.0, 2.34567], "b": {"c": 0.999871, "d": {"e": None}, "f": []}, "g": "x {["}
    text = shortened(json.dumps(rounded(value), indent=1))
    assert json.loads(text) == {
        "a": [1.0, 2.346],
        "b": {"c": 0.99987, "d": {"e": None}, "f": []},
        "g": "x {[",
    }
    assert '"a": [1.0, 2.346]' in text
