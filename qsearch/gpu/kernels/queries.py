"""What is done for each query by itself: its codes, what it needs, and the best of what was found."""

from __future__ import annotations

import triton
import triton.language as tl

from qsearch.gpu.codes import LIFT

__all__ = ["best", "code", "guess", "head"]

_MOST = tl.constexpr(127.0)
_LIFT = tl.constexpr(LIFT)
_NUMBERS = ["groups", "rank", "room", "k"]
"""Arguments for whose values no kernels of their own are compiled."""

_HALF = tl.constexpr(1 << 31)

_ROUNDS = tl.constexpr(6755399441055744.0)
"""1.5 · 2^52: what this was added to, and taken off again, is an integer."""


@triton.jit
def _coded(values, missing, margins, codes, query, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """As ``gpu.codes._coded``, of one query."""
    growth, roundoffs, added = tl.load(margins), tl.load(margins + 1), tl.load(margins + 2)
    times, constant = tl.load(margins + 3), tl.load(margins + 4)
    hidden, outward = tl.load(margins + 5), tl.load(margins + 6)
    largest = tl.max(tl.abs(values), axis=0)
    factor = tl.where(largest > 0.0, largest / _MOST, 1.0)
    rounded = (values / factor + _ROUNDS) - _ROUNDS
    lost = values - factor * rounded
    length = factor * tl.sqrt(tl.sum(rounded * rounded, axis=0)) * growth
    residual = tl.sqrt(tl.sum(lost * lost, axis=0)) * growth + roundoffs * length
    rest = tl.sqrt(tl.maximum(missing, 0.0) + hidden) * outward
    slack = (residual + added) * times + constant
    column = tl.arange(0, BLOCK)
    small = rounded.to(tl.int32).to(tl.int8)
    tl.store(codes + query * WIDTH + column, small, mask=column < WIDTH)
    return factor, length, rest, slack


@triton.jit
def code(
    vectors, margins, units, codes, intervals, dimensions,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < dimensions
    wide = tl.load(vectors + query * dimensions + column, mask=inside, other=0.0).to(tl.float64)
    unit = (wide / tl.sqrt(tl.sum(wide * wide, axis=0))).to(tl.float32).to(tl.float64)
    tl.store(units + query * dimensions + column, unit, mask=inside)
    nothing = tl.full((), 0.0, tl.float64)
    factor, length, rest, slack = _coded(unit, nothing, margins, codes, query, WIDTH, BLOCK)
    tl.store(intervals + 4 * query, factor)
    tl.store(intervals + 4 * query + 1, length)
    tl.store(intervals + 4 * query + 2, rest)
    tl.store(intervals + 4 * query + 3, slack)


@triton.jit
def _above(value):
    """The next float32 above one that is finite; what is not stays."""
    bits = value.to(tl.int32, bitcast=True)
    next_bits = tl.where(value == 0.0, 1, tl.where(value > 0.0, bits + 1, bits - 1))
    finite = tl.abs(value) < float("inf")
    return tl.where(finite, next_bits.to(tl.float32, bitcast=True), value)


@triton.jit
def head(
    units, kept, needed, margins, codes, factors, thresholds, dimensions,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    value = tl.load(kept + query * WIDTH + column, mask=column < WIDTH, other=0.0)
    every = tl.arange(0, WHOLE)
    unit = tl.load(units + query * dimensions + every, mask=every < dimensions, other=0.0)
    missing = tl.sum(unit * unit, axis=0) - tl.sum(value * value, axis=0)
    factor, length, rest, slack = _coded(value, missing, margins, codes, query, WIDTH, BLOCK)
    tl.store(factors + 2 * query, _above((length / factor).to(tl.float32)))
    tl.store(factors + 2 * query + 1, _above((rest / factor).to(tl.float32)))
    exact = (tl.load(needed + query).to(tl.float64) - _LIFT - slack) / factor
    # Two units down are two units up of what is turned round.
    turned = _above(_above((0.0 - exact).to(tl.float32)))
    tl.store(thresholds + query, 0.0 - turned)


@triton.jit(do_not_specialize=_NUMBERS)
def guess(scores, needed, groups, rank, GROUPS: tl.constexpr):
    """The highest value that so many scores reach, bit by bit: nothing has to be ordered for it."""
    query = tl.program_id(0)
    place = tl.arange(0, GROUPS)
    score = tl.load(scores + query * groups + place, mask=place < groups, other=float("-inf"))
    bits = score.to(tl.int32, bitcast=True)
    # As integers from 0 on scores have the same order.
    order = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) + _HALF
    reached = tl.full((), 0, tl.int64)
    step = tl.full((), _HALF, tl.int64)
    for _ in range(32):
        more = reached + step
        enough = tl.sum((order >= more).to(tl.int32), axis=0) >= rank
        reached = tl.where(enough, more, reached)
        step = step >> 1
    order = (reached - _HALF).to(tl.int32)
    bits = order ^ ((order >> 31) & 0x7FFFFFFF)
    tl.store(needed + query, bits.to(tl.float32, bitcast=True))


@triton.jit(do_not_specialize=_NUMBERS)
def best(
    found, found_scores, counts, rows, scores, room, k,
    PLACES: tl.constexpr, OTHERS: tl.constexpr,
):  # fmt: skip
    """Each row goes to the place that is the number of those before it: no list has to be ordered."""
    query = tl.program_id(1)
    own = tl.program_id(0) * PLACES
    stride = tl.num_programs(0) * PLACES
    number = tl.minimum(tl.load(counts + query), room)
    place = tl.arange(0, PLACES)
    other = tl.arange(0, OTHERS)
    found += query * room
    found_scores += query * room
    for start in range(own, number, stride):
        there = start + place < number
        row = tl.load(found + start + place, mask=there, other=0)
        score = tl.load(found_scores + start + place, mask=there, other=float("-inf"))
        before = tl.zeros((OTHERS, PLACES), dtype=tl.int32)
        for first in range(0, number, OTHERS):
            more = first + other < number
            next_row = tl.load(found + first + other, mask=more, other=0)[:, None]
            next_score = tl.load(found_scores + first + other, mask=more, other=float("-inf"))[
                :, None
            ]
            equal = (next_score == score[None, :]) & (next_row < row[None, :])
            before += ((next_score > score[None, :]) | equal).to(tl.int32)
        at = tl.sum(before, axis=0)
        wanted = there & (at < k)
        tl.store(rows + query * k + at, row, mask=wanted)
        tl.store(scores + query * k + at, score, mask=wanted)
    for start in range(number + own, k, stride):
        missing = start + place < k
        tl.store(rows + query * k + start + place, -1, mask=missing)
        tl.store(scores + query * k + start + place, float("-inf"), mask=missing)
