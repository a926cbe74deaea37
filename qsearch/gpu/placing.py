"""Whether exact searches run on a GPU, and since when."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qsearch.errors import QueryError
from qsearch.locks import ProcessLock
from qsearch.store import Segment
from qsearch.wording import first_line, words

if TYPE_CHECKING:
    from qsearch.gpu.exact import DeviceExact

__all__ = ["Placing", "has_gpu"]

_log = logging.getLogger("qsearch")

_WORTH_AT_ONCE = 32
"""So many queries in one search are worth loading the index to a GPU, which takes seconds."""

_WORTH_IN_ALL = 1000
"""So many one after the other are too."""

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
"""What is there on Linux, and on Windows' Linux, where a GPU can be used."""


def has_gpu() -> bool:
    """Whether there may be a GPU of NVIDIA: a look at the system, without torch, which takes a second."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return any(Path(one).exists() for one in _DRIVERS)


class Placing:
    """Where the exact searches of one commit run. Safe to share between threads."""

    def __init__(
        self, segments: Sequence[Segment], device: str, before: Placing | None = None
    ) -> None:
        """Take the segments, and what was asked for.

        Args:
            segments: of the index.
            device: ``cpu``; ``auto``: the GPUs there are, if the index fits, as soon as that pays; ``cuda``
                and names of devices with commas between: these.
            before: of an earlier commit of the same index.
        """
        self._process: int = os.getpid()
        self._segments = segments
        self._device = device
        if before is not None and before._process != os.getpid():
            before = None  # what a forked child's parent has there is not for the child
        self._asked: int = 0 if before is None else before._asked
        self._exact: DeviceExact | None = None
        self._before: DeviceExact | None = None
        if before is not None:
            self._before = before._exact or before._before
        self._given_up = device == "cpu" or (device == "auto" and not has_gpu())
        self._lock = ProcessLock()

    @property
    def loaded(self) -> bool:
        """Whether exact searches run on a GPU by now."""
        return self._exact is not None and self._process == os.getpid()

    @property
    def where(self) -> str:
        """Names of the GPUs, or ``cpu``."""
        exact = self._exact
        if exact is None or exact.broken or self._process != os.getpid():
            return "cpu"
        return ", ".join(exact.loaded.devices)

    def exact(self, queries: int) -> DeviceExact | None:
        """Who searches exactly on a GPU; ``None``: the CPU does it.

        Args:
            queries: so many are to be searched.

        Raises:
            EncoderError: there is no such device.
            QueryError: there is no memory on it.
        """
        if self._given_up or self._process != os.getpid():  # a GPU is not for a forked child
            return None
        self._asked += queries
        if self._exact is None and self._pays(queries):
            with self._lock:
                if self._exact is None and not self._given_up:
                    self._load()
        if self._exact is not None and self._exact.broken:
            self._exact, self._given_up = None, True
        return self._exact

    def _pays(self, queries: int) -> bool:
        if self._device != "auto" or self._before is not None:
            return True
        return queries >= _WORTH_AT_ONCE or self._asked >= _WORTH_IN_ALL

    def _load(self) -> None:
        import torch

        from qsearch.encoding.replicas import chosen_devices

        auto = self._device == "auto"
        if torch.cuda._is_in_bad_fork():
            if not auto:
                raise QueryError(
                    f"a forked process cannot use {self._device}; search on the CPU with {words().device} "
                    "cpu, or start processes another way than by a fork"
                )
            self._given_up = True
            return
        names = [one for one in chosen_devices(self._device) if one.startswith("cuda")]
        if not names:  # auto found none, or this is another kind of device
            self._given_up = True
            return
        from qsearch.gpu.exact import DeviceExact

        where = ", ".join(names)
        try:
            made = DeviceExact(self._segments, names, before=self._before, lenient=auto)
            made.try_out()
        except Exception as error:  # Triton's errors are of no kind that they share
            self._before, self._given_up = None, auto
            if not auto:
                others = "others may use its memory; " if "memory" in str(error) else ""
                raise QueryError(
                    f"the index cannot be searched on {where} ({first_line(error)}); {others}search on the "
                    f"CPU with {words().device} cpu"
                ) from error
            _log.warning("%s cannot be used (%s): searching on the CPU", where, first_line(error))
            return
        if made.broken:  # it has been said why
            self._before, self._given_up = None, True
            return
        self._before = None
        told = made.loaded
        if self._device == "auto" and not told.whole:
            self._given_up = True
            _log.info(
                "the index does not fit into the memory of %s: searching on the CPU", names[0]
            )
            return
        _log.info(
            "%s rows on %s: %.2f GB in %.1f s%s",
            f"{told.rows:,}",
            ", ".join(told.devices),
            told.bytes / 1e9,
            told.seconds,
            ""
            if told.whole
            else "; the memory does not hold all, they come in slabs for every search",
        )
        self._exact = made
