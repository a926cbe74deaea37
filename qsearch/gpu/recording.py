"""A search that is done again and again as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qsearch.gpu.outcome import OF_QUERIES, Outcome, Room
from qsearch.gpu.rows import DeviceRows
from qsearch.streams import Stream

if TYPE_CHECKING:
    import torch

__all__ = ["RecordedSearch"]


class RecordedSearch:
    """A search of few queries as a CUDA graph: one start instead of a dozen."""

    def __init__(
        self,
        steps: Callable[[torch.Tensor], Room],
        stream: Stream,
        count: int,
        rows: DeviceRows,
    ) -> None:
        """Record it.

        Args:
            steps: of (q, d) float32 queries on the device.
            stream: on which they run.
            count: of queries.
            rows: where they search.
        """
        import torch

        self._stream = stream
        self._vectors = torch.zeros((count, rows.dimensions), device=rows.device)
        self._vectors[:, 0] = 1.0
        self._given = stream.pinned(self._vectors)
        self._given.copy_(self._vectors)

        def here() -> Room:
            self._vectors.copy_(self._given, non_blocking=True)
            return steps(self._vectors)

        room = here()  # kernels are compiled, and libraries find their memory
        self._kept = stream.pinned(room.packed)
        self._host = self._given.numpy(), self._kept.numpy()

        def whole() -> Room:
            room = here()
            self._kept.copy_(room.packed, non_blocking=True)
            return room

        self._graph = stream.record(whole)

    @property
    def there(self) -> bool:
        """Whether it could be recorded."""
        return self._graph is not None

    def run(self, queries: NDArray[np.float32]) -> Outcome:
        """Search.

        Args:
            queries: (q, d) float32, at most as many as were recorded.
        """
        if self._graph is None:
            raise ValueError("nothing was recorded")
        count = len(queries)
        given, kept = self._host
        given[:count] = queries
        given[count:] = queries[:1]
        self._graph.replay()
        self._stream.wait()
        every = self._graph.made.brought(kept.copy())
        if count == len(given):
            return every
        return replace(every, **{name: getattr(every, name)[:count] for name in OF_QUERIES})
