"""What the kernels become for an H200, as far as a compiler can tell without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="no Triton")

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("dimensions", "kept"), [(384, 192), (96, 37)])
def test_kernels_compile_for_a_gpu_that_is_not_here(
    dimensions: int, kept: int, tmp_path: Path
) -> None:
    """Tensor cores multiply int8 tiles, float64 rounds as IEEE 754 says; the tested Triton spills nothing,
    of which there may be another version where there is a GPU."""
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "gpu_kernels.py"), "--json"]
    command += [f"--dimensions={dimensions}", f"--kept={kept}"]
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    told = {one["name"]: one for one in json.loads(done.stdout)}
    assert len(told) == 10
    for name, one in told.items():
        assert one["resident"] >= 1, name
        assert (one["products"] > 0) == name.startswith(("scan", "likely")), name
        assert not any("ftz" in some for some in one["rounding"]), name
    in_float64 = {"sqrt.rn.f64", "div.rn.f64"}
    for name in ("score", "code", "head"):
        found = {one for one in told[name]["rounding"] if one.endswith("f64")}
        assert found == in_float64, name
    # An atomic operation that orders memory too would empty the first cache each time.
    orders = {one for all_of in told.values() for one in all_of["rounding"] if "atom" in one}
    assert all(one.startswith("atom.global.gpu.relaxed.add") for one in orders)
    if f'"triton=={triton.__version__}"' in (ROOT / "scripts" / "setup").read_text():
        assert not any(one["spilled"] for one in told.values())
        # As many programs as a multiprocessor has room for are started: see ``Tiling.resident``.
        assert [one["resident"] for name, one in told.items() if "scan" in name] == [5, 2]
