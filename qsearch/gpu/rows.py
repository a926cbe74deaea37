"""The codes of an index on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import int8_margins
from qsearch.gpu.codes import Rotation, margins_there
from qsearch.kernels import RowMask
from qsearch.store import Segment

if TYPE_CHECKING:
    import torch

__all__ = ["TILE", "DeviceRows", "Part", "bytes_of_rows", "part_of"]

TILE = 256
"""Rows that a segment is padded to: the largest tile of any kernel."""

_CODES = 32
"""Components that codes are padded to with zeros: the least that tensor cores take of int8."""

_GROUP_ROWS = 64
"""The sample by which a search guesses is made of groups of so many rows that lie beside each other."""

_LEAST_GROUPS, _MOST_GROUPS, _ROWS_PER_GROUP = 256, 1024, 2048
"""How many groups: so few that looking at them takes little beside the scan of all rows."""

_STEP = 64
"""Components of a row that lie beside those of the other rows of a tile."""

_UNBOUNDED = np.float32(2.0**100)
"""A rest that no threshold leaves out, whatever the query."""

_PIECE = 1 << 16
"""Rows that are made ready for the device at a time."""


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


class DeviceRows:
    """All rows of some segments on one device, one segment behind the other.

    Rows that a scan of the CPU looks at because their codes cannot be (damage, above all zeros) have a rest
    here that no threshold leaves out, and an infinite residual.

    Attributes:
        parts: the segments.
        rows: device rows, padding included.
        bounds: (3, rows) float32: scale, residual and rest of the rotated codes.
        codes: (rows, ⌈d/32⌉ 32) int8.
        scale: (rows,) float32 of these.
        residual: (rows,) float32 likewise.
        vectors: (rows, d) float32.
        margins_there: (7,) float64: what the rounding of queries may hide.
        living: masks of the segments: rows that were not deleted; ``None``: all.
        alive: (rows / 8,) uint8, a bit for each of them.
        sample: (groups, rows of a group) int64: rows that lie all over.
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
        self.living = tuple(one.living for one in segments)
        self.alive = self.allowed(self.living)
        groups = min(_MOST_GROUPS, max(_LEAST_GROUPS, self.rows // _ROWS_PER_GROUP))
        groups = min(groups, self.rows // _GROUP_ROWS)
        begins = np.linspace(0, self.rows // _GROUP_ROWS - 1, groups).astype(np.int64) * _GROUP_ROWS
        self._sample = begins[:, None] + np.arange(_GROUP_ROWS)
        self.sample = torch.from_numpy(self._sample).to(self.device)
        positions = [one.first_row - one.first for one in self.parts]
        self._starts = np.array([one.first for one in self.parts])
        self._shifts = np.array(positions)
        self._sampled = self._seen(self.living)

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

    def allowed(self, masks: Sequence[RowMask | None]) -> torch.Tensor:
        """A bit for each device row: (rows / 8,) uint8; none of padding.

        Args:
            masks: of each segment; ``None``: all.
        """
        import torch

        return torch.from_numpy(self._bits(masks)).to(self.device)

    def sampled(self, masks: Sequence[RowMask | None]) -> int:
        """How many rows of the sample are allowed.

        Args:
            masks: of each segment; ``None``: all.
        """
        return self._sampled if masks is self.living else self._seen(masks)

    def _seen(self, masks: Sequence[RowMask | None]) -> int:
        rows = self._sample.ravel()
        return int((self._bits(masks)[rows // 8] >> (rows % 8) & 1).sum())

    def _bits(self, masks: Sequence[RowMask | None]) -> NDArray[np.uint8]:
        bits = np.zeros(self.rows // 8, dtype=np.uint8)
        for part, mask in zip(self.parts, masks, strict=True):
            some = np.packbits(np.ones(part.rows, np.bool_), bitorder="little")
            if mask is not None:
                some = mask.bits
            bits[part.first // 8 : part.first // 8 + len(some)] = some
        return bits

    def _copied(self, before: DeviceRows, part: Part, first: int) -> Part:
        """A part of an earlier commit, from one place of the device to another."""
        here, there = slice(first, first + part.padded), slice(part.first, part.first + part.padded)
        self.bounds[:, here].copy_(before.bounds[:, there])
        for name in ("codes", "scale", "residual", "vectors"):
            getattr(self, name)[here].copy_(getattr(before, name)[there])
        return replace(part, first=first)

    def _load(self, segment: Segment, first: int, padded: int) -> Part:
        import torch

        n = segment.rows
        rotated = segment.rotated
        if rotated is None:
            raise ValueError(f"segment {segment.id} has no rotated codes")
        h = _padded(len(rotated.rotation), _CODES)
        step = part_of(h)
        shape = padded // TILE, h // step, TILE, step
        codes = torch.zeros(shape, dtype=torch.int8, device=self.device)
        for start in range(0, n, _PIECE):
            stop = min(n, start + _PIECE)
            here = slice(first + start, first + stop)
            self._put(self.vectors[here], segment.vectors[start:stop])
            self._put(self.codes[here, : self.dimensions], segment.int8[start:stop])
            scale, residual = segment.scale[start:stop], segment.residual[start:stop]
            odd = _odd(scale, residual) | ~segment.int8[start:stop].any(axis=1)
            self._put(self.scale[here], scale)
            self._put(self.residual[here], np.where(odd, np.float32(np.inf), residual))
            blocks = rotated.blocks[start // 16 : -(-stop // 16)]
            some = np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).reshape(16 * len(blocks), -1)
            some = some[: stop - start]
            scale, residual, rest = (
                rotated.bounds[start // 16 : -(-stop // 16)]
                .transpose(1, 0, 2)
                .reshape(3, -1)[:, : stop - start]
            )
            odd = _odd(scale, residual, rest) | (some == 0).any(axis=1)
            self._put(self.bounds[0, here], np.where(odd, np.float32(0), scale))
            self._put(self.bounds[1, here], np.where(odd, np.float32(0), residual))
            self._put(self.bounds[2, here], np.where(odd, _UNBOUNDED, rest))
            tiles = -(-len(some) // TILE)
            flat = torch.zeros((tiles * TILE, h), dtype=torch.int8, device=self.device)
            self._put(flat[: len(some), : some.shape[1]], (some ^ 0x80).view(np.int8))
            whole = flat.view(tiles, TILE, *shape[1::2]).permute(0, 2, 1, 3)
            codes[start // TILE : start // TILE + tiles] = whole
        rotation = Rotation.of(rotated.rotation, rotated.error(), h, self.device)
        return Part(_key(segment), first, n, padded, segment.first_row, codes, rotation)

    def _put(self, place: torch.Tensor, values: NDArray[Any]) -> None:
        import torch

        place.copy_(torch.from_numpy(np.array(values)))


def part_of(width: int) -> int:
    """How many components of codes that are so wide, a multiple of 32, lie beside each other."""
    return _STEP if width % _STEP == 0 else _CODES


def bytes_of_rows(segment: Segment) -> int:
    """What a segment takes on a device."""
    d = int(segment.vectors.shape[1])
    h = 0 if segment.rotated is None else len(segment.rotated.rotation)
    of_row: int = _padded(h, _CODES) + 3 * 4 + _padded(d, _CODES) + 2 * 4 + 4 * d
    return _padded(segment.rows, TILE) * of_row


def _padded(number: int, step: int) -> int:
    return -(-number // step) * step


def _key(segment: Segment) -> tuple[str, int, int]:
    return segment.id, segment.first_row, segment.rows


def _odd(*bounds: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows have bounds that no sound code has."""
    found = np.zeros(len(bounds[0]), dtype=np.bool_)
    for one in bounds:
        found |= ~((one > 0) & np.isfinite(one))
    return found
