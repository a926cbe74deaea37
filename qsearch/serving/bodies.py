"""Requests and answers as bytes: how many there may be, read and sent piece by piece."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from qsearch.serving.batching import Overloaded

__all__ = ["MOST_BYTES", "SHORT", "UnderWay", "answer_of", "body_of"]

MOST_BYTES = 32 << 20
"""Of a request's body: a thousand vectors of a thousand dimensions."""

SHORT = 1 << 14
"""Bytes of a body that are read at once, and not on another thread while others are listened to."""

_BODY_SECONDS = 60.0
"""For all of it to come."""

_LONG = 1 << 18
"""Bytes of an answer that are not put together: they are sent piece by piece, as the client takes them."""


class UnderWay:
    """Bytes of something that is in memory, of many at a time. Safe to share between threads."""

    def __init__(self, what: str, most: int) -> None:
        """Have none.

        Args:
            what: they are of.
            most: when there are as many, no more come.
        """
        self._what, self._most, self._taken = what, most, 0
        self._lock = threading.Lock()

    def check(self) -> None:
        """Refuse more.

        Raises:
            Overloaded: there is as much as may be.
        """
        if self._taken >= self._most:
            raise Overloaded(f"{self._taken >> 20:,} MiB of {self._what} are under way")

    def add(self, size: int) -> None:
        """There are more, or with a negative number fewer."""
        with self._lock:
            self._taken += size


async def body_of(request: Request, parts: list[bytes], reading: UnderWay) -> bytes:
    """The body, unless it is too large, or does not come.

    Args:
        request: whose it is.
        parts: it is added to them, also where it does not come to its end.
        reading: so is its size.

    Raises:
        HTTPException: it is too large, or did not come in time.
        Overloaded: there are too many others.
    """
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    raise HTTPException(413, f"a request takes {MOST_BYTES >> 20} MiB at most")
                if size > SHORT:  # small ones are let in
                    reading.check()
                parts.append(part)
                reading.add(len(part))
    except TimeoutError:
        why = f"the body did not come within {_BODY_SECONDS:.0f} s"
        raise HTTPException(408, why, {"Connection": "close"}) from None
    return b"".join(parts)


def answer_of(pieces: list[bytes], times: str, sending: UnderWay) -> Response:
    """JSON in pieces as a response.

    Args:
        pieces: are forgotten as they are sent.
        times: for the header that tells them.
        sending: the size of a long one is added to it until it has been sent.
    """
    size = sum(map(len, pieces))
    headers = {"Server-Timing": times}
    if size <= _LONG:
        return Response(b"".join(pieces), media_type="application/json", headers=headers)
    return _Long(pieces, size, headers, sending)


class _Long(StreamingResponse):
    def __init__(
        self, pieces: list[bytes], size: int, headers: dict[str, str], sending: UnderWay
    ) -> None:
        headers["Content-Length"] = str(size)
        super().__init__(_sent(pieces), media_type="application/json", headers=headers)
        self._size, self._sending = size, sending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._sending.add(self._size)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._sending.add(-self._size)


async def _sent(pieces: list[bytes]) -> AsyncIterator[bytes]:
    """The pieces, small ones together, large ones cut."""
    pieces.reverse()
    some: list[bytes] = []
    size = 0
    while pieces:
        piece = memoryview(pieces.pop())
        for start in range(0, len(piece), _LONG):
            part = piece[start : start + _LONG]
            some.append(bytes(part))
            size += len(part)
            if size >= _LONG:
                yield b"".join(some)
                some, size = [], 0
    yield b"".join(some)
