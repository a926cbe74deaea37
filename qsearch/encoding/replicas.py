"""Copies of a torch model that work side by side: one thread each on the CPU, or one GPU each."""

from __future__ import annotations

import copy
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from qsearch.errors import EncoderError
from qsearch.kernels import thread_count

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["Replicas", "chosen_devices"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def chosen_devices(device: str) -> list[str]:
    """The devices that a name stands for.

    Args:
        device: ``auto`` or ``cuda``: all GPUs of the kind of the first one (another kind rounds
            otherwise); ``auto`` is ``cpu`` where there is none. Else names that torch knows, with commas
            between.

    Raises:
        EncoderError: there is no such device, or they are of several kinds.
    """
    import torch

    names = [name.strip() for name in device.split(",")]
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if names == ["auto"] and not there:
        return ["cpu"]
    if any(name.partition(":")[0] == "cuda" for name in names) and not there:
        raise EncoderError(
            f"there is no CUDA device for --device {device} (or this torch is a CPU build); "
            "use --device cpu"
        )
    if names in (["auto"], ["cuda"]):
        kinds = [torch.cuda.get_device_name(number) for number in range(there)]
        return [f"cuda:{number}" for number, kind in enumerate(kinds) if kind == kinds[0]]
    if len({name.partition(":")[0] for name in names}) > 1:
        raise EncoderError(
            f"--device {device} names devices of several kinds, which give vectors that differ in the "
            "last bits; name devices of one kind"
        )
    return names


class Replicas:
    """A model and its copies. Safe to share between threads.

    On the CPU copies share their weights, and each runs on one thread: faster than one model on all
    threads, and its results do not depend on how many there are. On several devices each has its own.
    Copies are made when they are first needed.
    """

    def __init__(self, model: SentenceTransformer, devices: Sequence[str]) -> None:
        """Take a model that is on the first of ``devices``."""
        self._model = model
        self._devices = list(devices)
        self._on_cpu = self._devices[0].partition(":")[0] == "cpu"
        self._shared = self._on_cpu and len(self._devices) == 1
        self._lock = threading.Lock()
        self._free: queue.SimpleQueue[SentenceTransformer] = queue.SimpleQueue()
        self._made = 0
        self._pool: ThreadPoolExecutor | None = None
        self._threads = 0

    def map(
        self, work: Callable[[SentenceTransformer, Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """Results of ``work`` for all tasks, in their order."""

        def run(task: Task) -> Result:
            model = self._borrowed()
            try:
                return work(model, task)
            finally:
                self._free.put(model)

        return self._workers().map(run, tasks)

    def _borrowed(self) -> SentenceTransformer:
        """A copy that is not in use: as many threads as may be copies ask for one."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            with self._lock:
                number = self._made
                self._made += 1
            return self._model if number == 0 else self._copy(number)

    def _copy(self, number: int) -> SentenceTransformer:
        # A copy of its own, because some models keep tables for the length they saw last.
        if not self._shared:
            copied: SentenceTransformer = copy.deepcopy(self._model)
            return copied.to(self._devices[number % len(self._devices)])
        tokenizer = getattr(self._model[0], "tokenizer", None)
        shared = [*self._model.parameters(), *([] if tokenizer is None else [tokenizer])]
        return copy.deepcopy(self._model, {id(one): one for one in shared})

    def _workers(self) -> ThreadPoolExecutor:
        threads = thread_count() if self._shared else len(self._devices)
        with self._lock:
            if self._pool is None or self._threads != threads:
                self._pool = ThreadPoolExecutor(threads, "qsearch-torch")
                self._threads = threads
                if self._on_cpu:
                    _limit_to_one_thread(self._pool, threads)
            return self._pool


def _limit_to_one_thread(pool: ThreadPoolExecutor, threads: int) -> None:
    """Have torch use one thread in each thread of the pool, and in others as many as before."""
    import torch

    before = torch.get_num_threads()
    all_there = threading.Barrier(threads)

    def limit() -> None:
        torch.set_num_threads(1)  # for this thread, and for those that begin after it
        all_there.wait()

    for done in [pool.submit(limit) for _ in range(threads)]:
        done.result()
    torch.set_num_threads(before)
