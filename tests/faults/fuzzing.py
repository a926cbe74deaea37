"""What every target of the fuzzing has: inputs to begin with, a check of one input, and how one is changed.

A target says what must hold for any input at all: an error of qsearch's own or a right answer.
``fuzz_worker`` runs one under atheris, which keeps the inputs that reach new code and changes those;
``fuzz_replay`` checks single inputs without it. An input is bytes, most often a line of JSON that says
what they are and what is done with them, so that one that broke something is read and kept as a literal
in a test.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "MOST_MEMORY",
    "Mutate",
    "Target",
    "Wrong",
    "folder",
    "heading",
    "limit_memory",
    "with_heading",
]

MOST_MEMORY = 1 << 30
"""Bytes that a case may have beyond what the process has when it begins: a record may have 16 MiB, and
all else is small here."""

Mutate = Callable[[bytes, int], bytes]
"""Changes bytes, of which there may be so many then: libFuzzer's own ways, or a plain stand-in."""


class Wrong(AssertionError):
    """An answer that is not right, or none where there must be one."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that reads files.

    Attributes:
        name: on the command line.
        seeds: inputs to begin with.
        check: raises whatever must not be for one input; false: these bytes are no input.
        change: makes another input of one, by chance.
        words: that often decide something in such input.
        largest: bytes of an input.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    check: Callable[[bytes], bool]
    change: Callable[[bytes, random.Random, Mutate], bytes]
    words: Sequence[bytes] = ()
    largest: int = 4096


@cache
def folder() -> Path:
    """Where everything lies. Who starts this process removes it: libFuzzer leaves without a word."""
    return Path(tempfile.mkdtemp(prefix="qsearch-fuzz-"))


def heading(data: bytes) -> tuple[dict[str, Any], bytes] | None:
    """The object that the first line is, and what is behind it; ``None``: it is none."""
    first, _, rest = data.partition(b"\n")
    try:
        told = json.loads(first)
    except (ValueError, RecursionError):
        return None
    return (told, rest) if isinstance(told, dict) else None


def with_heading(told: dict[str, Any], content: bytes) -> bytes:
    """Undo ``heading``."""
    return json.dumps(told).encode() + b"\n" + content


def limit_memory() -> None:
    """From now on more than ``MOST_MEMORY`` is a ``MemoryError``."""
    if sys.platform != "linux":  # elsewhere a limit of addresses is none, or cannot be set
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
