"""The Triton kernels in Triton's interpreter: the same as their definition, and as the CPU's search."""

from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="no Triton")

import numpy as np
import torch

if torch.cuda.is_available():
    pytest.skip("the kernels run on the GPU, and not in the interpreter", allow_module_level=True)

from qsearch.gpu.codes import coded_batch, coded_head, scan_thresholds
from qsearch.gpu.exact import DeviceExact
from qsearch.gpu.kernels import TritonSteps
from qsearch.gpu.rows import DeviceRows
from qsearch.gpu.steps import Found, TorchSteps
from qsearch.kernels import RowMask
from qsearch.retrieval import ExactSearch
from tests.gpu.test_device import same, world
from tests.retrieval.segments import rows_of, segments_of


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
    bits = rows.allowed(mask)
    queries = rows_of("random", count, 37, generator)
    batch = coded_batch(torch.from_numpy(queries), rows.codes.shape[1])
    steps = TorchSteps(), TritonSteps()
    guesses = [one.likely(rows, batch, rows.sample, bits, 0.5) for one in steps]
    assert torch.allclose(*guesses, atol=1e-5)
    needed = guesses[0].amax(dim=1) * 0.5
    found = []
    for one in steps:
        places = [
            Found(
                *(torch.zeros((count, 512), dtype=dtype) for dtype in (torch.int32, torch.float32)),
                torch.zeros(count, dtype=torch.int32),
            )
            for _ in range(2)
        ]
        for part in rows.parts:
            head = coded_head(batch, part.rotation)
            thresholds = scan_thresholds(needed, head)
            one.scan(
                rows, part, part.first, part.first + part.padded, head, thresholds, bits, places[0]
            )
        damaged = torch.zeros(1, dtype=torch.int32)
        one.score(rows, batch, needed, places[0], places[1], damaged)
        assert int(damaged) == 0
        found.append(
            [
                [
                    sorted(
                        zip(
                            some.rows[query, : some.counts[query]].tolist(),
                            some.scores[query, : some.counts[query]].tolist(),
                            strict=True,
                        )
                    )
                    for query in range(count)
                ]
                for some in places[1:]
            ]
        )
    assert found[0] == found[1]
    assert any(found[0][0])
