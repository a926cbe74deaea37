"""An exported graph, loaded: onnxruntime and tokenizers, on one thread for each batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.onnx.cache import GRAPH, TOKENIZER
from qsearch.errors import EncoderError
from qsearch.kernels import thread_count
from qsearch.locks import ProcessLock

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Session"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class Session:
    """Graph and tokenizer of an export. Safe to share between threads.

    Attributes:
        tokenizer: as it was exported; not to be changed.
        inputs: names of what the graph takes, each (texts, tokens) int64.
    """

    tokenizer: Tokenizer
    inputs: tuple[str, ...]

    def __init__(self, folder: Path) -> None:
        """Load them.

        Args:
            folder: see ``ExportedModel``.

        Raises:
            EncoderError: the files cannot be loaded.
        """
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # it would keep a plan for every shape
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
            )
            self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # both raise many kinds
            raise EncoderError(f"the export in {folder} cannot be loaded ({error})") from error
        self.inputs = tuple(one.name for one in self._session.get_inputs())
        self._lock = ProcessLock()
        self._pool: ThreadPoolExecutor | None = None
        self._pool_for = (0, 0)

    def run(self, feeds: Mapping[str, NDArray[np.int64]], what: str) -> NDArray[np.float32]:
        """What the graph makes of one batch.

        Args:
            feeds: each (rows, tokens) int64.
            what: what failed, where it does: "the model" comes before it.

        Raises:
            EncoderError: the graph fails.
        """
        try:
            output: NDArray[np.float32] = self._session.run(None, dict(feeds))[0]
        except Exception as error:  # onnxruntime raises kinds of its own
            raise EncoderError(f"the model {what} ({error})") from error
        return output

    def each(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Results of ``work`` for all tasks, in their order, on as many threads as there may be."""
        threads = thread_count()
        several = threads > 1 and len(tasks) > 1
        return iter((self._workers(threads).map if several else map)(work, tasks))

    def _workers(self, threads: int) -> ThreadPoolExecutor:
        """Threads that all calls share: batches of a second call fill in where a first one ends."""
        with self._lock:
            wanted = threads, os.getpid()  # the threads of a process are not in its children
            if self._pool is None or self._pool_for != wanted:
                self._pool = ThreadPoolExecutor(threads, "qsearch-encode")
                self._pool_for = wanted
            return self._pool
