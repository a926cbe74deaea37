"""An index refuses an encoder that differs from its own, and says in what."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

from qsearch import EncoderError, EncoderMismatch, Index, SentenceEncoder
from qsearch.encoding import check_contract, make_contract
from qsearch.encoding.identity import EncoderIdentity
from tests.encoders import HashedWords, make_tiny_bert


def loaded(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def another_model(folder: Path) -> SentenceEncoder:
    return SentenceEncoder(make_tiny_bert(folder.parent / "other", seed=1), device="cpu")


def another_length(folder: Path) -> SentenceEncoder:
    return SentenceEncoder(folder, device="cpu", max_length=32)


def no_strip(folder: Path) -> SentenceEncoder:
    return SentenceEncoder(folder, device="cpu", query_prompt="query: ", strip=False)


def bfloat16(folder: Path) -> SentenceEncoder:
    return SentenceEncoder(folder, device="cpu", precision="bfloat16")


def cls_pooling(folder: Path) -> SentenceEncoder:
    model = loaded(folder)
    return SentenceEncoder(SentenceTransformer(modules=[model[0], Pooling(32, "cls"), Normalize()]))


def changed_weight(folder: Path) -> SentenceEncoder:
    """One number of one matrix, too small a change for any canary."""
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(folder, folder.parent / "changed", dirs_exist_ok=True))
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in sorted(weights) if name.endswith("output.dense.weight"))
    weights[name][0, 0] += 1e-6
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return SentenceEncoder(copy, device="cpu")


def cased_tokenizer(folder: Path) -> SentenceEncoder:
    import json

    copy = Path(shutil.copytree(folder, folder.parent / "cased", dirs_exist_ok=True))
    definition = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    definition["normalizer"]["lowercase"] = False
    (copy / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    config = json.loads((copy / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["do_lower_case"] = False
    (copy / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return SentenceEncoder(copy, device="cpu")


@pytest.mark.parametrize(
    ("plant", "names"),
    [
        (another_model, ["the weights differ", "canary texts come out differently"]),
        (
            another_length,
            ["maximum length: the index has 64, this encoder 32", "canary texts come out"],
        ),
        (no_strip, ["stripping of surrounding whitespace: the index has True, this encoder False"]),
        (bfloat16, ["precision of the weights: the index has 'float32', this encoder 'bfloat16'"]),
        (cls_pooling, ["pooling: the index has 'mean', this encoder 'cls'"]),
        (changed_weight, ["the weights differ"]),
        (cased_tokenizer, ["the tokenizer's definition differs"]),
    ],
)
def test_a_planted_mismatch_is_refused_and_named(
    tiny_bert: Path, tmp_path: Path, plant: Callable[[Path], SentenceEncoder], names: list[str]
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    prompt = "query: " if plant is no_strip else None
    own = SentenceEncoder(folder, device="cpu", query_prompt=prompt)
    Index.build([{"id": "a", "text": "cat"}], tmp_path / "index", encoder=own).close()
    with (
        Index.open(tmp_path / "index", encoder=plant(folder)) as index,
        pytest.raises(EncoderMismatch) as caught,
    ):
        index.search("cat")
    for name in names:
        assert name in str(caught.value)
    assert caught.value.differences
    with Index.open(tmp_path / "index", encoder=own) as index:
        assert index.search("cat")[0].id == "a"


@pytest.mark.parametrize(
    ("then", "now", "name"),
    [
        ({"query_prompt": "query: "}, {}, "query prompt: the index has 'query: ', this encoder ''"),
        ({}, {"document_prompt": "passage: "}, "document prompt: the index has ''"),
        (
            {"query_prompt": "a ", "document_prompt": "b "},
            {"query_prompt": "b ", "document_prompt": "a "},
            "query prompt: the index has 'a ', this encoder 'b '",
        ),
        ({"truncate_dim": 16}, {}, "dimensions: the index has 16, this encoder gives 32"),
    ],
)
def test_other_prompts_and_dimensions_are_refused_and_named(
    tiny_bert: Path, then: dict[str, str], now: dict[str, str], name: str
) -> None:
    contract = make_contract(SentenceEncoder(tiny_bert, device="cpu", **then))  # type: ignore[arg-type] # (options by name)
    check = check_contract(contract, SentenceEncoder(tiny_bert, device="cpu", **now))  # type: ignore[arg-type] # (options by name)
    assert not check.ok
    assert any(name in difference for difference in check.differences)


def with_dense(folder: Path, *, normalize_before: bool) -> SentenceEncoder:
    model = loaded(folder)
    torch.manual_seed(0)
    dense = Dense(32, 32, activation_function=torch.nn.Tanh())
    middle = [Normalize(), dense] if normalize_before else [dense]
    return SentenceEncoder(SentenceTransformer(modules=[model[0], Pooling(32, "mean"), *middle]))


def test_a_normalize_module_that_changes_the_result_is_named(tiny_bert: Path) -> None:
    contract = make_contract(with_dense(tiny_bert, normalize_before=True))
    check = check_contract(contract, with_dense(tiny_bert, normalize_before=False))
    assert not check.ok
    assert any(
        "Transformer → Pooling → Normalize → Dense, this encoder Transformer → Pooling → Dense"
        in one
        for one in check.differences
    )


@pytest.mark.parametrize("first", [True, False])
def test_a_normalize_module_that_changes_nothing_is_no_mismatch(
    tiny_bert: Path, tmp_path: Path, first: bool
) -> None:
    """qsearch normalises by itself, so a Normalize at the end makes no difference."""
    model = loaded(tiny_bert)
    with_it = SentenceEncoder(SentenceTransformer(modules=[model[0], model[1], Normalize()]))
    without = SentenceEncoder(SentenceTransformer(modules=[model[0], model[1]]))
    then, now = (with_it, without) if first else (without, with_it)
    check = check_contract(make_contract(then), now)
    assert check.ok
    assert any("modules" in note for note in check.notes)


def test_the_same_model_elsewhere_and_in_another_way_is_no_mismatch(
    tiny_bert: Path, tmp_path: Path
) -> None:
    contract = make_contract(SentenceEncoder(tiny_bert, device="cpu"))
    moved = Path(shutil.copytree(tiny_bert, tmp_path / "moved"))
    for encoder in (SentenceEncoder(moved, device="cpu"), SentenceEncoder(loaded(moved))):
        check = check_contract(contract, encoder)
        assert check.ok, check.differences
        assert min(result.worst for result in check.canaries) > 1 - 1e-9


def test_threads_make_no_mismatch(tiny_bert: Path) -> None:
    contract = make_contract(SentenceEncoder(tiny_bert, device="cpu"))
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert check_contract(contract, SentenceEncoder(tiny_bert, device="cpu")).ok
    finally:
        torch.set_num_threads(threads)


class Silent(HashedWords):
    """An encoder that says nothing about itself: only its canaries can give it away."""

    def __init__(self, *, strip: bool = True, cut: int = 10_000, query: str = "") -> None:
        super().__init__(dimensions=64)
        self._habits = (strip, cut, query)

    def identity(self) -> EncoderIdentity:
        return EncoderIdentity(model="?", dimensions=64)

    def _embed(self, text: str) -> np.ndarray:
        strip, cut, _ = self._habits
        words = (text.strip() if strip else text.replace(" ", " _ ")).split()[:cut]
        edge = "" if strip or text == text.strip() else " edge"
        return super()._embed(" ".join(word for word in words if word != "_") + edge)

    def encode_queries(self, texts: list[str]) -> np.ndarray:  # type: ignore[override] # (options by name)
        return super().encode_queries([self._habits[2] + text for text in texts])


@pytest.mark.parametrize(
    ("habits", "cause"),
    [
        ({"strip": False}, "texts are not stripped"),
        ({"cut": 100}, "another maximum length"),
        ({"query": "query: "}, "another or no query prompt"),
    ],
)
def test_the_likely_cause_is_named_for_encoders_that_say_nothing(
    habits: dict[str, object], cause: str
) -> None:
    contract = make_contract(Silent())
    assert check_contract(contract, Silent()).ok
    check = check_contract(contract, Silent(**habits))  # type: ignore[arg-type] # (options by name)
    assert not check.ok
    assert any(cause in difference for difference in check.differences)


def test_an_index_remembers_how_its_encoder_was_set_up(tiny_bert: Path, tmp_path: Path) -> None:
    encoder = SentenceEncoder(tiny_bert, device="cpu", query_prompt="query: ", max_length=40)
    Index.build(
        [{"id": "a", "text": "cat"}, {"id": "b", "text": "dog"}], tmp_path / "i", encoder=encoder
    ).close()
    with Index.open(tmp_path / "i", device="cpu") as index:
        expected = unit(encoder.encode_queries(["dog"]))
        document = unit(encoder.encode_documents(["dog"]))
        score = np.float32((expected * document).sum())
        hit = next(hit for hit in index.search("dog") if hit.id == "b")
        assert abs(hit.score - score) < 1e-6
        identity = index.encoder_identity
        assert identity is not None
        assert (identity.query_prompt, identity.max_length) == ("query: ", 40)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True))


def test_a_changed_weight_file_is_caught_when_the_model_is_named(
    tiny_bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    Index.build([{"id": "a", "text": "cat"}], tmp_path / "i", encoder=str(folder)).close()
    changed = changed_weight(folder)
    del changed
    shutil.copy(tmp_path / "changed" / "model.safetensors", folder / "model.safetensors")
    with (
        Index.open(tmp_path / "i", encoder=str(folder)) as index,
        pytest.raises(EncoderMismatch, match="the weights differ"),
    ):
        index.search("cat")
    with (
        Index.open(tmp_path / "i", backend="torch") as index,
        pytest.raises(EncoderMismatch, match="the weights differ"),
    ):
        index.search("cat")
    with Index.open(tmp_path / "i") as index:  # through the export of the model as it was
        assert index.search("cat")[0].score == pytest.approx(1.0)


def test_an_index_without_an_encoder_says_so(tmp_path: Path) -> None:
    index = Index.build(None, tmp_path / "i", embeddings=np.eye(3))
    with pytest.raises(EncoderError, match="without an encoder.*encoder="):
        index.search("cat")


def test_an_index_with_an_encoder_of_ones_own_asks_for_it(tmp_path: Path) -> None:
    Index.build([{"id": "a", "text": "cat"}], tmp_path / "i", encoder=HashedWords()).close()
    with (
        Index.open(tmp_path / "i") as index,
        pytest.raises(EncoderError, match=r"pass it to Index.open\(path, encoder=...\)"),
    ):
        index.search("cat")


def test_an_encoder_whose_canaries_have_no_direction_is_refused(tmp_path: Path) -> None:
    class Zero(HashedWords):
        def _embed(self, text: str) -> np.ndarray:
            return np.zeros(self.dimensions)

    with pytest.raises(EncoderError, match="zero, NaN or infinite document vector"):
        Index.build([{"id": "a", "text": "cat"}], tmp_path / "i", encoder=Zero())


def test_no_limit_and_a_limit_are_a_mismatch(tiny_bert: Path) -> None:
    limited = SentenceEncoder(tiny_bert, device="cpu", max_length=64)
    contract = make_contract(limited)
    identity = dataclasses.replace(contract.identity, max_length=0)
    check = check_contract(dataclasses.replace(contract, identity=identity), limited)
    assert check.differences == ("maximum length: the index has no limit, this encoder 64",)
    unlimited = SentenceEncoder(tiny_bert, device="cpu", max_length=0)
    assert unlimited.identity().max_length == 0
    assert unlimited.truncated(["cat " * 100]) == 0


def test_an_index_with_a_model_given_as_an_object_asks_for_it(
    tiny_bert: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceEncoder(SentenceTransformer(str(tiny_bert), device="cpu"))
    Index.build([{"id": "a", "text": "cat"}], tmp_path / "i", encoder=encoder).close()
    with Index.open(tmp_path / "i") as index, pytest.raises(EncoderError, match="of your own"):
        index.search("cat")
    with Index.open(tmp_path / "i", encoder=str(tiny_bert)) as index:
        assert len(index.search("cat")) == 1
