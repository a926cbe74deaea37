"""The Triton kernels in Triton's interpreter: the same as their definition, and as the CPU's search."""

from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="no Triton")

import numpy as np
import torch
import triton
import triton.language as tl

if torch.cuda.is_available():
    pytest.skip("the kernels run on the GPU, and not in the interpreter", allow_module_level=True)

from qsearch.gpu.codes import coded_head
from qsearch.gpu.exact import DeviceExact
from qsearch.gpu.kernels import TritonSteps
from qsearch.gpu.kernels.queries import _above
from qsearch.gpu.rows import DeviceRows
from qsearch.gpu.steps import Found, TorchSteps
from qsearch.kernels import RowMask
from qsearch.retrieval import ExactSearch
from tests.gpu.test_device import same, world
from tests.retrieval.segments import rows_of, segments_of


@triton.jit
def next_above(values, found, number, PLACES: tl.constexpr):
    place = tl.arange(0, PLACES)
    value = tl.load(values + place, mask=place < number, other=0.0)
    tl.store(found + place, _above(value), mask=place < number)


@pytest.mark.parametrize("case", range(8))
def test_the_answers_are_those_of_the_cpu(case: int) -> None:
    segments, queries, k, slabs = world(case, most=400)  # the interpreter takes its time
    k = min(k, 40)
    device = DeviceExact(segments, ["cpu"], steps=TritonSteps(), budget=200_000 if slabs else None)
    same(device.search(queries, k), ExactSearch(segments).search(queries, k, 1))


@pytest.mark.parametrize("count", [1, 16, 17, 70])
def test_each_step_is_what_torch_defines(count: int) -> None:
    """Other tilings for other numbers of queries; a dimension that divides by nothing."""
    generator = np.random.default_rng(count)
    rows = DeviceRows(segments_of(rows_of("random", 300, 37, generator), 1), "cpu")
    mask = [RowMask.of(generator.random(part.rows) < 0.7) for part in rows.parts]
    bits = rows.chosen(mask).bits
    queries = torch.from_numpy(rows_of("random", count, 37, generator))
    steps = TorchSteps(), TritonSteps()
    batches = [one.code(rows, queries) for one in steps]
    for name in ("units", "codes", "intervals"):
        left, right = (getattr(one, name).double() for one in batches)
        assert torch.allclose(left, right, rtol=1e-12, atol=1 if name == "codes" else 1e-12)
    batch = batches[0]
    likely = [one.likely(rows, batch, rows.samples[1], bits, 0.5) for one in steps]
    assert torch.allclose(*likely, atol=1e-5)
    guesses = torch.empty(2, count)
    for one, guess in zip(steps, guesses, strict=True):
        one.guess(likely[0], 2, guess)
    assert guesses[0].tolist() == guesses[1].tolist() == likely[0].sort().values[:, -2].tolist()
    needed = likely[0].amax(dim=1) * 0.5
    found = []
    for one in steps:
        scanned, scored = (
            Found(
                *(torch.zeros((count, 512), dtype=dtype) for dtype in (torch.int32, torch.float32)),
                torch.zeros(count, dtype=torch.int32),
            )
            for _ in range(2)
        )
        for part in rows.parts:
            head = coded_head(batch, part.rotation, needed)
            one.scan(rows, part, part.first, part.first + part.padded, head, bits, scanned)
        damaged = torch.zeros(1, dtype=torch.int32)
        one.score(rows, batch, needed, scanned, scored, damaged)
        assert int(damaged) == 0
        found.append([pairs(scored, query) for query in range(count)])
    assert found[0] == found[1]
    assert any(found[0])


def pairs(found: Found, query: int) -> list[tuple[int, float]]:
    number = int(found.counts[query])
    rows, scores = found.rows[query, :number], found.scores[query, :number]
    return sorted(zip(rows.tolist(), scores.tolist(), strict=True))


@pytest.mark.parametrize("needed", [-np.inf, -1.0, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["random", "axes"])
def test_what_is_needed_is_rounded_down_and_factors_up(kind: str, needed: float) -> None:
    generator = np.random.default_rng(0)
    rows = DeviceRows(segments_of(rows_of("random", 300, 37, generator), 1), "cpu")
    queries = rows_of("random", 12, 37, generator)
    if kind == "axes":
        queries = np.eye(12, 37, dtype=np.float32)
    batch = TorchSteps().code(rows, torch.from_numpy(queries))
    rotation = rows.parts[0].rotation
    left, right = (
        one.head(batch, rotation, torch.full((12,), needed))
        for one in (TorchSteps(), TritonSteps())
    )
    assert (left.codes.int() - right.codes.int()).abs().max() <= 1
    for name in ("factors", "thresholds"):
        ours, theirs = getattr(right, name), getattr(left, name)
        assert torch.allclose(ours, theirs, rtol=1e-6)
        assert torch.isfinite(ours).all() == torch.isfinite(theirs).all()


def test_the_next_number_is_the_next_number() -> None:
    values = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-45,
        -1e-45,
        3.4028235e38,
        -3.4028235e38,
        np.inf,
        -np.inf,
        0.1,
    ]
    given = torch.tensor(values, dtype=torch.float32)
    above = torch.empty_like(given)
    next_above[(1,)](given, above, len(values), PLACES=16)
    expected = torch.where(given.isinf(), given, given.nextafter(torch.tensor(torch.inf)))
    assert above.tolist() == expected.tolist()


@pytest.mark.parametrize("k", [1, 600])
@pytest.mark.parametrize("number", [0, 5, 3000])
def test_the_best_are_ordered_by_score_and_row(number: int, k: int) -> None:
    generator = np.random.default_rng(number)
    levels = np.array([-1.0, -0.25, -0.0, 0.0, 1e-30, 0.5, 0.75, 1.0], dtype=np.float32)
    scores = torch.from_numpy(generator.choice(levels, size=(2, 2048)))
    rows = torch.from_numpy(
        np.stack([generator.permutation(2**31 - 1 - np.arange(2048))] * 2)
    ).int()
    found = Found(rows, scores, torch.tensor([number, number // 2], dtype=torch.int32))
    tops = []
    for steps in (TorchSteps(), TritonSteps()):
        best = torch.empty((2, k), dtype=torch.int32), torch.empty(2, k)
        steps.top(found, *best)
        tops.append([one.numpy().tobytes() for one in best])
    assert tops[0] == tops[1]
