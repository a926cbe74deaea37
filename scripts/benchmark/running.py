"""Starts the children, in turns, one at a time, and writes down what they say.

Every system is built by one process and then has its turn in each round by a new one: cold first, then all
settings. So a machine that slows down slows down all, and what differs from process to process is in the
spread. A child has a time limit; its crash, its silence and its errors become reasons.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import data as data_sets
from .machine import cores, versions
from .results import Results
from .systems import systems
from .systems.base import System

CHILD = Path(__file__).resolve().parent / "child.py"

REPEATED_BUILD = 20.0
"""Seconds: what takes longer to build is built once."""

BUSY = 0.05
"""Where other processes had a larger share of the processors, the page says so, and a build is repeated."""

MOST_BUSY = 3
"""So often at most."""

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
    "LANCE_CPU_THREADS",
    "QSEARCH_THREADS",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a run.

    Attributes:
        names: of data sets.
        chosen: names of systems.
        folders: of the data that they are made from.
        work: for data, indexes and logs.
        results: for the JSON.
        threads: numbers of threads to search with.
        rounds: how often; ``None``: as often as the data set says.
        builds: how often to build what is quick to build.
        limit: seconds that a child may take.
        seconds: no child is started after so many; ``None``: no end.
        again: forget what is known of these systems first.
        rows: take no more of any data set.
        setting: seconds for which a setting is timed in each turn.
    """

    names: Sequence[str]
    chosen: Sequence[str]
    folders: Mapping[str, Path]
    work: Path
    results: Path
    threads: Sequence[int]
    rounds: int | None
    builds: int
    limit: float
    seconds: float | None
    again: bool
    rows: int | None
    setting: float = 0.5


class Over(Exception):
    """The time of this run is over; what is left, another one does."""


class Running:
    """A run."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._end = None if wanted.seconds is None else time.monotonic() + wanted.seconds
        self.left = 0

    def run(self) -> bool:
        """Do what is not done; returns whether all of it is."""
        try:
            for name in self.wanted.names:
                self._data_set(name)
        except Over:
            more = ", without --again," if self.wanted.again else ""
            print(f"the time is over; run the same command again{more} to go on", flush=True)
            return False
        return True

    def _data_set(self, name: str) -> None:
        data_set = data_sets.DATA_SETS[name]
        folder = self._prepared(data_set)
        about = data_sets.about(folder)
        results = Results(self.wanted.results, name)
        if self.wanted.again:
            for forgotten in self.wanted.chosen:
                results.forget(forgotten)
        results.begin(about)
        chosen = [systems()[one] for one in self.wanted.chosen]
        twin = Results(self.wanted.results, data_set.index_of) if data_set.index_of else None
        for system in chosen:
            known = results.system(system.name)
            if known.get("failed", {}).get("stage") == "turn":  # another run is another try
                del known["failed"]
                results.save()
            self._build(system, folder, about["rows"], results, twin)
        rounds = self.wanted.rounds or data_set.rounds
        for number in range(rounds):
            order = chosen[:]
            random.Random(number).shuffle(order)
            for threads in self.wanted.threads:
                for system in order:
                    self._turn(system, folder, about["rows"], results, threads, number)

    def _prepared(self, data_set: data_sets.DataSet) -> Path:
        """The folder of a data set, made by a child: this process has to stay small."""
        folder = self.wanted.work / "data" / data_set.name
        if (folder / "about.json").is_file():
            return folder
        folders = {name: str(path) for name, path in self.wanted.folders.items()}
        said(data_set.name, "data", "")
        job = {
            "kind": "prepare",
            "data": data_set.name,
            "folders": folders,
            "work": str(self.wanted.work),
            "rows": self.wanted.rows,
        }
        told = self._child(job, cores(), {}, f"{data_set.name}-data")
        if "failed" in told:
            raise SystemExit(f"{data_set.name}: {told['failed']}")
        return folder

    def _index(self, system: System, data: Path) -> Path:
        name = data_sets.DATA_SETS[data.name].index_of or data.name
        return self.wanted.work / "indexes" / name / slug(system.name)

    def _build(
        self, system: System, data: Path, rows: int, results: Results, twin: Results | None
    ) -> None:
        """Build as often as is wanted, and keep the last index.

        Args:
            system: which.
            data: folder of the data set.
            rows: that it has.
            results: of the data set.
            twin: results of the data set that has the same rows and sample, and so the same indexes.
        """
        known = results.system(system.name)
        here = versions(system.distributions)
        if (known.get("versions", here), known.get("about", system.about)) != (here, system.about):
            results.forget(system.name)
            known = results.system(system.name)
        if "failed" in known:
            return
        known |= {
            "versions": here,
            "about": system.about,
            "batches": system.batches,
            "saves": system.saves,
            "settings": {
                one.name: {"exact": one.exact, "promises": one.promises}
                for one in system.settings(rows)
            },
        }
        forget_settings(known)
        if system.most_rows is not None and rows > system.most_rows:
            reason = f"not tried above {system.most_rows:,} rows: {system.why_no_more}"
            known["failed"] = {"stage": "build", "reason": reason}
            results.save()
            return
        folder = self._index(system, data)
        built = folder.parent / f"{folder.name}.built"
        if twin is not None and built.is_file() and not known["builds"]:
            known["builds"] = twin.system(system.name)["builds"]
        tries = 0
        while True:
            if built.is_file() and known.get("index") != (of := built.read_text(encoding="ascii")):
                # Built again since, for a data set of the same rows: what is known is of another index.
                known |= {"index": of, "turns": {}, "recall": {}}
            times = [one["seconds"] for one in known["builds"]]
            enough = len(times) >= self.wanted.builds or (times and max(times) > REPEATED_BUILD)
            if enough and built.is_file():
                return
            built.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            job = {
                "kind": "build",
                "system": system.name,
                "data": str(data),
                "index": str(folder),
                "threads": cores(),
            }
            told = self._child(
                job, cores(), system.environment, f"{data.name}-{slug(system.name)}-build"
            )
            if "failed" in told:
                known["failed"] = {"stage": "build", "reason": told["failed"]}
                results.save()
                said(data.name, system.name, f"build: {told['failed']}")
                shutil.rmtree(folder, ignore_errors=True)
                return
            built.write_text(uuid.uuid4().hex, encoding="ascii")
            tries += 1
            if told["others"] > BUSY and tries <= MOST_BUSY:
                known.setdefault("busy", []).append(told["seconds"])
                said(
                    data.name,
                    system.name,
                    f"built in {told['seconds']:.1f} s, beside others: again",
                )
                continue
            tries = 0
            known["builds"].append(told | {"threads": cores()})
            results.save()
            said(data.name, system.name, f"built in {told['seconds']:.1f} s")

    def _turn(
        self, system: System, data: Path, rows: int, results: Results, threads: int, number: int
    ) -> None:
        """One turn, of the settings that have not had theirs in this round."""
        known = results.system(system.name)
        if "failed" in known:
            return
        turns = known["turns"].setdefault(str(threads), {})
        turn = turns.get(str(number), {"settings": {}})
        settings = [one.name for one in system.settings(rows) if one.name not in turn["settings"]]
        if not settings:
            return
        recall = any(name not in known["recall"] for name in settings)
        folder = self._index(system, data)
        job = {
            "kind": "turn",
            "system": system.name,
            "data": str(data),
            "index": str(folder),
            "threads": threads,
            "round": number,
            "settings": settings,
            "recall": recall,
            "seconds": self.wanted.setting,
        }
        log = f"{data.name}-{slug(system.name)}-{threads}-{number}"
        for again in range(MOST_BUSY, -1, -1):
            evict(folder)
            evict(data)
            told = self._child(job, threads, system.environment, log)
            if "failed" in told:
                known["failed"] = {"stage": "turn", "reason": told["failed"]}
                results.save()
                said(data.name, system.name, f"round {number}: {told['failed']}")
                return
            if told["others"] <= BUSY or not again:
                break
            said(data.name, system.name, f"round {number}, threads {threads}: beside others, again")
        known["recall"] |= told.pop("recall", {})
        known["note"] = told.pop("note")
        told["settings"] = turn["settings"] | told["settings"]
        turns[str(number)] = told | {
            name: turn[name] for name in ("cold", "memory") if name in turn
        }
        results.save()
        took = " ".join(f"{one['single']:.3g}" for one in told["settings"].values())
        said(data.name, system.name, f"round {number}, threads {threads}: {took} ms")

    def _child(
        self, job: dict[str, Any], threads: int, environment: Mapping[str, str], name: str
    ) -> dict[str, Any]:
        """Run a job in a process of its own, with the time limit, and return what it wrote.

        Raises:
            Over: the time of the run is over; nothing was started.
        """
        if self._end is not None and time.monotonic() > self._end:
            raise Over
        return run_child(
            [str(CHILD)], job, self.wanted.work, name, self.wanted.limit, threads, environment
        )


def forget_settings(known: dict[str, Any]) -> None:
    """Drop what was measured with settings that the system has no more."""
    there = known["settings"]
    known["recall"] = {name: one for name, one in known["recall"].items() if name in there}
    for turns in known["turns"].values():
        for turn in turns.values():
            turn["settings"] = {
                name: one for name, one in turn["settings"].items() if name in there
            }


def run_child(
    command: Sequence[str],
    job: dict[str, Any],
    work: Path,
    name: str,
    limit: float,
    threads: int,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """Run ``command`` with a job and return its result, or ``{"failed": reason}``.

    Args:
        command: arguments of Python; the paths of job and result come behind them.
        job: is written for the child, with the time at which it was started.
        work: for job, result and log.
        name: of these files.
        limit: seconds.
        threads: on so many processors.
        environment: variables in addition.
    """
    place = work / "children"
    place.mkdir(parents=True, exist_ok=True)
    source, target, log = (place / f"{name}.{kind}" for kind in ("job.json", "json", "log"))
    target.unlink(missing_ok=True)
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH",)}
    variables |= dict.fromkeys(_THREADS, str(threads))
    variables |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"} | dict(environment)
    busy, own, began = busy_seconds(), own_seconds(), time.monotonic()
    with open(log, "wb") as output, on_processors(threads):
        job = job | {"spawned": time.monotonic()}
        source.write_text(json.dumps(job), encoding="utf-8")
        child = subprocess.Popen(
            [sys.executable, *command, str(source), str(target)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )
    try:
        status = child.wait(limit)
    except subprocess.TimeoutExpired:
        end(child)
        return {"failed": f"not done within {limit:,.0f} s"}
    except BaseException:  # Ctrl-C: nothing may go on behind our back
        end(child)
        raise
    elapsed = time.monotonic() - began
    others = (busy_seconds() - busy - (own_seconds() - own)) / (elapsed * cores())
    if not target.is_file():
        return {"failed": reason_of(status, log)}
    told: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return told | {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "others": round(max(0.0, others), 3),
    }


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child and what it started, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def reason_of(status: int, log: Path) -> str:
    """Why a child ended without a result: its signal or status, and the last line that it said."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
    last = re.sub(r"(/[\w.+~-]+){2,}/", "…/", lines[-1].strip())[:160]
    if status < 0:
        meaning = {
            signal.SIGILL: "illegal instruction: it was built for another processor",
            signal.SIGKILL: "killed from outside: out of memory",
        }
        name = signal.Signals(-status).name
        told = f"crashed with {name}"
        if -status in meaning:
            told += f" ({meaning[signal.Signals(-status)]})"
        return told
    return f"ended with status {status}" + (f": {last}" if last else "")


@contextmanager
def on_processors(count: int) -> Iterator[None]:
    """Children that are started meanwhile may use so many processors, the last ones."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def evict(folder: Path) -> None:
    """Ask the system to let go of what it keeps of the files in memory."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)  # what is not written yet cannot be let go
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def busy_seconds() -> float:
    """Processor seconds that anything used since the machine started, those of other machines on it too."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").split("\n")[0]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Processor seconds of this process and of its children that ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def said(data: str, system: str, what: str) -> None:
    """A line of progress."""
    print(f"{datetime.now(UTC):%H:%M:%S} {data:16} {system:26} {what}", flush=True)
