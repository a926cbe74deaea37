"""Listening, and running an application until somebody ends it."""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qsearch.errors import QsearchError
from qsearch.wording import words

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["listening", "name_of", "run"]

_PATIENCE = 10
"""Seconds that requests have to end in, when the server is to stop."""


def name_of(host: str) -> str | None:
    """Of a host as a header ``Host`` names it, the name without the port, in small letters.

    >>> name_of("Search.example:8420"), name_of("[::1]:80"), name_of("[")
    ('search.example', '::1', None)
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name and name.removesuffix(".")


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on.

    Args:
        host: a name or an address of this machine; ``0.0.0.0`` or ``::`` for all that it has.
        port: 0 for any that is free.

    Raises:
        QsearchError: that cannot be.
    """
    try:
        ((family, *_, address), *_) = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return _bound(family, address)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            told = f"something else listens there; choose another with {words().port}, 0 for any"
        elif number == errno.EACCES:
            told = f"ports below 1024 are not for everybody; choose another with {words().port}"
        else:
            told = getattr(error, "strerror", None) or str(error)
            told += f"; name an address of this machine with {words().host}"
        raise QsearchError(f"cannot listen on {host}:{port}: {told}") from error


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    # Of another protocol than TCP by name, as socket.create_server makes it, asyncio does not send small
    # packets at once: head and body of an answer are two, and the second waits 40 ms for word of the first.
    on = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        on.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # "::" is everything, as people mean it
            on.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        on.bind(address)
        on.listen()
    except BaseException:
        on.close()
        raise
    return on


def run(
    application: Starlette,
    on: socket.socket,
    *,
    log_requests: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer until SIGINT or SIGTERM comes; requests that are being answered are, a second signal ends all.

    This process may open as many files from then on as the system lets it: each connection is one.

    Args:
        application: what answers.
        on: see ``listening``.
        log_requests: whether each is logged, by the logger ``uvicorn.access``.
        ready: is called as soon as signals end it in order.
    """
    from qsearch.serving.connections import BoundedServer, raise_descriptors

    class Server(BoundedServer):
        def handle_exit(self, sig: int, frame: Any) -> None:
            second = self.should_exit
            super().handle_exit(sig, frame)
            self.force_exit = second  # whichever signal it is
            if second:  # what breaks off is not worth telling
                logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    class Ended(BaseException):
        pass

    server = Server(
        application,
        raise_descriptors(),
        log_level="info" if log_requests else "warning",
        access_log=log_requests,
        timeout_graceful_shutdown=_PATIENCE,
    )

    def end(number: int, frame: object) -> None:
        if not server.should_exit:  # else it is the signal that has ended it, handed on
            raise Ended

    # uvicorn stops in order at these signals, and hands them on to whoever had them before.
    before = {one: signal.signal(one, end) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        ready()
        server.run(sockets=[on])
    except Ended:
        pass
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        on.close()
