"""Passages by the tokens of a model, whatever its tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from qsearch import (
    BuildOptions,
    Document,
    EncoderError,
    Index,
    SentenceEncoder,
)
from qsearch.encoding import Encoder, TokenEncoder
from qsearch.encoding.onnx.encoder import OnnxEncoder
from qsearch.encoding.onnx.export import export_model
from qsearch.encoding.passages import character_start, cut_text
from qsearch.encoding.tokens import heads, token_spans, uncut
from qsearch.indexing.passages import PassageSplitter
from tests.encoders import ARCHITECTURES, HashedWords, make_tiny


class Tokens(HashedWords):
    """An encoder with a tokenizer of the tokenizers package."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = uncut(tokenizer)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [len(one.ids) for one in self._tokenizer.encode_batch(list(texts))]

    def token_spans(self, texts: Sequence[str]) -> list[np.ndarray]:
        return token_spans(self._tokenizer, texts)


@pytest.fixture(scope="module", params=["bytes", "bytes, spaces", "unigram"])
def trained(request: pytest.FixtureRequest, sample_texts: list[str]) -> Tokens:
    """Tokenizers as RoBERTa and GPT have (byte-level BPE), ModernBERT (offsets with spaces), XLM-R."""
    if request.param == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer: Any = trainers.UnigramTrainer(
            vocab_size=600, unk_token="<unk>", special_tokens=["<unk>"]
        )
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(sample_texts[:1000], trainer)
    if request.param == "bytes":
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return Tokens(tokenizer)


ODD = [
    "The cat sat. " * 40 + "\n",
    "The dog ran.\n\n" * 40 + "\n" * 300,
    "One. " + "\n" * 200 + "Two. " * 50,
    "เด็กหญิงคนหนึ่งเดินไปที่ตลาดเพื่อซื้อผลไม้และผัก" * 20,
    "हिन्दी में यह एक लंबा वाक्य है जो समाप्त नहीं होता " * 20,
    "👩‍👩‍👧‍👦" * 60,
    "e\u0301" * 200,
    "The index is a directory. " * 20 + "ﷺ " + "It has files. " * 20,
    "x" * 900,
    "\t".join(["cell"] * 400),
]


@pytest.mark.parametrize(("tokens", "overlap"), [(40, 0), (40, 10), (64, 32)])
def test_any_tokenizer_cuts_well(trained: Tokens, tokens: int, overlap: int) -> None:
    documents = [Document(str(number), text) for number, text in enumerate(ODD)]
    split = PassageSplitter(trained, tokens, overlap).split(documents)
    counts = trained.token_counts(split.contents)
    assert max(counts) <= tokens
    assert split.truncated == 0
    for number, text in enumerate(ODD):
        mine = split.passages[split.passages[:, 0] == number, 1:].tolist()
        assert all(begin < end and text[begin:end].strip() for begin, end in mine)
        assert all(character_start(text, place) == place for span in mine for place in span)
        # Each goes on behind the one before, and nothing but white space is left out.
        assert all(one[1] < two[1] for one, two in pairwise(mine))
        assert not any(text[one[1] : two[0]].strip() for one, two in pairwise(mine))
        assert not text[: mine[0][0]].strip()
        assert not text[mine[-1][1] :].strip()
        needed = -(-trained.token_counts([text])[0] // tokens)
        assert len(mine) <= 2 * needed + 2 or overlap


def test_one_character_of_many_tokens_does_not_break_up_its_document(
    sample_texts: list[str],
) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(sample_texts[:1000], trainer)
    sentence = "It is the house of the king. "
    text = sentence * 30 + "ﷺ " + sentence * 30  # 33 tokens
    encoder = Tokens(tokenizer)
    assert encoder.token_counts(["ﷺ"])[0] > 24
    plain = PassageSplitter(encoder, 24).split([Document("a", sentence * 60)])
    split = PassageSplitter(encoder, 24).split([Document("a", text)])
    assert len(split.contents) <= len(plain.contents) + 4
    assert split.truncated == 1
    assert sum(count > 24 for count in encoder.token_counts(split.contents)) == 1


def test_long_texts_are_tokenized_in_parts(
    trained: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["The cat and the dog. " * 300, "", "short", "x" * 5000, "a b\n" * 2000]
    whole = trained.token_spans(texts)
    counted: list[int] = []

    def count(some: list[str]) -> list[int]:
        counted.extend(map(len, some))
        return trained.token_counts(some)

    assert heads(texts, 0, count) == texts
    shortened = heads(texts, 20, count)
    assert [len(one) < len(two) for one, two in zip(shortened, texts, strict=True)] == [
        True, False, False, False, True
    ]  # fmt: skip
    assert max(counted) <= 640
    # Only a head with more tokens than count is as good as the whole.
    assert [heads(texts[:1], 20, lambda some, n=n: [n])[0] == texts[0] for n in (20, 21)] == [  # type: ignore[misc]
        True, False
    ]  # fmt: skip
    for one, two in zip(shortened, texts, strict=True):
        assert trained._tokenizer.encode(one).ids[:20] == trained._tokenizer.encode(two).ids[:20]
    monkeypatch.setattr("qsearch.encoding.tokens._STRETCH", 1000)
    monkeypatch.setattr("qsearch.encoding.tokens._SLICE", 2500)
    for some, all_, text in zip(trained.token_spans(texts), whole, texts, strict=True):
        assert abs(len(some) - len(all_)) <= len(text) // 1000
        if text.isascii() and "x" not in text:
            words = {tuple(span) for span in all_.tolist()} - {
                tuple(span) for span in some.tolist()
            }
            assert len(words) <= 2 * (len(text) // 1000)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model of each architecture, through torch and ONNX Runtime."""
    model = make_tiny(tmp_path_factory.mktemp("tiny"), request.param)
    loaded = SentenceEncoder(model, device="cpu")
    return loaded, OnnxEncoder(export_model(loaded, model))


LONG = [
    Document("1", "The cat and the dog. " * 60),
    Document("2", "The queen of the city. It was night; the fire was out! " * 9, title="The king"),
    Document("3", "東京都は日本の首都です。京都も首都でした。" * 12),
    Document("4", "👩‍👩‍👧 🚀 café naïve Ærø — “quoted” … " * 9),
    Document("5", "x" * 700),
    Document("6", "short"),
    Document("7", "", title="king " * 90),
    Document("8", "some text " * 60, title="queen " * 90),
    Document("9", " \n\n spaces   around \t it. " * 20 + "\n"),
    Document("10", "nul \x00 and \x1f control \u200b\u2028 separators. " * 20),
    Document("11", "e\u0301 combining \u0301\u0301\u0301 marks. " * 20),
]


@pytest.mark.parametrize(("tokens", "overlap"), [(24, 0), (40, 12), (64, 32)])
def test_no_passage_is_longer_than_asked_whatever_the_tokenizer(
    both: tuple[SentenceEncoder, OnnxEncoder], tokens: int, overlap: int
) -> None:
    splits = [PassageSplitter(encoder, tokens, overlap).split(LONG) for encoder in both]
    assert splits[0].contents == splits[1].contents
    assert np.array_equal(splits[0].passages, splits[1].passages)
    split = splits[0]
    counts = both[0].token_counts(split.contents)
    assert counts == both[1].token_counts(split.contents)
    assert max(counts) <= tokens
    assert [len(both[1].token_ids(one)) for one in split.contents] == counts  # nothing is truncated
    numbers = split.passages[:, 0]
    assert sorted(set(numbers.tolist())) == list(range(len(LONG)))
    assert (np.diff(numbers) >= 0).all()
    for content, (number, begin, end) in zip(split.contents, split.passages.tolist(), strict=True):
        document = LONG[number]
        assert content.endswith(document.text[begin:end].rstrip())
        if (numbers == number).sum() == 1 and document.text:
            assert (content, begin, end) == (document.content, 0, len(document.text))
    # All that is not white space, or nothing to the tokenizer, is in some passage.
    for number in (0, 1, 2, 4, 8):
        text = LONG[number].text
        seen = np.zeros(len(text), dtype=np.bool_)
        for _, begin, end in split.passages[numbers == number]:
            seen[begin:end] = True
        assert not [
            c for c, inside in zip(text, seen, strict=True) if not inside and not c.isspace()
        ]
    assert split.truncated == 2  # the titles that are too long


def test_a_model_without_a_transformer_has_tokens_too(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer = uncut(SentenceEncoder(tiny_bert, device="cpu").model[0].tokenizer.backend_tokenizer)
    static = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu"
    )
    encoder = SentenceEncoder(static)
    split = PassageSplitter(encoder, 24, 6).split(LONG)
    counts = encoder.token_counts(split.contents)
    assert max(counts) <= 24
    assert sum(counts) > 500
    encoder._uncut_tokenizer = None
    with pytest.raises(EncoderError, match="does not tell where its tokens stand"):
        encoder.token_spans(["a"])


def test_titles_stand_before_every_passage() -> None:
    document = Document(
        "a", "one two three four five six. seven eight nine ten.", title="The Title"
    )
    split = PassageSplitter(HashedWords(), 9).split([document])
    assert split.contents == [
        "The Title one two three four five six.",
        "The Title seven eight nine ten.",
    ]
    assert split.passages.tolist() == [[0, 0, 28], [0, 29, 50]]
    split = PassageSplitter(HashedWords(), 12).split([document])
    assert split.contents == [document.content]


def test_a_title_leaves_half_of_a_passage_to_the_text() -> None:
    title, text = " ".join(["title"] * 30), " ".join(["word"] * 100)
    split = PassageSplitter(HashedWords(), 20, 10).split([Document("a", text, title)])
    assert {content.count("title") for content in split.contents} == {10}
    assert max(content.count("word") for content in split.contents) == 10
    assert split.truncated == 1
    # An overlap is at most half of what is left.
    spans = [(begin, end) for _, begin, end in split.passages.tolist()]
    assert all(two[0] - one[0] >= 25 for one, two in pairwise(spans[:-1]))


def test_text_without_spaces_overlaps_at_letters() -> None:
    text = "東京都は日本の首都" * 20
    spans = np.array([(i, i + 1) for i in range(len(text))])
    passages = cut_text(text, spans, [len(text)], 20, 5)
    assert len(passages) == 12
    assert all(0 < one[1] - two[0] <= 5 for one, two in pairwise(passages))


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[(0, 1)], []], "spans of 2 texts for 1"),
        ([[(0, 99_999)] * 30], "within the text"),
        ([[(0, 1, 2)] * 30], "within the text"),
        ([[(5, 3)] * 30], "within the text"),
    ],
)
def test_spans_of_other_encoders_are_checked(spans: Any, message: str) -> None:
    encoder = HashedWords()
    encoder.token_spans = lambda texts: spans  # type: ignore[method-assign]
    with pytest.raises(EncoderError, match=message):
        PassageSplitter(encoder, 8).split([Document("a", "word " * 30)])
    lists: Any = lambda texts: [  # noqa: E731
        [match.span() for match in re.finditer("word", text)] for text in texts
    ]
    encoder.token_spans = lists  # type: ignore[method-assign]
    assert len(PassageSplitter(encoder, 8).split([Document("a", "word " * 30)]).contents) == 4


class NoTokens:
    """An encoder with no more than it needs."""

    def __init__(self) -> None:
        self._inner = HashedWords()
        self.identity = self._inner.identity
        self.encode_documents = self._inner.encode_documents
        self.encode_queries = self._inner.encode_queries
        self.truncated = self._inner.truncated


def test_what_cannot_be_split_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    bert = SentenceEncoder(tiny_bert, device="cpu")
    assert isinstance(bert, TokenEncoder)
    assert not isinstance(NoTokens(), TokenEncoder)
    with pytest.raises(EncoderError, match="65 tokens are longer than the 64.*at most 64"):
        PassageSplitter(bert, 65)
    with pytest.raises(EncoderError, match="leave no room.*at least 10"):
        PassageSplitter(bert, 9)
    with pytest.raises(EncoderError, match="overlap of 33.*0 to 32"):
        PassageSplitter(bert, 64, 33)
    with pytest.raises(EncoderError, match="does not show its tokens"):
        PassageSplitter(NoTokens(), 20)
    with pytest.raises(EncoderError, match="no ISO 639 code"):
        PassageSplitter(bert, 64, language="German")
    options = BuildOptions(passages=20)
    with pytest.raises(EncoderError, match="does not show its tokens"):
        Index.build([{"id": "a", "text": "b"}], tmp_path / "i", encoder=NoTokens(), options=options)
    with pytest.raises(EncoderError, match="where their embeddings are given"):
        Index.build(None, tmp_path / "i", embeddings=np.eye(3), options=options)
    assert not list(tmp_path.iterdir())


def test_a_passage_has_the_vector_that_its_text_has_alone(both: Any, tmp_path: Path) -> None:
    encoder: Encoder = both[1]
    records = [
        {"id": one.id, "text": one.text, **({"title": one.title} if one.title else {})}
        for one in LONG
    ]
    options = BuildOptions(passages=32, overlap=8)
    forward = Index.build(records, tmp_path / "a", encoder=encoder, options=options)
    back = Index.build(records[::-1], tmp_path / "b", encoder=encoder, options=options)

    def rows(index: Index) -> dict[tuple[str, int], bytes]:
        (segment,) = index._open.segments
        assert segment.passages is not None
        ids = index.ids(segment.documents_of(np.arange(segment.rows)))
        return {
            (name, int(begin)): row.tobytes()
            for name, (_, begin, _), row in zip(
                ids.tolist(), segment.passages, segment.vectors, strict=True
            )
        }

    assert rows(forward) == rows(back)
    assert len(rows(forward)) == forward.rows > 40
    # A passage found by its own text, title included.
    hit = forward.search("The king The queen of the city. It was night; the fire was out!", 1)[0]
    assert hit.id == "2"
    passages = forward.settings["passages"]
    assert (passages["tokens"], passages["overlap"], passages["language"]) == (32, 8, "en")
    assert passages["sentencex"]
