"""What Triton makes of the kernels for a GPU that need not be there: registers, memory, instructions.

    scripts/gpu-python scripts/bench/gpu_kernels.py [--compute 90] [--dimensions 384] [--kept 192] [--json]

Each kernel is compiled for that compute capability (90: H100 and H200). Printed are registers of a thread,
bytes that are spilled to memory, shared memory of a program, how many programs a multiprocessor has room
for at a time (by these two, and by its threads), and instructions. No time is measured: there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

try:
    import triton
except ImportError:
    sys.exit(f"{sys.executable} has no Triton: pip install triton")
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from qsearch.gpu.kernels import SCANS, queries, scanning, step_of
from qsearch.gpu.rows import TILE, part_of

REGISTERS, SHARED, THREADS, PROGRAMS = 65_536, 227 * 1024, 2048, 32
"""Of a multiprocessor of an H100 or H200 (CUDA's programming guide, technical specifications)."""

CODES, FLOATS, WIDE, INTEGERS, BYTES = "*i8", "*fp32", "*fp64", "*i32", "*u8"
TYPES = {
    "codes": CODES, "query_codes": CODES, "bits": BYTES, "sample": "*i64",
    "intervals": WIDE, "margins": WIDE, "units": WIDE, "kept": WIDE,
    "found": INTEGERS, "counts": INTEGERS, "found_counts": INTEGERS, "damaged": INTEGERS,
    "share": "fp32",
} | dict.fromkeys(
    ("first", "last", "begin", "rows", "queries", "capacity", "room", "groups", "rank", "k", "dimensions"),
    "i32",
)  # fmt: skip
"""Of arguments; what is not named is an array of float32."""

MULTIPLES = ("first", "last", "begin", "rows", "dimensions")
"""Numbers that are multiples of 16, as in a search."""


@dataclass(frozen=True, slots=True)
class Made:
    """A kernel that was compiled.

    Attributes:
        name: of it, with what it is for.
        registers: of a thread.
        spilled: bytes of a thread's stack.
        shared: bytes of a program.
        resident: programs at a time.
        instructions: that it has.
        products: of these, how many multiply int8 tiles on tensor cores.
        rounding: what PTX calls roots, quotients and atomic operations, and what takes tiny numbers for 0.
    """

    name: str
    registers: int
    spilled: int
    shared: int
    resident: int
    instructions: int
    products: int
    rounding: list[str]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--compute", type=int, default=90)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--kept", type=int, default=192, help="components of rotated codes")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    every = list(kernels(arguments.compute, arguments.dimensions, arguments.kept))
    if arguments.json:
        json.dump([asdict(one) for one in every], sys.stdout, indent=1)
        return
    print(f"Triton {triton.__version__}, for compute capability {arguments.compute}")
    print(f"{'':22s} registers  spilled  shared  resident  instructions  int8 products")
    for one in every:
        print(
            f"{one.name:22s} {one.registers:9d}  {one.spilled:7d}  {one.shared:6d}  {one.resident:8d}  "
            f"{one.instructions:12d}  {one.products:13d}"
        )


def kernels(compute: int, dimensions: int, kept: int) -> Iterator[Made]:
    """All of them, as a search starts them."""
    width, narrow = -(-dimensions // 32) * 32, -(-kept // 32) * 32
    step, part = step_of(width), part_of(narrow)
    block, whole = triton.next_power_of_2(narrow), triton.next_power_of_2(width)
    for how in SCANS:
        sizes = {
            "WIDTH": narrow, "STEP": part, "TILE": TILE, "ROWS": how.rows, "QUERIES": how.queries,
            "STAGES": how.stages, "TEST": how.tests,
        }  # fmt: skip
        yield made(f"scan of {how.queries}", scanning.scan, sizes, compute, how.warps)
    for count in (16, 64):
        sizes = {"WIDTH": width, "STEP": step, "ROWS": 64, "QUERIES": count}
        yield made(f"likely of {count}", scanning.likely, sizes, compute)
    yield made("score", scanning.score, {"WIDTH": width, "STEP": step, "ROWS": 32}, compute)
    yield made("code", queries.code, {"WIDTH": width, "BLOCK": whole}, compute)
    sizes = {"WIDTH": narrow, "BLOCK": block, "WHOLE": whole}
    yield made("head", queries.head, sizes, compute)
    for groups in (512, 8192):
        yield made(f"guess of {groups}", queries.guess, {"GROUPS": groups}, compute, groups // 512)
    yield made("best", queries.best, {"PLACES": 256, "OTHERS": 16}, compute)


def made(name: str, kernel: Any, sizes: dict[str, int], compute: int, warps: int = 4) -> Made:
    """Compile one."""
    types = {one: TYPES.get(one, FLOATS) for one in kernel.arg_names}
    # In ``best`` and ``head`` these are arrays.
    types |= {"best": {"rows": INTEGERS}, "head": {}}.get(kernel.__name__, {})
    types |= dict.fromkeys(sizes, "constexpr")
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, one in enumerate(kernel.arg_names)
        if types[one].startswith("*") or one in MULTIPLES
    }
    constants = {(kernel.arg_names.index(one),): value for one, value in sizes.items()}
    source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=aligned)
    compiled = triton.compile(
        source, target=GPUTarget("cuda", compute, 32), options={"num_warps": warps}
    )
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(compiled.asm["cubin"])
        used = printed(tools / "cuobjdump", "-res-usage", str(binary))
        listing = printed(tools / "nvdisasm", "-c", str(binary))
    registers, spilled = map(int, re.findall(r"REG:(\d+) STACK:(\d+)", used)[0])
    shared = int(compiled.metadata.shared)
    threads = 32 * warps
    resident = min(
        REGISTERS // (-(-registers // 8) * 8 * threads),
        SHARED // (shared + 1024),
        THREADS // threads,
        PROGRAMS,
    )
    ptx = compiled.asm["ptx"]
    told = set(re.findall(r"\b(?:sqrt|div|rsqrt|rcp|atom)\.[\w.:]+|\b[\w.]+\.ftz\b[\w.]*", ptx))
    operations = re.findall(
        r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)", listing, re.M
    )
    return Made(
        name, registers, spilled, shared, resident, len(operations), operations.count("IGMMA"),
        sorted(told),
    )  # fmt: skip


def printed(*command: str | Path) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
