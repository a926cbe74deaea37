"""``qsearch serve``, as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from qsearch import BuildOptions, Index
from tests.cli.running import run


@pytest.fixture(scope="module")
def rows_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index without an encoder, which starts at once."""
    path = tmp_path_factory.mktemp("serve") / "rows"
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    Index.build(None, path, embeddings=rows).close()
    return path


@contextmanager
def serving(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A server, and where it listens, as it printed that."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qsearch", "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    try:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().strip())
        assert address.hostname, process.communicate(timeout=60)
        yield process, address.hostname, address.port or 0
    finally:
        process.kill()
        process.communicate()


def ask(host: str, port: int, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET" if body is None else "POST", path, body and json.dumps(body))
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_until_it_is_ended(rows_index: Path, ended_by: signal.Signals) -> None:
    with serving("-i", rows_index, "--port", "0", "--log-requests", "-k", "2") as (
        process,
        host,
        port,
    ):
        found = ask(host, port, "/search", {"vector": [1, 0, 0, 0, 0, 0, 0, 0]})
        assert len(found["hits"]) == 2
        assert found["certified"]
        process.send_signal(ended_by)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "50 documents, ready after" in told
    assert '"POST /search HTTP/1.1" 200' in told
    assert told.endswith("stopped\n")


def test_a_text_is_encoded_by_the_model_of_the_index(tmp_path: Path, tiny_bert: Path) -> None:
    documents = [{"id": one, "text": one} for one in ("red", "green", "blue")]
    Index.build(documents, tmp_path / "index", encoder=str(tiny_bert)).close()
    with Index.open(tmp_path / "index") as index:
        expected = index.search("green", k=1).to_dict()
    with serving("-i", tmp_path / "index", "--port", "0") as (_, host, port):
        assert ask(host, port, "/search?query=green&k=1") == expected


def test_a_request_that_is_under_way_is_answered_when_it_ends(rows_index: Path) -> None:
    with serving("-i", rows_index, "--port", "0") as (process, host, port):
        with socket.create_connection((host, port)) as client:
            body = b'{"vector": [1, 0, 0, 0, 0, 0, 0, 0], "k": 1}'
            client.sendall(
                b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                % len(body)
            )
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            client.sendall(body)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        process.wait(timeout=60)
    assert process.returncode == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path, tiny_bert: Path) -> None:
    documents = [{"id": str(one), "text": f"word {one}"} for one in range(300)]
    Index.build(documents, tmp_path / "index", encoder=str(tiny_bert)).close()
    with (
        serving("-i", tmp_path / "index", "--port", "0") as (process, host, port),
        socket.create_connection((host, port)) as client,
    ):
        head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
        client.sendall(head)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None  # the request may yet come
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert told.endswith("stopped\n")
    assert "Traceback" not in told


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.2"])
def test_what_only_this_machine_reaches_answers_for_its_names_only(
    rows_index: Path, host: str
) -> None:
    with serving("-i", rows_index, "--port", "0", "--host", host) as (_, at, port):
        assert ask(at, port, "/health")["status"] == "ok"
        connection = http.client.HTTPConnection(at, port, timeout=60)
        connection.request("GET", "/health", headers={"Host": "evil.example"})
        assert connection.getresponse().status == 421
        connection.close()


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("Search.Example", "search.example"),
        ("search.example:8080", "SEARCH.example:8420"),
        ("http://search.example/", "search.example."),
        ("*", "anything.example"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_a_name_that_is_allowed_is_answered_for(rows_index: Path, given: str, asked: str) -> None:
    with serving("-i", rows_index, "--port", "0", "--allow-host", given) as (_, host, port):
        for name, status in ((asked, 200), ("evil.example", 200 if given == "*" else 421)):
            connection = http.client.HTTPConnection(host, port, timeout=60)
            connection.request("GET", "/health", headers={"Host": name})
            assert connection.getresponse().status == status, name
            connection.close()


def test_words_need_no_model(tmp_path: Path, tiny_bert: Path) -> None:
    documents = [{"id": one, "text": one} for one in ("red", "green")]
    options = BuildOptions(text_index=True)
    Index.build(documents, tmp_path / "index", encoder=str(tiny_bert), options=options).close()
    arguments = ("-i", tmp_path / "index", "--port", "0", "--mode", "keywords", "-m", "/no/model")
    with serving(*arguments) as (_, host, port):
        assert ask(host, port, "/search?query=green")["hits"][0]["id"] == "green"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-k", "20000"], "k must be a whole number from 1 to 10,000"),
        (["--allow-host", "a/b"], "'a/b' is no name of a host"),
        (["-q", "--log-requests"], "contradict each other"),
        (["--port", "65536"], "--port"),
        (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid:8420"),
        (["--host", "192.0.2.1"], "name an address of this machine with --host"),
        (["--recall", "7", "--port", "0"], "is above 1"),
        (["--mode", "keywords", "--port", "0"], "has no text index"),
        (["-k", "0", "--port", "0"], "k must"),
    ],
)
def test_what_cannot_be_served_is_said(
    rows_index: Path, arguments: list[str], told: str, tmp_path: Path
) -> None:
    done = run("serve", "-i", rows_index, *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert told in done.stderr


def test_a_port_that_is_taken_is_named(rows_index: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "-i", rows_index, "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: something else listens there" in done.stderr
    assert not done.stdout


def test_who_may_read_it_is_said(rows_index: Path) -> None:
    with serving("-i", rows_index, "--port", "0", "--host", "0.0.0.0") as (process, _, port):
        assert ask("127.0.0.1", port, "/health")["status"] == "ok"
        process.terminate()
        assert "everybody who reaches 0.0.0.0" in process.communicate(timeout=60)[1]


def test_without_its_packages_it_says_what_to_install(
    rows_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run("serve", "-i", rows_index, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install starlette uvicorn" in done.stderr
