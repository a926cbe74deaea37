"""What a process does to the files below a folder: recorded, refused at the n-th call, or ended there.

``shim.c`` is preloaded into a process of its own; there ``Shim`` tells it what to do. It sees open, creat,
write, pwrite, writev, truncate, fsync, fdatasync, rename, unlink, rmdir, mkdir and link in all their forms,
of Python, of SQLite and of C streams, and counts read and pread where that is asked for.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Kind(enum.IntFlag):
    """Kinds of calls that can be counted and refused."""

    OPEN = 1
    WRITE = 2
    TRUNCATE = 4
    SYNC = 8
    RENAME = 16
    UNLINK = 32
    MAKE = 64
    READ = 128


CHANGING = Kind(127)
"""All but reading."""

ORDERING = Kind.SYNC | Kind.RENAME | Kind.UNLINK
"""The steps of a commit: of SQLite's, which ends with the unlinking of its journal, and of ours."""

SPACE = Kind.WRITE | Kind.MAKE | Kind.RENAME | Kind.TRUNCATE
"""What a full disk refuses."""


class Op(enum.IntEnum):
    """What a line of the log says."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    SYNC_DIRECTORY = 5
    RENAME = 6
    UNLINK = 7
    MKDIR = 8
    RMDIR = 9
    LINK = 10
    MARK = 11


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was done.

    Attributes:
        op: which.
        file: inode, where it is of the contents of a file.
        offset: where it writes; the new size; flags of a rename; the number of a mark.
        path: below the folder.
        other: the new name.
        data: written.
    """

    op: Op
    file: int
    offset: int
    path: str
    other: str
    data: bytes


def read_log(path: Path) -> list[Call]:
    """All calls of a log, in order."""
    log = path.read_bytes()
    calls, at = [], 0
    head = struct.Struct("<IIIIqq")
    while at < len(log):
        op, first, second, size, file, offset = head.unpack_from(log, at)
        at += head.size
        parts = []
        for length in (first, second, size):
            parts.append(log[at : at + length])
            at += length
        calls.append(
            Call(Op(op), file, offset, os.fsdecode(parts[0]), os.fsdecode(parts[1]), parts[2])
        )
    return calls


class Shim:
    """The library, in the process that it is preloaded into."""

    def __init__(self) -> None:
        """Find it."""
        self._library = ctypes.CDLL(None)
        self._library.shim_calls.restype = ctypes.c_long
        self._library.shim_refused.restype = ctypes.c_char_p

    def begin(
        self,
        folder: Path,
        *,
        log: Path | None = None,
        fail_at: int = 0,
        code: int = 0,
        lasting: bool = False,
        kinds: Kind = CHANGING,
    ) -> None:
        """Look at what is done below ``folder``.

        Args:
            folder: without links.
            log: where to record; outside of the folder.
            fail_at: the number of the call to refuse, from 1; 0: none.
            code: the errno; 0: the process is killed before the call is done.
            lasting: refuse all behind it too.
            kinds: of calls that count.
        """
        self._library.shim_begin(
            os.fsencode(os.path.realpath(folder)),
            os.fsencode(log or ""),
            ctypes.c_long(fail_at),
            code,
            int(lasting),
            ctypes.c_uint(int(kinds)),
        )

    def end(self) -> None:
        """Look no longer."""
        self._library.shim_end()

    def mark(self, number: int) -> None:
        """Put a mark into the log."""
        self._library.shim_mark(number)

    def without_syncs(self) -> None:
        """Let syncs below the folder cost nothing, where nobody will cut the power."""
        self._library.shim_no_sync(1)

    def calls(self, kinds: Kind) -> int:
        """How many there were of some kinds; of reading only where that counts."""
        return int(self._library.shim_calls(ctypes.c_uint(int(kinds))))

    @property
    def refused(self) -> str:
        """The first call that was refused."""
        return os.fsdecode(self._library.shim_refused())


def build_shim(folder: Path) -> Path:
    """Compile the library; skips the test, and says why, where that cannot be."""
    if sys.platform != "linux":
        pytest.skip("crash states and refusals are recorded by LD_PRELOAD, which is Linux'")
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("crash states and refusals need gcc, which is not there")
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-pthread"], check=True
    )
    return library


def preloaded(library: Path | None, module: str, *arguments: str, tasks: Any = None) -> Any:
    """Run a module of this room in a process of its own; returns the JSON value that it prints last.

    Args:
        library: to preload.
        module: its name.
        arguments: for it.
        tasks: a JSON value for its standard input.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if library is not None:
        environment["LD_PRELOAD"] = str(library)
    done = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{module}", *arguments],
        input=json.dumps(tasks),
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def told(failures: Sequence[str], most: int = 5) -> str:
    """The first of some failures, for an assertion."""
    return "\n\n".join([f"{len(failures)} failed", *failures[:most]])
