"""Connections that ask for nothing, or take nothing, do not keep others out."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as HTTPProtocol

__all__ = ["BoundedProtocol", "raise_descriptors"]

_log = logging.getLogger("qsearch")

_HEAD_SECONDS = 20.0
"""For a client to say what it wants, from the first byte on or from when it came."""

_TAKE_SECONDS = 60.0
"""For a client to take some of its answer."""

_MOST = 16_384
"""Connections."""

_RESERVED = 128
"""Descriptors of files that are for the index and what else there is."""

_TOLD_SECONDS = 60.0


def raise_descriptors() -> int:
    """Allow this process as many files as it may have.

    Returns:
        How many connections there is room for.
    """
    if sys.platform == "win32":
        return _MOST
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST + _RESERVED
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError):  # the system has a limit of its own
            most = soft
        soft = max(soft, most)
    room = wanted if soft == resource.RLIM_INFINITY else soft
    return max(1, min(_MOST, room - _RESERVED))


class BoundedProtocol(HTTPProtocol):
    """uvicorn's with bounds: of how many there are, and how long they keep the server waiting.

    Attributes:
        most: connections at a time.
    """

    most = _MOST
    _told = float("-inf")
    _head: asyncio.TimerHandle | None = None
    _take: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, if there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            cls = BoundedProtocol
            if time.monotonic() - cls._told > _TOLD_SECONDS:
                cls._told = time.monotonic()
                _log.warning(
                    "more than %s connections at a time: others are closed", f"{self.most:,}"
                )
            transport.abort()
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            _cancel(self._head)
            self._head = None
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        _cancel(self._head)
        _cancel(self._take)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is made."""
        _cancel(self._take)
        self._take = self.loop.call_later(_TAKE_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has taken what was there."""
        _cancel(self._take)
        super().resume_writing()

    def _await_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(_HEAD_SECONDS, self._late)

    def _late(self) -> None:
        self._head = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
