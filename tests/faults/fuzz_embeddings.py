"""Fuzzing of files of vectors: ``.npy``, ``.npz``, ``.fvecs`` and ``.bvecs``.

An input is a line of JSON and bytes. The line says the file's ``name``; ``header``, which is put before
the content as the header of a ``.npy`` file of this ``version``; and ``zip``, the methods by which the
content becomes members of an archive: 0 stored, 8 deflated, 12 bzip2, 14 lzma.

What must hold: an error of qsearch's own, or what ``numpy.load`` gives; whole and in blocks.
"""

from __future__ import annotations

import io
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from qsearch.documents import Embeddings
from qsearch.errors import CorpusError
from tests.faults.fuzz_corpora import changed_heading, placed
from tests.faults.fuzzing import Mutate, Target, Wrong, heading, with_heading

__all__ = ["TARGET"]

_NAMES = ("v.npy", "v.npz", "v.fvecs", "v.bvecs", "v")

_DESCRIPTIONS = (
    "<f4", ">f4", "<f8", "<f2", "|i1", "<i4", "<u8", "<f16", "|O", "|b1", "<c8", "|S3", "|S0", "|V0",
    "<M8[s]", "", "<f4,<f4", "(2,)<f4", "<f999", "f", "\\x00",
)  # fmt: skip
_SHAPES = (
    "(2, 3)", "(3, 2)", "(6,)", "()", "(0, 3)", "(3, 0)", "(-2, 3)", "(2, -3)", "(-2, -3)",
    "(True, 3)", "(2, 3, 1)", "(99999999999, 1)", "(1, 99999999999)", "(9223372036854775807, 3)",
    "(2, 9223372036854775808)", "(2.0, 3)", "[2, 3]", "(1, 4611686018427387904)",
    "(0, 9223372036854775807)", "(0, 99999999999)", "(9999999999999999999999, -1)",
)  # fmt: skip

_MOST = 64
"""Rows that are read at once; more than so many are read from both ends only."""


def _placed(told: dict[str, Any], content: bytes) -> Path:
    header = told.get("header")
    if isinstance(header, str):
        text = header.encode("utf-8", "replace")[:4000]
        text += b" " * (-(len(text) + 11) % 64) + b"\n"
        if told.get("version") == [1, 0] or told.get("version") is None:
            content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content
        else:
            version = bytes(int(one) & 255 for one in told["version"])[:2]
            content = b"\x93NUMPY" + version + len(text).to_bytes(4, "little") + text + content
    methods = told.get("zip")
    if isinstance(methods, list):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for number, method in enumerate(methods[:3]):
                archive.writestr(f"a{number}.npy", content, int(method))
        changed = bytearray(file.getvalue())
        for offset, bits in told.get("flips") or []:
            changed[int(offset) % len(changed)] ^= int(bits) & 255
        content = bytes(changed)
    return placed({"name": told["name"]}, content)


def check(data: bytes) -> bool:
    found = heading(data)
    if found is None or found[0].get("name") not in _NAMES:
        return False
    told, content = found
    try:
        path = _placed(told, content)
    except (TypeError, ValueError, NotImplementedError):
        return False
    name: Any = str(path)
    if isinstance(told.get("member"), str):
        name = f"{path}:{told['member']}"
    expected = _numpy(path)
    try:
        embeddings = Embeddings(name)
        rows = _read(embeddings)
    except CorpusError as error:
        if expected is not None and name == str(path):
            raise Wrong(f"{error}; NumPy reads {expected.dtype} {expected.shape}") from error
        return True
    if expected is not None:
        some = np.concatenate([expected[:_MOST], expected[-_MOST:]])
        if rows.shape != some.shape or not np.array_equal(
            rows, some.astype(rows.dtype), equal_nan=True
        ):
            raise Wrong(f"read {rows}, NumPy {some}")
    return True


def _read(embeddings: Embeddings) -> Any:
    """The first and the last rows; whole blocks and halves must agree."""
    last = max(0, embeddings.rows - _MOST)
    parts = [embeddings.read(0, _MOST), embeddings.read(last, embeddings.rows)]
    half = parts[0].shape[0] // 2
    halves = [embeddings.read(0, half), embeddings.read(half, _MOST)]
    if not np.array_equal(np.concatenate(halves), parts[0], equal_nan=True):
        raise Wrong("halves of a block are not the block")
    return np.concatenate(parts)


def _numpy(path: Path) -> Any:
    """A two-dimensional array of numbers as NumPy reads it; ``None``: it reads none, or qsearch refuses
    more."""
    if path.suffix not in (".npy", ".npz") or path.stat().st_size > 1 << 20:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open(path, "rb") as file:
                if path.suffix == ".npy":
                    if not _header_fits(file, path.stat().st_size):
                        return None
                    array = np.load(file, allow_pickle=False)
                else:
                    array = _only_member(file)
    except Exception:
        return None
    if array is None or array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        return None
    if array.shape[1] > 1 << 40:  # of no rows
        return None
    return array


def _header_fits(file: Any, size: int) -> bool:
    """Whether a header asks for no more than is there: NumPy makes the array first."""
    version = np.lib.format.read_magic(file)
    reader: Any = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = reader(file)
    file.seek(0)
    count = 1
    for one in shape:
        count *= one
    plain = dtype.subdtype is None and all(type(one) is int and one >= 0 for one in shape)
    return plain and count * dtype.itemsize <= size


def _only_member(file: Any) -> Any:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if (
            len(infos) != 1
            or infos[0].file_size > 1 << 20
            or not infos[0].filename.endswith(".npy")
        ):
            return None
        data = archive.read(infos[0])
    inner = io.BytesIO(data)
    return np.load(inner, allow_pickle=False) if _header_fits(inner, len(data)) else None


def _header(chance: random.Random) -> str:
    fields = [
        f"'descr': '{chance.choice(_DESCRIPTIONS)}'",
        f"'fortran_order': {chance.choice(['False', 'True', 'False', 'None', '2'])}",
        f"'shape': {chance.choice(_SHAPES)}",
    ]
    if chance.random() < 0.05:
        del fields[chance.randrange(3)]
    return "{" + ", ".join(fields) + ", }"


def change(data: bytes, chance: random.Random, mutate: Mutate) -> bytes:
    told, content = heading(data) or ({"name": "v.npy"}, data)
    roll = chance.random()
    if roll < 0.3:
        told["header"] = _header(chance)
    elif roll < 0.38 and isinstance(told.get("header"), str):
        told["header"] = mutate(told["header"].encode(), 300).decode("utf-8", "replace")
    elif roll < 0.48:
        choices: dict[str, tuple[Any, ...]] = {
            "name": _NAMES,
            "version": (None, [1, 0], [2, 0], [3, 0], [4, 0], [0, 1]),
            "zip": (None, [0], [8], [12], [14], [0, 8]),
            "member": (None, "a0", "a1", "x", ""),
            "header": (None,),
        }
        told = changed_heading(told, chance, choices)
    elif roll < 0.6 and told.get("zip"):
        flips = told.get("flips")
        flips = flips[:5] if isinstance(flips, list) else []
        flips.append([chance.choice([-1, 1]) * chance.randrange(200), chance.randrange(1, 256)])
        told["flips"] = flips
    elif roll < 0.63:
        told.pop("flips", None)
    else:
        content = mutate(content, 2000)
    return with_heading(told, content)


def _seeds() -> list[bytes]:
    values = np.arange(6, dtype="<f4")
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
    column = header.replace("False", "True")
    rows = b"".join((3).to_bytes(4, "little") + one.tobytes() for one in values.reshape(2, 3))
    found: list[tuple[dict[str, Any], bytes]] = [
        ({"name": "v.npy", "header": header}, values.tobytes()),
        ({"name": "v.npy", "header": column}, values.tobytes()),
        ({"name": "v.npy", "header": header, "version": [2, 0]}, values.tobytes()),
        ({"name": "v.fvecs"}, rows),
        ({"name": "v.bvecs"}, (2).to_bytes(4, "little") + b"\x01\x02"),
        ({"name": "v.npz", "header": header, "zip": [0, 8], "member": "a1"}, values.tobytes()),
    ]
    found += [
        ({"name": "v.npz", "header": header, "zip": [method]}, values.tobytes())
        for method in (0, 8, 12, 14)
    ]
    return [with_heading(told, content) for told, content in found]


TARGET = Target(
    "embeddings",
    _seeds,
    check,
    change,
    words=(b"NUMPY", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"),
)
