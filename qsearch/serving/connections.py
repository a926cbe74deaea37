"""A server whose connections keep nobody out: not by asking for nothing, nor by taking nothing."""

from __future__ import annotations

import logging
import sys
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.server import ServerState

if TYPE_CHECKING:
    import socket

    from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as HTTPProtocol

__all__ = ["BoundedServer", "raise_descriptors"]

_log = logging.getLogger("qsearch")

_HEAD_SECONDS = 20.0
"""For a client to say what it wants, from the first byte on or from when it came."""

_TAKE_SECONDS = 60.0
"""For a client to take some of its answer."""

_LOOKS = 10
"""Ticks of a tenth of a second between two looks at all connections."""

_MOST = 16_384
"""Connections."""

_RESERVED = 256
"""Descriptors of files that are for the index and what else there is; of few, half of them."""

_BACKLOG = 2048
"""Connections that the system keeps until the server takes them."""

_TAKEN_AT_ONCE = 16
"""Of these, before it is looked whether there is room for more."""

_BYTES_AT_ONCE = 1 << 13
"""That one connection may have read before the others have their turn: in chunks of a byte each these are
thousands of events.
"""

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
    return max(1, min(_MOST, room - min(_RESERVED, room // 2)))


class _State(ServerState):
    """What the connections of a server share.

    Attributes:
        most: connections at a time.
        idle: those that ask for nothing at the moment, the first one for the longest time.
        told: when it was last said that there are too many.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.idle: OrderedDict[_Connection, None] = OrderedDict()
        self.told = float("-inf")


class _Connection(HTTPProtocol):
    """uvicorn's, with bounds of how long it keeps the server waiting, and how much it has read at once."""

    server_state: _State
    _since = 0.0  # when it began to be idle
    _taken = 0.0  # when the client last took something
    _left_to_take = 0
    _unread = b""

    def connection_made(self, transport: Any) -> None:
        """Take a connection. If there are too many, the one goes that has asked for nothing the longest."""
        super().connection_made(transport)
        self._taken = time.monotonic()
        state = self.server_state
        if len(state.connections) > state.most:
            if time.monotonic() - state.told > _TOLD_SECONDS:
                state.told = time.monotonic()
                most = f"{state.most:,}"
                _log.warning("more than %s connections at a time: idle ones are closed", most)
            if not state.idle:
                transport.abort()
                return
            oldest, _ = state.idle.popitem(last=False)
            oldest.transport.abort()
        self._is_idle()

    def data_received(self, data: bytes) -> None:
        """Take what has come, some of it at a time."""
        if self._unread:
            self._unread += data
            return
        self._unread = data
        self._read()

    def _read(self) -> None:
        some, self._unread = self._unread[:_BYTES_AT_ONCE], self._unread[_BYTES_AT_ONCE:]
        if self.transport.is_closing():
            self._unread = b""
            return
        try:
            super().data_received(some)
        except h11.LocalProtocolError:  # it makes no sense, and an answer has been begun
            self.transport.close()
        if self._asks():
            self.server_state.idle.pop(self, None)
        elif self not in self.server_state.idle:
            self._is_idle()
        if self._unread:
            self.transport.pause_reading()
            self.loop.call_soon(self._read)
        elif not self.flow.read_paused:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self.server_state.idle.pop(self, None)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self._asks():  # else the next one was here already
            self._is_idle()

    def resume_writing(self) -> None:
        """The client has taken what was there."""
        self._taken = time.monotonic()
        super().resume_writing()

    def look(self, now: float) -> None:
        """Close it if the client does not say what it wants, or takes nothing of what it wanted."""
        here = self.transport.get_write_buffer_size()
        left = here and here + _in_the_system(self.transport)
        if left == 0 or left < self._left_to_take:
            self._taken = now
        self._left_to_take = left
        if left and now - self._taken > _TAKE_SECONDS:
            self.transport.abort()
        elif self in self.server_state.idle and now - self._since > _HEAD_SECONDS:
            self.server_state.idle.pop(self, None)
            self.transport.close()  # when what is left has been taken

    def _asks(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_idle(self) -> None:
        if self.transport.is_closing():
            return
        self._since = time.monotonic()
        self.server_state.idle[self] = None
        self.server_state.idle.move_to_end(self)


def _in_the_system(transport: Any) -> int:
    """Bytes that the system took and the client did not: it takes more when it is rid of a megabyte."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    try:
        told = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # it is no socket of that kind, or closed
        return 0
    return int.from_bytes(told, sys.byteorder)


class BoundedServer(uvicorn.Server):
    """uvicorn's, which looks after its connections."""

    def __init__(self, application: Any, most: int = _MOST, **options: Any) -> None:
        """Make it.

        Args:
            application: what answers.
            most: connections at a time.
            options: more for ``uvicorn.Config``.
        """
        config = uvicorn.Config(
            application,
            http=_Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            server_header=False,
            backlog=_TAKEN_AT_ONCE,
            **options,
        )
        super().__init__(config)
        self.server_state: _State = _State(most)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(_BACKLOG)  # asyncio takes as many at once as it is told that wait

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, and no more."""
        under_way = len(self.server_state.tasks)
        if under_way and not self.force_exit:
            _log.warning(
                "stopping when what is under way is answered (%s); once more ends it at once",
                f"{under_way:,}",
            )
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % _LOOKS == 0:
            now = time.monotonic()
            for one in list(self.server_state.connections):
                if isinstance(one, _Connection):
                    one.look(now)
        return await super().on_tick(counter)
