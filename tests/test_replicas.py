"""Copies of a torch model: as many as there are threads or devices, and the same vectors from all."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from qsearch import EncoderError, Index, SentenceEncoder
from qsearch.encoding.replicas import chosen_devices
from tests.encoders import ARCHITECTURES, make_tiny


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"), request.param, dense=True)


@pytest.fixture
def texts(sample_texts: list[str]) -> list[str]:
    return [*sample_texts[::60], "law " * 300, "x"]


def test_neither_threads_nor_devices_change_a_bit(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for device, threads in (("cpu", 1), ("cpu", 2), ("cpu", 5), ("cpu,cpu,cpu", 2)):
        monkeypatch.setenv("QSEARCH_THREADS", str(threads))
        encoder = SentenceEncoder(model, device=device)
        told = []
        documents = encoder.encode_documents(texts, told.append)
        assert sum(told) == len(texts)
        queries = encoder.encode_queries(texts[:3])
        found.add(documents.tobytes() + queries.tobytes())
    assert len(found) == 1
    monkeypatch.setenv("QSEARCH_THREADS", "3")
    encoder = SentenceEncoder(model, device="cpu")
    whole = encoder.encode_documents(texts)
    assert np.array_equal(encoder.encode_documents(texts[::-1])[::-1], whole)


def test_copies_on_one_processor_share_their_weights(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEARCH_THREADS", "3")
    for device, kinds in (("cpu", 1), ("cpu,cpu", 2)):
        encoder = SentenceEncoder(model, device=device)
        encoder.encode_documents(texts)
        copies = [encoder._replicas._free.get_nowait() for _ in range(encoder._replicas._made)]
        assert 1 < len(copies) <= 3
        assert len({id(one) for one in copies}) == len(copies)
        assert len({next(one.parameters()).data_ptr() for one in copies}) == kinds


def test_torch_keeps_its_threads_elsewhere(model: Path, texts: list[str]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        SentenceEncoder(model, device="cpu").encode_documents(texts)
        found = [torch.get_num_threads()]
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert found == [3, 3]
    finally:
        torch.set_num_threads(before)


def test_a_copy_that_fails_can_be_used_again(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEARCH_THREADS", "2")
    encoder = SentenceEncoder(model, device="cpu")
    expected = encoder.encode_documents(texts)
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "_prepared", lambda text: 5)
        with pytest.raises((EncoderError, TypeError)):
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
        ("cuda", [], "no CUDA device for --device cuda"),
        ("cuda:0,cuda:1", [], "no CUDA device"),
        ("cpu,cuda:0", ["A"], "devices of several kinds"),
    ],
)
def test_devices_that_cannot_be_are_named(
    device: str, there: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, there)
    with pytest.raises(EncoderError, match=message):
        chosen_devices(device)
