"""sentence-transformers as an encoder: what it computes, and what it says about itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from qsearch import EncoderError, SentenceEncoder
from qsearch.codes import unit_rows
from qsearch.encoding.batches import batches_as_they_come, padded_length, plan_batches


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    return SentenceEncoder("all-MiniLM-L6-v2", device="cpu")


@pytest.fixture(scope="module")
def tiny(tiny_bert: Path) -> SentenceEncoder:
    return SentenceEncoder(tiny_bert, device="cpu")


def test_embeddings_are_those_of_sentence_transformers(
    minilm: SentenceEncoder, sample_texts: list[str]
) -> None:
    texts = sample_texts[:48]
    theirs = unit_rows(minilm._model.encode_document(texts, batch_size=1))[0]
    ours = unit_rows(minilm.encode_documents(texts))[0]
    assert np.abs(ours - theirs).max() < 1e-6
    queries = unit_rows(minilm._model.encode_query(texts, batch_size=1))[0]
    assert np.abs(unit_rows(minilm.encode_queries(texts))[0] - queries).max() < 1e-6


def test_a_document_is_embedded_alike_whatever_stands_beside_it(
    minilm: SentenceEncoder, sample_texts: list[str]
) -> None:
    texts = sample_texts[::200] + ["", "cat", "long " * 300]
    together = minilm.encode_documents(texts)
    backwards = minilm.encode_documents(texts[::-1])[::-1]
    alone = np.concatenate([minilm.encode_documents([text]) for text in texts])
    assert np.array_equal(together, backwards)
    assert np.array_equal(together, alone)


def test_a_query_is_embedded_alike_alone_and_in_a_batch(
    minilm: SentenceEncoder, sample_texts: list[str]
) -> None:
    texts = sample_texts[::400]
    together = minilm.encode_queries(texts)
    alone = np.concatenate([minilm.encode_queries([text]) for text in texts])
    assert np.array_equal(together, alone)


def test_surrounding_whitespace_is_stripped(tiny: SentenceEncoder) -> None:
    plain = tiny.encode_documents(["cat dog"])
    assert np.array_equal(tiny.encode_documents([" \n\tcat dog \u3000\n"]), plain)


def test_prompts_are_put_in_front(tiny_bert: Path) -> None:
    plain = SentenceEncoder(tiny_bert, device="cpu")
    prompted = SentenceEncoder(
        tiny_bert, device="cpu", query_prompt="query: ", document_prompt="dog "
    )
    assert np.allclose(
        prompted.encode_queries(["cat"]), plain.encode_queries(["query: cat"]), atol=1e-6
    )
    assert np.allclose(
        prompted.encode_documents([" cat"]), plain.encode_documents(["dog cat"]), atol=1e-6
    )
    assert not np.allclose(
        prompted.encode_queries(["cat"]), plain.encode_queries(["cat"]), atol=0.01
    )


def test_the_models_own_prompts_are_the_default(tiny_bert: Path) -> None:
    model = SentenceTransformer(
        str(tiny_bert), device="cpu", prompts={"query": "q ", "passage": "p "}
    )
    identity = SentenceEncoder(model).identity()
    assert (identity.query_prompt, identity.document_prompt) == ("q ", "p ")


def test_texts_beyond_the_maximum_length_are_cut_and_counted(tiny: SentenceEncoder) -> None:
    # [CLS] and [SEP] take two of the 64 tokens.
    texts = ["cat " * 62, "cat " * 63, "dog", "cat " * 5000]
    assert tiny.truncated(texts) == 2
    embeddings = tiny.encode_documents(texts)
    assert np.array_equal(embeddings[1], embeddings[3])


def test_truncated_dimensions_are_the_first_ones(tiny_bert: Path) -> None:
    whole = SentenceEncoder(tiny_bert, device="cpu").encode_documents(["cat", "dog"])
    cut = SentenceEncoder(tiny_bert, device="cpu", truncate_dim=8)
    assert cut.identity().dimensions == 8
    assert np.array_equal(cut.encode_documents(["cat", "dog"]), whole[:, :8])


def test_threads_share_an_encoder(tiny: SentenceEncoder) -> None:
    texts = [f"cat {number} " * (number % 20 + 1) for number in range(40)]
    expected = [tiny.encode_queries([text]) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: tiny.encode_queries([text]), texts))
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_nothing_to_encode_gives_an_empty_array(tiny: SentenceEncoder) -> None:
    assert tiny.encode_documents([]).shape == (0, 32)
    assert tiny.encode_queries([]).shape == (0, 32)


def test_progress_is_told_for_every_text(tiny: SentenceEncoder) -> None:
    told: list[int] = []
    tiny.encode_documents(["cat"] * 100, told.append)
    assert sum(told) == 100
    assert len(told) > 1


def test_the_identity_says_what_the_embeddings_depend_on(minilm: SentenceEncoder) -> None:
    identity = minilm.identity()
    assert identity.model == "sentence-transformers/all-MiniLM-L6-v2"
    assert identity.dimensions == 384
    assert identity.modules == ("Transformer", "Pooling", "Normalize")
    assert identity.pooling == "mean"
    assert identity.normalizes is True
    assert identity.max_length == 256
    assert identity.precision == "float32"
    assert identity.strip is True
    assert type(identity).from_json(identity.to_json()) == identity


def test_a_moved_model_has_the_same_hashes(tiny_bert: Path, tmp_path: Path) -> None:
    import shutil

    moved = SentenceEncoder(shutil.copytree(tiny_bert, tmp_path / "moved"), device="cpu").identity()
    original = SentenceEncoder(tiny_bert, device="cpu").identity()
    for field in ("weights", "tokenizer", "configuration"):
        assert getattr(moved, field) == getattr(original, field)
    assert moved.model != original.model


def test_a_model_that_fails_is_an_encoder_error(tiny_bert: Path) -> None:
    encoder = SentenceEncoder(tiny_bert, device="cpu", max_length=4096)  # beyond its positions
    with pytest.raises(EncoderError, match="failed on"):
        encoder.encode_documents(["cat " * 3000])


@pytest.mark.parametrize(
    ("device", "message"), [("cuda", "no CUDA device"), ("nonsense", "no kind of device")]
)
def test_a_device_that_is_not_there_is_named(
    tiny_bert: Path, device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(EncoderError, match=message):
        SentenceEncoder(tiny_bert, device=device)


def test_an_unknown_precision_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(EncoderError, match="unknown precision 'int4'"):
        SentenceEncoder(tiny_bert, precision="int4")


@pytest.mark.parametrize(
    ("tokens", "limit", "expected"),
    [(1, 256, 16), (16, 256, 16), (17, 256, 32), (300, 256, 256), (250, 250, 250), (99, None, 112)],
)
def test_lengths_are_padded_to_steps(tokens: int, limit: int | None, expected: int) -> None:
    assert padded_length(tokens, limit) == expected


@pytest.mark.parametrize("part", [1, 37, 500, 2000])
def test_batches_of_parts_are_as_many_and_as_full_as_of_all(part: int) -> None:
    lengths = [16 * int(one) for one in np.random.default_rng(part).integers(1, 9, size=500)]
    parts = [lengths[start : start + part] for start in range(0, 500, part)]
    rows = {length: 2 + length // 16 for length in lengths}.__getitem__
    made = list(batches_as_they_come(iter(parts), rows, 1))
    whole = plan_batches(lengths, rows, 1)
    assert sorted((one.length, len(one.indices), one.rows) for one in made) == sorted(
        (one.length, len(one.indices), one.rows) for one in whole
    )
    assert sorted(index for one in made for index in one.indices) == list(range(500))
    assert all(lengths[index] == one.length for one in made for index in one.indices)
    asked: list[int] = []
    coming = batches_as_they_come((asked.append(1) or one for one in parts), rows, 1)
    next(coming)
    assert (
        len(asked) < len(parts) or len(parts) == 1
    )  # the first comes before all lengths are known


def test_every_text_is_in_exactly_one_batch_of_its_length() -> None:
    tokens = [int(one) for one in np.random.default_rng(0).integers(1, 400, size=500)]
    padded = [padded_length(count, 256) for count in tokens]
    batches = plan_batches(padded, lambda length: 4 if length > 100 else 16)
    assert sorted(i for batch in batches for i in batch.indices) == list(range(500))
    for batch in batches:
        assert len(batch.indices) <= batch.rows == (4 if batch.length > 100 else 16)
        assert all(padded[i] == batch.length for i in batch.indices)
    lengths = [batch.length for batch in batches]
    assert lengths == sorted(lengths, reverse=True)
