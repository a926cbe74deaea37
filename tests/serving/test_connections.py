"""Connections that ask for nothing, or take nothing, keep nobody out."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from qsearch import Index
from qsearch.serving import connections
from qsearch.serving.connections import _State, raise_descriptors
from tests.serving.served import Client, served, until

_states: list[_State] = []


@pytest.fixture(autouse=True)
def states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the servers that are made, and looks at connections whenever that is possible."""

    class Seen(_State):
        def __init__(self, most: int) -> None:
            super().__init__(most)
            _states.append(self)

    monkeypatch.setattr(connections, "_State", Seen)
    monkeypatch.setattr(connections, "_LOOKS", 1)


def connected(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=60)


def told(connection: socket.socket) -> bytes:
    """All that comes until the server ends it."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.fixture
def few(index: Index) -> Iterator[Client]:
    with served(index, refresh=None, most=4) as client:
        yield client


def test_where_there_are_too_many_the_one_goes_that_asked_for_nothing_the_longest(
    few: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(few)) for _ in range(4)]
        until(lambda: len(_states[-1].idle) == 4)
        for _ in range(3):  # each takes a place, and leaves it
            assert few("GET", "/health").status == 200
        assert told(idle[0]) == b""
        idle[3].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle[3].recv(1 << 16).startswith(b"HTTP/1.1 200")
    assert caplog.text.count("idle ones are closed") == 1
    until(lambda: not _states[-1].connections)
    assert not _states[-1].idle


def test_where_all_are_at_work_nobody_else_comes_in(
    few: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    search = Index.search_batch

    def slow(self: Index, *arguments: Any, **options: Any) -> Any:
        assert go_on.wait(60)
        return search(self, *arguments, **options)

    monkeypatch.setattr(Index, "search_batch", slow)
    with ThreadPoolExecutor(4) as pool:
        at_work = [pool.submit(few.search, query="red") for _ in range(4)]
        until(lambda: len(_states[-1].tasks) == 4)
        with pytest.raises(ConnectionError):
            few("GET", "/health")
        go_on.set()
        assert [one.result(60).status for one in at_work] == [200] * 4


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

    def slow(self: Index, *arguments: Any, **options: Any) -> Any:
        time.sleep(0.4)
        return search(self, *arguments, **options)

    monkeypatch.setattr(Index, "search_batch", slow)
    assert few.search(query="red").status == 200


def large(client: Client, queries: int) -> socket.socket:
    """A client with little memory who has asked for much."""
    body = b'{"queries": [' + b",".join([b'"red"'] * queries) + b'], "k": 200}'
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(60)
    made.connect(("127.0.0.1", client.port))
    head = f"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    made.sendall(head.encode() + body)
    return made


def is_whole(answer: bytes) -> bool:
    size = re.search(rb"content-length: (\d+)", answer)
    assert size is not None, answer[:200]
    _, _, body = answer.partition(b"\r\n\r\n")
    return len(body) == int(size[1])


def test_who_takes_nothing_of_an_answer_is_not_waited_for(
    few: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_TAKE_SECONDS", 0.3)
    with large(few, 400) as lazy:
        begun = lazy.recv(16)
        assert begun == b"HTTP/1.1 200 OK\r"
        until(lambda: not _states[-1].connections)
        assert not is_whole(begun + told(lazy))


def test_nor_where_only_the_end_is_left(few: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of answers one after the other that are small: no writer has to wait for them."""
    monkeypatch.setattr(connections, "_TAKE_SECONDS", 0.3)
    with large(few, 2) as lazy:
        ask = b"GET /search?query=red&k=300 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with suppress(ConnectionError):
            for _ in range(2000):  # until what is left lies with the server
                lazy.sendall(ask)
                time.sleep(0.002)
        until(lambda: not _states[-1].connections)


def test_who_takes_it_slowly_gets_all_of_it(few: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TAKE_SECONDS", 0.5)
    began = time.monotonic()
    with large(few, 150) as slow:
        answer = slow.recv(1 << 16)
        while not is_whole(answer):
            time.sleep(0.01)
            some = slow.recv(1 << 16)
            assert some
            answer += some
    assert time.monotonic() - began > 1.0


def test_what_comes_in_tiny_pieces_does_not_keep_others_waiting(few: Client) -> None:
    chunks = b"1\r\n \r\n" * 300_000
    slowest = 0.0
    with connected(few) as one:
        head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        sender = threading.Thread(target=one.sendall, args=(head + chunks,), daemon=True)
        sender.start()
        for _ in range(20):
            began = time.perf_counter()
            assert few("GET", "/health").status == 200
            slowest = max(slowest, time.perf_counter() - began)
        sender.join(60)
        one.sendall(b"15\r\n" + b'{"query": "red", "k":' + b"\r\n3\r\n 3}\r\n0\r\n\r\n")
        assert one.recv(1 << 16).startswith(b"HTTP/1.1 200")
    assert slowest < 5.0  # it was seconds for each a megabyte that lay there


def test_what_makes_no_sense_behind_an_answer_ends_the_connection(
    few: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(few) as one:
        one.sendall(b"POST /no HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert one.recv(1 << 16).startswith(b"HTTP/1.1 404")
        one.sendall(b"zz\r\n")
        assert b"HTTP/1.1 200" not in told(one)
    assert few("GET", "/health").status == 200
    assert "Traceback" not in caplog.text


def test_a_whole_request_goes_through_in_parts(
    few: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = few.search(queries=["red", "blue"] * 50, k=3)
    monkeypatch.setattr(connections, "_BYTES_AT_ONCE", 7)
    parts = few.search(queries=["red", "blue"] * 50, k=3)
    assert parts.body == whole.body
    with connected(few) as one:  # two that come together
        one.sendall(2 * b"GET /search?query=red&k=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while answer.count(b"HTTP/1.1 200") < 2:
            some = one.recv(1 << 16)
            assert some
            answer += some


def test_a_process_has_room_for_connections() -> None:
    assert 0 < raise_descriptors() <= 16_384
