"""An application behind a real server, and a client of it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qsearch import Index
from qsearch.serving import Defaults, application, listening
from qsearch.serving.connections import BoundedServer


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Client:
    """Asks a server; each request has a connection of its own."""

    port: int

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
            kind = answer.getheader("Content-Type", "")
            told = json.loads(data) if kind == "application/json" else data.decode()
            return Answer(answer.status, told, {k.lower(): v for k, v in answer.getheaders()})
        finally:
            connection.close()

    def search(self, **asked: Any) -> Answer:
        return self("POST", "/search", asked)


@contextmanager
def served(
    index: Index,
    defaults: Defaults | None = None,
    most: int = 1000,
    **options: Any,
) -> Iterator[Client]:
    """While this is entered, a server answers from an index."""
    with listening("127.0.0.1", 0) as on:
        server = BoundedServer(application(index, defaults, **options), most)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [on]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.005)
            yield Client(on.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


def until(condition: Callable[[], Any]) -> None:
    """Wait for what is to come, and not for ever."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")
