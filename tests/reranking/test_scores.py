"""A cross-encoder's scores: those of sentence-transformers, and the same bits whatever stands beside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch.encoding.onnx import cache, find_export_of
from qsearch.encoding.onnx.graph import ExportRefused
from qsearch.errors import EncoderError
from qsearch.reranking import Pair, Reranker, RerankerIdentity, load_reranker, onnx
from qsearch.reranking.activation import activated
from qsearch.reranking.cross import CrossEncoderReranker
from qsearch.reranking.onnx import OnnxReranker, export_reranker
from qsearch.reranking.tokens import longest_first
from tests.encoders import (
    ARCHITECTURES,
    WORDS,
    make_tiny,
    make_tiny_cross_encoder,
    make_tiny_judge,
    write_fast_tokenizer,
)


@pytest.fixture(autouse=True)
def own_cache(clean_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("QSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def words_of(generator: np.random.Generator, most: int) -> str:
    return " ".join(generator.choice(WORDS, generator.integers(1, most + 1)))


def some_pairs(count: int, seed: int = 0, most: int = 90) -> list[Pair]:
    """Pairs of every length, some of them far beyond 64 tokens on either side."""
    generator = np.random.default_rng(seed)
    pairs = [(words_of(generator, 12), words_of(generator, most)) for _ in range(count)]
    pairs += [("cat " * 200, "dog " * 300), ("cat " * 200, "dog"), ("cat", "dog " * 300)]
    return [*pairs, ("", "dog"), ("cat", ""), ("東京 🚀", "Ça déjà vu"), (" cat \n", "\tdog  ")]


def library_scores(model: Path, pairs: list[Pair], **options: Any) -> np.ndarray:
    from sentence_transformers import CrossEncoder

    loaded = CrossEncoder(str(model), device="cpu", local_files_only=True, **options)
    return np.asarray(loaded.predict(pairs))


@pytest.mark.parametrize("activation", [None, "Identity", "Sigmoid"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_those_of_predict(
    architecture: str, activation: str | None, tmp_path: Path
) -> None:
    model = make_tiny_cross_encoder(tmp_path / "m", architecture, activation=activation)
    pairs = some_pairs(60)
    expected = library_scores(model, pairs)
    assert np.ptp(expected) > 0.05
    through_onnx = load_reranker(str(model), backend="onnx")
    through_torch = load_reranker(str(model), backend="torch")
    assert isinstance(through_onnx, OnnxReranker)
    for reranker in (through_onnx, through_torch):
        scores = reranker.score(pairs)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        assert reranker.identity().activation == (activation or "Sigmoid").lower()
    np.testing.assert_array_equal(through_onnx.truncated(pairs), through_torch.truncated(pairs))


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_pair_gets_the_same_bits_whatever_is_scored_beside_it(
    backend: str, tiny_cross_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = load_reranker(str(tiny_cross_encoder), backend=backend, max_length=120)
    pairs = some_pairs(150, most=130)
    found = {}
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("QSEARCH_THREADS", threads)
        found[threads] = reranker.score(pairs)
    assert found["1"].tobytes() == found["2"].tobytes() == found["3"].tobytes()
    assert len(np.unique(found["1"])) > 140
    order = np.random.default_rng(1).permutation(len(pairs))
    shuffled = reranker.score([pairs[place] for place in order])
    assert shuffled.tobytes() == found["1"][order].tobytes()
    half = reranker.score(pairs[::2])
    assert half.tobytes() == found["1"][::2].tobytes()
    alone = np.concatenate([reranker.score([pair]) for pair in pairs])
    assert alone.tobytes() == found["1"].tobytes()


def test_a_score_does_not_depend_on_its_place_in_an_array() -> None:
    logits = np.random.default_rng(0).normal(0, 8, 1001).astype(np.float32)
    whole = activated("sigmoid", logits)
    alone = np.concatenate([activated("sigmoid", logits[i : i + 1]) for i in range(len(logits))])
    assert whole.tobytes() == alone.tobytes()
    exact = 1 / (1 + np.exp(-logits.astype(np.longdouble)))
    np.testing.assert_allclose(whole, exact.astype(np.float64), rtol=1e-7)
    ends = activated("sigmoid", np.array([-3e38, 3e38, np.nan], np.float32))
    np.testing.assert_array_equal(ends, np.array([0, 1, np.nan], np.float32))


@pytest.mark.parametrize("side", ["right", "left"])
def test_long_pairs_are_cut_as_the_library_cuts_them(side: str, tmp_path: Path) -> None:
    model = make_tiny_cross_encoder(tmp_path / "m", truncation_side=side, activation="Identity")
    reranker = load_reranker(str(model), backend="onnx")
    torch_one = CrossEncoderReranker(model, device="cpu")
    generator = np.random.default_rng(3)
    pairs = [(words_of(generator, 70), words_of(generator, 150)) for _ in range(60)]
    pairs += [(text, query) for query, text in pairs[:20]]
    assert isinstance(reranker, OnnxReranker)
    for pair in pairs:
        assert reranker.tokens(pair) == torch_one.tokens(pair)
    np.testing.assert_allclose(reranker.score(pairs), library_scores(model, pairs), atol=1e-4)
    lengths = [len(query.split()) + len(text.split()) + 3 for query, text in pairs]
    np.testing.assert_array_equal(reranker.truncated(pairs), np.array(lengths) > 64)
    assert 10 < reranker.truncated(pairs).sum() < len(pairs)
    # What is cut away has no say; the end that is cut is the one that the model's tokenizer names.
    tail = [("cat", "dog " * 70 + word) for word in ("king", "queen")]
    head = [("cat", word + " dog" * 70) for word in ("king", "queen")]
    cut, kept = (tail, head) if side == "right" else (head, tail)
    assert len(set(reranker.score(cut).tolist())) == 1
    assert len(set(reranker.score(kept).tolist())) == 2


@pytest.mark.parametrize("room", [10, 11, 61])
def test_the_longer_side_is_cut_first(room: int, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    write_fast_tokenizer(tmp_path, angled=False)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.enable_truncation(room + 3, strategy="longest_first")
    for query in range(0, 90, 7):
        for text in range(0, 90, 5):
            sides = tokenizer.encode("cat " * query, "dog " * text).sequence_ids
            assert (sides.count(0), sides.count(1)) == longest_first(query, text, room)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_the_maximum_length_is_the_callers(backend: str, tiny_cross_encoder: Path) -> None:
    pairs = some_pairs(20)
    short = load_reranker(str(tiny_cross_encoder), backend=backend, max_length=24)
    assert short.identity().max_length == 24
    expected = library_scores(tiny_cross_encoder, pairs, max_length=24)
    np.testing.assert_allclose(short.score(pairs), expected, atol=1e-4)
    longer = load_reranker(str(tiny_cross_encoder), backend=backend)
    assert short.truncated(pairs).sum() > longer.truncated(pairs).sum() > 0


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_the_default_prompt_stands_before_the_query(backend: str, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    plain = make_tiny_cross_encoder(tmp_path / "m", activation="Identity")
    loaded = CrossEncoder(
        str(plain), device="cpu", prompts={"ask": "king queen "}, default_prompt_name="ask"
    )
    loaded.save(str(tmp_path / "prompted"))
    reranker = load_reranker(str(tmp_path / "prompted"), backend=backend)
    pairs = some_pairs(20)
    assert reranker.identity().prompt == "king queen "
    np.testing.assert_allclose(reranker.score(pairs), loaded.predict(pairs), atol=1e-4)
    without = load_reranker(str(plain), backend=backend).score(pairs)
    assert np.abs(reranker.score(pairs) - without).max() > 0.01


def test_a_loaded_cross_encoder_is_taken_as_it_is(tiny_cross_encoder: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    loaded = CrossEncoder(str(tiny_cross_encoder), device="cpu", activation_fn=torch.nn.Tanh())
    reranker = CrossEncoderReranker(loaded)
    pairs = some_pairs(30)
    np.testing.assert_allclose(reranker.score(pairs), loaded.predict(pairs), atol=1e-5)
    assert reranker.identity().activation == "Tanh"
    alone = np.concatenate([reranker.score([pair]) for pair in pairs])
    assert alone.tobytes() == reranker.score(pairs).tobytes()
    with pytest.raises(ExportRefused, match="its activation is Tanh"):
        export_reranker(reranker, None)


def test_a_language_model_that_says_yes_or_no_is_a_cross_encoder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_tiny_judge(tmp_path / "m")
    reranker = load_reranker(str(model))
    assert "torch runs the model" in caplog.text
    assert "it is no plain sequence classifier" in caplog.text
    pairs = some_pairs(20)
    np.testing.assert_allclose(reranker.score(pairs), library_scores(model, pairs), atol=1e-4)
    alone = np.concatenate([reranker.score([pair]) for pair in pairs])
    assert alone.tobytes() == reranker.score(pairs).tobytes()


def test_an_identity_tells_models_apart(tmp_path: Path) -> None:
    one = load_reranker(str(make_tiny_cross_encoder(tmp_path / "one"))).identity()
    moved = shutil.copytree(tmp_path / "one", tmp_path / "moved")
    same = load_reranker(str(moved)).identity()
    other = load_reranker(str(make_tiny_cross_encoder(tmp_path / "other", seed=1))).identity()
    assert one.weights == same.weights != other.weights
    assert one.tokenizer == other.tokenizer
    assert (one.precision, one.max_length, one.activation) == ("float32", 64, "sigmoid")
    assert (one.backend, one.model) == ("onnxruntime", str(tmp_path / "one"))
    assert one.label == f"one@{one.weights[:8]}"
    assert RerankerIdentity.from_json(one.to_json() | {"later": 1}) == one
    for wrong in ({}, {"model": 1}, {"model": "m", "max_length": "64"}, []):
        with pytest.raises(ValueError, match=r"model|max_length|list"):
            RerankerIdentity.from_json(wrong)  # type: ignore[arg-type]


def test_a_model_is_exported_once_and_then_runs_without_torch(
    tiny_cross_encoder: Path, own_cache: Path
) -> None:
    pairs = some_pairs(10)
    expected = load_reranker(str(tiny_cross_encoder)).score(pairs)
    code = (
        "import sys\n"
        "from tests.reranking.test_scores import some_pairs\n"
        "from qsearch.reranking import load_reranker\n"
        "scores = load_reranker(sys.argv[1]).score(some_pairs(10))\n"
        "heavy = {'torch', 'sentence_transformers', 'transformers', 'faiss'}\n"
        "print(scores.tobytes().hex(), sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_cross_encoder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{expected.tobytes().hex()} []\n"
    assert len(list((own_cache / "onnx").glob("*/manifest.json"))) == 1


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_changed_model_is_not_taken_for_the_exported_one(name: str, tmp_path: Path) -> None:
    model = make_tiny_cross_encoder(tmp_path / "m")
    load_reranker(str(model))
    assert find_export_of(cache.files_digest(model), RerankerIdentity) is not None
    data = bytearray((model / name).read_bytes())
    data[-1] ^= 1
    (model / name).write_bytes(data)
    assert find_export_of(cache.files_digest(model), RerankerIdentity) is None


def test_a_damaged_export_is_made_again(tiny_cross_encoder: Path) -> None:
    pairs = some_pairs(5)
    expected = load_reranker(str(tiny_cross_encoder)).score(pairs)
    digest = cache.files_digest(tiny_cross_encoder)
    found = find_export_of(digest, RerankerIdentity)
    assert found is not None
    weights = found.folder / cache.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 0xFF
    weights.unlink()
    weights.write_bytes(data)
    assert find_export_of(digest, RerankerIdentity) is None
    assert load_reranker(str(tiny_cross_encoder)).score(pairs).tobytes() == expected.tobytes()


def test_an_export_that_forgets_the_sides_is_refused(
    tiny_cross_encoder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = onnx._write_graph

    def without_sides(model: Any, folder: Path, inputs: list[str], *, traced: bool) -> None:
        assert inputs == ["input_ids", "token_type_ids"]
        write(model, folder, inputs[:1], traced=traced)

    with monkeypatch.context() as patch:
        patch.setattr(onnx, "_write_graph", without_sides)
        with pytest.raises(EncoderError, match=r"cannot run this model: .*does not do the same"):
            load_reranker(str(tiny_cross_encoder), backend="onnx")
        reranker = load_reranker(str(tiny_cross_encoder))
    assert isinstance(reranker, CrossEncoderReranker)
    assert "torch runs the model" in caplog.text
    # The next start does not try again, but says so.
    caplog.clear()
    assert isinstance(load_reranker(str(tiny_cross_encoder)), CrossEncoderReranker)
    assert "backend onnx tries again" in caplog.text
    assert isinstance(load_reranker(str(tiny_cross_encoder), backend="onnx"), OnnxReranker)


def test_other_tokens_are_refused(
    tiny_cross_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnx._tokenizer_definition
    monkeypatch.setattr(
        onnx,
        "_tokenizer_definition",
        lambda model: real(model).replace('"lowercase":true', '"lowercase":false'),
    )
    with pytest.raises(ExportRefused, match="tokens are other ones"):
        export_reranker(CrossEncoderReranker(tiny_cross_encoder, device="cpu"), None)


@pytest.mark.parametrize("first", ["plain", "other"])
def test_models_of_one_graph_keep_what_is_their_own(first: str, tmp_path: Path) -> None:
    """Activation, prompt and length are not part of the graph, which is exported once for both."""
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    make_tiny_cross_encoder(tmp_path / "made", activation="Sigmoid")
    plain = shutil.copytree(tmp_path / "made" / "model", tmp_path / "plain")
    loaded = CrossEncoder(str(plain), device="cpu", max_length=30, activation_fn=Identity())
    loaded.prompts, loaded.default_prompt_name = {"ask": "king "}, "ask"
    loaded.save(str(tmp_path / "other"))
    names = sorted(("plain", "other"), key=lambda name: name != first)
    for _ in range(2):  # exported, and found again
        for name in names:
            told = load_reranker(str(tmp_path / name)).identity()
            own = ("identity", "king ", 30) if name == "other" else ("sigmoid", "", 64)
            assert (told.activation, told.prompt, told.max_length) == own
    assert len(list((tmp_path / "cache" / "onnx").glob("*/manifest.json"))) == 1


def test_one_folder_may_serve_as_encoder_and_as_reranker(tmp_path: Path) -> None:
    """Entries of the cache for one purpose do not hide those for the other."""
    from qsearch.encoding import EncoderIdentity, load_encoder

    model = make_tiny_cross_encoder(tmp_path / "m")
    reranker = load_reranker(str(model))
    load_encoder(str(model))
    digest = cache.files_digest(model)
    assert find_export_of(digest, EncoderIdentity) is not None
    assert find_export_of(digest, RerankerIdentity) is not None
    assert isinstance(load_reranker(str(model)), type(reranker))


# Wrong models


def test_a_bi_encoder_is_told_apart(tiny_bert: Path, tmp_path: Path) -> None:
    for refuse in (load_reranker, CrossEncoderReranker):
        with pytest.raises(EncoderError, match=r"is an encoder \(a bi-encoder\).*cross-encoder"):
            refuse(str(tiny_bert))
    bare = make_tiny(tmp_path, "bert").parent / "core"
    with pytest.raises(EncoderError, match="a BertModel has no head that scores pairs"):
        load_reranker(str(bare))


@pytest.mark.parametrize("labels", [2, 3])
def test_a_classifier_of_several_labels_is_refused(labels: int, tmp_path: Path) -> None:
    model = make_tiny_cross_encoder(tmp_path / "m", labels=labels)
    with pytest.raises(EncoderError, match=f"sorts pairs into {labels} classes"):
        load_reranker(str(model))
    from sentence_transformers import CrossEncoder

    with pytest.raises(EncoderError, match=f"sorts pairs into {labels} classes"):
        CrossEncoderReranker(CrossEncoder(str(model), device="cpu"))


def test_missing_models_are_told_offline(tmp_path: Path) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(EncoderError, match=r"no model folder at \./nowhere; .* with rerank="):
        load_reranker("./nowhere")
    with pytest.raises(EncoderError, match=r"cross-encoder/no-such-model is not on this machine"):
        load_reranker("no-such-model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match="neither modules.json nor config.json"):
        load_reranker(str(tmp_path / "empty"))
    (tmp_path / "empty" / "config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"no config\.json that could be read"):
        load_reranker(str(tmp_path / "empty"))


def test_a_damaged_model_is_an_error_in_a_line(tmp_path: Path) -> None:
    model = make_tiny_cross_encoder(tmp_path / "m")
    (model / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_reranker(str(model))


def test_what_runs_it_is_as_for_encoders(tiny_cross_encoder: Path) -> None:
    with pytest.raises(EncoderError, match="unknown backend"):
        load_reranker(str(tiny_cross_encoder), backend="tensorflow")
    with pytest.raises(EncoderError, match="CPU and in float32 only"):
        load_reranker(str(tiny_cross_encoder), backend="onnx", precision="bfloat16")
    half = load_reranker(str(tiny_cross_encoder), precision="bfloat16")
    assert isinstance(half, CrossEncoderReranker)
    assert half.identity().precision == "bfloat16"
    assert half.score([("cat", "dog")]).dtype == np.float32


def test_both_are_rerankers(tiny_cross_encoder: Path) -> None:
    for backend in ("onnx", "torch"):
        reranker = load_reranker(str(tiny_cross_encoder), backend=backend)
        assert isinstance(reranker, Reranker)
        assert reranker.score([]).shape == (0,)
        told: list[int] = []
        reranker.score([("cat", "dog " * n) for n in range(30)], told.append)
        assert sum(told) == 30
