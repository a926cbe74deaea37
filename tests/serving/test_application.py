"""A real server in front of a real index."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from qsearch import BuildOptions, Index, QueryError
from qsearch.options import TextSearchOptions, listed
from qsearch.serving import Defaults, application, prepare
from qsearch.serving.bodies import MOST_BYTES
from tests.encoders import HashedWords
from tests.serving.conftest import documents
from tests.serving.served import Client, served, until

MODULE = sys.modules["qsearch.serving.application"]
"""Which has a function of that name beside it."""

ASKED: list[dict[str, Any]] = [
    {"query": "red round old"},
    {"query": "red round old", "k": 1},
    {"query": "warm", "k": 1000},
    {"queries": ["red", "a café", "green blue"], "k": 3},
    {"query": "red", "where": "year >= 2010 AND year < 2012"},
    {"query": "red", "where": {"year": {"$in": [2003, 2004]}}},
    {"query": "red", "where": "year = :y", "params": {"y": 2005}},
    {"query": "red", "recall": 0.9},
    {"query": "red", "method": "binary", "candidates": 20},
    {"query": "red square", "mode": "keywords"},
    {"query": "red square", "mode": "hybrid", "weight": 0.3, "k": 5},
    {"queries": ["red", "blue"], "explain": True, "k": 2},
]


def expected(index: Index, asked: dict[str, Any]) -> Any:
    """What the library says to the same."""
    options = {**asked}
    texts = options.pop("queries", None)
    single = texts is None
    if single:
        texts = [options.pop("query")]
    results = [one.to_dict() for one in index.search_batch(texts, options.pop("k", 10), **options)]
    return json.loads(json.dumps(results[0] if single else {"results": results}))


def without_times(told: Any) -> Any:
    """Without what differs from search to search: times, and what each thread has looked at."""
    if isinstance(told, dict):
        kept = {name: one for name, one in told.items() if name not in ("milliseconds", "stages")}
        return {name: without_times(one) for name, one in kept.items()}
    return [without_times(one) for one in told] if isinstance(told, list) else told


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: " ".join(map(str, asked)))
def test_answers_are_those_of_the_library(
    index: Index, client: Client, asked: dict[str, Any]
) -> None:
    answer = client.search(**asked)
    assert answer.status == 200
    assert without_times(answer.body) == without_times(expected(index, asked))
    assert answer.headers["server-timing"].startswith("wait;dur=")


def test_vectors_are_searched(index: Index, client: Client) -> None:
    rows = index.vectors(["d3", "d123"])
    vectors = [[float(one) for one in row[0]] for row in rows]
    found = client.search(vectors=vectors, k=1).body["results"]
    assert [one["hits"][0]["id"] for one in found] == ["d3", "d123"]
    assert all(one["certified"] for one in found)
    assert client.search(vector=vectors[1], k=1).body["hits"][0]["id"] == "d123"
    wrong = client.search(vector=[1.0, 2.0])
    assert (wrong.status, wrong.body["kind"]) == (400, "QueryError")
    assert "24" in wrong.body["error"]


def test_many_clients_at_once_get_their_own_answers(index: Index, client: Client) -> None:
    told = [json.dumps(expected(index, asked), sort_keys=True) for asked in ASKED[:-1]]

    def ask(number: int) -> bool:
        place = number % len(told)
        answer = client.search(**ASKED[place])
        return json.dumps(answer.body, sort_keys=True) == told[place]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(220)))
    done = client("GET", "/info").body["served"]
    assert (done["requests"], done["failed"], done["waiting"]) == (220, 0, 0)
    assert done["batches"] <= 220


def test_a_query_that_has_no_answer_spoils_no_other(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = ["nothing" if number % 5 == 0 else "red" for number in range(60)]
        answers = list(pool.map(lambda query: client.search(query=query, k=1), asked))
    for query, answer in zip(asked, answers, strict=True):
        assert answer.status == (400 if query == "nothing" else 200), answer


def test_an_url_is_enough(index: Index, client: Client) -> None:
    answer = client("GET", "/search?query=red+round+old&k=2&where=year%3E2010&explain=false")
    asked = {"query": "red round old", "k": 2, "where": "year > 2010"}
    assert answer.body == expected(index, asked)


def test_documents_are_read_by_id(client: Client) -> None:
    last = "a/b c?é"
    answer = client("GET", f"/documents/{quote(last, safe='')}")
    assert answer.body == {"id": last, "title": "Käse", "text": "a café 🧀 far far away"}
    assert client("GET", f"/documents/{quote(last)}").body["id"] == last
    assert client("GET", "/documents/d7").body["metadata"] == {"year": 2007}
    assert client("GET", "/documents/nobody").status == 404


def test_what_is_served_is_told(index: Index, client: Client) -> None:
    client.search(queries=["red", "blue"])
    told = client("GET", "/info").body
    assert (told["documents"], told["model"], told["index"]) == (300, "hashed words", "colours")
    assert told["device"] == "cpu"
    assert told["text_index"]["tokenizer"]
    assert (told["served"]["requests"], told["served"]["queries"]) == (1, 2)
    assert client("GET", "/health").body == {"status": "ok", "commit": index.commit}
    assert "POST /search" in client("GET", "/").body["addresses"]


def test_a_browser_gets_a_page_that_asks_nobody_else(client: Client) -> None:
    answer = client("GET", "/", headers={"Accept": "text/html,*/*"})
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.body.startswith("<!doctype html>")
    assert "default-src 'none'; connect-src 'self'" in answer.headers["content-security-policy"]
    assert "http:" not in answer.body
    assert "https:" not in answer.body
    assert "innerHTML" not in answer.body


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("GET", "/nowhere", None, 404, "there is nothing at /nowhere; there is GET /"),
        ("PUT", "/search", b"{}", 405, "/search does not take PUT"),
        ("POST", "/search", b"what?", 400, "must be JSON"),
        ("POST", "/search", {"query": "a", "k": 0}, 400, "k must be"),
        ("POST", "/search", {"query": "a", "recall": 2}, 400, "recall"),
        ("POST", "/search", {"query": "a", "method": "magic"}, 400, "magic"),
        ("POST", "/search", {"query": "a", "where": "year >"}, 400, "the end"),
        ("POST", "/search", {"query": "a", "where": "yeer > 1"}, 400, "yeer"),
        ("GET", "/search", None, 400, "give one of"),
        ("GET", "/search?query=a&k=many", None, 400, "k must be"),
    ],
)
def test_errors_say_what_is_wrong(
    client: Client, method: str, path: str, body: Any, status: int, told: str
) -> None:
    answer = client(method, path, body)
    assert answer.status == status
    assert told in answer.body["error"]


VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    10**400,
    0.5,
    1e300,
    "",
    "x",
    "\ud800",
    "\0",
    [],
    [1],
    {},
    {"a": 1},
]


@pytest.mark.parametrize("name", ["k", *listed(TextSearchOptions)])
def test_no_value_of_an_option_is_a_failure_of_the_server(client: Client, name: str) -> None:
    for value in VALUES:
        for mode in ("meaning", "keywords", "hybrid"):
            answer = client.search(**{"query": "red", "mode": mode, name: value})
            assert answer.status in (200, 400), (value, answer)
    assert client.search(query="red").status == 200


def test_a_body_has_bounds(client: Client) -> None:
    answer = client("POST", "/search", b'{"query": "' + b"a" * MOST_BYTES + b'"}')
    assert (answer.status, "32 MiB" in answer.body["error"]) == (413, True)
    assert client.search(query="red").status == 200


def test_names_that_are_not_the_servers_are_refused(index: Index) -> None:
    with served(index, refresh=None, hosts=("127.0.0.1", "search.example")) as client:
        assert client("GET", "/health").status == 200
        for name in ("search.example", "SEARCH.example:80"):
            assert client("GET", "/health", headers={"Host": name}).status == 200
        for name in ("evil.example", "evil.example:8420", "", "[", "search.example.evil"):
            answer = client("GET", "/search?query=red", headers={"Host": name})
            assert answer.status in (400, 421), name
            assert "hits" not in answer.body


def test_nobody_is_searched_for_who_has_gone(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    searched: list[str] = []
    search = Index.search_batch

    def slow(self: Index, queries: Any, *arguments: Any, **options: Any) -> Any:
        searched.extend(queries)
        began.set()
        assert go_on.wait(60)
        return search(self, queries, *arguments, **options)

    monkeypatch.setattr(Index, "search_batch", slow)
    monkeypatch.setattr("qsearch.serving.batching._AT_A_TIME", 1)
    with served(index, refresh=None) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.search, query="red")
        assert began.wait(60)
        with socket.create_connection(("127.0.0.1", client.port)) as impatient:
            impatient.sendall(b"GET /search?query=green HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: client("GET", "/info").body["served"]["waiting"] == 1)
        last = pool.submit(client.search, query="blue")
        until(lambda: client("GET", "/info").body["served"]["waiting"] == 2)
        time.sleep(0.2)  # the server has heard of it
        go_on.set()
        assert [one.result().status for one in (first, last)] == [200, 200]
        assert client("GET", "/info").body["served"]["left"] == 1
    assert searched == ["red", "blue"]


def test_what_nobody_thought_of_is_an_error_and_the_server_goes_on(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Index, "search_batch", lambda *_, **__: 1 / 0)
        answer = client.search(query="red")
    assert (answer.status, answer.body) == (500, {"error": "the server failed; its log says how"})
    assert "ZeroDivisionError" in caplog.text
    assert client.search(query="red").status == 200


def test_an_index_without_an_encoder_is_asked_by_vectors(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    with Index.build(None, tmp_path / "rows", embeddings=rows) as index:
        prepare(index, Defaults())
        with served(index) as client:
            found = client.search(vector=rows[7].tolist(), k=1)
            assert found.body["hits"][0]["id"] == "7"
            told = client.search(query="a")
            assert (told.status, told.body["kind"]) == (400, "QueryError")
            assert "has no encoder: it can be searched by vector" in told.body["error"]


def test_what_cannot_be_searched_is_told_before_anybody_asks(tmp_path: Path) -> None:
    with Index.build(documents(5), tmp_path / "plain", encoder=HashedWords()) as index:
        prepare(index, Defaults(3, {"recall": 0.9}))
        with pytest.raises(QueryError, match="index_text"):
            prepare(index, Defaults(3, {"mode": "keywords"}))
        with pytest.raises(QueryError, match="k must"):
            prepare(index, Defaults(0))


def test_the_defaults_of_the_server_hold(index: Index) -> None:
    with served(index, Defaults(2, {"mode": "keywords"}), refresh=None) as client:
        answer = client.search(query="red")
        assert (len(answer.body["hits"]), answer.body["method"]) == (2, "keywords")
        assert client.search(query="red", k=3, mode="meaning").body["method"] == "exact"


def test_where_a_model_lies_on_the_server_is_not_told(
    tmp_path: Path, tiny_cross_encoder: Path
) -> None:
    records = [{"id": "a", "text": "red"}, {"id": "b", "text": "blue"}]
    with Index.build(records, tmp_path / "index", encoder=HashedWords()) as index:
        standing = Defaults(2, {"rerank": str(tiny_cross_encoder), "rerank_depth": 2})
        with served(index, standing) as client:
            answer = client.search(query="red")
            assert answer.body["reranker"]["model"] == tiny_cross_encoder.name
            assert "rerank_score" in answer.body["hits"][0]
            refused = client.search(query="red", rerank="other/model")
            told = [answer, refused, client("GET", "/info")]
            assert refused.status == 400
            assert not any(str(tiny_cross_encoder.parent) in json.dumps(one.body) for one in told)
            assert "rerank_score" not in client.search(query="red", rerank=False).body["hits"][0]


def test_an_id_may_hold_anything(tmp_path: Path) -> None:
    records = [{"id": one, "text": "red"} for one in ("a\nb", "a/", "/a", "%2F", "?")]
    with (
        Index.build(records, tmp_path / "index", encoder=HashedWords()) as index,
        served(index) as client,
    ):
        for record in records:
            answer = client("GET", f"/documents/{quote(record['id'], safe='')}")
            assert answer.body["id"] == record["id"]


def test_times_are_those_on_the_clock(client: Client) -> None:
    began = time.perf_counter()
    answer = client.search(queries=["red", "blue"] * 200, k=10)
    took = 1e3 * (time.perf_counter() - began)
    told = re.findall(r"dur=([\d.]+)", answer.headers["server-timing"])
    assert len(told) == 2
    assert sum(map(float, told)) <= took


def test_what_another_index_could_answer_is_no_failure(client: Client) -> None:
    answer = client.search(query="red", method="graph")
    assert (answer.status, "has no graph" in answer.body["error"]) == (400, True)
    unknown = client.search(query="red", where="yeer > 1").body["error"]
    assert '"missing_fields_ok": true lets' in unknown


def test_passages_are_told_as_passages(tmp_path: Path) -> None:
    text = " ".join(f"word{number}" for number in range(60))
    options = BuildOptions(passages=10, overlap=2)
    long = [{"id": "long", "text": text}]
    with (
        Index.build(long, tmp_path / "cut", encoder=HashedWords(), options=options) as index,
        served(index) as client,
    ):
        (hit,) = client.search(query="word31 word32").body["hits"]
    passage = hit["passage"]
    assert passage["text"] == text[passage["begin"] : passage["end"]]
    assert "word31" in passage["text"]
    assert "text" not in hit


def test_an_application_that_was_not_started_says_so(index: Index) -> None:
    import asyncio

    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b'{"query": "red"}', "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/search",
            "raw_path": b"/search",
            "query_string": b"",
            "headers": [],
            "root_path": "",
        }
        await application(index)(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 503
    assert "its lifespan was not started" in json.loads(sent[1]["body"])["error"]


def test_a_body_that_does_not_come_is_not_waited_for(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsearch.serving.bodies._BODY_SECONDS", 0.2)
    with (
        served(index, refresh=None) as client,
        socket.create_connection(("127.0.0.1", client.port), 60) as slow,
    ):
        slow.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        told = b"".join(iter(lambda: slow.recv(1 << 16), b""))
        assert told.startswith(b"HTTP/1.1 408 ")
        assert b"did not come" in told


def test_pages_of_others_do_not_search(index: Index) -> None:
    with served(index, hosts=["localhost", "127.0.0.1"], refresh=None) as client:
        for origin, status in (
            (f"http://127.0.0.1:{client.port}", 200),
            ("http://evil.example", 403),
            ("null", 403),
        ):
            answer = client("POST", "/search", {"query": "red"}, {"Origin": origin})
            assert answer.status == status, origin


def test_a_long_answer_is_the_same_in_pieces(
    index: Index, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"queries": ["red", "blue far"] * 20, "k": 50}
    whole = client.search(**asked)
    monkeypatch.setattr("qsearch.serving.bodies._LONG", 1000)
    pieces = client.search(**asked)
    assert pieces.body == whole.body
    assert pieces.headers["content-length"] == whole.headers["content-length"]
    assert "transfer-encoding" not in pieces.headers
    assert int(whole.headers["content-length"]) > 10_000


def test_an_answer_has_bounds(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qsearch.serving.batching._BYTES", 1000)
    answer = client.search(query="red", k=200)
    assert answer.status == 400
    assert "ask for fewer hits" in answer.body["error"]
    assert client.search(query="red", k=1).status == 200


def test_vectors_of_another_length_spoil_nothing(index: Index, client: Client) -> None:
    row = [float(one) for one in index.vectors(["d3"])[0][0]]

    def ask(number: int) -> int:
        vector = row if number % 2 else [1.0] * (1 + number % 7)
        return client.search(vector=vector, k=1).status

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(80)))
    assert found == [400, 200] * 40
    assert client("GET", "/health").status == 200
    assert client("GET", "/info").body["served"]["failed"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"vectors": [' + b"[]," * 200_000 + b"[]]}",
        b'{"where": {"$and": [' + b"{}," * 200_000 + b'{}]}, "query": "red"}',
        b'{"vector": [' + b"0," * 2_000_000 + b"0]}",
    ],
)
def test_a_body_that_cannot_make_sense_is_not_read(
    client: Client, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsearch.serving.asking.json", None)
    answer = client("POST", "/search", body)
    assert answer.status == 400
    assert "holds more than 1,024 vectors" in answer.body["error"]


def test_more_than_memory_is_good_for_waits_outside(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "_MOST_READING", 100_000)
    large = {"query": "red", "where": {"year": {"$in": [2003] * 10_000}}}
    with served(index, refresh=None) as client:
        with socket.create_connection(("127.0.0.1", client.port), 60) as slow:
            head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99000\r\n\r\n"
            slow.sendall(head + b" " * 98_000)
            until(lambda: client.search(**large).status == 503)
            assert "of requests are under way" in client.search(**large).body["error"]
            assert client.search(query="red").status == 200
        until(lambda: client.search(**large).status == 200)


def test_two_servers_of_one_application_end_in_any_order(index: Index) -> None:
    """The application is one, what is behind it lives as long as anybody needs it."""
    made = application(index, refresh=0.05)

    async def enter_and_leave() -> None:
        first, second, third = (made.router.lifespan_context(made) for _ in range(3))
        await first.__aenter__()
        await second.__aenter__()
        assert await asked() == 200
        await first.__aexit__(None, None, None)
        assert await asked() == 200
        await third.__aenter__()
        await second.__aexit__(None, None, None)
        assert await asked() == 200
        await third.__aexit__(None, None, None)
        assert await asked() == 503

    async def asked() -> int:
        sent: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/search",
            "query_string": b"query=red",
            "headers": [],
        }

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await made(scope, receive, send)
        return int(sent[0]["status"])

    asyncio.run(enter_and_leave())


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "/documents/d3", 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, "/search?query=red", 403),
        (
            {
                "Sec-Fetch-Site": "cross-site",
                "Sec-Fetch-Mode": "navigate",
                "Sec-Fetch-Dest": "iframe",
            },
            "/search?query=red",
            403,
        ),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "/documents/d3", 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "/", 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, "/search?query=red", 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, "/documents/d3", 200),
    ],
)
def test_what_a_browser_fetches_for_others_is_refused(
    index: Index, headers: dict[str, str], path: str, status: int
) -> None:
    with served(index, hosts=["127.0.0.1"], refresh=None) as client:
        assert client("GET", path, headers=headers).status == status


def test_conditions_that_are_known_do_not_stand_behind_new_ones(
    index: Index, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.search(query="red", where="year = 2003").status == 200
    go_on = threading.Event()
    search = Index.search_batch

    def slow(self: Index, *arguments: Any, **options: Any) -> Any:
        if "LIKE" in str(options["where"]):
            assert go_on.wait(60)
        return search(self, *arguments, **options)

    monkeypatch.setattr(Index, "search_batch", slow)
    with ThreadPoolExecutor(4) as pool:
        new = [
            pool.submit(client.search, query="red", where=f"id LIKE '%{number}'")
            for number in range(4)
        ]
        until(lambda: client("GET", "/info").body["served"]["waiting"] == 2)
        assert client.search(query="red", where="year = 2003").status == 200
        assert client.search(query="red").status == 200
        go_on.set()
        assert [one.result(60).status for one in new] == [200] * 4
