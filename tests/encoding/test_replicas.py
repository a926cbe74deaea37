"""Copies of a torch model: as many as there are threads or devices, and the same vectors from all."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from qsearch import EncoderError, Index, SentenceEncoder
from qsearch.encoding.replicas import chosen_devices
from tests.encoders import ARCHITECTURES, make_tiny


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"), request.param, dense=True)


@pytest.fixture
def texts(sample_texts: list[str]) -> list[str]:
    return [*sample_texts[::60], "law " * 300, "x"]


def threads_elsewhere() -> int:
    """What torch uses in a thread that begins now."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_neither_threads_nor_devices_change_a_bit(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for device, threads in (("cpu", 1), ("cpu", 2), ("cpu", 5), ("cpu,cpu,cpu", 2)):
        monkeypatch.setenv("QSEARCH_THREADS", str(threads))
        encoder = SentenceEncoder(model, device=device)
        told: list[int] = []
        documents = encoder.encode_documents(texts, told.append)
        assert sum(told) == len(texts)
        queries = encoder.encode_queries(texts[:3])
        found.add(documents.tobytes() + queries.tobytes())
    assert len(found) == 1
    monkeypatch.setenv("QSEARCH_THREADS", "3")
    encoder = SentenceEncoder(model, device="cpu")
    whole = encoder.encode_documents(texts)
    assert np.array_equal(encoder.encode_documents(texts[::-1])[::-1], whole)


def test_every_copy_runs_on_one_thread(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEARCH_THREADS", "3")
    encoder = SentenceEncoder(model, device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        first = encoder.encode_documents(texts)
        encoder.encode_queries(texts)
        for workers in (encoder._replicas._documents, encoder._replicas._queries):
            pool = workers._pool
            assert pool is not None
            barrier = threading.Barrier(pool._max_workers)

            def asked(barrier: threading.Barrier = barrier) -> int:
                barrier.wait()
                return int(torch.get_num_threads())

            waiting = [pool.submit(asked) for _ in range(pool._max_workers)]
            assert [one.result() for one in waiting] == [1] * pool._max_workers
        assert torch.get_num_threads() == 4
        torch.set_num_threads(1)
        fresh = SentenceEncoder(model, device="cpu")
        assert np.array_equal(fresh.encode_documents(texts), first)
    finally:
        torch.set_num_threads(before)


def test_threads_that_cannot_be_had_are_named(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEARCH_THREADS", "3")
    encoder = SentenceEncoder(model, device="cpu")
    before = torch.get_num_threads()
    with monkeypatch.context() as patch:
        start = threading.Thread.start
        started: list[threading.Thread] = []

        def refuse(thread: threading.Thread) -> None:
            started.append(thread)
            if len(started) == 3:
                raise RuntimeError("can't start new thread")
            start(thread)

        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(EncoderError, match="3 threads cannot be had.*QSEARCH_THREADS"):
            encoder.encode_documents(texts)
    assert torch.get_num_threads() == before
    assert threads_elsewhere() == before
    assert len(encoder.encode_documents(texts)) == len(texts)


def test_a_query_does_not_wait_for_documents(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEARCH_THREADS", "2")
    encoder = SentenceEncoder(model, device="cpu")
    expected = encoder.encode_queries(texts[:1])
    asked: list[np.ndarray] = []

    def ask(count: int) -> None:
        if not asked:
            thread = threading.Thread(
                target=lambda: asked.append(encoder.encode_queries(texts[:1]))
            )
            thread.start()
            thread.join()

    encoder.encode_documents(texts, ask)
    assert np.array_equal(asked[0], expected)


def test_a_model_that_cannot_be_copied_still_runs(tiny_bert: Path, texts: list[str]) -> None:
    class Holder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return features

    plain = SentenceTransformer(str(tiny_bert), device="cpu")
    expected = SentenceEncoder(plain).encode_documents(texts)
    odd = SentenceTransformer(modules=[*plain, Holder()], device="cpu")
    assert np.array_equal(SentenceEncoder(odd).encode_documents(texts), expected)


def test_a_forked_child_has_threads_of_its_own(tiny_bert: Path) -> None:
    code = f"""
import os
from qsearch import SentenceEncoder
encoder = SentenceEncoder({str(tiny_bert)!r}, device="cpu")
expected = encoder.encode_documents(["cat", "dog and bird"])
child = os.fork()
if child == 0:
    same = (encoder.encode_documents(["cat", "dog and bird"]) == expected).all()
    os._exit(0 if same else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_copies_on_one_processor_share_their_weights(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEARCH_THREADS", "3")
    for device, kinds in (("cpu", 1), ("cpu,cpu:0", 2)):
        encoder = SentenceEncoder(model, device=device)
        encoder.encode_documents(texts)
        copies = [encoder._replicas._free.get_nowait() for _ in range(encoder._replicas._made)]
        assert 1 < len(copies) <= 3
        assert len({id(one) for one in copies}) == len(copies)
        assert len({next(one.model.parameters()).data_ptr() for one in copies}) == kinds


def test_torch_keeps_its_threads_elsewhere(model: Path, texts: list[str]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        SentenceEncoder(model, device="cpu").encode_documents(texts)
        assert [torch.get_num_threads(), threads_elsewhere()] == [3, 3]
    finally:
        torch.set_num_threads(before)


def test_a_copy_that_fails_can_be_used_again(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEARCH_THREADS", "2")
    encoder = SentenceEncoder(model, device="cpu")
    expected = encoder.encode_documents(texts)

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(SentenceTransformer, "forward", broken)
        with pytest.raises(EncoderError, match="failed on .* texts"):
            encoder.encode_documents(texts)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.encode_documents(texts, stop)
    for _ in range(3):
        assert np.array_equal(encoder.encode_documents(texts), expected)
    assert encoder._replicas._made <= 2


def test_an_index_is_built_on_several_devices(
    model: Path, texts: list[str], tmp_path: Path
) -> None:
    records = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    with Index.build(records, tmp_path / "i", encoder=str(model), device="cpu,cpu") as index:
        identity = index.encoder_identity
        assert identity is not None
        assert identity.backend == "torch"
        assert index.search(texts[5], 1)[0].score > 0.999
    with Index.open(tmp_path / "i", device="cpu") as index:  # through ONNX Runtime or torch
        assert index.search(texts[5], 1)[0].score > 0.999


def gpus(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: names[number])


@pytest.mark.parametrize(
    ("device", "there", "chosen"),
    [
        ("auto", [], ["cpu"]),
        ("cpu", ["A"], ["cpu"]),
        ("auto", ["A"], ["cuda:0"]),
        ("auto", ["A", "A", "A"], ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", ["A", "B", "A"], ["cuda:0", "cuda:2"]),
        ("cuda:1", ["A", "A"], ["cuda:1"]),
        ("cuda:1, cuda:0", ["A", "A"], ["cuda:1", "cuda:0"]),
    ],
)
def test_all_gpus_of_the_first_kind_are_used(
    device: str, there: list[str], chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, there)
    assert chosen_devices(device) == chosen


@pytest.mark.parametrize(
    ("device", "there", "message"),
    [
        ("cuda", [], "no CUDA device for device cuda"),
        ("cuda:0,cuda:1", [], "no CUDA device.*built without CUDA; install one that has it"),
        ("cpu,cuda:0", ["A"], "devices of several kinds"),
        ("cuda:0,cuda:1", ["A", "B"], "devices of several kinds"),
        ("cuda:7", ["A"], "there are only 1 of them"),
        ("gpu", ["A"], "no kind of device 'gpu'"),
        ("auto,auto", ["A"], "no kind of device 'auto'"),
        ("cuda,", ["A"], "no kind of device ''"),
    ],
)
def test_devices_that_cannot_be_are_named(
    device: str, there: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, there)
    monkeypatch.setattr(torch.version, "cuda", None)  # as of a build for CPUs, on any machine
    with pytest.raises(EncoderError, match=message):
        chosen_devices(device)
