"""Exported models: the same embeddings, faster, and nothing else."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import Index
from qsearch.codes import unit_rows
from qsearch.encoding import (
    DEFAULT_MODEL,
    Encoder,
    EncoderIdentity,
    check_contract,
    load_encoder,
    load_encoder_of,
    make_contract,
)
from qsearch.encoding.canaries import canary_texts
from qsearch.encoding.onnx import cache, export, find_export, find_export_of
from qsearch.encoding.onnx.encoder import OnnxEncoder
from qsearch.encoding.onnx.export import export_model
from qsearch.encoding.onnx.graph import ExportRefused
from qsearch.encoding.sentence import SentenceEncoder
from qsearch.errors import EncoderError
from tests.conftest import ROOT
from tests.encoders import ARCHITECTURES, make_tiny
from tests.faults import form

SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(clean_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("QSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    difference = unit_rows(left)[0].astype(np.float64) - unit_rows(right)[0]
    return np.asarray(1 - 0.5 * np.square(difference).sum(axis=1))


@pytest.mark.parametrize(("pooling", "dense"), [("mean", False), ("cls", True), ("max", False)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_export_gives_what_torch_gives(
    architecture: str, pooling: str, dense: bool, tmp_path: Path, sample_texts: list[str]
) -> None:
    model = make_tiny(tmp_path, architecture, pooling=pooling, dense=dense)
    loaded = SentenceEncoder(model, device="cpu")
    encoder = OnnxEncoder(export_model(loaded, model))
    texts = [*sample_texts[::400], *(one.text for one in canary_texts(64)), "x", "law " * 300]
    for ours, theirs in (
        (encoder.encode_documents(texts), loaded.encode_documents(texts)),
        (encoder.encode_queries(texts), loaded.encode_queries(texts)),
    ):
        assert ours.shape == theirs.shape == (len(texts), 16 if dense else 32)
        assert cosines(ours, theirs).min() > 1 - 1e-6
    assert encoder.truncated(texts) == loaded.truncated(texts) > 0
    assert check_contract(make_contract(loaded), encoder).ok
    assert check_contract(make_contract(encoder), loaded).ok


def test_the_newer_exporter_serves_where_tracing_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = export._write_graph
    tried = []

    def only_newer(model: Any, folder: Path, *, traced: bool) -> None:
        tried.append(traced)
        if traced:
            raise ExportRefused("tracing is out of order")
        write(model, folder, traced=traced)

    monkeypatch.setattr(export, "_write_graph", only_newer)
    model = make_tiny(tmp_path, "bert")
    assert export_model(SentenceEncoder(model, device="cpu"), model).worst > 0.999999
    assert tried == [True, False]


def test_a_model_is_exported_once_and_found_again(tmp_path: Path, own_cache: Path) -> None:
    model = make_tiny(tmp_path, "bert")
    first = load_encoder(str(model))
    moved = shutil.copytree(model, tmp_path / "moved")
    (moved / "README.md").write_text("changed")
    loading = LoadCounter()
    with loading:
        second = load_encoder(str(moved))
        third = load_encoder(str(moved), document_prompt="passage: ", max_length=20, truncate_dim=8)
    assert loading.count == 0
    assert isinstance(first, OnnxEncoder)
    assert isinstance(second, OnnxEncoder)
    assert second.identity().model == str(moved)
    assert first.identity().weights == second.identity().weights
    texts = ["the cat", "a dog and a bird " * 9]
    assert first.encode_documents(texts).tobytes() == second.encode_documents(texts).tobytes()
    like_third = SentenceEncoder(
        model, device="cpu", document_prompt="passage: ", max_length=20, truncate_dim=8
    )
    assert third.encode_documents(texts).shape == (2, 8)
    assert (
        cosines(third.encode_documents(texts), like_third.encode_documents(texts)).min() > 1 - 1e-6
    )
    assert third.truncated(texts) == 1
    assert len(list((own_cache / "onnx").glob("*/manifest.json"))) == 1
    assert not list((own_cache / "onnx").glob(".*"))


def test_models_of_one_graph_keep_their_own_prompts(tmp_path: Path, own_cache: Path) -> None:
    first = make_tiny(tmp_path, "bert")
    second = shutil.copytree(first, tmp_path / "second")
    settings = json.loads((second / "config_sentence_transformers.json").read_text())
    settings["prompts"] = {"query": "king: ", "document": "queen: "}
    (second / "config_sentence_transformers.json").write_text(json.dumps(settings))
    for _ in range(2):  # exported, and found again
        for model, prompts in ((first, ("", "")), (second, ("king: ", "queen: "))):
            told = load_encoder(str(model)).identity()
            assert (told.query_prompt, told.document_prompt) == prompts
    assert len(list((own_cache / "onnx").glob("*/manifest.json"))) == 1


class LoadCounter:
    """Counts how often torch loads a model."""

    count = 0

    def __enter__(self) -> None:
        self.real = SentenceEncoder.__init__

        def counted(encoder: SentenceEncoder, *arguments: Any, **options: Any) -> None:
            self.count += 1
            self.real(encoder, *arguments, **options)

        SentenceEncoder.__init__ = counted  # type: ignore[method-assign]

    def __exit__(self, *exception: object) -> None:
        SentenceEncoder.__init__ = self.real  # type: ignore[method-assign]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_changed_model_is_not_taken_for_the_exported_one(name: str, tmp_path: Path) -> None:
    model = make_tiny(tmp_path, "bert")
    load_encoder(str(model))
    assert find_export_of(cache.files_digest(model), EncoderIdentity) is not None
    path = next(model.rglob(name))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert find_export_of(cache.files_digest(model), EncoderIdentity) is None


@pytest.mark.parametrize("name", [cache.GRAPH, cache.WEIGHTS, cache.TOKENIZER, "manifest.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_export_is_made_again(name: str, damage: str, tmp_path: Path) -> None:
    model = make_tiny(tmp_path, "bert")
    encoder = load_encoder(str(model))
    found = find_export(encoder.identity())
    assert found is not None
    path = found.folder / name
    data = bytearray(path.read_bytes())
    if damage == "changed":
        data[len(data) // 2] ^= 0xFF
    path.unlink()
    if damage != "gone":
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    assert find_export(encoder.identity()) is None
    assert isinstance(load_encoder(str(model)), OnnxEncoder)
    assert find_export(encoder.identity()) is not None


def test_an_export_that_does_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As an exporter might that drops a module."""
    real = export._pipeline

    def without_dense(model: Any) -> Any:
        return real([module for module in model if type(module).__name__ != "Dense"])

    monkeypatch.setattr(export, "_pipeline", without_dense)
    model = make_tiny(tmp_path, "bert", dense=True)
    with caplog.at_level("INFO", "qsearch"):
        encoder = load_encoder(str(model))
    assert isinstance(encoder, SentenceEncoder)
    assert "torch runs the model" in caplog.text
    with pytest.raises(EncoderError, match="onnx backend cannot run this model: .*not do the same"):
        load_encoder(str(model), backend="onnx")
    assert not (tmp_path / "cache" / "onnx" / "models").exists()
    # The next start does not try again, but says the same; a changed model is tried.
    tried: list[Path | None] = []

    def counted(encoder: SentenceEncoder, folder: Path | None) -> Any:
        tried.append(folder)
        raise ExportRefused("not this one either")

    monkeypatch.setattr(export, "export_model", counted)
    caplog.clear()
    assert isinstance(load_encoder(str(model)), SentenceEncoder)
    assert "not do the same" in caplog.text
    assert tried == []
    assert "backend onnx tries again" in caplog.text
    (entry,) = (tmp_path / "cache" / "onnx" / "refused").iterdir()
    os.utime(entry, (1, 1))  # long ago
    load_encoder(str(model))
    assert len(tried) == 1
    (model / "new.txt").write_text("changed")
    load_encoder(str(model))
    assert len(tried) == 2


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), MemoryError(), "onnxruntime"]
)
def test_what_is_not_because_of_the_model_is_tried_again(
    error: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime.capi.onnxruntime_pybind11_state as state
    import torch

    def fail(*arguments: Any, **options: Any) -> None:
        raise state.Fail("cannot write") if error == "onnxruntime" else error

    model = make_tiny(tmp_path, "bert")
    with monkeypatch.context() as patch:
        patch.setattr(torch.onnx, "export", fail)
        assert isinstance(load_encoder(str(model)), SentenceEncoder)
    assert not (tmp_path / "cache" / "onnx" / "refused").exists()
    assert isinstance(load_encoder(str(model)), OnnxEncoder)


def test_stripping_is_the_identitys_on_either_backend(tmp_path: Path) -> None:
    model = make_tiny(tmp_path, "bert")
    for backend in ("torch", "onnx"):
        told = load_encoder(str(model), backend=backend).identity()
        for strip in (True, False):
            loaded = load_encoder_of(replace(told, strip=strip), model=str(model), backend=backend)
            assert loaded.identity().strip is strip


def test_other_tokens_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_tiny(tmp_path, "bert")
    loaded = SentenceEncoder(model, device="cpu")
    real = export._tokenizer_definition

    def cased(model: Any) -> str:
        return (
            real(model)
            .replace('"lowercase":null', '"lowercase":false')
            .replace('"lowercase":true', '"lowercase":false')
        )

    monkeypatch.setattr(export, "_tokenizer_definition", cased)
    with pytest.raises(ExportRefused, match="tokens are other ones"):
        export_model(loaded, model)


def test_order_of_results_is_compared() -> None:
    scores = np.array([[0.9, 0.5, 0.1]])
    assert export.same_order(scores, scores)
    assert export.same_order(scores, np.array([[0.9, 0.1 - 1e-9, 0.1]])) is False
    assert export.same_order(np.array([[0.5, 0.5 + 1e-8]]), np.array([[0.6, 0.5]]))


def test_weights_that_are_not_float32_run_through_torch(tmp_path: Path) -> None:
    model = make_tiny(tmp_path, "bert")
    assert isinstance(load_encoder(str(model), precision="bfloat16"), SentenceEncoder)
    assert isinstance(load_encoder(str(model), backend="torch"), SentenceEncoder)
    with pytest.raises(EncoderError, match="CPU and in float32 only"):
        load_encoder(str(model), precision="float16", backend="onnx")
    with pytest.raises(EncoderError, match="unknown backend"):
        load_encoder(str(model), backend="tensorflow")


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QSEARCH_CACHE", str(tmp_path / "file"))
    model = make_tiny(tmp_path, "bert")
    assert isinstance(load_encoder(str(model)), SentenceEncoder)
    assert "the cache cannot be written" in caplog.text


def test_a_query_needs_neither_torch_nor_the_model(tmp_path: Path) -> None:
    model = make_tiny(tmp_path, "bert")
    documents = [
        {"id": str(i), "text": text} for i, text in enumerate(["the cat", "a river", "law"])
    ]
    with Index.build(documents, tmp_path / "index", encoder=str(model)) as index:
        expected = index.search("cat", k=2)
    shutil.rmtree(model)
    code = (
        "import sys; from qsearch.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally:\n"
        "    heavy = {'torch', 'sentence_transformers', 'transformers', 'huggingface_hub', 'faiss'}\n"
        "    print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    arguments = ["query", "cat", "-i", str(tmp_path / "index"), "-k", "2", "--format", "jsonl"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "[]\n"
    hits = [json.loads(line) for line in done.stdout.splitlines()]
    assert [hit["id"] for hit in hits] == [hit.id for hit in expected]
    assert [hit["score"] for hit in hits] == pytest.approx(
        [hit.score for hit in expected], abs=1e-9
    )


@pytest.mark.parametrize("before", ["", "import usearch.index", "import usearch.index, torch"])
def test_usearch_and_onnxruntime_live_in_one_process(before: str, tmp_path: Path) -> None:
    """Imported in the wrong order they crash: qsearch sees to the order, or does with torch."""
    model = make_tiny(tmp_path, "bert")
    load_encoder(str(model))
    code = f"""
{before}
import sys
import numpy as np
from qsearch import BuildOptions, Index
index = Index.build(None, "axes", embeddings=np.eye(8, dtype=np.float32), options=BuildOptions(graph=True))
assert index.search_vectors(np.eye(8)[:1], k=1, method="graph").positions.tolist() == [[0]]
index = Index.build([{{"id": "a", "text": "the cat"}}], "one", encoder={str(model)!r})
print(index.search("cat").hits[0].id, type(index.encoder).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    expected = "SentenceEncoder" if before and sys.platform == "linux" else "OnnxEncoder"
    assert (done.returncode, done.stdout) == (0, f"a {expected}\n"), done.stderr


# Reproducible to the bit


def real_texts() -> list[str]:
    """2,000 texts of every length: the shared ones where they are, else the sample's, cut and joined."""
    corpus = SHARED / "scifact-test" / "corpus.jsonl.gz"
    texts: list[str] = []
    if corpus.exists():
        with gzip.open(corpus, "rt", encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in file]
    else:
        sample = ROOT / "scripts" / "sample" / "wordnet.jsonl"
        with open(sample, encoding="utf-8") as file:
            glosses = [json.loads(line)["text"] for line in file]
        texts = [" ".join(glosses[i : i + 12]) for i in range(2000)]
    words = [text.split() for text in texts[:2000]]
    assert len(words) == 2000
    # Every length from one word to more than the model takes.
    return [" ".join(one[: 1 + 7 * i % 120]) for i, one in enumerate(words)]


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_many_texts_are_the_same_bit_for_bit(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bulk, shuffled, in parts, alone, and on other numbers of threads; 2,000 by scripts/faults."""
    texts = real_texts()[:: form.times(4, 1, 1)]
    encoder = _small_real_encoder(backend, monkeypatch)
    monkeypatch.setenv("QSEARCH_THREADS", "2")
    bulk = encoder.encode_documents(texts)
    monkeypatch.setenv("QSEARCH_THREADS", "1")
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = encoder.encode_documents([texts[i] for i in order])
    assert shuffled.tobytes() == bulk[order].tobytes()
    parts = [encoder.encode_documents(texts[i : i + 70]) for i in range(0, 490, 70)]
    assert np.concatenate(parts).tobytes() == bulk[:490].tobytes()
    for i in range(0, len(texts), 20):
        assert encoder.encode_documents(texts[i : i + 1]).tobytes() == bulk[i : i + 1].tobytes()
    some = texts[::10]
    queries = encoder.encode_queries(some)
    for i in range(0, len(some), 9):
        assert encoder.encode_queries(some[i : i + 1]).tobytes() == queries[i : i + 1].tobytes()


def _small_real_encoder(backend: str, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """all-MiniLM-L6-v2 cut to one layer: real matrix sizes, a sixth of the time."""
    import torch
    from sentence_transformers import SentenceTransformer

    from qsearch.encoding.models import locate_model

    torch.manual_seed(0)
    model = SentenceTransformer(str(locate_model(DEFAULT_MODEL).path), device="cpu")
    model.max_seq_length = 96
    core: Any = model[0].auto_model
    core.encoder.layer = core.encoder.layer[:1]
    loaded = SentenceEncoder(model)
    return loaded if backend == "torch" else OnnxEncoder(export_model(loaded, None))


def test_a_build_in_another_order_stores_the_same_vectors(tmp_path: Path) -> None:
    texts = real_texts()[::4]
    model = make_tiny(tmp_path, "mpnet")
    documents = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    order = np.random.default_rng(1).permutation(len(texts))
    with (
        Index.build(documents, tmp_path / "one", encoder=str(model)) as one,
        Index.build([documents[i] for i in order], tmp_path / "two", encoder=str(model)) as two,
    ):
        first = np.concatenate([segment.vectors for segment in one._open.segments])
        second = np.concatenate([segment.vectors for segment in two._open.segments])
    assert second.tobytes() == first[order].tobytes()


def test_threads_share_an_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setenv("QSEARCH_THREADS", "2")
    encoder = load_encoder(str(make_tiny(tmp_path, "bert")))
    texts = [f"the cat and dog number {i} in the city" for i in range(40)]
    expected = encoder.encode_queries(texts)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: encoder.encode_queries([text])[0], texts))
    assert np.array(found).tobytes() == expected.tobytes()
