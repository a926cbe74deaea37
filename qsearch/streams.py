"""Work for one device: on a GPU on a stream of its own, recorded as CUDA graphs where that is possible."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from qsearch.locks import ProcessLock

if TYPE_CHECKING:
    import torch

__all__ = ["Recorded", "Stream", "free_bytes", "settle"]

_log = logging.getLogger("qsearch")

Made = TypeVar("Made")

_recording = ProcessLock()
"""Whoever records synchronizes the device first, which would spoil what another thread records."""

_SOUND_AFTER_FAILURE = 2, 12
"""Once a recording has failed, torch before this version frees no memory any more: it is the last one."""


class _Refused:
    """Whether nothing is recorded in this process any more."""

    now = False


class Recorded(Generic[Made]):
    """Steps that are a CUDA graph.

    Attributes:
        made: what they returned: tensors that hold, after each ``replay``, what they made then.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, made: Made) -> None:
        """Take both."""
        self._graph = graph
        self.made = made

    def replay(self) -> None:
        """Do the steps again, on the stream that they were recorded on."""
        self._graph.replay()


class Stream:
    """Of one device; on the CPU there is none, and nothing to wait for. For one thread at a time.

    Attributes:
        device: this.
        gpu: whether it is one.
    """

    def __init__(self, device: torch.device) -> None:
        """Take a device."""
        self.device = device
        self.gpu = _is_gpu(device)
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None
        self._records = True

    @contextmanager
    def here(self) -> Iterator[None]:
        """What is begun in the block runs on this stream, behind all that this thread has begun before."""
        if not self.gpu:
            yield
            return
        import torch

        with torch.cuda.device(self.device):
            if self._stream is None:
                self._stream = torch.cuda.Stream(self.device)
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self._stream):
                yield

    def sent(self, values: NDArray[Any] | torch.Tensor) -> torch.Tensor:
        """The same on the device, without waiting for it. Within ``here``."""
        import torch

        if isinstance(values, np.ndarray):
            values = torch.from_numpy(np.ascontiguousarray(values))
        if self.gpu and values.device.type == "cpu":
            return values.pin_memory().to(self.device, non_blocking=True)
        return values.to(self.device)

    def pinned(self, like: torch.Tensor) -> torch.Tensor:
        """Memory of the CPU that the device reads and writes by itself, of the same shape and dtype."""
        import torch

        return torch.empty(like.shape, dtype=like.dtype, pin_memory=self.gpu)

    def brought(self, values: torch.Tensor) -> NDArray[Any]:
        """The same in the CPU's memory; waits for it. Within ``here``."""
        if not self.gpu:
            return np.asarray(values.cpu().numpy())
        kept = self.pinned(values)
        kept.copy_(values, non_blocking=True)
        self.wait()
        return np.array(kept.numpy())

    def wait(self) -> None:
        """Until all is done that was begun on it."""
        if self._stream is not None:
            self._stream.synchronize()

    def record(self, steps: Callable[[], Made]) -> Recorded[Made] | None:
        """Record steps that have run on this stream before; within ``here``.

        They may not wait for the device. The graphs of a stream share their memory, so what steps have
        made is to be read before others are replayed.

        Returns:
            The graph; ``None`` where it cannot be.
        """
        import torch

        if not self.gpu or not self._records or self._stream is None:
            return None
        with _recording:
            if _Refused.now:
                return None
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            try:
                # Other threads may use the GPU meanwhile.
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",
                ):
                    made = steps()
            except RuntimeError as error:
                _log.debug("no CUDA graph: %s", error)
                self._records = False
                _Refused.now = _version(torch.__version__) < _SOUND_AFTER_FAILURE
                return None
        return Recorded(graph, made)


def settle(device: torch.device) -> None:
    """Wait until a GPU has done everything, whoever began it."""
    import torch

    if _is_gpu(device):
        with _recording:
            torch.cuda.synchronize(device)


def free_bytes(device: torch.device) -> int | None:
    """Of a GPU's memory, what torch keeps for nothing included; ``None``: it is no GPU."""
    import torch

    if not _is_gpu(device):
        return None
    with _recording:
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
    return int(free)


def _is_gpu(device: torch.device) -> bool:
    return str(device.type) == "cuda"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.partition("+")[0].split(".")[:2])
