"""What the figures were measured on, so that nobody compares two machines without knowing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

# In the order in which a reader wants them: what decides the speed of a scan.
_INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_vpopcntdq", "asimd", "asimddp")


def machine() -> dict[str, Any]:
    """Processor, instructions, cores, memory, system and Python."""
    name, flags = _processor()
    return {
        "processor": name,
        "instructions": [flag for flag in _INSTRUCTIONS if flag in flags],
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> tuple[str, set[str]]:
    """Name and flags; on Linux with family and model, since virtual machines call many things alike."""
    if sys.platform != "linux":
        return platform.processor() or platform.machine(), set()
    told: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        told.setdefault(key.strip(), value.strip())
    name = told.get("model name", platform.machine())
    if "cpu family" in told:
        name += f" (family {told['cpu family']}, model {told['model']})"
    return name, set((told.get("flags") or told.get("Features") or "").split())


def versions(distributions: Sequence[str]) -> dict[str, str]:
    """The installed versions; what is not installed is left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str:
    """Of the repository, with a plus where files differ from it; empty outside of one."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "qsearch")
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
