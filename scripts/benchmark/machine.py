"""What the figures were measured on, so that nobody compares two machines without knowing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
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
    """The installed versions, of qsearch with its commit; what is not installed is left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name == "qsearch":
            found[name] += f" ({engine()})"
    return found


@cache
def engine() -> str:
    """The commit of the qsearch that is measured: the installed one, which need not be that beside us.

    With a plus where files differ from the commit; empty where qsearch is not installed or there is no
    repository.

    Raises:
        SystemExit: another one is installed than the one of this repository.
    """
    spec = importlib.util.find_spec("qsearch")
    if spec is None or spec.origin is None:
        return ""
    if sources(Path(spec.origin).parent) != sources(ROOT / "qsearch"):
        raise SystemExit(
            "another qsearch is installed than the one of this repository, and nobody could say what "
            f"was measured; {sys.executable} -m pip install --no-deps . installs it"
        )

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "qsearch")
    # The last commit that changed the engine: those since are of tests, scripts and documents.
    return git("log", "-1", "--format=%h", "--abbrev=10", "--", "qsearch") + "+" * bool(changed)


def sources(package: Path) -> str:
    """A digest of the names and texts of a package's modules."""
    told = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        told.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return told.hexdigest()
