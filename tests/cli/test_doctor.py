"""``qsearch doctor``: the contract, and vectors made elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from qsearch import Index, SentenceEncoder
from qsearch.cli import cli
from qsearch.errors import QsearchError
from tests.encoders import WORDS, make_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("doctor"), "mpnet")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    generator = np.random.default_rng(0)
    lengths = (3, 5, 8, 13, 40, 90) * 4
    return [" ".join(generator.choice(WORDS, size=length)) for length in lengths]


@pytest.fixture
def index(model: Path, tmp_path: Path) -> Path:
    encoder = SentenceEncoder(model, device="cpu", document_prompt="text: ", query_prompt="ask: ")
    Index.build([{"id": "a", "text": "the cat"}], tmp_path / "i", encoder=encoder).close()
    with Index.open(tmp_path / "i", encoder=str(model)) as opened:
        opened.search("cat")
    return tmp_path / "i"


def doctor(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["doctor", *map(str, arguments)])


def vectors_of(folder: Path, texts: list[str], vectors: np.ndarray) -> list[object]:
    np.save(folder / "v.npy", vectors)
    (folder / "t.jsonl").write_text(
        "\n".join(json.dumps({"_id": str(i), "text": text}) for i, text in enumerate(texts))
    )
    return ["--vectors", folder / "v.npy", "--texts", folder / "t.jsonl"]


def encoded(model: Path, texts: list[str], **options: Any) -> np.ndarray:
    settings = {"document_prompt": "text: ", "query_prompt": "ask: ", **options}
    return SentenceEncoder(model, device="cpu", **settings).encode_documents(texts)


def test_titles_are_encoded_with_their_texts(model: Path, tmp_path: Path, texts: list[str]) -> None:
    """What an index writes out fits the index."""
    records = [
        {"id": str(number), "title": "the cat", "text": text} for number, text in enumerate(texts)
    ]
    Index.build(records, tmp_path / "titled", encoder=str(model)).close()
    files = ["-o", tmp_path / "e.jsonl", "--vectors", tmp_path / "e.npy"]
    exported = CliRunner().invoke(cli, ["export", str(tmp_path / "titled"), *map(str, files)])
    assert exported.exit_code == 0, exported.output
    given = ["--vectors", tmp_path / "e.npy", "--texts", tmp_path / "e.jsonl"]
    done = doctor(tmp_path / "titled", "--model", model, *given)
    assert done.exit_code == 0, done.output
    assert "the vectors fit" in done.output


def test_a_sound_contract_is_printed(index: Path, model: Path) -> None:
    done = doctor(index, "--model", model)
    assert done.exit_code == 0, done.output
    for part in ("pooling", "mean", "'text: '", "'ask: '", "long text", "1.000000", "sound: "):
        assert part in done.output
    facts = json.loads(doctor("-i", index, "-m", model, "--format", "json").output)
    assert facts["ok"] is True
    assert len(facts["canaries"]) == 15
    assert all(one["query_cosine"] > 1 - 1e-6 for one in facts["canaries"])


def test_another_encoder_is_named_and_what_to_do(index: Path, tmp_path: Path) -> None:
    other = make_tiny(tmp_path, "mpnet", seed=1)
    done = doctor(index, "--model", other)
    assert isinstance(done.exception, QsearchError)
    assert "differs: the weights differ" in done.output
    assert "what to do: query with the encoder of the index" in done.output
    facts = json.loads(doctor(index, "-m", other, "--format", "json").output)
    assert facts["ok"] is False
    assert min(one["document_cosine"] for one in facts["canaries"]) < 0.99


def scaled(model: Path, texts: list[str]) -> np.ndarray:
    return encoded(model, texts) * np.linspace(0.5, 7, len(texts))[:, None]


def in_order(model: Path, texts: list[str]) -> np.ndarray:
    return np.roll(encoded(model, texts), 1, axis=0)


def of_class_token(model: Path, texts: list[str]) -> np.ndarray:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    loaded = SentenceTransformer(str(model), device="cpu")
    changed = SentenceTransformer(modules=[loaded[0], Pooling(32, "cls")], device="cpu")
    return SentenceEncoder(changed, document_prompt="text: ").encode_documents(texts)


FIT: dict[str, tuple[Callable[[Path, list[str]], np.ndarray], str]] = {
    "documents": (encoded, "made as documents of this index"),
    "queries": (
        lambda m, t: encoded(m, t, document_prompt="ask: "),
        "made as queries of this index",
    ),
    "of any length": (scaled, "their lengths are"),
    "float16": (lambda m, t: encoded(m, t).astype(np.float16), "they are stored as float16"),
}
UNFIT: dict[str, tuple[Callable[[Path, list[str]], np.ndarray], str]] = {
    "no prompt": (lambda m, t: encoded(m, t, document_prompt=""), "made without a prompt"),
    "a known prompt": (
        lambda m, t: encoded(m, t, document_prompt="passage: "),
        "made with the prompt 'passage: '",
    ),
    "cut later": (
        lambda m, t: encoded(m, t, max_length=128),
        "made with texts cut after 128 tokens",
    ),
    "class token": (of_class_token, "made with cls pooling"),
    "bfloat16": (
        lambda m, t: encoded(m, t, precision="bfloat16"),
        "made with weights in bfloat16",
    ),
    "truncated": (lambda m, t: encoded(m, t)[:, :20], "keeping the first 20 of 32 components"),
    "in another order": (in_order, "they are in another order, for example text 0 has vector 1"),
    "noise": (
        lambda m, t: np.random.default_rng(0).standard_normal((len(t), 32)),
        "no known habit explains them",
    ),
}


@pytest.mark.parametrize("name", FIT)
def test_vectors_from_elsewhere_fit(
    name: str, index: Path, model: Path, texts: list[str], tmp_path: Path
) -> None:
    make, told = FIT[name]
    done = doctor(index, *vectors_of(tmp_path, texts, make(model, texts)))
    assert done.exit_code == 0, done.output
    assert "the vectors fit" in done.output
    assert told in done.output


@pytest.mark.parametrize("name", UNFIT)
def test_why_vectors_from_elsewhere_do_not_fit_is_named(
    name: str, index: Path, model: Path, texts: list[str], tmp_path: Path
) -> None:
    make, told = UNFIT[name]
    arguments = vectors_of(tmp_path, texts, make(model, texts))
    done = doctor(index, *arguments, "--format", "json")
    assert isinstance(done.exception, QsearchError)
    found = json.loads(done.output[done.output.index("{") :])
    assert found["fit"] is False
    assert told in found["verdict"], found


def test_texts_that_are_not_stripped_are_named(tmp_path: Path) -> None:
    """With a tokenizer to which blank space is text."""
    model = make_tiny(tmp_path, "roberta")
    path = next(model.rglob("tokenizer.json"))
    definition = json.loads(path.read_text(encoding="utf-8"))
    definition["normalizer"] = {"type": "Replace", "pattern": {"String": "  "}, "content": " x "}
    path.write_text(json.dumps(definition), encoding="utf-8")
    Index.build([{"id": "a", "text": "the cat"}], tmp_path / "i", encoder=str(model)).close()
    texts = ["  the cat  ", "a dog  ", "  law", "the river  and  bird"]
    own = SentenceEncoder(model, device="cpu", strip=False).encode_documents(texts)
    done = doctor(tmp_path / "i", *vectors_of(tmp_path, texts, own))
    assert isinstance(done.exception, QsearchError)
    assert "made without stripping blank space" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vectors", "v.npy"], "give --vectors and --texts together"),
        (["--vectors", "v.npy", "--texts", "t.txt"], "2 texts, .* 3 rows"),
    ],
)
def test_what_cannot_be_compared_is_told(
    arguments: list[str], message: str, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", np.eye(3, 32))
    Path("t.txt").write_text("one\ntwo\n")
    done = doctor(index, *arguments)
    assert done.exit_code != 0
    assert re.search(message, f"{done.output} {done.exception}")
