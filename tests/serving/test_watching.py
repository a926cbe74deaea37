"""Whether searches work, and what became of the index, as a server's clients are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import BuildOptions, Index, IndexFormatError
from qsearch.serving import Defaults, prepare
from tests.encoders import HashedWords
from tests.serving.conftest import documents
from tests.serving.served import Client, served, until


def test_changes_of_the_index_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with (
        Index.build(documents(20), path, encoder=HashedWords()) as writer,
        Index.open(path, encoder=HashedWords()) as reader,
        served(reader, refresh=0.02) as client,
    ):
        assert client.search(query="violet", k=1).body["hits"][0]["id"] != "v"
        writer.add([{"id": "v", "text": "violet"}])
        until(lambda: client.search(query="violet", k=1).body["hits"][0]["id"] == "v")
        assert client("GET", "/health").body["commit"] == writer.commit
        writer.delete(["v"])
        until(lambda: client("GET", "/documents/v").status == 404)


def test_an_index_that_is_gone_is_served_as_it_was_and_where_it_lay_is_not_told(
    tmp_path: Path,
) -> None:
    path = tmp_path / "somewhere" / "index"
    Index.build(documents(20), path, encoder=HashedWords()).close()
    with (
        Index.open(path, encoder=HashedWords()) as reader,
        served(reader, refresh=0.02) as client,
    ):
        path.rename(tmp_path / "elsewhere")
        until(lambda: client("GET", "/health").body["status"] == "stale")
        told = client("GET", "/health").body
        assert "index" in told["error"]
        assert "somewhere" not in told["error"]
        assert client.search(query="red", k=1).status == 200
        (tmp_path / "elsewhere").rename(path)
        until(lambda: client("GET", "/health").body["status"] == "ok")


def test_whether_searches_work_is_known(
    index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("qsearch.serving.watching._AGAIN_SECONDS", 0.01)
    damaged = IndexFormatError(f"{index.path.absolute()}/segment is damaged")
    with served(index, refresh=None) as client:
        with monkeypatch.context() as broken:
            broken.setattr(Index, "search_batch", _raising(damaged))
            broken.setattr(Index, "search", _raising(damaged))
            assert client.search(query="red").status == 500
            told = client("GET", "/health")
            assert (told.status, told.body["status"]) == (503, "failing")
            assert told.body["error"] == f"{index.path.name}/segment is damaged"
            assert client.search(query="red", where="size > 1").status == 500
        until(lambda: client("GET", "/health").status == 200)  # it was tried again
    assert "searches work again" in caplog.text


def test_a_request_that_makes_no_sense_is_no_failure_of_the_server(client: Client) -> None:
    assert client.search(query="nothing").status == 400
    assert client.search(query="red", where="size > 1").status == 400
    assert client("GET", "/health").body["status"] == "ok"


def test_an_encoder_that_is_another_is_loaded_once_and_told(
    tmp_path: Path,
    tiny_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "index"
    records = [{"id": one, "text": one} for one in ("red", "green")]
    Index.build(records, path, encoder=str(tiny_bert)).close()
    loaded: list[object] = []
    load = Index._load_encoder
    monkeypatch.setattr(
        Index, "_load_encoder", lambda self, contract: loaded.append(1) or load(self, contract)
    )
    with Index.open(path, encoder=str(tiny_bert)) as index:
        prepare(index, Defaults())
        with served(index, refresh=0.02) as client:
            assert client.search(query="red").status == 200
            assert client("GET", "/info").body["model"] == tiny_bert.name
            options = BuildOptions(force=True)
            Index.build(records, path, encoder=HashedWords(), options=options).close()
            until(lambda: client("GET", "/health").status == 503)
            client.search(query="red")
            loaded.clear()
            answers = [client.search(query="red") for _ in range(5)]
            assert {one.status for one in answers} == {500}
            assert {one.body["kind"] for one in answers} == {"EncoderMismatch"}
            assert not loaded
            told = [client("GET", "/health"), client("GET", "/info"), *answers]
            assert not any(str(tmp_path) in json.dumps(one.body) for one in told)
    assert "searches fail" in caplog.text


def test_a_failure_of_one_kind_is_not_undone_by_another(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsearch.serving.watching._AGAIN_SECONDS", 3600.0)
    row = [float(one) for one in index.vectors(["d3"])[0][0]]
    with served(index, refresh=None) as client:
        with monkeypatch.context() as broken:
            broken.setattr(Index, "search_batch", _raising(IndexFormatError("damaged")))
            assert client.search(query="red").status == 500
        assert client.search(vector=row).status == 200
        assert client("GET", "/health").status == 503
        assert client.search(query="red").status == 200
        assert client("GET", "/health").status == 200


def test_an_index_that_can_be_asked_no_more_is_no_healthy_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "index"
    Index.build(documents(20), path, encoder=HashedWords()).close()
    rows = np.random.default_rng(0).standard_normal((20, 24)).astype(np.float32)
    with (
        Index.open(path, encoder=HashedWords()) as reader,
        served(reader, refresh=0.02) as client,
    ):
        options = BuildOptions(force=True)
        Index.build(None, path, embeddings=rows, options=options).close()
        until(lambda: client("GET", "/health").status == 503)
        assert "by text" in client("GET", "/health").body["error"]
        assert client.search(vector=rows[3].tolist(), k=1).body["hits"][0]["id"] == "3"
    assert "searches fail: the index cannot be searched by text any more" in caplog.text


def _raising(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise type(error)(*error.args)

    return fail
