"""Fixtures. No test reaches for a network: models come from the wheel or are made here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"

from tests.encoders import HashedWords, make_tiny_bert

# scripts/test --hypothesis-profile=long -k brute_force
settings.register_profile("long", max_examples=10_000, deadline=None)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def doctest_names(doctest_namespace: dict[str, Any], tmp_path: Path) -> None:
    """Doctests write below ``tmp``."""
    doctest_namespace["tmp"] = tmp_path
    doctest_namespace["np"] = np


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's models are exported to: each once, and never in the user's own cache."""
    return tmp_path_factory.mktemp("model-cache")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, model_cache: Path) -> None:
    for name in list(os.environ):
        if name.startswith("QSEARCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("QSEARCH_CACHE", str(model_cache))


@pytest.fixture
def encoder() -> HashedWords:
    return HashedWords()


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny sentence-transformers model with random weights."""
    return make_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def sample_texts() -> list[str]:
    import json

    with open(ROOT / "scripts" / "sample" / "wordnet.jsonl", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]
