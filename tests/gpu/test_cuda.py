"""On a real GPU: the same ids and score bits as on the CPU. ``scripts/test-gpu`` runs this."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch")
if not torch.cuda.is_available():
    pytest.skip("no GPU: where there is one, scripts/test-gpu runs this", allow_module_level=True)
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("Triton interprets: nothing would run on the GPU", allow_module_level=True)

from qsearch import BuildOptions, Index, SentenceEncoder
from qsearch.codes import unit_rows
from qsearch.gpu.exact import DeviceExact
from qsearch.gpu.kernels import TritonSteps
from qsearch.gpu.rows import bytes_of_rows
from qsearch.gpu.steps import TorchSteps
from qsearch.retrieval import ExactSearch
from qsearch.retrieval.allowed import Allowed
from tests.encoders import ARCHITECTURES, HashedWords, make_tiny
from tests.gpu.test_device import CASES, records, same, splitting, world
from tests.retrieval.segments import segments_of

GPU = ["cuda"]


def test_shapes_that_come_again_are_graphs(tmp_path: Path) -> None:
    """First of all: once a recording has failed, older versions of torch are not asked for more."""
    encoder = SentenceEncoder(make_tiny(tmp_path / "m", "bert"), device="cuda")
    for _ in range(4):
        encoder.encode_queries(["one of them"])
    runner = encoder._replicas._model
    assert [one is not None for one in runner._recorded.values()] == [True], runner._stream.refused


@pytest.mark.parametrize("case", range(CASES))
def test_the_answers_are_those_of_the_cpu(case: int) -> None:
    segments, queries, k, slabs = world(case)
    expected = ExactSearch(segments).search(queries, k, 1)
    device = DeviceExact(segments, GPU, budget=400_000 if slabs else None)
    same(device.search(queries, k), expected)
    for steps in (TorchSteps(), TritonSteps()):
        same(DeviceExact(segments, GPU, steps=steps).search(queries, k), expected)


@pytest.fixture(scope="module")
def many() -> tuple[list, np.ndarray]:
    """200,000 rows like embeddings in two segments, and queries near some of them."""
    generator = np.random.default_rng(1)
    spectrum = 1.0 / (1.0 + np.arange(384) / 16)
    rows = unit_rows(generator.standard_normal((200_000, 384)) * spectrum)[0]
    queries = rows[:2000] + 0.02 * generator.standard_normal((2000, 384))
    return segments_of(rows, 2), queries.astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 64, 65, 256, 1024, 1500])
@pytest.mark.parametrize("k", [1, 10, 100, 1000])
def test_every_tiling(many: tuple[list, np.ndarray], count: int, k: int) -> None:
    segments, queries = many
    device = DeviceExact(segments, GPU)
    expected = ExactSearch(segments).search(queries[:count], k)
    for _ in range(3):  # becomes a graph, and is one that is there
        same(device.search(queries[:count], k), expected)
    (slab,) = device._slabs
    assert slab.search is not None
    graphs = [one.there for one in slab.search._recorded.values()]
    assert graphs == [True] * (count <= 64), slab.search._stream.refused


def test_filters(many: tuple[list, np.ndarray]) -> None:
    segments, queries = many
    device = DeviceExact(segments, GPU)
    for share in (0.01, 0.1, 0.5, 0.99):
        chosen = np.random.default_rng(0).random(200_000) < share
        allowed = Allowed.of_documents(segments, chosen)
        for count in (1, 64):
            same(
                device.search(queries[:count], 10, allowed=allowed),
                ExactSearch(segments).search(queries[:count], 10, None, allowed),
            )


def test_memory_that_does_not_hold_all(many: tuple[list, np.ndarray]) -> None:
    segments, queries = many
    device = DeviceExact(segments, GPU, budget=sum(map(bytes_of_rows, segments)) // 3)
    assert not device.loaded.whole
    same(device.search(queries[:20], 10), ExactSearch(segments).search(queries[:20], 10))


def test_an_index_on_the_gpu(tmp_path: Path) -> None:
    options = BuildOptions(segment_rows=600, **splitting())
    Index.build(records(900), tmp_path / "i", encoder=HashedWords(), options=options).close()
    texts = [one["text"] for one in records(40)]
    with (
        Index.open(tmp_path / "i", encoder=HashedWords(), device="cuda") as there,
        Index.open(tmp_path / "i", encoder=HashedWords(), device="cpu") as here,
    ):
        for change in (lambda: None, lambda: there.delete(["d1", "d2"]), there.compact):
            change()
            here.refresh()
            found = [list(one) for one in there.search_batch(texts, 7)]
            assert found == [list(one) for one in here.search_batch(texts, 7)]
        assert there._open.placing.loaded


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_text_has_the_same_bits_alone_and_in_bulk(
    tmp_path: Path, architecture: str, precision: str
) -> None:
    """Also where a shape has become a graph meanwhile, and whatever the process says about TF32."""
    model = make_tiny(tmp_path / "m", architecture, dense=True)
    encoder = SentenceEncoder(model, device="cuda", precision=precision)
    texts = [one["text"] * (number % 9) for number, one in enumerate(records(3000))]
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        whole = encoder.encode_documents(texts)
        for number in range(0, 3000, 97):
            alone = encoder.encode_documents([texts[number]])
            assert alone.tobytes() == whole[number].tobytes()
        queries = [encoder.encode_queries(texts[:40]) for _ in range(4)]
        assert len({one.tobytes() for one in queries}) == 1
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert encoder.encode_documents(texts).tobytes() == whole.tobytes()
    if precision == "float32":
        plain = SentenceEncoder(model, device="cpu").encode_documents(texts[:200])
        assert np.allclose(whole[:200], plain, atol=1e-4)


def test_a_contract_of_the_cpu_holds_on_the_gpu(tmp_path: Path) -> None:
    model = make_tiny(tmp_path / "m", "bert")
    Index.build(records(300), tmp_path / "i", encoder=SentenceEncoder(model, device="cpu")).close()
    texts = [one["text"] for one in records(10)]
    with Index.open(tmp_path / "i", encoder=SentenceEncoder(model, device="cuda")) as index:
        assert [one[0].id for one in index.search_batch(texts, 3)] == [f"d{n}" for n in range(10)]
