"""Copies of a torch model that work side by side: one thread each on the CPU, or two on each GPU."""

from __future__ import annotations

import copy
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from qsearch.encoding.running import Runner
from qsearch.errors import EncoderError
from qsearch.kernels import thread_count
from qsearch.locks import ProcessLock
from qsearch.streams import device_name, settle
from qsearch.wording import words

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["Replicas", "chosen_devices"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_TOGETHER = 2
"""Copies on a GPU: while one is computed, the next batch of the other is prepared."""


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

    names = [name.strip() for name in device_name(device).split(",")]
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kinds = [torch.cuda.get_device_name(number) for number in range(there)]
    if names == ["auto"] and not there:
        return ["cpu"]
    if names in (["auto"], ["cuda"]) and there:
        return [f"cuda:{number}" for number, kind in enumerate(kinds) if kind == kinds[0]]
    found = set()
    for name in names:
        try:
            one = torch.device(name)
        except RuntimeError:
            raise EncoderError(
                f"there is no kind of device {name!r}; give {words().device} as auto, cpu, cuda, or "
                "cuda:0,cuda:1"
            ) from None
        if one.type == "cuda" and not (one.index or 0) < there:
            if not there and torch.version.cuda is None:
                raise EncoderError(
                    f"there is no CUDA device for {words().device} {device}: torch "
                    f"{torch.__version__} was built without CUDA; install one that has it (docs/gpu.md "
                    f"says how), or use {words().device} cpu"
                )
            has = f"only {there} of them" if there else "none"
            raise EncoderError(
                f"there is no CUDA device for {words().device} {device}: there are {has}; "
                f"use {words().device} cpu"
            )
        found.add((one.type, kinds[one.index or 0] if one.type == "cuda" else ""))
    if len(found) > 1:
        raise EncoderError(
            f"{words().device} {device} names devices of several kinds, which give vectors that differ "
            "in the last bits; name devices of one kind"
        )
    return list(dict.fromkeys("cuda:0" if name == "cuda" else name for name in names))


class Replicas:
    """A model for queries, and copies of it for documents. Safe to share between threads.

    On the CPU copies share their weights, and each runs on one thread: faster than one model on all
    threads, and its results do not depend on how many there are. Several devices have weights of their
    own, which the copies on one share. Copies are made when they are first needed.
    """

    def __init__(self, model: SentenceTransformer, devices: Sequence[str], output: str) -> None:
        """Take a model that is on the first of ``devices``.

        Args:
            model: this.
            devices: as torch names them.
            output: which of the features that the model gives is wanted.
        """
        self._model = Runner(model, output)
        self._output = output
        self._devices = list(devices)
        self._on_cpu = self._devices[0].partition(":")[0] == "cpu"
        self._lock = ProcessLock()
        self._model_lock = ProcessLock()
        self._free: queue.SimpleQueue[Runner] = queue.SimpleQueue()
        self._there = {self._devices[0]: model}
        self._made = 0
        self._queries = _Workers()
        self._documents = _Workers()

    def documents(
        self, work: Callable[[Runner, Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """Results of ``work`` for all tasks, in their order, by all copies."""

        def run(task: Task) -> Result:
            runner = self._borrowed()
            if runner is None:
                with self._model_lock:
                    return work(self._model, task)
            try:
                return work(runner, task)
            finally:
                self._free.put(runner)

        threads = len(self._devices) * (1 if self._on_cpu else _TOGETHER)
        if self._devices == ["cpu"]:
            threads = thread_count()
        return self._documents.pool(threads, limited=self._on_cpu).map(run, tasks)

    def queries(
        self, work: Callable[[Runner, Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """The same by the model itself, which does not wait for documents."""

        def run(task: Task) -> Result:
            with self._model_lock:
                return work(self._model, task)

        return self._queries.pool(1, limited=self._on_cpu).map(run, tasks)

    def _borrowed(self) -> Runner | None:
        """A copy that is not in use, made if need be; ``None`` if the model cannot be copied.

        There are as many threads as there may be copies, so none has to wait for one.
        """
        try:
            return self._free.get_nowait()
        except queue.Empty:
            pass
        with self._lock, self._model_lock:  # one after the other: copying takes memory
            device = self._devices[self._made % len(self._devices)]
            try:
                copied = self._copy(device)
            except Exception as error:
                if device != self._devices[0]:
                    raise EncoderError(
                        f"the model cannot be copied to {device} ({type(error).__name__}: {error}); name "
                        f"one device, as {words().device} {self._devices[0]}"
                    ) from error
                return None
            self._made += 1
            return Runner(copied, self._output)

    def _copy(self, device: str) -> SentenceTransformer:
        # Copies of their own, because some models keep tables for the length that they saw last.
        there = self._there.get(device)
        if there is None:
            whole: SentenceTransformer = copy.deepcopy(self._model.model).to(device)
            settle(whole.device)  # streams of others do not wait for what this one copies
            self._there[device] = whole
            return whole
        tokenizer = getattr(there[0], "tokenizer", None)
        shared = [*there.parameters(), *([] if tokenizer is None else [tokenizer])]
        return copy.deepcopy(there, {id(one): one for one in shared})


class _Workers:
    """A pool of threads, made when it is first needed, and anew where another number is wanted."""

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._pool: ThreadPoolExecutor | None = None
        self._made_for = (0, 0)

    def pool(self, threads: int, *, limited: bool) -> ThreadPoolExecutor:
        """So many threads; ``limited``: of which torch uses no others."""
        wanted = threads, os.getpid()  # the threads of a process are not in its children
        with self._lock:
            if self._pool is None or self._made_for != wanted:
                made = ThreadPoolExecutor(threads, "qsearch-torch")
                if limited:
                    _limit_to_one_thread(made, threads)
                self._pool, self._made_for = made, wanted
            return self._pool


_limiting = ProcessLock()


def _limit_to_one_thread(pool: ThreadPoolExecutor, threads: int) -> None:
    """Have torch use one thread in each thread of the pool, and in others as many as before.

    Raises:
        EncoderError: so many threads cannot be had.
    """
    import torch

    all_there = threading.Barrier(threads)

    def limit() -> None:
        # A thread takes over the number of the process when it first asks, and so must ask before.
        torch.get_num_threads()
        torch.set_num_threads(1)  # of this thread, and of those that ask later for the first time
        all_there.wait()

    with _limiting:
        before = torch.get_num_threads()
        complete = False
        try:
            for done in [pool.submit(limit) for _ in range(threads)]:
                done.result()
            complete = True
        except RuntimeError as error:
            raise EncoderError(
                f"{threads} threads cannot be had ({error}); set QSEARCH_THREADS to fewer"
            ) from error
        finally:
            all_there.abort()  # nobody waits for it any more, or somebody for what will never come
            torch.set_num_threads(before)
            if not complete:
                pool.shutdown(wait=False, cancel_futures=True)
