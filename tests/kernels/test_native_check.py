"""The C++ check of the native kernels fits them: ``scripts/test_arm`` runs it, also for ARM."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_check_in_cpp_compiles() -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")  # then qsearch has no native kernels that it could not fit
    source = ROOT / "tests" / "kernels" / "native" / "check_paths.cpp"
    include = ROOT / "qsearch" / "kernels" / "native"
    done = subprocess.run(
        [
            compiler,
            "-std=c++17",
            "-fsyntax-only",
            "-Wall",
            "-Wextra",
            "-Werror",
            f"-I{include}",
            source,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
