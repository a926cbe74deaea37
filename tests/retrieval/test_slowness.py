"""Whoever searches without native kernels, and did not ask for that, is told once what to do."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import qsearch.retrieval.slowness
from qsearch import Index
from qsearch.documents import Embeddings
from qsearch.indexing import build_index
from qsearch.kernels import dispatch


@pytest.fixture(autouse=True)
def not_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qsearch.retrieval.slowness, "_told", False)


def search(path: Path) -> None:
    with Index.open(path) as index:
        assert index.search_vectors(np.eye(4)[:1], 1).positions.tolist() == [[0]]


def test_the_first_search_and_the_report_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatch, "_native", None)
    report = build_index(None, tmp_path / "i", load_encoder=None, embeddings=Embeddings(np.eye(4)))
    (note,) = report.notes
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "qsearch"):
        search(tmp_path / "i")
        search(tmp_path / "i")
    (record,) = caplog.records
    assert record.getMessage() == note
    assert "install a C++ compiler" in note


def test_nothing_is_said_to_whoever_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatch, "_native", None)
    monkeypatch.setenv("QSEARCH_KERNELS", "numpy")
    report = build_index(None, tmp_path / "i", load_encoder=None, embeddings=Embeddings(np.eye(4)))
    search(tmp_path / "i")
    assert report.notes == ()
    assert not caplog.records


@pytest.mark.skipif(not dispatch.has_native_kernels(), reason="there are no native kernels here")
def test_nothing_is_said_where_there_are_native_kernels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = build_index(None, tmp_path / "i", load_encoder=None, embeddings=Embeddings(np.eye(4)))
    search(tmp_path / "i")
    assert report.notes == ()
    assert not caplog.records
