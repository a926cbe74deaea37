"""What docs/serving.md and the help show works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qsearch import Index
from tests.cli.running import run
from tests.conftest import ROOT
from tests.encoders import HashedWords
from tests.serving.served import Client, served


@pytest.fixture
def birds(tmp_path: Path) -> Iterator[Client]:
    records = [
        {"id": "wren", "text": "bird a small bird", "pos": "noun", "year": 2021},
        {"id": "fly", "text": "how do birds navigate", "pos": "verb", "year": 2019},
    ]
    with (
        Index.build(records, tmp_path / "birds", encoder=HashedWords()) as index,
        served(index) as client,
    ):
        yield client


def asked(text: str, port: int) -> list[Any]:
    """The answers to all commands of curl."""
    commands = re.findall(r"^ *(curl .*)$", text, flags=re.MULTILINE)
    assert len(commands) >= 3
    answers = []
    for command in commands:
        command = command.replace(":8420", f":{port}").replace("curl", "curl -sS --fail", 1)
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        answers.append(json.loads(done.stdout))
    return answers


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_commands_that_are_shown_answer(birds: Client, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    first, noun, two = asked(text, birds.port)
    assert first["hits"][0]["id"] == "fly"
    assert [hit["id"] for hit in noun["hits"]] == ["wren"]
    assert len(two["results"]) == 2
    first, late, two = asked(run("serve", "--help", cwd=tmp_path).stdout, birds.port)
    assert first["hits"][0]["id"] == "fly"
    assert [hit["id"] for hit in late["hits"]] == ["wren"]
    assert len(two["results"]) == 2


def test_a_mounted_application_answers(tmp_path: Path) -> None:
    """As docs/serving.md says."""
    import asyncio
    from contextlib import asynccontextmanager

    from starlette.applications import Starlette
    from starlette.routing import Mount

    from qsearch.serving import application

    async def ask(outer: Starlette, path: str) -> Any:
        sent: list[Any] = []
        came = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            return next(came, None) or await asyncio.sleep(3600)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"query=red&k=1",
            "headers": [],
        }
        async with outer.router.lifespan_context(outer):
            await outer(scope, receive, send)
        return json.loads(sent[1]["body"])

    records = [{"id": "a", "text": "red"}, {"id": "b", "text": "blue"}]
    with Index.build(records, tmp_path / "index", encoder=HashedWords()) as index:
        ready = application(index)

        @asynccontextmanager
        async def lifespan(_outer: Starlette) -> Any:
            async with ready.router.lifespan_context(ready):
                yield

        outer = Starlette(routes=[Mount("/find", ready)], lifespan=lifespan)
        assert asyncio.run(ask(outer, "/find/search"))["hits"][0]["id"] == "a"
        assert "GET /find/search?query=TEXT" in asyncio.run(ask(outer, "/find/"))["addresses"]

        async def ask_within() -> Any:
            async with ready.router.lifespan_context(ready):  # of another one that it is mounted in
                within = await ask(outer, "/find/search")
                return within, await ask(outer, "/find/search")

        assert all(told["hits"][0]["id"] == "a" for told in asyncio.run(ask_within()))
