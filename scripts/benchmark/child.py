"""One measurement of one system, in a process of its own: reads a job, writes what came of it.

    python scripts/benchmark/child.py JOB.json RESULT.json

Started by ``running.py``, which sets threads and processors first and kills it when its time is over. What
goes wrong is in the result; where there is none, the process crashed.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # As in __main__.py.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmark import child

    child.main()
    # Destructors of some libraries crash or hang; the result is written, and nobody waits for them.
    os._exit(0)

from . import data as data_sets
from .systems import system_named
from .systems.base import Floats, Searcher, Setting, System, Unavailable

BATCH = 64
LEAST_SINGLES = 5
"""However slow a system is, so many searches are timed in each turn."""
RECALL_SECONDS = 30.0
"""A slow system's recall is measured with as many queries as it answers in this time, at least:"""
LEAST_RECALL = 50


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    target = Path(sys.argv[2])
    try:
        result = {"build": build, "turn": turn, "prepare": prepare}[job["kind"]](job)
    except Unavailable as error:
        result = {"failed": str(error)}
    except ImportError as error:
        result = {"failed": f"cannot be imported: {_told(error)}"}
    except MemoryError:
        result = {"failed": "out of memory"}
    # Whatever a foreign library raises is a reason for the page. Rust's panics are no Exceptions.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        result = {"failed": f"{type(error).__name__}: {_told(error)}"}
        import traceback

        traceback.print_exc()
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.rename(target)


def _told(error: BaseException) -> str:
    """A line of a message, short, and without paths of this machine."""
    line = " ".join(str(error).split())
    line = re.sub(r"(/[\w.+~-]+){2,}/", "…/", line)
    return line if len(line) <= 200 else line[:199] + "…"


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """Make a data set."""
    folders = {name: Path(path) for name, path in job["folders"].items()}
    data_set = data_sets.DATA_SETS[job["data"]]
    data_sets.prepare(data_set, folders, Path(job["work"]), job["rows"])
    return {}


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Build an index: seconds, peak memory, size on disk."""
    system = system_named(job["system"])
    data, _ = data_sets.opened(Path(job["data"]))
    folder = Path(job["index"])
    system.load()
    before = memory()["uss"]
    started = time.perf_counter()
    system.build(data, folder, job["threads"])
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "seconds": seconds,
        "bytes": size if system.saves else None,
        "peak_bytes": peak(),
        "before_bytes": before,
    }


def turn(job: dict[str, Any]) -> dict[str, Any]:
    """A turn of a system: cold, then every setting."""
    system = system_named(job["system"])
    folder = Path(job["data"])
    data, queries = data_sets.opened(folder)
    settings = system.settings(len(data.rows))
    names = job["settings"]
    asked = [one for one in settings if one.name in names]
    queries = np.roll(queries, -37 * job["round"], axis=0)  # other ones first in each round
    started = time.monotonic()
    system.load()
    loaded = time.monotonic()
    searcher = system.open(data, Path(job["index"]), job["threads"])
    open_at = time.monotonic()
    searcher.search(queries[:1], 10, asked[0])
    first = time.monotonic()
    result: dict[str, Any] = {
        # From the moment when the parent started this process, Python itself included.
        "cold": {
            "seconds": first - job["spawned"],
            "import": loaded - started,
            "open": open_at - loaded,
            "first": first - open_at,
        },
        "settings": {},
    }
    read_through(Path(job["index"]))
    order = np.random.default_rng(job["round"]).permutation(len(asked))
    for number in order:
        setting = asked[int(number)]
        result["settings"][setting.name] = timed(system, searcher, queries, setting, job["seconds"])
    result |= {"memory": memory(), "peak_bytes": peak(), "note": searcher.note()}
    if job["recall"]:
        truth = np.load(folder / "truth.npz", allow_pickle=False)
        scores = np.roll(truth["scores"], -37 * job["round"], axis=0)
        result["recall"] = {
            setting.name: measured_recall(system, searcher, data.rows, queries, scores, setting)
            for setting in asked
        }
        if (folder / "judged.json").is_file():
            judged = json.loads((folder / "judged.json").read_text(encoding="utf-8"))
            judged["queries"] = list(np.roll(judged["queries"], -37 * job["round"]))
            for setting in asked:
                quality = ndcg(system, searcher, queries, judged, setting)
                result["recall"][setting.name]["ndcg10"] = quality
    searcher.close()
    return result


def read_through(folder: Path) -> None:
    """Read all files, so that what is mapped is in memory: what follows is warm."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 22):
                    pass


def timed(
    system: System, searcher: Searcher, queries: Floats, setting: Setting, seconds: float
) -> dict[str, float | None]:
    """Milliseconds of searches one by one, and for each query in batches, for 10 and for 100 hits.

    Args:
        system: which.
        searcher: its index.
        queries: (q, d); the first are asked first.
        setting: which.
        seconds: for searches one by one, and for both kinds of batches together.
    """
    width = queries.shape[1]
    began = time.perf_counter()
    for i in range(len(queries)):  # what the setting before has driven out of caches comes back
        searcher.search(queries[i : i + 1], 10, setting)
        if time.perf_counter() - began > seconds and i >= 2:
            break
    one_by_one: list[float] = []
    began = time.perf_counter()
    while True:
        i = len(one_by_one) % len(queries)
        started = time.perf_counter()
        searcher.search(queries[i : i + 1], 10, setting)
        ended = time.perf_counter()
        one_by_one.append(1000.0 * (ended - started))
        if ended - began > seconds and len(one_by_one) >= LEAST_SINGLES:
            break
    found: dict[str, float | None] = {
        "single": float(np.mean(one_by_one)),
        "single_p95": float(np.quantile(one_by_one, 0.95)),
        "singles": len(one_by_one),
        "batch": None,
        "batch_100": None,
    }
    if system.batches:
        for name, k in (("batch", 10), ("batch_100", 100)):
            searcher.search(queries[:BATCH], k, setting)
            times: list[float] = []
            while sum(times) < seconds / 2:
                # Each batch has other queries than the one before.
                some = np.resize(np.roll(queries, -BATCH * len(times), axis=0), (BATCH, width))
                started = time.perf_counter()
                searcher.search(some, k, setting)
                times.append(time.perf_counter() - started)
            found[name] = 1000.0 * float(np.mean(times)) / BATCH
    return found


def answers(
    system: System,
    searcher: Searcher,
    queries: Floats,
    k: int,
    setting: Setting,
    *,
    alone: bool = False,
) -> np.ndarray:
    """What a system finds for the queries, or for the first of them, where it is slow.

    Args:
        system: which.
        searcher: its index.
        queries: (q, d).
        k: hits.
        setting: which.
        alone: one by one, also where it takes batches.
    """
    if system.batches and not alone:
        parts = [queries[i : i + BATCH] for i in range(0, len(queries), BATCH)]
        return np.concatenate([searcher.search(part, k, setting) for part in parts])
    found = []
    began = time.perf_counter()
    for i in range(len(queries)):
        found.append(searcher.search(queries[i : i + 1], k, setting)[0])
        if time.perf_counter() - began > RECALL_SECONDS and i + 1 >= LEAST_RECALL:
            break
    return np.stack(found)


def measured_recall(
    system: System,
    searcher: Searcher,
    rows: Floats,
    queries: Floats,
    scores: np.ndarray,
    setting: Setting,
) -> dict[str, float | int]:
    """Recall@10 and @100 of one setting, how much the first differs from query to query, and how many.

    Of a system that searches a query alone in another way than a batch, both.
    """
    told: dict[str, float | int] = {}
    for k in (10, 100):
        if k > scores.shape[1]:
            continue
        found = answers(system, searcher, queries, k, setting)
        if found.shape[1] != k:
            raise ValueError(f"{found.shape[1]} hits instead of {k}")
        shares = data_sets.recall(rows, queries[: len(found)], found, scores, k)
        told["queries"] = len(shares)
        if system.plans:
            told[f"batch_recall{k}"] = float(np.mean(shares))
            alone = answers(system, searcher, queries, k, setting, alone=True)
            shares = data_sets.recall(rows, queries[: len(alone)], alone, scores, k)
        told[f"recall{k}"] = float(np.mean(shares))
        if k == 10:
            told["deviation10"] = float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0
    return told


def ndcg(
    system: System,
    searcher: Searcher,
    queries: Floats,
    judged: dict[str, Any],
    setting: Setting,
) -> float | None:
    """nDCG@10, see ``data.ndcg10``."""
    found = answers(system, searcher, queries, 10, setting)
    hits = [[judged["rows"][row] for row in ids if row >= 0] for ids in found.tolist()]
    return data_sets.ndcg10(dict(zip(judged["queries"], hits, strict=False)), judged["judgments"])


def memory() -> dict[str, int]:
    """Bytes that would be free if this process ended: USS, and the part of it that no file backs."""
    found = {"uss": 0, "anonymous": 0}
    try:
        rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:  # not Linux
        import psutil

        return {"uss": int(psutil.Process().memory_full_info().uss), "anonymous": 0}
    for line in rollup.splitlines():
        name, _, rest = line.partition(":")
        if name in ("Private_Clean", "Private_Dirty"):
            found["uss"] += 1024 * int(rest.split()[0])
        elif name == "Anonymous":
            found["anonymous"] = 1024 * int(rest.split()[0])
    return found


def peak() -> int:
    """Largest resident memory of this process so far, in bytes."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
