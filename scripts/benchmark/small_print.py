"""The end of the page: what was not measured, on what, and how."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from . import words
from .figures import OURS, Measured
from .results import METHOD
from .running import BUSY
from .systems import systems


def failures(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
    """What was not measured, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in measured:
        for name, reason in one.failures().items():
            reasons.setdefault((name, reason), []).append(one.title)
    for name, told in (ends or {}).get("systems", {}).items():
        if "failed" in told:
            reasons.setdefault((name, told["failed"]["reason"]), []).append("from end to end")
    rows = [[name, reason, "; ".join(titles)] for (name, reason), titles in reasons.items()]
    left = [
        f"of {one.title}: {', '.join(names)}"
        for one in measured
        if (names := [name for name in systems() if name not in one.systems])
    ]
    if not rows and not left:
        return ""
    parts = ["## What was not measured"]
    parts += [words.table(["system", "reason", "data"], rows)] if rows else []
    parts += [f"Not run, for want of time: {'; '.join(left)}."] if left else []
    return "\n\n".join(parts)


def method(measured: Sequence[Measured], ends: dict[str, Any] | None) -> str:
    """What it was measured on, and how."""
    days = [day for one in measured for day in one.dates() if day]
    shares = [share for one in measured for share in one.others()]
    shares += [
        turn["others"]
        for one in (ends or {}).get("systems", {}).values()
        for turns in one["turns"].values()
        for turn in turns.values()
    ]
    notes = {one.systems.get(OURS, {}).get("note", "").split(";")[0] for one in measured} - {""}
    table = [
        *_machine_lines(machines(measured, ends)),
        ["qsearch", ", ".join(sorted(notes))],
        ["measured", f"{min(days, default='')} to {max(days, default='')}"],
        ["other processes", _busy(shares)],
    ]
    systems: dict[str, list[str]] = {}
    for one in measured:
        for name, known in one.systems.items():
            if "about" in known:
                found = ", ".join(f"{key} {value}" for key, value in known["versions"].items())
                line = systems.setdefault(name, [name, found, known["about"]])
                if found not in line[1].split("; "):  # not all with the same
                    line[1] += f"; {found}"
    parts = [
        "## How it was measured",
        words.table(["", ""], table),
        _earlier(measured),
        _METHOD,
        words.table(["system", "versions", "settings"], list(systems.values())),
    ]
    return "\n\n".join(part for part in parts if part)


def machines(
    measured: Sequence[Measured], ends: dict[str, Any] | None
) -> list[tuple[dict[str, Any], list[str]]]:
    """What was measured on which machine: nobody compares figures of two without knowing."""
    found: list[tuple[dict[str, Any], list[str]]] = []
    every = [(one.told["machine"], one.title) for one in measured]
    if ends is not None:
        every.append((ends["machine"], "from texts on disk to answers"))
    for machine, title in every:
        titles = next((titles for known, titles in found if known == machine), None)
        if titles is None:
            found.append((machine, [title]))
        else:
            titles.append(title)
    return found


def _machine_lines(found: list[tuple[dict[str, Any], list[str]]]) -> list[list[str]]:
    lines = []
    for told, titles in found:
        if len(found) > 1:
            lines.append(["**measured on this machine**", "; ".join(titles)])
        lines += [
            ["processor", f"{told['processor']}; {', '.join(told['instructions'])}"],
            ["cores, memory", f"{told['cores']}, {told['memory_gib']} GiB"],
            ["system", f"{told['system']}, Python {told['python']}"],
        ]
    return lines


def _earlier(measured: Sequence[Measured]) -> str:
    """What was measured in another way than the page says."""
    titles = [one.title for one in measured if one.told.get("method", 1) < METHOD]
    if not titles:
        return ""
    every = "All data sets" if len(titles) == len(measured) else "; ".join(titles)
    return (
        f"**Measured by an earlier form of this benchmark: {every}.** There each query was timed once at "
        "most, behind three that were not; turns beside other processes were kept; recall was that of "
        "batches; faiss's HNSW was built with an efConstruction of 40, and its RaBitQ without a rotation; "
        "qsearch was built without its graph."
    )


_METHOD = """\
Every system is built by a process of its own, on all processors, and then has its turn in each round
by a new one, one after the other, in another order in each round, so that a machine that slows down
slows down all. Shown are medians of the turns, of queries a second with the smallest and the largest in
brackets. Builds are made three times one after the other, those that take more than twenty seconds once.
They begin with finished vectors: encoding is no part of them.

- **Recall** counts a row as found if its cosine, in float64, is at least that of the k-th true
  neighbour (less 1e-6): equal texts stand in the data more than once. Recall@100 is that of a
  search for 100, with the same setting, or with an effort of 100 where it is less. ± is half of the
  95% interval of the mean over the queries: settings that differ by less may change places.
- **One by one**: searches for 10, for half a second, behind a pass over all queries that is not timed.
  **In batches**: 64 queries in one call, others than in the call before; nothing for a system that takes
  one at a time, which stands with its other figure in comparisons. p95 is given of what was asked twenty
  times a turn or more. A turn or a build beside processes that use more than 5% of the processors is made
  again, three times at most.
- **One thread** is one processor to which the process is tied, with the variables that set threads.
- **Start** is from the start of the process, with Python and imports, to its first answer, when no
  file of the index was in memory. Libraries were.
- **Memory** is the USS after all searches: what would be free if the process ended. Pages of mapped
  files are in it, which the system can take back ("of it not reclaimable" is without these); what a
  process reads without mapping it, as sqlite-vec and LanceDB do, is in nobody's memory, though the system
  keeps it there. Python and NumPy are in it too, some 30 MB.
- **+ floats**: candidates by codes or a graph of codes, rescored with the float rows; by NumPy in this
  benchmark's code, unless the library does it.
- **Disk** is what the index takes, with the float rows where candidates are rescored with them.
- Every system gets the same rows as a .npy file, of any length; those that need unit rows make them
  in their build.

To make it again: [requirements.txt](../scripts/benchmark/requirements.txt) tells how to make the
environment, and [scripts/benchmark](../scripts/benchmark) has one file a system. A run goes on where the
one before stopped.

```bash
scripts/benchmark/run all --scifact FOLDER --registry FOLDER   # all of it, and the page: some hours
scripts/benchmark/run run tokens                               # one set; no data needed: the model has them
scripts/benchmark/run run registry-100k --registry FOLDER      # vectors of your own
scripts/benchmark/run rows --registry FOLDER                   # more and more rows
scripts/benchmark/run endtoend --texts FOLDER                  # texts and judgments in BEIR's form
scripts/benchmark/run page
```

The token embeddings come with the model, SciFact from BEIR. The short texts of registry-100k (from Debian's
package descriptions, WordNet and free dictionaries) are not published with this repository; `--registry`
takes any folder with `vectors.f16.npy` (rows, d) and `query_vectors.f32.npy` (queries, d), every second
query of which is measured with."""


def _busy(shares: Sequence[float]) -> str:
    """How much others used the processors meanwhile."""
    busy = sum(share > BUSY for share in shares)
    return (
        f"{100 * statistics.median(shares):.1f}% of the processors in the median of {len(shares)} "
        f"turns and builds, more than {100 * BUSY:.0f}% in {busy}"
    )
