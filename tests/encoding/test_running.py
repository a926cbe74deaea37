"""Batches as a GPU gets them: features made without the model, a padded row in each, no TF32."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from qsearch import SentenceEncoder
from qsearch.encoding.batches import Batch
from qsearch.encoding.features import TokenFeatures
from qsearch.encoding.running import Runner, _no_tf32
from qsearch.indexing.chunks import chunk_limit
from tests.encoders import ARCHITECTURES, make_tiny


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"), request.param, dense=True)


@pytest.fixture
def texts(sample_texts: list[str]) -> list[str]:
    return [*sample_texts[::40], "law " * 300, "x", "", "the house by the river"]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qsearch.encoding.sentence._GPU_TOKENS", 512)


def as_on_a_gpu(model: Path | SentenceTransformer, **options: Any) -> SentenceEncoder:
    """Which does on the CPU all that the encoder does for a GPU, but for streams and graphs."""
    encoder = SentenceEncoder(model, **options)
    encoder._on_gpu = True
    return encoder


@pytest.mark.parametrize("prompt", ["", "the query: "])
def test_features_are_those_of_the_model(model: Path, texts: list[str], prompt: str) -> None:
    loaded = SentenceTransformer(str(model), device="cpu")
    limit = int(loaded.max_seq_length)
    features = TokenFeatures.of(loaded, prompt, "document", limit)
    assert features is not None
    tokens, cut = features.tokens([prompt + text for text in texts])
    assert {one.shape[1] for one in tokens} >= {limit}
    assert 0 < cut < len(texts)
    made = features.padded(tokens, Batch(tuple(range(len(texts))), limit, len(texts) + 1))
    options = {"text": {"padding": "max_length", "max_length": limit}}
    expected = loaded.preprocess(
        texts, prompt=prompt or None, task="document", processing_kwargs=options
    )
    assert made.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert np.array_equal(made[key][:-1], value.numpy())
        else:
            assert made[key] == value
    assert made["attention_mask"][-1].sum() == 1


@pytest.mark.parametrize("prompt", ["", "the document: "])
def test_documents_are_tokenized_once(
    model: Path, texts: list[str], prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many are cut is known from there, and is what counting says."""
    encoder = as_on_a_gpu(model, document_prompt=prompt)
    expected = encoder.truncated(texts)
    assert expected > 0
    encoder.encode_queries(texts[:3])
    encoder.encode_documents(texts)
    more = ["law", "house", "law " * 400, "law " * 500]
    encoder.encode_documents(more)
    monkeypatch.setattr(encoder, "_token_counts", None)
    assert encoder.truncated(list(texts)) == expected
    assert encoder.truncated(more) == 2
    monkeypatch.undo()
    assert encoder.truncated(["law"]) == 0
    assert encoder.truncated(["law " * 400]) == 1


def test_nothing_else_in_a_batch_changes_a_bit(
    model: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = as_on_a_gpu(model, query_prompt="of the ")
    plain = SentenceEncoder(model, device="cpu", query_prompt="of the ")
    masks: list[np.ndarray] = []
    run = Runner.run

    def seen(runner: Runner, features: dict[str, Any], keep: int, **options: Any) -> Any:
        masks.append(np.asarray(features["attention_mask"]))
        assert keep < len(masks[-1])
        return run(runner, features, keep, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", seen)
        whole = encoder.encode_documents(texts)
    assert all((mask == 0).any() for mask in masks)  # whatever is in it, it is padded
    for number in range(0, len(texts), 3):
        alone = encoder.encode_documents([texts[number]])
        assert alone.tobytes() == whole[number].tobytes()
    assert np.allclose(whole, plain.encode_documents(texts), atol=1e-5)
    assert np.allclose(encoder.encode_queries(texts), plain.encode_queries(texts), atol=1e-5)


def test_a_model_with_features_of_its_own_makes_them_itself(
    tiny_bert: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = SentenceTransformer(str(tiny_bert), device="cpu")
    expected = SentenceEncoder(loaded).encode_documents(texts)
    preprocess = loaded.preprocess

    def with_more(*arguments: Any, **named: Any) -> dict[str, Any]:
        features: dict[str, Any] = preprocess(*arguments, **named)
        return {**features, "weights": torch.ones(len(features["input_ids"]))}

    monkeypatch.setattr(loaded, "preprocess", with_more)
    assert TokenFeatures.of(loaded, "", "document", 64) is None
    encoder = as_on_a_gpu(loaded)
    found = encoder.encode_documents(texts)
    assert np.allclose(found, expected, atol=1e-5)
    assert found[3].tobytes() == encoder.encode_documents([texts[3]]).tobytes()


def test_a_tokenizer_that_is_not_what_it_says_is_not_taken(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = SentenceTransformer(str(tiny_bert), device="cpu")
    assert TokenFeatures.of(loaded, "", "document", 64) is not None
    preprocess = loaded.preprocess

    def shouted(texts: list[str], **named: Any) -> Any:
        return preprocess([text.replace("a", "the") for text in texts], **named)

    monkeypatch.setattr(loaded, "preprocess", shouted)
    assert TokenFeatures.of(loaded, "", "document", 64) is None


def test_a_gpu_gets_many_documents_at_once(tiny_bert: Path) -> None:
    assert chunk_limit(as_on_a_gpu(tiny_bert), given=False, passages=False).least == 16_384
    assert chunk_limit(as_on_a_gpu(tiny_bert), given=False, passages=False).records == 16_384
    assert chunk_limit(SentenceEncoder(tiny_bert), given=False, passages=False).records == 2048


@pytest.fixture
def precision() -> Iterator[None]:
    """What the process says about TF32 is as before."""
    matmul, before = torch.backends.cuda.matmul, torch.get_float32_matmul_precision()
    yield
    matmul.fp32_precision = "ieee"  # the newer name first: the old one is refused while they differ
    torch.set_float32_matmul_precision(before)


def test_tensor_cores_do_not_round_while_anybody_encodes(precision: None) -> None:
    matmul = torch.backends.cuda.matmul
    torch.set_float32_matmul_precision("medium")
    assert matmul.allow_tf32
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with _no_tf32(True):
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(60)
    assert not matmul.allow_tf32
    with pytest.raises(ZeroDivisionError), _no_tf32(True):
        raise ZeroDivisionError
    assert not matmul.allow_tf32  # somebody else still does
    leave.set()
    thread.join()
    assert torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision("highest")
    with _no_tf32(True):
        assert not matmul.allow_tf32
    assert not matmul.allow_tf32


def test_the_newer_name_of_the_same_setting_is_restored_too(precision: None) -> None:
    matmul = torch.backends.cuda.matmul
    torch.set_float32_matmul_precision("highest")
    matmul.fp32_precision = "tf32"
    with pytest.raises(RuntimeError):
        _ = matmul.allow_tf32  # torch refuses the old name now
    with _no_tf32(True):
        assert matmul.fp32_precision == "ieee"
        assert not matmul.allow_tf32
    assert matmul.fp32_precision == "tf32"


def test_the_cpu_is_left_alone(precision: None) -> None:
    torch.set_float32_matmul_precision("high")
    with _no_tf32(False):
        assert torch.get_float32_matmul_precision() == "high"
