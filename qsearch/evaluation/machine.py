"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["described_machine", "memory_of_process", "processor_name"]


def described_machine() -> dict[str, Any]:
    """Processor, kernels, threads and date, for who reads figures later."""
    from qsearch.kernels import kernel_path
    from qsearch.version import __version__

    return {
        "processor": processor_name(),
        "processors": os.cpu_count(),
        "threads": os.environ.get("QSEARCH_THREADS"),
        "kernels": kernel_path(),
        "qsearch": __version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def memory_of_process() -> dict[str, int]:
    """Bytes of memory; empty where the system does not tell.

    ``own`` is of this process alone; ``mapped`` are pages of files, the index's among them, which the
    system takes back when it needs them.
    """
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    sizes = {
        line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.endswith(" kB")
    }
    own = sizes.get("Anonymous", 0)
    return {"own": own, "mapped": sizes.get("Rss", 0) - own}


def processor_name() -> str:
    """As the system tells it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
