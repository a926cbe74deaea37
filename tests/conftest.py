"""Fixtures. No test reaches for a network: models come from the wheel or are made here."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.datasets import made
from tests.encoders import HashedWords, make_tiny_bert, make_tiny_cross_encoder

# scripts/test --hypothesis-profile=long -k brute_force
settings.register_profile("long", max_examples=10_000, deadline=None)
# Where it is enough that something fails: scripts/faults_mutants
settings.register_profile("found", phases=[Phase.generate], deadline=None)

ROOT = Path(__file__).resolve().parent.parent

# A shell starts what it has in the background so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def encoder() -> HashedWords:
    return HashedWords()


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny sentence-transformers model with random weights."""
    return make_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def tiny_cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny cross-encoder with random weights: BERT, one label, sigmoid, 64 tokens."""
    return make_tiny_cross_encoder(tmp_path_factory.mktemp("tiny-cross") / "tiny-cross")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a dataset of ir_datasets: sixty documents, twelve queries with judgments."""
    return made(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="session")
def sample_texts() -> list[str]:
    import json

    with open(ROOT / "scripts" / "sample" / "wordnet.jsonl", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


@pytest.fixture
def quickly_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether recall is measured is what is tested, and not how well."""
    monkeypatch.setattr("qsearch.retrieval.samples._QUERIES", 150)
    monkeypatch.setattr("qsearch.retrieval.samples._STRANGERS", 30)
    monkeypatch.setattr("qsearch.retrieval.confidence._DRAWS", 300)
    monkeypatch.setattr("qsearch.retrieval.costs._ALONE_MILLISECONDS", 1.0)
    monkeypatch.setattr("qsearch.retrieval.costs._REPEATS", 1)
