"""For every test and doctest, wherever it stands: no network, no environment or cache of the user's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qsearch

os.environ["HF_HUB_OFFLINE"] = "1"
if not Path("/dev/nvidiactl").exists():
    # Triton looks when it is imported, which torch may do long before the tests of its kernels.
    os.environ["TRITON_INTERPRET"] = "1"

collect_ignore_glob = [
    "qsearch/gpu/kernels/*.py"
]  # need Triton, whose interpreter tests/gpu starts


@pytest.fixture(autouse=True)
def doctest_names(doctest_namespace: dict[str, Any], tmp_path: Path) -> None:
    """Doctests write below ``tmp``."""
    doctest_namespace["tmp"] = tmp_path
    doctest_namespace["np"] = np
    doctest_namespace["Index"] = qsearch.Index


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's models are exported to: each once, and never in the user's own cache."""
    return tmp_path_factory.mktemp("model-cache")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, model_cache: Path) -> None:
    """No setting of the user counts."""
    for name in list(os.environ):
        if name.startswith("QSEARCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("QSEARCH_CACHE", str(model_cache))
