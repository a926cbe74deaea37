"""What clients send, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from qsearch import QueryError
from qsearch.keywords.request import TextRequest
from qsearch.options import SearchOptions, TextSearchOptions, listed
from qsearch.serving import Defaults
from qsearch.serving.asking import MOST_CHARACTERS, MOST_QUERIES, asked_in_json, asked_in_url

STANDING: list[dict[str, Any]] = [
    {"recall": 0.99, "mode": "hybrid"},
    {"recall": 0.9, "alike": True},
    {"mode": "hybrid", "weight": 0.3, "depth": 200},
    {"mode": "keywords", "k1": 1.5, "b": 0.5},
    {"method": "binary", "candidates": 50},
    {"all_passages": True},
    {"rerank": "some/model", "rerank_depth": 20},
    {"mode": "hybrid", "fusion": "rrf", "k1": 2.0},
]
SAID: list[dict[str, Any]] = [
    {"mode": "keywords"},
    {"mode": "meaning"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "fusion": "rrf"},
    {"method": "exact"},
    {"method": "binary"},
    {"recall": "exact"},
    {"recall": 0.95},
    {"k": 300},
    {"rerank": False},
    {"all_passages": True},
    {"recall": None, "mode": None, "method": None, "weight": None, "rerank_depth": None},
]
HERE = Defaults(3, {"recall": 0.9, "mode": "hybrid", "rerank": "some/model"})


def test_what_a_request_does_not_say_is_what_the_server_was_started_with() -> None:
    asked = asked_in_json(b'{"query": "a text"}', HERE)
    assert (asked.texts, asked.k, asked.single, len(asked)) == (["a text"], 3, True, 1)
    assert (asked.options["recall"], asked.options["mode"]) == (0.9, "hybrid")
    assert asked.options["rerank"] == "some/model"
    assert set(asked.options) == set(listed(TextSearchOptions))


def test_a_request_says_otherwise() -> None:
    told = {"queries": ["a", "b"], "k": 7, "recall": "exact", "mode": "meaning", "rerank": False}
    asked = asked_in_json(json.dumps(told).encode(), HERE)
    assert (asked.texts, asked.k, asked.single) == (["a", "b"], 7, False)
    assert (asked.options["recall"], asked.options["mode"]) == ("exact", "meaning")
    assert asked.options["rerank"] is None


@pytest.mark.parametrize("standing", STANDING, ids=str)
@pytest.mark.parametrize("said", SAID, ids=str)
def test_what_a_request_says_goes_before_all_that_the_server_was_started_with(
    standing: dict[str, Any], said: dict[str, Any]
) -> None:
    body = json.dumps({"query": "a", **said}).encode()
    asked = asked_in_json(body, Defaults(10, standing))
    known = listed(TextSearchOptions)
    for name, value in said.items():
        if name not in ("k", "rerank"):
            assert asked.options[name] == (known[name][1].default if value is None else value)
    TextRequest.checked(asked.k, asked.options)
    assert asked.options["method"] is None or asked.options["recall"] == "exact"
    assert asked.options["method"] is not None or asked.options["candidates"] is None
    assert not asked.options["alike"] or asked.options["recall"] != "exact"
    assert asked.options["rerank"] is not None or asked.options["rerank_depth"] == 50


def test_what_does_go_together_stays() -> None:
    def options(standing: dict[str, Any], **said: Any) -> Any:
        body = json.dumps({"query": "a", **said}).encode()
        return asked_in_json(body, Defaults(10, standing)).options

    hybrid = options({"mode": "hybrid", "weight": 0.3, "k1": 2.0}, recall=0.9)
    assert (hybrid["mode"], hybrid["weight"], hybrid["k1"]) == ("hybrid", 0.3, 2.0)
    words = options({"mode": "hybrid", "weight": 0.3, "k1": 2.0}, mode="keywords")
    assert (words["weight"], words["k1"]) == (None, 2.0)
    assert options({"recall": 0.9, "alike": True}, recall=0.95)["alike"]
    weighed = options({"mode": "hybrid", "fusion": "rrf"}, weight=0.5)
    assert (weighed["mode"], weighed["fusion"], weighed["weight"]) == ("hybrid", "convex", 0.5)
    standing = {"where": "year >= :y", "params": {"y": 2005}}
    assert options(standing, params={"y": 2010})["where"] == "year >= :y"
    assert options(standing, where="year > 1")["params"] is None
    assert options({"method": "binary", "candidates": 50}, explain=True)["candidates"] == 50
    assert options({"rerank": "some/model", "rerank_depth": 20})["rerank_depth"] == 20


@pytest.mark.parametrize("given", [True, "some/model"])
def test_the_reranker_of_the_server_may_be_asked_for(given: object) -> None:
    asked = asked_in_json(json.dumps({"query": "a", "rerank": given}).encode(), HERE)
    assert asked.options["rerank"] == "some/model"


def test_vectors_are_float32_and_have_no_words() -> None:
    asked = asked_in_json(b'{"vectors": [[1, 2.5], [3, 4e-3]]}', HERE)
    assert asked.vectors is not None
    assert asked.vectors.dtype == np.float32
    np.testing.assert_array_equal(asked.vectors, np.array([[1, 2.5], [3, 4e-3]], np.float32))
    assert set(asked.options) == set(listed(SearchOptions))
    assert asked.options["recall"] == 0.9
    assert asked_in_json(b'{"vector": [1, 2]}', HERE).single


def test_requests_that_ask_for_the_same_have_the_same_key() -> None:
    def key(**told: Any) -> str:
        return asked_in_json(json.dumps(told).encode(), HERE).key

    condition = {"year": {"$gte": 1, "$lt": 5}}
    same = key(query="a", where=condition)
    assert key(queries=["b", "c"], where={"year": {"$lt": 5, "$gte": 1}}) == same
    assert key(query="a", where={"year": {"$gte": 1, "$lt": 6}}) != same
    assert key(query="a", k=3) == key(query="b")
    assert len(key(query="a", where={"x": {"$in": [*range(1000)]}})) == len(same)
    different = [
        key(query="a"),
        key(query="a", k=4),
        key(query="a", explain=True),
        key(query="a", recall="exact"),
        key(query="a", rerank=False),
        key(vector=[1, 2]),
    ]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "none"),
        (b"hello", "must be JSON"),
        (b'{"query": "\xff"}', "UTF-8"),
        (b"[1]", "found an array"),
        (b"null", "found null"),
        (b"[" * 100_000, "must be JSON"),
        (b'{"query": ' + b"9" * 5000 + b"}", "must be JSON"),
        (b'{"query": "a", "recall": NaN}', "NaN"),
        (b'{"query": "a", "query": "b"}', "'query' is there twice"),
        (b"{}", "give one of query, queries, vector, vectors, found none"),
        (b'{"query": "a", "vector": [1]}', "found query and vector"),
        (b'{"query": 5}', "query must be a string, found a number"),
        (b'{"query": " \\n"}', "query is empty"),
        (b'{"query": "\\ud800"}', "surrogate"),
        (b'{"queries": []}', "must be an array of at least one, found an empty one"),
        (b'{"queries": "a"}', "found a string"),
        (b'{"queries": ["a", null]}', r"queries\[1\] must be a string, found null"),
        (b'{"queries": ["a", ""]}', r"queries\[1\] is empty"),
        (b'{"vector": []}', "found an empty one"),
        (b'{"vector": [1, "2"]}', "must be an array of numbers"),
        (b'{"vector": [1, true]}', "must be an array of numbers"),
        (b'{"vectors": [[1, 2], [3]]}', r"vectors\[1\] has the length 1, vectors\[0\] 2"),
        (b'{"vectors": [1, 2]}', r"vectors\[0\] must be an array of numbers, found a number"),
        (b'{"vector": [1' + b"0" * 400 + b"]}", "too large"),
        (b'{"query": "a", "k": 0}', "k must be a whole number from 1 to 10,000, found 0"),
        (b'{"query": "a", "k": 10001}', "found 10001"),
        (b'{"query": "a", "k": "10"}', 'found "10"'),
        (b'{"query": "a", "k": 1.0}', "found 1.0"),
        (b'{"query": "a", "k": true}', "found true"),
        (b'{"query": "a", "explain": "no"}', 'explain must be true or false, found "no"'),
        (b'{"query": "a", "recall": true}', "recall must not be true"),
        (b'{"query": "a", "where": false}', "where must not be false"),
        (b'{"query": "a", "recal": 1}', "did you mean 'recall'"),
        (b'{"query": "a", "xyzzy": 1}', "there are query, queries"),
        (b'{"vector": [1], "mode": "keywords"}', "mode is of searches by text"),
        (b'{"vector": [1], "rerank": true}', "rerank is of searches by text"),
        (b'{"query": "a", "rerank": "other/model"}', "reranks with some/model only"),
    ],
)
def test_what_makes_no_sense_is_said(body: bytes, told: str) -> None:
    with pytest.raises(QueryError, match=told):
        asked_in_json(body, HERE)


def test_a_server_is_not_started_with_what_makes_no_sense() -> None:
    for k in (0, 10_001, "x", True):
        with pytest.raises(QueryError, match="k must be a whole number"):
            Defaults(k)  # type: ignore[arg-type]  # as who has no type checker writes it
    assert type(Defaults(np.int64(5)).k) is int  # type: ignore[arg-type]  # as a notebook has it
    with pytest.raises(TypeError, match="did you mean 'recall'"):
        Defaults(options={"recal": 1})


def test_no_client_makes_the_server_load_a_model() -> None:
    for wanted in (True, "some/model"):
        with pytest.raises(QueryError, match="does not rerank: name the model where it is started"):
            asked_in_json(json.dumps({"query": "a", "rerank": wanted}).encode(), Defaults())


def test_a_request_has_bounds() -> None:
    with pytest.raises(QueryError, match="one request takes 1,024 at most"):
        asked_in_json(json.dumps({"queries": ["a"] * (MOST_QUERIES + 1)}).encode(), HERE)
    with pytest.raises(QueryError, match="more than the 100,000 hits of one request"):
        asked_in_json(json.dumps({"queries": ["a"] * 11, "k": 10_000}).encode(), HERE)
    for name, most in (("rerank_depth", 1000), ("depth", 10_000)):
        body = json.dumps({"query": "a", name: most + 1}).encode()
        with pytest.raises(QueryError, match=f"{name} is at most {most:,} here"):
            asked_in_json(body, HERE)
    with pytest.raises(QueryError, match="at most 1,000 hits are reranked here, found k = 1,001"):
        asked_in_json(b'{"query": "a", "k": 1001}', HERE)
    long = json.dumps({"query": "a", "where": {"x": {"$in": ["a" * 1000] * 1001}}}).encode()
    with pytest.raises(QueryError, match="longer than 1,000,000 characters"):
        asked_in_json(long, HERE)
    told = json.dumps({"queries": ["a", "b" * (MOST_CHARACTERS + 1)]}).encode()
    with pytest.raises(QueryError, match=r"queries\[1\] is of 100,001 characters"):
        asked_in_json(told, HERE)


def test_an_url_says_the_same_as_a_body() -> None:
    condition = '{"year": {"$gte": 2000}}'
    asked = asked_in_url(
        [
            ("query", "1984"),
            ("k", "2"),
            ("recall", "0.99"),
            ("mode", "meaning"),
            ("explain", "true"),
            ("where", condition),
            ("rerank", "false"),
        ],
        HERE,
    )
    body = {
        "query": "1984",
        "k": 2,
        "recall": 0.99,
        "mode": "meaning",
        "explain": True,
        "where": json.loads(condition),
        "rerank": False,
    }
    assert asked.key == asked_in_json(json.dumps(body).encode(), HERE).key
    assert list(asked.texts) == ["1984"]
    words = asked_in_url([("query", "a"), ("where", "year > 2000"), ("recall", "exact")], HERE)
    assert (words.options["where"], words.options["recall"]) == ("year > 2000", "exact")


def test_a_condition_in_an_url_is_read_as_in_a_body() -> None:
    for where in ('"a.b"', '"my field" > 1', "archived", "5", '{"year": 2000}'):
        in_url = asked_in_url([("query", "null"), ("where", where)], HERE)
        told = json.loads(where) if where.startswith("{") else where
        body = json.dumps({"query": "null", "where": told}).encode()
        assert in_url.key == asked_in_json(body, HERE).key
        assert list(in_url.texts) == ["null"]


def test_a_name_that_is_not_known_is_not_told_whole() -> None:
    with pytest.raises(QueryError) as refused:
        asked_in_json(json.dumps({"query": "a", "x" * 10_000: 1}).encode(), HERE)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([], "found none"),
        ([("query", "a"), ("query", "b")], "query is there twice"),
        ([("queries", '["a"]')], "for the body of a POST"),
        ([("query", "a"), ("k", "ten")], "k must be a number or other JSON"),
        ([("query", "a"), ("kk", "3")], "no 'kk'"),
        ([("q", "bird")], "no 'q'; did you mean 'query'"),
        ([("query", "a"), ("explain", "yes")], 'explain must be true or false, found "yes"'),
    ],
)
def test_an_url_that_makes_no_sense(pairs: list[tuple[str, str]], told: str) -> None:
    with pytest.raises(QueryError, match=told):
        asked_in_url(pairs, HERE)
