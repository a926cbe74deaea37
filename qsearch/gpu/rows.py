"""The codes of an index on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import int8_margins
from qsearch.gpu.codes import Rotation, margins_there
from qsearch.kernels import RowMask, allowed_rows
from qsearch.store import Segment
from qsearch.streams import Stream

if TYPE_CHECKING:
    import torch

__all__ = ["FEW", "TILE", "Chosen", "DeviceRows", "Part", "bytes_of_rows", "part_of"]

TILE = 256
"""Rows that a segment is padded to: the largest tile of any kernel."""

_CODES = 32
"""Components that codes are padded to with zeros: the least that tensor cores take of int8."""

_GROUP_ROWS = 64
"""A sample by which a search guesses is made of groups of so many rows that lie beside each other."""

_LEAST_GROUPS = 256
_SAMPLES = ((32, 2048), (8, 8192))
"""Of how many rows one is in the sample for few queries, and for many, and how many groups it has at most.
A million texts of which the 10 best are wanted leave 5,700 rows of a query to be scored after a 32nd of
them, 3,300 after a 16th, 1,700 after an 8th (means of 96 queries). One query reads fewer bytes after a
32nd; of a thousand, for which a scan is arithmetic, the scores would take longer than the scan.
"""

FEW = 16
"""More queries are many."""

_STEP = 64
"""Components of a row that lie beside those of the other rows of a tile."""

_UNBOUNDED = 2.0**100
"""A rest that no threshold leaves out, whatever the query."""

_MOST = 1.0 + 2.0**-10
"""Length of what no unit row has a longer part of, with all that float32 hides of it."""

_HIDDEN = 2.0**-10
"""Of the length of a code, what float32 hides."""

_PIECE = 1 << 15
"""Rows that are brought to the device at a time."""

_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)
"""Bits that are set in each byte."""

_BLOCK = 16
"""Rows whose rotated codes lie together in files."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The rotated codes of one segment on a device.

    Attributes:
        key: what it is of: no two that differ have the same.
        first: device row of its first row, a multiple of ``TILE``.
        rows: n.
        padded: n up to a multiple of ``TILE``.
        first_row: position of its first row in the index.
        codes: (padded / ``TILE``, parts, ``TILE``, components of a part) int8: what a tile is looked at
            in one step lies in one piece, which memory is read fastest in.
        rotation: along whose axes they are.
    """

    key: tuple[str, int, int]
    first: int
    rows: int
    padded: int
    first_row: int
    codes: torch.Tensor
    rotation: Rotation

    def row_codes(self, first: int, last: int) -> torch.Tensor:
        """(rows, ⌈h/32⌉ 32) int8: one row behind the other.

        Args:
            first: row of the part to begin with, a multiple of ``TILE``.
            last: row to end before, likewise.
        """
        tiles = self.codes[first // TILE : last // TILE]
        codes: torch.Tensor = tiles.permute(0, 2, 1, 3).reshape(last - first, -1)
        return codes


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Rows that may be in an answer.

    Attributes:
        bits: (device rows / 8,) uint8 on the device: a bit for each; none of padding.
        rows: how many there are.
        sampled: how many of them are in each sample.
    """

    bits: torch.Tensor
    rows: int
    sampled: tuple[int, ...]


class DeviceRows:
    """All rows of some segments on one device, one segment behind the other.

    Rows whose codes cannot be (damage, above all zeros) have a rest here that no threshold leaves out, and
    an infinite residual: they are scored, as the CPU scores a row whose bound no cosine can have.

    Attributes:
        parts: the segments.
        rows: device rows, padding included.
        bounds: (3, rows) float32: scale, residual and rest of the rotated codes.
        codes: (rows, ⌈d/32⌉ 32) int8.
        scale: (rows,) float32 of these.
        residual: (rows,) float32 likewise.
        vectors: (rows, d) float32.
        margins_there: (7,) float64: what the rounding of queries may hide.
        living: the rows that were not deleted.
        samples: (groups, rows of a group) int64 each, for few queries and for many: rows that lie all over.
        bytes: that all of it takes on the device.
    """

    def __init__(
        self, segments: Sequence[Segment], device: Any, before: DeviceRows | None = None
    ) -> None:
        """Load them.

        Args:
            segments: in document order, one at least.
            device: as torch names it.
            before: on the same device, of an earlier commit: its segments need not be read again.
        """
        import torch

        self.device = torch.device(device)
        self.dimensions = segments[0].vectors.shape[1]
        padded = [_padded(one.rows, TILE) for one in segments]
        self.rows = sum(padded)
        kept = _padded(self.dimensions, _CODES)

        def zeros(*shape: int, dtype: Any) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        self.bounds = zeros(3, self.rows, dtype=torch.float32)
        self.codes = zeros(self.rows, kept, dtype=torch.int8)
        self.scale = zeros(self.rows, dtype=torch.float32)
        self.residual = zeros(self.rows, dtype=torch.float32)
        self.vectors = zeros(self.rows, self.dimensions, dtype=torch.float32)
        self.parts: list[Part] = []
        old = {} if before is None else {part.key: part for part in before.parts}
        first = 0
        for segment, size in zip(segments, padded, strict=True):
            part = old.get(_key(segment))
            if before is None or part is None:
                self.parts.append(self._load(segment, first, size))
            else:
                self.parts.append(self._copied(before, part, first))
            first += size
        self.margins_there = margins_there(int8_margins(self.dimensions), self.device)
        self._groups = [_sample(self.rows, *one) for one in _SAMPLES]
        within = np.arange(_GROUP_ROWS)
        self.samples = [
            torch.from_numpy(one[:, None] * _GROUP_ROWS + within).to(self.device)
            for one in self._groups
        ]
        positions = [one.first_row - one.first for one in self.parts]
        self._starts = np.array([one.first for one in self.parts])
        self._shifts = np.array(positions)
        self.living = self.chosen([one.living for one in segments])

    @property
    def bytes(self) -> int:
        """What all of it takes on the device."""
        every = [self.bounds, self.codes, self.scale, self.residual, self.vectors]
        every += [one.codes for one in self.parts]
        return sum(one.element_size() * one.nelement() for one in every)

    def positions(self, device_rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Positions in the index of device rows; −1 stays −1."""
        if len(self.parts) == 1:
            return np.where(device_rows >= 0, device_rows + self._shifts[0], -1)
        part = np.searchsorted(self._starts, device_rows, side="right") - 1
        return np.where(device_rows >= 0, device_rows + self._shifts[part], -1)

    def chosen(self, masks: Sequence[RowMask | None]) -> Chosen:
        """The rows that masks allow.

        Args:
            masks: of each segment; ``None``: all.
        """
        import torch

        bits = np.zeros(self.rows // 8, dtype=np.uint8)
        for part, mask in zip(self.parts, masks, strict=True):
            here = bits[part.first // 8 : (part.first + part.padded) // 8]
            if mask is not None:
                here[: len(mask.bits)] = mask.bits
                continue
            whole, more = divmod(part.rows, 8)
            here[:whole] = 0xFF
            here[whole : whole + 1] = (1 << more) - 1
        return Chosen(
            torch.from_numpy(bits).to(self.device),
            sum(
                allowed_rows(part.rows, mask) for part, mask in zip(self.parts, masks, strict=True)
            ),
            tuple(
                int(_ONES[bits.reshape(-1, _GROUP_ROWS // 8)[one]].sum()) for one in self._groups
            ),
        )

    def _copied(self, before: DeviceRows, part: Part, first: int) -> Part:
        """A part of an earlier commit, from one place of the device to another."""
        here, there = slice(first, first + part.padded), slice(part.first, part.first + part.padded)
        self.bounds[:, here].copy_(before.bounds[:, there])
        for name in ("codes", "scale", "residual", "vectors"):
            getattr(self, name)[here].copy_(getattr(before, name)[there])
        return replace(part, first=first)

    def _load(self, segment: Segment, first: int, padded: int) -> Part:
        """Bring a segment there as it lies in its files, and make of it there what searches need."""
        import torch

        n = segment.rows
        rotated = segment.rotated
        if rotated is None:
            raise ValueError(f"segment {segment.id} has no rotated codes")
        h = _padded(len(rotated.rotation), _CODES)
        step = part_of(h)
        shape = padded // TILE, h // step, TILE, step
        codes = torch.zeros(shape, dtype=torch.int8, device=self.device)

        def arrays(start: int) -> list[NDArray[Any]]:
            stop = min(n, start + _PIECE)
            blocks = slice(start // _BLOCK, -(-stop // _BLOCK))
            by_row = segment.vectors, segment.int8, segment.scale, segment.residual
            return [
                *(one[start:stop] for one in by_row),
                rotated.blocks[blocks],
                rotated.bounds[blocks],
            ]

        stream = Stream(self.device)
        with stream.here():
            for start, sent in zip(
                range(0, n, _PIECE),
                stream.brought_in(arrays(start) for start in range(0, n, _PIECE)),
                strict=True,
            ):
                flat = self._put(first + start, sent, h)
                tiles = len(flat) // TILE
                whole = flat.view(tiles, TILE, *shape[1::2]).permute(0, 2, 1, 3)
                codes[start // TILE : start // TILE + tiles] = whole
        stream.wait()
        rotation = Rotation.of(rotated.rotation, rotated.error(), h, self.device)
        return Part(_key(segment), first, n, padded, segment.first_row, codes, rotation)

    def _put(self, first: int, sent: Sequence[torch.Tensor], width: int) -> torch.Tensor:
        """Take rows that are there as they lie in files.

        Args:
            first: device row of the first one.
            sent: vectors, int8 codes, scales and residuals of these, blocks of rotated codes and bounds.
            width: of these, padded.

        Returns:
            (rows up to a multiple of ``TILE``, width) int8: the rotated codes.
        """
        import torch

        vectors, codes, scale, residual, blocks, bounds = sent
        rows = len(vectors)
        here = slice(first, first + rows)
        self.vectors[here] = vectors
        self.codes[here, : self.dimensions] = codes
        self.scale[here] = scale
        length = scale * _length(codes)
        odd = _odd(scale, residual) | ~((length - 1.0).abs() <= residual + _HIDDEN)
        self.residual[here] = residual.masked_fill(odd, torch.inf)
        rotated = blocks.permute(0, 2, 1, 3).reshape(_BLOCK * len(blocks), -1)[:rows]
        signed = (rotated ^ 0x80).view(torch.int8)
        scale, residual, rest = bounds.permute(1, 0, 2).reshape(3, -1)[:, :rows]
        length, kept = scale * _length(signed), (1.0 - rest * rest).clamp(min=0.0).sqrt()
        odd = _odd(scale, residual, rest) | (rotated == 0).any(dim=1)
        odd |= ~(length <= 1.0 + residual + _HIDDEN) | ~(length >= kept - residual - _HIDDEN)
        self.bounds[0, here] = scale.masked_fill(odd, 0.0)
        self.bounds[1, here] = residual.masked_fill(odd, 0.0)
        self.bounds[2, here] = rest.masked_fill(odd, _UNBOUNDED)
        flat = torch.zeros((_padded(rows, TILE), width), dtype=torch.int8, device=self.device)
        flat[:rows, : rotated.shape[1]] = signed
        return flat


def part_of(width: int) -> int:
    """How many components of codes that are so wide, a multiple of 32, lie beside each other."""
    return _STEP if width % _STEP == 0 else _CODES


def bytes_of_rows(segment: Segment) -> int:
    """What a segment takes on a device."""
    d = int(segment.vectors.shape[1])
    h = 0 if segment.rotated is None else len(segment.rotated.rotation)
    of_row: int = _padded(h, _CODES) + 3 * 4 + _padded(d, _CODES) + 2 * 4 + 4 * d
    return _padded(segment.rows, TILE) * of_row


def _sample(rows: int, share: int, most: int) -> NDArray[np.int64]:
    """(groups,): of the groups of rows one in so many, and at most so many."""
    there = rows // _GROUP_ROWS
    groups = min(there, most, max(_LEAST_GROUPS, there // share))
    return np.linspace(0, there - 1, groups).astype(np.int64)


def _padded(number: int, step: int) -> int:
    return -(-number // step) * step


def _key(segment: Segment) -> tuple[str, int, int]:
    return segment.id, segment.first_row, segment.rows


def _odd(*bounds: torch.Tensor) -> torch.Tensor:
    """Which rows have bounds that no sound code has: what is not above 0, or longer than the row."""
    import torch

    found = torch.zeros_like(bounds[0], dtype=torch.bool)
    for one in bounds:
        found |= ~((one > 0) & (one <= _MOST))
    return found


def _length(codes: torch.Tensor) -> torch.Tensor:
    """(rows,) float32 lengths of (rows, columns) int8 codes."""
    import torch

    wide = codes.to(torch.float32)
    return (wide * wide).sum(dim=1).sqrt()
