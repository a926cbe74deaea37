"""Exact search on a GPU beside torch's products with topk, in one run, with recall.

    scripts/gpu-python scripts/bench/gpu.py [--rows 1000000 10000000] [--repeats 20] [--check 50]

Rows of 384 dimensions are made on the device: normal numbers whose spread falls like that of sentence
embeddings, around centres, of length 1. Queries lie near rows, with noise. A search of qsearch is
everything from the queries in the CPU's memory to ids and scores there; torch's products and topk begin
and end on the device, and the best rows come back. Each repetition times every system once, in turns.
Printed are medians with the smallest and largest of the repetitions, ratios of medians, and recall@10
against an exact search.

For one query also the bytes of the codes that are read in a second, against what the device copies in
one (bytes read and written). --check compares ids and bits of the scores of so many queries with the
search on the CPU.

faiss and cuVS are measured where they are installed for this GPU; what is not there is named. --tilings
also times other ways to cut the scan into tiles (each is compiled first, which takes seconds: give it a
call of its own, with 1,000,000 rows), and --kernels prints what each kernel takes. Who did the steps is
said, and which searches are CUDA graphs. --device cpu tries the script out.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from qsearch.codes import fit_rotation, int8_codes, rotated_codes, rotation_error
from qsearch.gpu.exact import DeviceExact
from qsearch.gpu.rows import DeviceRows
from qsearch.gpu.search import DeviceSearch
from qsearch.kernels import kernel_path
from qsearch.retrieval import ExactSearch
from qsearch.store import Segment
from qsearch.store.segment import RotatedArrays

K = 10
DIMENSIONS = 384
BATCHES = (1, 16, 64, 256, 1024)
CENTRES = 4096
PIECE = 1 << 16
SCORES = 1 << 31
"""Bytes of scores that torch's product makes at a time."""

FEW = (
    {"stages": 3},
    {"stages": 6},
    {"resident": 4},
    {"resident": 2},
    {"tests": False},
    {"rows": 256},
    {"rows": 256, "warps": 8},
    {"rows": 64, "resident": 8},
)
"""What other tilings of the scan for one query change of the one that is used, see ``Tiling``."""

MANY = (
    {"stages": 2},
    {"stages": 4},
    {"tests": True},
    {"rows": 256, "warps": 8, "resident": 1},
    {"queries": 128, "warps": 8, "resident": 1},
    {"queries": 128, "warps": 8, "resident": 1, "tests": True},
    {"queries": 128, "rows": 256, "warps": 8, "resident": 1},
    {"queries": 32, "resident": 4},
    {"rows": 64, "resident": 3},
)
"""The same for many."""

Search = Callable[[np.ndarray], np.ndarray]
"""Queries (q, d) to row numbers (q, k)."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--check", type=int, default=50, help="queries held against the CPU")
    parser.add_argument("--tilings", action="store_true", help="other ways to cut the scan")
    parser.add_argument("--kernels", action="store_true", help="what each kernel takes")
    parser.add_argument("--device", default="cuda", help="cuda if not given")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} sees no GPU; --device cpu tries the script out")
    device = torch.device(arguments.device)
    print(f"{named(device)}, torch {torch.__version__}, Triton {version('triton')}")
    copied = copy_speed(device)
    print(f"the device copies {copied / 1e9:,.0f} GB/s (read and written)")
    for name in ("faiss", "cuvs"):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is left out: not installed")
    for count in arguments.rows:
        run(count, device, copied, arguments)


def run(count: int, device: torch.device, copied: float, arguments: argparse.Namespace) -> None:
    """Everything for one number of rows."""
    started = time.perf_counter()
    rows, queries = made(count, device)
    segment = coded(rows)
    kept = 0 if segment.rotated is None else len(segment.rotated.rotation)
    print(
        f"\n{count:,} rows of {DIMENSIONS} dimensions ({kept} kept), made and coded in "
        f"{time.perf_counter() - started:.0f} s",
        flush=True,
    )
    search = DeviceExact([segment], [str(device)])
    loaded = search.loaded
    print(
        f"loaded in {loaded.seconds:.2f} s: {loaded.bytes / 1e9:.2f} GB, "
        f"{loaded.bytes / loaded.seconds / 1e9:.1f} GB/s",
        flush=True,
    )
    steps = type(search._steps).__name__
    print(f"steps: {steps}; kernels of the CPU: {kernel_path()}")
    check(search, segment, queries[: arguments.check])
    systems: dict[str, Search] = {"qsearch, exact": lambda some: search.search(some, K).positions}
    systems |= products(rows, device)
    systems |= faiss_systems(rows, device)
    for batch in BATCHES:
        some = queries[:batch]
        truth = search.search(some, K).positions
        print(f"\n{batch} quer{'y' if batch == 1 else 'ies'}: milliseconds for all")
        times = compare(systems, some, truth, arguments.repeats, device)
        if batch == 1:
            read = code_bytes(segment)
            speed = read / (times["qsearch, exact"] / 1000)
            print(
                f"  {read / 1e6:,.0f} MB of codes are read: {speed / 1e9:,.0f} GB/s, "
                f"{speed / copied:.0%} of what the device copies"
            )
    for slab in search._slabs:
        if slab.search is not None:
            told = sorted(key for key, one in slab.search._recorded.items() if one.there)
            refused = slab.search._stream.refused
            print(
                f"\nCUDA graphs of (queries, k): {told}"
                + (f"; refused: {refused}" if refused else "")
            )
    if arguments.kernels and device.type == "cuda":
        for batch in (1, max(BATCHES)):
            print(f"\n{batch} quer{'y' if batch == 1 else 'ies'}: kernels, microseconds")
            print(kernel_times(lambda some=queries[:batch]: search.search(some, K)), flush=True)
    if arguments.tilings and device.type == "cuda":
        (slab,) = search._slabs
        if slab.search is not None:
            try_tilings(slab.search.rows, queries, arguments.repeats, device)


def kernel_times(search: Callable[[], object]) -> str:
    """What each kernel of a search takes, the median of some searches, in the order of their sums."""
    from torch.profiler import ProfilerActivity, profile

    for _ in range(3):
        search()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(20):
            search()
    events: dict[str, list[float]] = {}
    for one in profiled.events():
        events.setdefault(one.name[:60], []).append(float(one.device_time))
    lines = [
        f"  {np.median(some):9.2f} µs  {len(some) / 20:5.1f} times  {name}"
        for name, some in sorted(events.items(), key=lambda pair: -sum(pair[1]))[:24]
    ]
    return "\n".join(lines)


def try_tilings(rows: DeviceRows, queries: np.ndarray, repeats: int, device: torch.device) -> None:
    """The scan in other tiles, for one query and for many; in turns, medians of whole searches."""
    from qsearch.gpu.kernels import SCANS, Tiling, TritonSteps

    few = [SCANS[0]] + [replace(SCANS[0], **change) for change in FEW]
    many = [SCANS[1]] + [replace(SCANS[1], **change) for change in MANY]
    for batch, tilings in ((1, few), (64, many), (1024, many)):
        some = queries[:batch]
        times: dict[Tiling, list[float]] = {}
        searches = {}
        for tiling in tilings:
            steps = TritonSteps((tiling,) if batch == 1 else (SCANS[0], tiling))
            try:
                search = DeviceSearch(rows, steps)
                for _ in range(3):  # the second time it becomes a graph
                    search.search(some, K)
            except Exception as error:  # Triton's errors are of no kind that they share
                print(f"  {tiling} is left out: {str(error).splitlines()[0][:80]}")
                continue
            searches[tiling], times[tiling] = search, []
        for _ in range(repeats):
            for tiling, search in searches.items():
                synchronize(device)
                started = time.perf_counter()
                search.search(some, K)
                synchronize(device)
                times[tiling].append(1000.0 * (time.perf_counter() - started))
        print(f"\n{batch} quer{'y' if batch == 1 else 'ies'} in other tiles: milliseconds for all")
        for tiling, took in sorted(times.items(), key=lambda pair: np.median(pair[1]))[:12]:
            mark = "  as it is" if tiling in SCANS else ""
            print(f"  {np.median(took):9.3f} ({min(took):.3f} to {max(took):.3f})  {tiling}{mark}")


def compare(
    systems: dict[str, Search],
    queries: np.ndarray,
    truth: np.ndarray,
    repeats: int,
    device: torch.device,
) -> dict[str, float]:
    """Time all of them in turns, and print; returns the medians."""
    times: dict[str, list[float]] = {}
    recall: dict[str, float] = {}
    for name, search in list(systems.items()):
        try:
            found = [search(queries) for _ in range(3)][-1]
        except (RuntimeError, NotImplementedError) as error:
            print(f"  {name} is left out: {str(error).splitlines()[0]}")
            continue
        hits = (found[:, :, None] == truth[:, None, :]).any(axis=1).sum()
        recall[name], times[name] = hits / truth.size, []
    for _ in range(repeats):
        for name, some in times.items():
            synchronize(device)
            started = time.perf_counter()
            systems[name](queries)
            synchronize(device)
            some.append(1000.0 * (time.perf_counter() - started))
    base = float(np.median(times["qsearch, exact"]))
    medians = {}
    for name, some in times.items():
        medians[name] = middle = float(np.median(some))
        print(
            f"  {name:28s} {middle:9.3f} ({min(some):.3f} to {max(some):.3f})  {middle / base:6.2f}   "
            f"recall {recall[name]:.4f}",
            flush=True,
        )
    return medians


def check(search: DeviceExact, segment: Segment, queries: np.ndarray) -> None:
    """The same ids and the same bits as on the CPU, alone and together."""
    if not len(queries):
        return
    expected = ExactSearch([segment]).search(queries, K)
    for found in (
        [search.search(queries, K)],
        [search.search(queries[number : number + 1], K) for number in range(len(queries))],
    ):
        positions = np.concatenate([one.positions for one in found])
        scores = np.concatenate([one.scores for one in found])
        same = np.array_equal(positions, expected.positions)
        bits = scores.tobytes() == expected.scores.tobytes()
        how = "together" if len(found) == 1 else "one by one"
        print(
            f"{len(queries)} queries {how}: ids {same}, score bits {bits} as on the CPU", flush=True
        )


def products(rows: torch.Tensor, device: torch.device) -> dict[str, Search]:
    """Torch's products with topk."""

    def searches(dtype: torch.dtype) -> Search:
        held = rows.to(device, dtype)

        def search(queries: np.ndarray) -> np.ndarray:
            asked = torch.from_numpy(queries).to(device, dtype)
            return best(lambda piece: asked @ held[piece].T, len(queries), len(held))

        return search

    def by_int8() -> Search:
        scale = 127.0 / rows.abs().max()
        held = torch.empty(rows.shape, dtype=torch.int8, device=device)
        for start in range(0, len(rows), PIECE):
            part = rows[start : start + PIECE].to(device)
            held[start : start + PIECE] = (part * scale).round().to(torch.int8)

        def search(queries: np.ndarray) -> np.ndarray:
            asked = torch.from_numpy(queries).to(device)
            codes = (asked * (127.0 / asked.abs().amax(dim=1, keepdim=True))).round().to(torch.int8)
            missing = max(0, 32 - len(codes))  # the product takes no fewer
            codes = torch.nn.functional.pad(codes, (0, 0, 0, missing))
            found: np.ndarray = best(
                lambda piece: torch._int_mm(codes, held[piece].T)[: len(queries)],
                len(queries),
                len(held),
            )
            return found

        return search

    found = {
        "torch float16 + topk": searches(torch.float16),
        "torch bfloat16 + topk": searches(torch.bfloat16),
    }
    if device.type == "cuda":
        found["torch int8 + topk"] = by_int8()
    return found


def best(scores: Callable[[slice], torch.Tensor], queries: int, rows: int) -> np.ndarray:
    """The k best by some scores, so many rows at a time as their memory allows."""
    step = max(K, min(rows, SCORES // (4 * queries)))
    values: list[torch.Tensor] = []
    numbers: list[torch.Tensor] = []
    for start in range(0, rows, step):
        top = scores(slice(start, start + step)).topk(K, dim=1)
        values.append(top.values)
        numbers.append(top.indices + start)
    if len(values) > 1:
        chosen = torch.cat(values, dim=1).topk(K, dim=1).indices
        return torch.cat(numbers, dim=1).gather(1, chosen).cpu().numpy()
    return numbers[0].cpu().numpy()


def faiss_systems(rows: torch.Tensor, device: torch.device) -> dict[str, Search]:
    """Faiss' flat index on the GPU, in float16, where it is installed for one."""
    if importlib.util.find_spec("faiss") is None or device.type != "cuda":
        return {}
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        print("faiss is left out: it was built without GPUs")
        return {}
    options = faiss.GpuIndexFlatConfig()
    options.useFloat16 = True
    flat = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), DIMENSIONS, options)
    flat.add(rows.cpu().numpy())
    return {"faiss GpuIndexFlatIP, float16": lambda some: flat.search(some, K)[1]}


def made(count: int, device: torch.device) -> tuple[torch.Tensor, np.ndarray]:
    """(n, d) float32 rows in the CPU's memory, and queries."""
    generator = torch.Generator(device=device).manual_seed(1)
    spectrum = 1.0 / (1.0 + torch.arange(DIMENSIONS, device=device) / 16)

    def normal(rows: int) -> torch.Tensor:
        return torch.randn((rows, DIMENSIONS), generator=generator, device=device) * spectrum

    centres = normal(CENTRES)
    rows = torch.empty((count, DIMENSIONS))
    for start in range(0, count, PIECE):
        some = min(PIECE, count - start)
        chosen = torch.randint(CENTRES, (some,), generator=generator, device=device)
        part = 0.7 * centres[chosen] + normal(some)
        rows[start : start + some] = torch.nn.functional.normalize(part, dim=1).cpu()
    near = rows[:: max(1, count // 2048)][: max(BATCHES)].to(device)
    queries = torch.nn.functional.normalize(near + 0.02 * normal(len(near)), dim=1)
    return rows, queries.cpu().numpy()


def coded(rows: torch.Tensor) -> Segment:
    """A segment in memory, as a build makes it."""
    vectors = rows.numpy()
    sample = vectors[:: max(1, len(vectors) // 100_000)].astype(np.float64)
    rotation = fit_rotation(sample.T @ sample)
    error = rotation_error(rotation)
    starts = range(0, len(vectors), PIECE)
    with ThreadPoolExecutor() as pool:
        int8 = list(pool.map(lambda start: int8_codes(vectors[start : start + PIECE]), starts))
        turned = list(
            pool.map(lambda at: rotated_codes(vectors[at : at + PIECE], rotation, error), starts)
        )
    return Segment(
        id="made",
        first_row=0,
        first_document=0,
        last_document=len(vectors) - 1,
        rows=len(vectors),
        vectors=vectors,
        int8=np.concatenate([one.codes for one in int8]),
        scale=np.concatenate([one.scale for one in int8]),
        residual=np.concatenate([one.residual for one in int8]),
        binary=np.empty((0, 0, 0), dtype=np.uint64),
        rotated=RotatedArrays(
            rotation,
            np.concatenate([one.blocks for one in turned]),
            np.concatenate([one.bounds for one in turned]),
        ),
        passages=None,
        positions=None,
        graph=None,
    )


def code_bytes(segment: Segment) -> int:
    """What a scan for one query reads: rotated codes, as wide as they lie there, and their bounds."""
    kept = 0 if segment.rotated is None else len(segment.rotated.rotation)
    return int(segment.rows * (-(-kept // 32) * 32 + 3 * 4) + segment.rows // 8)


def copy_speed(device: torch.device) -> float:
    """Bytes read and written a second by a copy within the device, the best of ten."""
    size = 1 << (31 if device.type == "cuda" else 26)
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        synchronize(device)
        started = time.perf_counter()
        target.copy_(source)
        synchronize(device)
        times.append(time.perf_counter() - started)
    return 2 * size / min(times)


def synchronize(device: torch.device) -> None:
    """Wait until it has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def named(device: torch.device) -> str:
    """What it is called."""
    return (
        str(torch.cuda.get_device_name(device)) if device.type == "cuda" else "the CPU, to try out"
    )


def version(name: str) -> Any:
    """Of a package, or that there is none."""
    return __import__(name).__version__ if importlib.util.find_spec(name) else "missing"


if __name__ == "__main__":
    main()
