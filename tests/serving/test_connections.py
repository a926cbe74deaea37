"""Connections that ask for nothing, or take nothing, keep nobody out."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from qsearch import Index
from qsearch.serving import connections
from qsearch.serving.connections import BoundedProtocol, raise_descriptors
from tests.serving.served import Client, served


class FewAtATime(BoundedProtocol):
    most = 4


def connected(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=60)


def told(connection: socket.socket) -> bytes:
    """All that comes until the server ends it."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.fixture
def few(index: Index) -> Iterator[Client]:
    with served(index, refresh=None, protocol=FewAtATime) as client:
        yield client


def test_more_connections_than_there_is_room_for_are_closed(
    few: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedProtocol, "_told", float("-inf"))
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connected(few))
        for _ in range(5):
            with pytest.raises(ConnectionError):
                few("GET", "/health")
    for _ in range(1000):
        try:
            assert few("GET", "/health").status == 200
            break
        except ConnectionError:  # it has not heard yet that they have gone
            time.sleep(0.02)
    assert caplog.text.count("others are closed") == 1


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHo"])
def test_who_does_not_say_what_they_want_is_not_waited_for(
    few: Client, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.2)
    with connected(few) as silent:
        silent.sendall(sent)
        assert told(silent) == b""


def test_nor_behind_an_answer(few: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.2)
    with connected(few) as silent:
        silent.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent.recv(1 << 16).startswith(b"HTTP/1.1 200")
        silent.sendall(b"GET /he")
        assert b"HTTP" not in told(silent)


def test_a_search_may_take_longer_than_its_head(
    few: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.05)
    search = Index.search_batch

    def slow(self: Index, *arguments: object, **options: object) -> object:
        time.sleep(0.4)
        return search(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Index, "search_batch", slow)
    assert few.search(query="red").status == 200


def test_who_takes_nothing_of_an_answer_is_not_waited_for(
    few: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_TAKE_SECONDS", 0.3)
    body = b'{"queries": [' + b",".join([b'"red"'] * 400) + b'], "k": 200}'
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.settimeout(60)
        lazy.connect(("127.0.0.1", few.port))
        head = f"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        lazy.sendall(head.encode() + body)
        time.sleep(2)
        answer = told(lazy)
    size = re.search(rb"content-length: (\d+)", answer)
    assert size is not None, answer[:200]
    assert 0 < len(answer) < int(size[1])


def test_a_process_has_room_for_connections() -> None:
    assert 0 < raise_descriptors() <= 16_384
