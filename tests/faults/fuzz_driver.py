"""Runs the targets of the fuzzing one after the other, and says what came of it: ``scripts/fuzz``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.fuzz_defects import DEFECTS

__all__ = ["LONGEST_BEGIN", "WEIGHTS", "Outcome", "missing", "run_target"]

ROOT = Path(__file__).resolve().parents[2]

KEPT = ROOT / ".fuzz"
"""Corpora, which go on growing from run to run, and findings. Git ignores it."""

WEIGHTS = {
    "catalog": 6, "arrays": 4, "corpora": 4, "parquet": 2, "queries": 1, "embeddings": 2, "export": 3
}  # fmt: skip
"""Targets, and how much of the time each has: those of which an input takes long have more."""

LONGEST_BEGIN = 120.0
"""Seconds that a target may take to begin and to end, beside those that it is given."""

SHORT = 120


@dataclass(slots=True)
class Outcome:
    """What came of a target.

    Attributes:
        executions: inputs that were tried.
        edges: of qsearch that they reached.
        corpus: inputs that reached something new, and are kept.
        seconds: that it took.
        found: for each kind of failure how often it was met, the bytes of the shortest input, and after how
            many seconds it was met first.
        ended: how a process ended that libFuzzer stopped: with a signal, a hang or too much memory.
    """

    executions: int = 0
    edges: int = 0
    corpus: int = 0
    seconds: float = 0.0
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    @property
    def findings(self) -> int:
        """How many kinds of failure."""
        return len(self.found) + len(self.ended)


def missing() -> str | None:
    """Why nothing can be fuzzed here; ``None``: it can."""
    if importlib.util.find_spec("atheris") is None:
        return (
            "atheris is not installed (there are wheels for Linux on x86-64: pip install atheris)"
        )
    return None


def run_target(
    name: str, seconds: float, kept: Path, *, seed: int = 1, defect: str | None = None
) -> Outcome:
    """Fuzz one target.

    Args:
        name: one of ``WEIGHTS``.
        seconds: for how long.
        kept: where corpus and findings are kept.
        seed: of chance; 0 takes another each time.
        defect: that is planted; the first finding ends the run.
    """
    corpus, findings = kept / "corpus" / name, kept / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    (findings / f"{name}.json").unlink(missing_ok=True)
    outcome = Outcome()
    began = time.monotonic()
    left = seconds
    while left > 0:
        told, code = _run(name, left, corpus, findings, seed + len(outcome.ended), defect)
        left = seconds - (time.monotonic() - began)
        _read(told, outcome)
        for kind, one in _found(findings / f"{name}.json").items():
            known = outcome.found.setdefault(kind, one)
            if known is not one:
                known["times"] += one["times"]
                known["bytes"] = min(known["bytes"], one["bytes"])
        if code == 0 or (defect is not None and outcome.found):
            break
        outcome.ended.append(_end(told, code))
        if not outcome.executions or defect is not None:
            break
    outcome.seconds = time.monotonic() - began
    return outcome


def _run(
    name: str, seconds: float, corpus: Path, findings: Path, seed: int, defect: str | None
) -> tuple[str, int]:
    """What libFuzzer said, and how its process ended."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="qsearch-fuzz-", dir=memory) as scratch:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": scratch,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        command = [
            sys.executable,
            "-m",
            "tests.faults.fuzz_worker",
            name,
            str(max(1, int(seconds))),
            str(seed),
        ]
        command += [str(corpus), str(findings), *([] if defect is None else [defect])]
        done = subprocess.run(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            timeout=seconds + LONGEST_BEGIN,
        )
    return done.stderr.decode("utf-8", "replace"), done.returncode


def _read(told: str, outcome: Outcome) -> None:
    numbers = re.findall(r"^#(\d+)\s.*?cov: (\d+) .*?corp: (\d+)/", told, re.MULTILINE)
    if numbers:
        executions, edges, corpus = map(int, numbers[-1])
        final = re.search(r"^stat::number_of_executed_units: (\d+)", told, re.MULTILINE)
        outcome.executions += int(final[1]) if final else executions
        outcome.edges = max(outcome.edges, edges)
        outcome.corpus = max(outcome.corpus, corpus)


def _found(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _end(told: str, code: int) -> str:
    summary = re.findall(r"^SUMMARY: (.*)$|^.*ERROR: (libFuzzer: .*)$", told, re.MULTILINE)
    kept = re.findall(r"Test unit written to (.*)$", told, re.MULTILINE)
    what = next((one for pair in summary for one in pair if one), "")
    return f"ended with {code}: {what or told[-500:]} {Path(kept[-1]).name if kept else ''}".strip()


# The command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz",
        description="Fuzz what reads files: catalogs, arrays, corpora, queries and embeddings.",
        epilog=f"Corpora and findings are kept in {KEPT.name}/. The long form takes --seconds 3600.",
    )
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(WEIGHTS)}")
    parser.add_argument("--seconds", type=float, default=SHORT, help=f"in all; {SHORT} by default")
    parser.add_argument("--seed", type=int, default=1, help="of chance")
    parser.add_argument(
        "--planted", action="store_true", help="plant defects, and tell how long each takes to find"
    )
    return parser


def main() -> int:
    asked = _parser().parse_args()
    reason = missing()
    if reason is not None:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    names = asked.targets or list(WEIGHTS)
    unknown = [one for one in names if one not in WEIGHTS]
    if unknown:
        print(
            f"error: there is no target {unknown[0]!r}; there are {', '.join(WEIGHTS)}",
            file=sys.stderr,
        )
        return 2
    if asked.planted:
        return _planted(names, asked.seconds)
    weight = sum(WEIGHTS[name] for name in names)
    print(
        f"{'target':<12}{'seconds':>8}{'executions':>12}{'edges':>7}{'corpus':>8}{'findings':>10}"
    )
    findings = 0
    for name in names:
        one = run_target(name, asked.seconds * WEIGHTS[name] / weight, KEPT, seed=asked.seed)
        findings += one.findings
        print(
            f"{name:<12}{one.seconds:>8.0f}{one.executions:>12,}{one.edges:>7,}{one.corpus:>8,}{one.findings:>10}"
        )
        for told in _lines(one):
            print(f"    {told}")
        sys.stdout.flush()
    if findings:
        print(
            f"inputs and tracebacks are in {KEPT.name}/findings; python -m tests.faults.fuzz_replay FILE"
        )
    return 1 if findings else 0


def _lines(one: Outcome) -> Iterator[str]:
    for kind, told in one.found.items():
        yield f"{kind} ({told['times']} times, first after {told['seconds']} s)"
    yield from one.ended


def _planted(names: Sequence[str], seconds: float) -> int:
    """Each defect in turn, from the seeds alone; 1 if one is not found."""
    missed = 0
    for defect in DEFECTS:
        if defect.target not in names:
            continue
        with _empty() as kept:
            one = run_target(defect.target, seconds, kept, defect=defect.name)
        missed += not one.findings
        told = next(_lines(one), f"not found in {one.seconds:.0f} s, {one.executions:,} executions")
        print(f"{defect.name:<28}{defect.target:<12}{told}", flush=True)
    return 1 if missed else 0


@contextmanager
def _empty() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qsearch-fuzz-") as folder:
        yield Path(folder)


if __name__ == "__main__":
    sys.exit(main())
