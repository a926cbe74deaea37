# The extension module; docs are in dispatch.py and native/search.hpp.

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def path_names() -> list[str]: ...
def safe_rank(k: int, share: float) -> int: ...
def round_up(value: float) -> float: ...
def round_down(value: float) -> float: ...
def scan_threshold(score: float, factor: float, slack: float) -> float: ...
def sieve_threshold(score: float, factor: float, slack: float) -> float: ...
def sieve_factors(factor: float, residual_factor: float) -> tuple[float, float]: ...
def scan_factors(
    factor: float, residual_factor: float, rest_factor: float
) -> tuple[float, float]: ...
def int8_bounds(
    factor: float, residual_factor: float, slack: float, scale: float, residual: float, dot: int
) -> tuple[float, float]: ...
def out(bound: float, score: float) -> bool: ...
def hamming_nearest(
    path: str,
    blocks: NDArray[np.uint64],
    queries: NDArray[np.uint64],
    n_rows: int,
    mask: NDArray[np.uint8] | None,
    result: NDArray[np.int64],
    threads: int,
) -> None: ...
def int8_gather(
    path: str,
    codes: NDArray[np.int8],
    scale: NDArray[np.float32],
    queries: NDArray[np.int8],
    indices: NDArray[np.int64],
    result: NDArray[np.float32],
    threads: int,
) -> None: ...
def setting(name: str) -> bytes | None: ...
def first_unusable(path: str, rows: NDArray[np.float32]) -> int: ...
def normalize(path: str, rows: NDArray[np.float32], result: NDArray[np.float32]) -> None: ...
def code_rows(
    rows: NDArray[np.float32],
    most: int,
    margins: Sequence[float],
    codes: NDArray[np.int8],
    intervals: NDArray[np.float64],
) -> None: ...
def code_projections(
    path: str,
    rows: NDArray[np.float32],
    axes: NDArray[np.float32],
    most: int,
    margins: Sequence[float],
    codes: NDArray[np.int8],
    intervals: NDArray[np.float64],
    threads: int,
) -> None: ...
def cosine_gather(
    path: str,
    rows: NDArray[np.float32],
    queries: NDArray[np.float32],
    indices: NDArray[np.int64],
    result: NDArray[np.float32],
    threads: int,
) -> None: ...
