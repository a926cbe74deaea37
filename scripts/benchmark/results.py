"""What was measured, as JSON: one file a data set, written anew after every measurement.

    {
      "data": {...},                      what the data set is
      "machine": {...},                   what it was measured on
      "method": 2,                        how it was measured, see METHOD
      "systems": {
        NAME: {
          "versions": {...}, "about": "...", "batches": ..., "note": "...",
          "settings": {SETTING: {"exact": ..., "promises": ...}},
          "index": "...",                       changes when it is built again
          "failed": {"stage": "build" | "turn", "reason": "..."},       where it did
          "builds": [{"seconds", "bytes", "peak_bytes", "threads", "date", "others"}], "busy": [SECONDS],
          "recall": {SETTING: {"recall10", "deviation10", "recall100", "queries", "ndcg10",
                               "batch_recall10", "batch_recall100"}},     of batches, where they differ
          "turns": {THREADS: {ROUND: {"cold", "memory", "settings": {SETTING: {...}}, "date", "others"}}}
        }
      }
    }

``others`` is the share of the processors that other processes used meanwhile: where it is large, nobody
should trust the times; a build is made again then, and the times before stand in ``busy``. Times of a
setting are milliseconds of one query.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .machine import machine

DIGITS = 4

METHOD = 2
"""The first one timed each query once, behind three others, kept turns beside other processes, and measured
recall in batches only."""


class Results:
    """The results of one data set, on disk."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.json"
        self.told: dict[str, Any] = {"systems": {}}
        if self.path.is_file():
            self.told = json.loads(self.path.read_text(encoding="utf-8"))

    def begin(self, data: dict[str, Any]) -> None:
        """Say what is measured, and on what.

        Of an earlier method the builds are kept: they are made as ever, and the indexes may still be there.

        Raises:
            SystemExit: what is there was measured on another machine, or with other data.
        """
        here = machine()
        there = self.told.get("machine", here)
        apart = [name for name in here if here[name] != there.get(name)]
        if apart:
            raise SystemExit(
                f"{self.path} was measured on another machine ({', '.join(apart)}: "
                f"{', '.join(str(there.get(name)) for name in apart)}); --results gives another folder"
            )
        if self.told.get("data", data) != data:
            raise SystemExit(
                f"{self.path} was measured with other data; --results gives another folder"
            )
        if self.told.get("method", 1) != METHOD:
            for known in self.told["systems"].values():
                known |= {"turns": {}, "recall": {}}
        self.told |= {"data": data, "machine": here, "method": METHOD}
        self.save()

    def system(self, name: str) -> dict[str, Any]:
        """What is known of one system, to be added to."""
        empty: dict[str, Any] = {"builds": [], "recall": {}, "turns": {}}
        found: dict[str, Any] = self.told["systems"].setdefault(name, empty)
        return found

    def forget(self, name: str) -> None:
        """All of one system."""
        self.told["systems"].pop(name, None)

    def save(self) -> None:
        """Write all, at once or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        text = json.dumps(rounded(self.told), indent=1, ensure_ascii=False, sort_keys=True)
        partial.write_text(shortened(text) + "\n", encoding="utf-8")
        os.replace(partial, self.path)


def rounded(value: Any) -> Any:
    """Numbers with as many digits as mean something."""
    if isinstance(value, float):
        return (
            float(f"{value:.{DIGITS}g}") if abs(value) < 0.9 or abs(value) > 1 else round(value, 5)
        )
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return value


def shortened(text: str) -> str:
    """Indented JSON with its innermost objects and lists on one line each: small, with readable diffs."""
    lines: list[str] = []
    held: list[str] = []
    for line in text.split("\n"):
        bare = line.strip()
        if bare.endswith(("{", "[")) and bare not in ("{", "["):
            lines += held
            held = [line]
        elif held and bare.rstrip(",") in ("}", "]"):
            lines.append(held[0] + " ".join(one.strip() for one in held[1:]) + bare)
            held = []
        elif held:
            held.append(line)
        else:
            lines.append(line)
    return "\n".join([*lines, *held])
