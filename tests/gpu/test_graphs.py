"""What runs as a CUDA graph gives what it gives step by step, on a GPU of one's own."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from qsearch import SentenceEncoder
from qsearch.gpu.exact import DeviceExact
from qsearch.gpu.search import DeviceSearch
from qsearch.gpu.steps import Found, TorchSteps, _bits, _cosines
from qsearch.kernels import RowMask
from qsearch.retrieval import ExactSearch
from qsearch.retrieval.allowed import Allowed
from qsearch.streams import CopyRefusedError, Stream, copies_refused
from tests.encoders import ARCHITECTURES, make_tiny
from tests.gpu.fakes import fake_gpu
from tests.gpu.test_device import same
from tests.retrieval.segments import rows_of, segments_of

__all__ = ["fake_gpu"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batches_that_come_again_are_graphs(
    tmp_path: Path,
    architecture: str,
    sample_texts: list[str],
    fake_gpu: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qsearch.encoding.sentence._GPU_TOKENS", 256)
    monkeypatch.setattr("qsearch.encoding.sentence._TOKENIZED", 7)
    model = make_tiny(tmp_path / "m", architecture, dense=True)
    encoder = SentenceEncoder(model, device="cpu")
    encoder._on_gpu = True
    texts = [text[:length] for text in sample_texts[::40] for length in (20, 60, 400)]
    first = encoder.encode_documents(texts)
    again = encoder.encode_documents(texts)
    assert fake_gpu
    third = encoder.encode_documents(texts[::-1])[::-1]
    assert first.tobytes() == again.tobytes() == third.tobytes()
    queries = [encoder.encode_queries([texts[number]]) for number in (3, 6, 9, 3)]
    assert queries[0].tobytes() == queries[3].tobytes()
    assert len({one.tobytes() for one in queries}) == 3
    recorded = encoder._replicas._model._recorded
    assert any(one is not None for one in recorded.values())


def test_a_model_that_waits_for_the_device_runs_step_by_step(
    tiny_bert: Path, sample_texts: list[str], fake_gpu: list[Any]
) -> None:
    class Waits(torch.nn.Module):  # type: ignore[misc] # (torch has no types here)
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            if features["sentence_embedding"].sum().item() > 1e9:
                raise ValueError
            return features

    plain = SentenceTransformer(str(tiny_bert), device="cpu")
    encoder = SentenceEncoder(SentenceTransformer(modules=[*plain, Waits()], device="cpu"))
    encoder._on_gpu = True
    found = [encoder.encode_queries(sample_texts[:1]) for _ in range(4)]
    assert not fake_gpu
    assert len({one.tobytes() for one in found}) == 1


class SteadySteps(TorchSteps):
    """The same without a look at how many there are, as a graph wants it."""

    waits = False

    def scan(self, rows, part, first, last, head, allowed, found) -> None:  # type: ignore[no-untyped-def] # (as there)
        codes = part.row_codes(first - part.first, last - part.first)
        dots = (head.codes.double() @ codes.double().T).float()
        scale, residual, rest = rows.bounds[:, first:last]
        bound = dots * scale + head.factors[:, :1] * residual + head.factors[:, 1:] * rest
        every = torch.arange(first, last)
        put(found, ~(bound < head.thresholds[:, None]) & _bits(allowed, every), every, None)

    def score(self, rows, batch, needed, found, best, damaged) -> None:  # type: ignore[no-untyped-def] # (as there)
        places = found.rows.shape[1]
        there = torch.arange(places) < found.counts[:, None]
        number = torch.where(there, found.rows, 0).long()
        score = _cosines(rows.vectors[number], batch.vectors[:, None, :])
        finite = torch.isfinite(score)
        damaged.add_((there & ~finite).sum(dtype=torch.int32))
        put(best, there & finite, number, score)


def put(
    found: Found, passed: torch.Tensor, rows: torch.Tensor, scores: torch.Tensor | None
) -> None:
    """Behind what is there; what has no place goes to one that nobody reads."""
    most = found.rows.shape[1]
    place = found.counts[:, None] + passed.cumsum(dim=1) - 1
    place = torch.where(passed & (place < most), place, most)
    for target, values in ((found.rows, rows), (found.scores, scores)):
        if values is not None:
            wide = torch.cat([target, target[:, :1]], dim=1)
            wide.scatter_(1, place, values.expand(passed.shape).to(target.dtype))
            target.copy_(wide[:, :most])
    found.counts.add_(passed.sum(dim=1, dtype=torch.int32))


@pytest.mark.parametrize("deleted", [False, True])
def test_searches_of_few_queries_are_graphs(
    fake_gpu: list[Any], monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    monkeypatch.setattr("qsearch.gpu.search._LEAST_PLACES", 512)
    monkeypatch.setattr("qsearch.gpu.search._MOST_PLACES", 1024)
    generator = np.random.default_rng(0)
    rows = rows_of("random", 900, 24, generator)
    segments = segments_of(rows, 2)
    if deleted:
        mask = RowMask.of(generator.random(segments[1].rows) < 0.9)
        segments[1] = replace(segments[1], living=mask)
    device = DeviceExact(segments, ["cpu"], steps=SteadySteps())
    exact, living = ExactSearch(segments), Allowed.living(segments).rows
    several = ((1, 5), (1, 5), (3, 5), (4, 5), (16, 7), (1, living), (1, 7))
    for count, k in (*several, *several[:-1], (70, 5), (70, 5)):
        queries = rows[:count] if count == 70 else rows_of("random", count, 24, generator)
        same(device.search(queries, k), exact.search(queries, k, 1))
    assert (
        len(fake_gpu) == 4
    )  # of 1, 4 and 16 queries, and another k: what came for the second time


def test_a_copy_that_would_end_a_recording_is_seen_before_it() -> None:
    there = torch.ones(3, device="meta")
    with pytest.raises(CopyRefusedError), copies_refused():
        torch.arange(3).to("meta")
    with pytest.raises(CopyRefusedError), copies_refused():
        there.copy_(torch.ones(()))
    with copies_refused():
        assert (there * torch.tensor(2.0) + 1).device == there.device
        assert torch.arange(3).sum() == 3


def test_a_model_that_copies_runs_step_by_step(
    tiny_bert: Path,
    sample_texts: list[str],
    fake_gpu: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused() -> NoReturn:
        raise CopyRefusedError("of a model's own")

    monkeypatch.setattr("qsearch.streams.copies_refused", refused)
    encoder = SentenceEncoder(tiny_bert, device="cpu")
    encoder._on_gpu = True
    found = [encoder.encode_queries(sample_texts[:1]) for _ in range(4)]
    assert not fake_gpu
    assert len({one.tobytes() for one in found}) == 1
    assert encoder._replicas._model._stream.refused == "of a model's own"


def test_no_two_who_live_have_the_same_stream(fake_gpu: list[Any]) -> None:
    device = torch.device("cpu")

    def begun() -> Stream:
        stream = Stream(device)
        with stream.here():
            return stream

    every = [begun() for _ in range(40)]
    own = [one._stream for one in every if one._records]
    assert len({one.cuda_stream for one in own}) == len(own) > 0
    assert all(one._stream not in own for one in every if not one._records)
    assert len(own) < 40
    first = own[0]
    every[0] = every[1]  # its owner is gone
    gc.collect()
    assert begun()._stream is first


def test_steps_that_wait_are_not_recorded(fake_gpu: list[Any]) -> None:
    segments = segments_of(rows_of("random", 400, 16, np.random.default_rng(0)), 1)
    device = DeviceExact(segments, ["cpu"])
    for slab in device._slabs:
        assert isinstance(slab.search, DeviceSearch)
        assert not slab.search._records
    queries = rows_of("random", 2, 16, np.random.default_rng(1))
    same(device.search(queries, 5), ExactSearch(segments).search(queries, 5, 1))
    assert not fake_gpu
