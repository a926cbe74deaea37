"""Numbers of any kind that people have them in, as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_components", "as_numbers"]


def as_numbers(source: Any) -> NDArray[Any]:
    """What somebody gave, as an array of real numbers; it may share its memory.

    Takes arrays, nested lists, lists of arrays, torch tensors (on any device, with gradients, in any
    precision) and whatever else NumPy makes an array of.

    Raises:
        ValueError: it is no array of real numbers; says why, to be read behind "must hold numbers".
    """
    if type(source) is np.ndarray and source.dtype.kind in "fiu":
        return source
    try:
        array = _as_array(source)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ValueError(_uneven(source) or _short(error)) from error
    if array.dtype.name == "bfloat16":  # of ml_dtypes
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"found {array.dtype} {array.shape}")
    return array


def as_components(array: NDArray[Any]) -> NDArray[np.floating]:
    """Real numbers in a dtype that qsearch computes with: float16, float32 or float64.

    Floats stay what they are, in the byte order of this machine or not; integers of up to 16 bits become
    float32, which holds them exactly, and all else becomes float64.
    """
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        return array
    with np.errstate(all="ignore"):  # what is too large for float64 is infinite, and told as that
        return array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)


def _as_array(source: Any) -> NDArray[Any]:
    if _is_tensor(source):
        return _from_tensor(source)
    if isinstance(source, list | tuple) and any(_is_tensor(one) for one in source):
        source = [_from_tensor(one) if _is_tensor(one) else one for one in source]
    if isinstance(source, np.ma.MaskedArray) and np.ma.is_masked(source):
        raise ValueError("some are masked")
    return np.asarray(source)


def _is_tensor(value: Any) -> bool:
    """Without importing torch: whoever has a tensor has done so."""
    return any(
        one.__module__ == "torch" and one.__name__ == "Tensor" for one in type(value).__mro__
    )


def _from_tensor(tensor: Any) -> NDArray[Any]:
    plain = tensor.detach().cpu()
    if plain.is_sparse:
        plain = plain.to_dense()
    if plain.is_floating_point() and plain.element_size() < 4:  # NumPy has no bfloat16
        plain = plain.float()
    array: NDArray[Any] = plain.resolve_conj().resolve_neg().numpy()
    return array


def _uneven(source: Any) -> str | None:
    """What is wrong with a list of rows of several lengths."""
    if not isinstance(source, list | tuple):
        return None
    lengths = [len(one) if hasattr(one, "__len__") else None for one in source]
    other = next((row for row, one in enumerate(lengths) if one != lengths[0]), None)
    if other is None:
        return None
    sizes = [
        "no row" if one is None else f"{one:,} numbers" for one in (lengths[other], lengths[0])
    ]
    return f"row {other:,} (from 0) has {sizes[0]}, the first has {sizes[1]}".replace(
        "has no", "is no"
    )


def _short(error: Exception) -> str:
    return f"{str(error) or type(error).__name__:.300}"
