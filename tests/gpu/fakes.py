"""A GPU of one's own: streams and graphs as torch has them, on the CPU.

A graph is the list of operations that were done while it was recorded; to replay it does them again on
the same tensors, as a GPU does on the same addresses. What waits for the device cannot be recorded.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.utils import import_utils

from qsearch.streams import Recorded, Stream, _Streams

_WAITING = (
    "aten._local_scalar_dense",
    "aten.item",
    "aten.nonzero",
    "aten.equal",
    "aten.is_nonzero",
)


class _Operations(TorchDispatchMode):  # type: ignore[misc] # (torch has no types here)
    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, given: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        if str(operation).startswith(_WAITING):
            raise RuntimeError(f"{operation} waits for the device: not in a graph")
        made = operation(*given, **(named or {}))
        self.done.append((operation, given, named or {}, made))
        return made


class _Graph:
    def __init__(self, operations: _Operations) -> None:
        self._operations = operations

    def replay(self) -> None:
        with torch.inference_mode():
            for operation, given, named, before in self._operations.done:
                now = operation(*given, **named)
                for place, value in zip(tree_leaves(before), tree_leaves(now), strict=True):
                    if isinstance(place, torch.Tensor) and place.data_ptr() != value.data_ptr():
                        place.copy_(value)


class FakeStream:
    """Nothing runs beside anything. As of torch's, there are so many, and then the first one again."""

    made = itertools.count()

    def __init__(self, device: object = None) -> None:
        self.device = device
        self.cuda_stream = next(self.made) % 32

    def synchronize(self) -> None:
        pass

    def wait_stream(self, other: FakeStream) -> None:
        assert isinstance(other, FakeStream)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> list[_Graph]:
    """The CPU is taken for a GPU; returns the graphs that are recorded."""
    graphs: list[_Graph] = []

    @contextlib.contextmanager
    def nothing(*_: object, **__: object) -> Iterator[None]:
        yield

    def record(stream: Stream, steps: Callable[[], Any]) -> Recorded[Any]:
        operations = _Operations()
        with monkeypatch.context() as patch, operations:
            # Models leave out what waits, as they do where a GPU records.
            patch.setattr(import_utils, "is_cuda_stream_capturing", lambda: True)
            made = steps()
        graphs.append(_Graph(operations))
        return Recorded(graphs[-1], made)  # type: ignore[arg-type] # (a fake)

    monkeypatch.setattr("qsearch.streams._is_gpu", lambda device: True)
    monkeypatch.setattr(Stream, "_record", record)
    monkeypatch.setattr("qsearch.streams._streams", _Streams())
    monkeypatch.setattr(Stream, "pinned", lambda stream, like: torch.empty_like(like))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    monkeypatch.setattr("qsearch.streams.free_bytes", lambda device: None)
    monkeypatch.setattr("qsearch.streams.settle", lambda device: None)
    monkeypatch.setattr("qsearch.gpu.exact.free_bytes", lambda device: None)
    monkeypatch.setattr("qsearch.gpu.exact.settle", lambda device: None)
    for name, fake in (
        ("Stream", FakeStream),
        ("stream", nothing),
        ("device", nothing),
        ("current_stream", FakeStream),
        ("default_stream", FakeStream),
        ("current_device", lambda: 0),
    ):
        monkeypatch.setattr(torch.cuda, name, fake)
    return graphs
