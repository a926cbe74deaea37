"""A torch model's batches, run on the CPU or on a GPU."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.locks import ProcessLock
from qsearch.streams import Stream

if TYPE_CHECKING:
    import torch

__all__ = ["Features", "Runner"]

_log = logging.getLogger("qsearch")

Features = Mapping[str, Any]
"""What a model takes: integer arrays or tensors of shape (rows, length), and settings as they are."""

_RECORDED_AFTER = 2
"""So many batches of a shape run step by step before it becomes a graph."""

_MOST_RECORDED = 64
"""Graphs of a model that are kept: those that were used last."""


class Runner:
    """Runs the batches of a model. For one thread at a time.

    On a GPU it has a stream of its own, so that one runner's batch is prepared while another's is computed.
    A shape that comes again is recorded as a CUDA graph, if the graph gives the same bits: to start a
    hundred kernels one by one takes longer than many a batch.

    Attributes:
        model: what runs.
    """

    def __init__(self, model: Any, output: str) -> None:
        """Take a model.

        Args:
            model: of sentence-transformers, on its device.
            output: which of the features that it gives is wanted.
        """
        self.model = model
        self._output = output
        self._stream = Stream(model.device)
        self._seen: Counter[object] = Counter()
        self._recorded: OrderedDict[object, _Recorded | None] = OrderedDict()

    def run(self, features: Features, keep: int, **options: Any) -> NDArray[np.float32]:
        """What the model gives for the first ``keep`` rows of a batch: float32.

        Args:
            features: of the batch.
            keep: rows that are wanted.
            options: more for the model.
        """
        import torch

        with torch.inference_mode(), _no_tf32(self._stream.gpu), self._stream.here():
            shape = _shape_of(features, options) if self._stream.gpu else None
            recorded = self._recorded.get(shape)
            if recorded is not None:
                self._recorded.move_to_end(shape)
                return recorded.run(features)[:keep]
            self.model.eval()  # whoever gave it may have trained it meanwhile
            there = {
                key: self._stream.sent(value)
                if isinstance(value, np.ndarray | torch.Tensor)
                else value
                for key, value in features.items()
            }
            found: NDArray[np.float32] = self._stream.brought(self._forward(there, options))
            if shape is not None:
                self._seen[shape] += 1
                if self._seen[shape] == _RECORDED_AFTER:
                    self._record(shape, there, features, options, found)
            return found[:keep]

    def _forward(self, there: Features, options: Mapping[str, Any]) -> torch.Tensor:
        # Modules put what they find into the features that they are given.
        found: torch.Tensor = self.model(dict(there), **options)[self._output].float()
        return found

    def _record(
        self,
        shape: object,
        there: Features,
        features: Features,
        options: Mapping[str, Any],
        expected: NDArray[np.float32],
    ) -> None:
        """Make a graph of a batch that was just run, where it can be and gives the same bits."""
        made = _Recorded(self._stream, there, lambda some: self._forward(some, options), self.model)
        same = made.there and made.run(features).tobytes() == expected.tobytes()
        if made.there and not same:
            _log.debug("a CUDA graph of this model gives other bits: it runs step by step")
        self._recorded[shape] = made if same else None
        if len(self._recorded) > _MOST_RECORDED:
            dropped, _ = self._recorded.popitem(last=False)
            del self._seen[dropped]


class _Recorded:
    """Batches of one shape as a CUDA graph."""

    def __init__(
        self,
        stream: Stream,
        features: Features,
        forward: Callable[[Features], torch.Tensor],
        model: Any,
    ) -> None:
        """Record it, on a stream where the same has run before.

        Args:
            stream: this.
            features: of a batch, on the device.
            forward: what is to be done with them.
            model: that does it. A graph knows addresses alone: what is there must stay.
        """
        import torch

        self._stream = stream
        self._given = {
            key: value.clone() for key, value in features.items() if isinstance(value, torch.Tensor)
        }
        self._sent = {key: stream.pinned(value) for key, value in self._given.items()}
        self._kept = [*model.parameters(), *model.buffers()]
        whole = {**features, **self._given}
        self._graph = stream.record(lambda: forward(whole))

    @property
    def there(self) -> bool:
        """Whether it could be recorded."""
        return self._graph is not None

    def run(self, features: Features) -> NDArray[np.float32]:
        """What the model gives for another batch of the shape."""
        if self._graph is None:
            raise ValueError("nothing was recorded")
        for key, sent in self._sent.items():
            sent.numpy()[...] = np.asarray(features[key])
            self._given[key].copy_(sent, non_blocking=True)
        self._graph.replay()
        found: NDArray[np.float32] = self._stream.brought(self._graph.made)
        return found


def _shape_of(features: Features, options: Mapping[str, Any]) -> object:
    """What two batches must have in common to be the same graph."""
    shapes = [
        (key, tuple(value.shape) if hasattr(value, "shape") else repr(value))
        for key, value in features.items()
    ]
    return tuple(shapes), tuple(sorted((key, repr(value)) for key, value in options.items()))


class _Tf32:
    """Whether this process lets tensor cores round float32 to 10 bits; off while anybody encodes."""

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._inside = 0
        self._restore: list[Callable[[], None]] = []

    def forbid(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._restore = [one for one in (_forbid_products(), _forbid_cudnn()) if one]

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for restore in self._restore:
                    restore()


def _forbid_products() -> Callable[[], None] | None:
    """No TF32 in products of matrices; what undoes that, where it was allowed.

    Torch has an old and a new name for the same setting, and refuses the old one where the new one was
    used.
    """
    import torch

    matmul = torch.backends.cuda.matmul
    try:
        before = torch.get_float32_matmul_precision()
        if before == "highest" and not matmul.allow_tf32:
            return None
        torch.set_float32_matmul_precision("highest")
    except RuntimeError:
        newer = matmul.fp32_precision
        matmul.fp32_precision = "ieee"
        return lambda: setattr(matmul, "fp32_precision", newer)
    return lambda: torch.set_float32_matmul_precision(before)


def _forbid_cudnn() -> Callable[[], None] | None:
    """The same of convolutions."""
    import torch

    cudnn = torch.backends.cudnn
    try:
        if not cudnn.allow_tf32:
            return None
        cudnn.allow_tf32 = False
    except RuntimeError:
        newer = cudnn.fp32_precision
        cudnn.fp32_precision = "ieee"
        return lambda: setattr(cudnn, "fp32_precision", newer)
    return lambda: setattr(cudnn, "allow_tf32", True)


_tf32 = _Tf32()


@contextmanager
def _no_tf32(gpu: bool) -> Iterator[None]:
    if not gpu:
        yield
        return
    _tf32.forbid()
    try:
        yield
    finally:
        _tf32.leave()
