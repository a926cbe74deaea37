"""Work for one device: on a GPU on a stream of its own, recorded as CUDA graphs where that is possible."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from qsearch.locks import ProcessLock
from qsearch.wording import first_line

if TYPE_CHECKING:
    import torch

__all__ = [
    "CopyRefusedError",
    "Recorded",
    "Stream",
    "copies_refused",
    "device_name",
    "free_bytes",
    "settle",
]

_log = logging.getLogger("qsearch")

Made = TypeVar("Made")

_recording = ProcessLock()
"""Whoever records synchronizes the device first, which would spoil what another thread records."""

_SOUND_AFTER_FAILURE = 2, 12
"""Once a recording has failed, torch before this version frees no memory any more: it is the last one."""


_STREAMS_OF_A_DEVICE = 32
"""Torch hands out so many, and then the first one again."""


class _Refused:
    """Whether nothing is recorded in this process any more."""

    now = False


class _Streams:
    """The streams of torch, each for one owner at a time.

    Two that are one and the same would be the end of a recording: what another thread begins on it is
    recorded as well, and not done.
    """

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._free: dict[int, list[torch.cuda.Stream]] = {}
        self._taken: set[int] = set()

    def take(self, owner: object) -> torch.cuda.Stream | None:
        """One of the current device, until the owner is gone; ``None``: all are taken."""
        import torch

        with self._lock:
            device = torch.cuda.current_device()
            free = self._free.setdefault(device, [])
            stream = free.pop() if free else None
            for _ in range(_STREAMS_OF_A_DEVICE):
                if stream is not None:
                    break
                one = torch.cuda.Stream()
                if one.cuda_stream not in self._taken:
                    stream = one
            if stream is not None:
                self._taken.add(stream.cuda_stream)
                weakref.finalize(owner, self._give_back, device, stream).atexit = False
            return stream

    def _give_back(self, device: int, stream: torch.cuda.Stream) -> None:
        with self._lock:
            self._taken.discard(stream.cuda_stream)
            self._free.setdefault(device, []).append(stream)


_streams = _Streams()


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
        refused: why nothing is recorded; empty: nothing has been in the way by now.
    """

    def __init__(self, device: torch.device) -> None:
        """Take a device."""
        self.device = device
        self.gpu = _is_gpu(device)
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None
        self._records = self.gpu
        self.refused = ""

    @contextmanager
    def here(self) -> Iterator[None]:
        """What is begun in the block runs on this stream, behind all that this thread has begun before."""
        if not self.gpu:
            yield
            return
        import torch

        with torch.cuda.device(self.device):
            before = torch.cuda.current_stream(self.device)
            if self._stream is None:
                self._stream = _streams.take(self)
            if (
                self._stream is None
            ):  # there is none left: everybody's, on which nothing is recorded
                self._stream, self._records = torch.cuda.default_stream(self.device), False
            self._stream.wait_stream(before)
            with torch.cuda.stream(self._stream):
                yield

    def sent(self, values: NDArray[Any] | torch.Tensor) -> torch.Tensor:
        """The same on the device, without waiting for it. Within ``here``."""
        import torch

        if isinstance(values, np.ndarray):
            values = torch.from_numpy(np.ascontiguousarray(values))
        if self.gpu and values.device.type == "cpu":
            values = values.pin_memory()
        return values.to(self.device, non_blocking=self.gpu)

    def brought_in(self, pieces: Iterable[Sequence[NDArray[Any]]]) -> Iterator[list[torch.Tensor]]:
        """Arrays that are only read, piece by piece, on the device; within ``here``.

        While what is begun with one piece goes on, the next one is put into memory that the device reads
        by itself, by several threads of torch's.
        """
        for piece in pieces:
            given = [_unguarded(one) for one in piece]
            if self.gpu:
                given = [one.pin_memory() for one in given]
            self.wait()  # so that there are no more than two
            yield [one.to(self.device, non_blocking=self.gpu) for one in given]

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
        """Record steps, after they have run once more; within ``here``.

        They may not wait for the device. The graphs of a stream share their memory, so what steps have
        made is to be read before others are replayed.

        Returns:
            The graph; ``None`` where it cannot be.
        """
        if not self._records or self._stream is None:
            return None
        try:
            # A recording that fails is one too many (``_Refused``): what can be seen before is.
            with copies_refused():
                steps()
            with _recording:
                if _Refused.now:
                    return None
                self._stream.synchronize()
                return self._record(steps)
        except (CopyRefusedError, RuntimeError) as error:
            _log.debug("no CUDA graph: %s", error)
            self._records, self.refused = False, first_line(error)
            return None

    def _record(self, steps: Callable[[], Made]) -> Recorded[Made]:
        import torch

        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the GPU meanwhile.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                made = steps()
        except RuntimeError:
            _Refused.now = _version(torch.__version__) < _SOUND_AFTER_FAILURE
            raise
        return Recorded(graph, made)


class CopyRefusedError(Exception):
    """Steps copy from or to memory of the CPU that the device does not reach by itself."""


_COPIES = "aten._to_copy", "aten.copy_", "aten._copy_from"


@contextmanager
def copies_refused() -> Iterator[None]:
    """In this thread such copies raise ``CopyRefusedError``: a recording would fail at them."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Watch(TorchDispatchMode):  # type: ignore[misc] # (torch has no types here)
        def __torch_dispatch__(
            self, operation: Any, types: Any, given: tuple[Any, ...] = (), named: Any = None
        ) -> Any:
            made = operation(*given, **(named or {}))
            every = [one for one in tree_leaves((given, made)) if isinstance(one, torch.Tensor)]
            if len({one.device.type for one in every}) > 1:
                # A number that is no copy's goes with the kernel that takes it.
                copies = str(operation).startswith(_COPIES)
                for one in every:
                    if one.device.type == "cpu" and (copies or one.dim()) and not one.is_pinned():
                        raise CopyRefusedError(f"{operation} copies what is not pinned")
            return made

    with Watch():
        yield


class _Unguarded:
    """A view of an array without the mark that it is read-only, which torch has none of."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array  # stays as long as its memory is used
        told = array.__array_interface__
        self.__array_interface__ = told | {"data": (told["data"][0], False)}


def _unguarded(array: NDArray[Any]) -> torch.Tensor:
    """The same memory, which nobody may write to."""
    import torch

    return torch.from_numpy(np.asarray(_Unguarded(np.ascontiguousarray(array))))


def device_name(device: Any) -> str:
    """The name of a device: of a ``torch.device`` too; ``None`` is ``auto``.

    Raises:
        TypeError: it is something else.
    """
    if device is None:
        return "auto"
    if isinstance(device, str):
        return device
    if isinstance(getattr(device, "type", None), str):
        return str(device)
    raise TypeError(
        f"a device is a name such as 'cpu', 'cuda' or 'cuda:0', found {type(device).__name__}"
    )


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
