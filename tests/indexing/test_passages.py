"""Documents split into passages: how texts are cut, and that a search finds documents by them."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sqlite3
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

import qsearch.indexing.chunks
from qsearch import (
    BuildOptions,
    CorpusError,
    Document,
    EncoderError,
    Index,
    IndexExists,
    IndexFormatError,
    Passage,
    SentenceEncoder,
    verify_index,
)
from qsearch.codes import unit_rows
from qsearch.encoding import Encoder, TokenEncoder
from qsearch.encoding.onnx.encoder import OnnxEncoder
from qsearch.encoding.onnx.export import export_model
from qsearch.encoding.passages import character_start, cut_text, sentence_ends
from qsearch.encoding.tokens import heads, token_spans, uncut
from qsearch.indexing.passages import PassageSplitter
from qsearch.retrieval import measure
from qsearch.retrieval.documents import DocumentRows
from qsearch.retrieval.measuring import FROM_PASSAGES
from qsearch.store import Catalog
from qsearch.store.segment import Segment
from tests.encoders import ARCHITECTURES, WORDS, HashedWords, make_tiny
from tests.indexing.test_build import Interrupted, contents, interrupted_after
from tests.retrieval.test_exact import segment_of
from tests.retrieval.test_recall import DIMENSIONS, world

# Cutting


def word_spans(text: str) -> np.ndarray:
    """Words and marks, as tokens."""
    found = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
    return np.array(found, dtype=np.int64).reshape(len(found), 2)


def sizes(text: str, passages: list[tuple[int, int]]) -> list[int]:
    return [len(word_spans(text[begin:end])) for begin, end in passages]


def test_passages_end_where_sentences_do() -> None:
    text = "Dr. Lee saw 3.5 birds. They flew! Did you see them? Yes.  No.\n\nNew day, new birds. The end."
    passages = cut_text(text, word_spans(text), sentence_ends(text), 14, 0)
    assert [text[begin:end] for begin, end in passages] == [
        "Dr. Lee saw 3.5 birds.",
        "They flew! Did you see them? Yes.",
        "No.\n\nNew day, new birds. The end.",
    ]


def test_an_overlap_begins_with_a_sentence_if_one_is_short_enough() -> None:
    text = "One two three four five. Six seven. Eight nine ten eleven. Twelve thirteen."
    spans, ends = word_spans(text), sentence_ends(text)

    def cut(overlap: int) -> list[str]:
        return [text[begin:end] for begin, end in cut_text(text, spans, ends, 9, overlap)]

    assert cut(0) == [
        "One two three four five. Six seven.",
        "Eight nine ten eleven. Twelve thirteen.",
    ]
    assert cut(3)[1] == "Six seven. Eight nine ten eleven."  # a sentence of three tokens
    assert cut(2)[1].startswith("seven. Eight")  # no sentence of two


def test_a_sentence_that_is_too_long_is_cut_at_lines_and_words() -> None:
    lines = "\n".join("word " * 6 + "end" for _ in range(5))  # no full stop anywhere
    passages = cut_text(lines, word_spans(lines), sentence_ends(lines), 16, 0)
    assert [lines[begin:end].count("end") for begin, end in passages] == [1, 2, 2]
    assert all(lines[end - 3 : end] == "end" for _, end in passages)
    word = "x" * 50
    spans = np.array([(i, i + 5) for i in range(0, 50, 5)])  # one word of ten tokens
    assert cut_text(word, spans, [50], 4, 0) == [(0, 20), (20, 35), (35, 50)]


def test_characters_are_never_cut() -> None:
    spans = np.array(
        [(0, 1)] * 4 + [(1, 2)] * 4 + [(2, 3)] * 4
    )  # four tokens each, as byte tokenizers
    assert cut_text("日本語", spans, [3], 6, 0) == [(0, 1), (1, 2), (2, 3)]
    assert cut_text("日本語", spans, [3], 3, 0) == [
        (0, 1),
        (1, 2),
        (2, 3),
    ]  # too long, but not lost


def test_a_quotation_that_never_ends_does_not_hide_all_that_follows() -> None:
    text = 'He said "no. ' + "She came in the evening. " * 2000
    ends = sentence_ends(text)
    assert len(ends) > 1500
    assert ends[-1] == len(text)
    assert max(end - begin for begin, end in pairwise([0, *ends])) < 100


def test_the_edge_of_a_window_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "pneumono " * 2000  # no end for 18,000 characters
    assert sentence_ends(words) == [len(words)]
    text = " ".join(f"Sentence number {n} is here." for n in range(600))
    whole = sentence_ends(text)
    assert len(whole) == 600
    monkeypatch.setattr("qsearch.encoding.passages._WINDOW", 150)
    assert sentence_ends(text) == whole


def test_languages_know_their_abbreviations() -> None:
    text = "Am 3. Mai kam er. Er ging."
    assert text[: sentence_ends(text, "de")[0]] == "Am 3. Mai kam er. "
    assert text[: sentence_ends(text, "en")[0]] == "Am 3. "


PIECES = st.sampled_from(
    [*WORDS[:20], "Dr.", "end.", "what?", "3.5", "東京都。", "（京）", "…", "\n", "\n\n", "“", "”"]
)
TEXTS = st.lists(
    st.tuples(PIECES, st.sampled_from([" ", " ", " ", "", "  "])), min_size=1, max_size=80
)


@given(TEXTS, st.integers(4, 30), st.integers(0, 15))
def test_passages_hold_every_token_and_no_more_than_asked(
    parts: list[tuple[str, str]], most: int, overlap: int
) -> None:
    text = "".join(word + space for word, space in parts)
    spans = word_spans(text)
    if not len(spans):
        return
    overlap = min(overlap, most // 2)
    ends = sentence_ends(text)
    assert ends[-1] == len(text)
    assert all(begin < end for begin, end in pairwise([0, *ends]))
    passages = cut_text(text, spans, ends, most, overlap)
    covered = np.zeros(len(spans), dtype=np.int64)
    tokens = []
    for begin, end in passages:
        assert text[begin:end] == text[begin:end].strip() != ""
        inside = (spans[:, 0] >= begin) & (spans[:, 1] <= end)
        cut = (spans[:, 0] < end) & (spans[:, 1] > begin) & ~inside
        assert not cut.any()
        assert inside.sum() <= most
        covered += inside
        tokens.append(inside)
    assert covered.min() >= 1
    for first, second in pairwise(tokens):
        assert (first & second).sum() <= overlap
        assert np.flatnonzero(second)[-1] > np.flatnonzero(first)[-1]
        assert np.flatnonzero(second)[0] > np.flatnonzero(first)[0]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(12, 40))
def test_passages_are_as_few_and_as_even_as_sentences_allow(lengths: list[int], most: int) -> None:
    """Against all ways of grouping the sentences."""
    text = " ".join("w" * 3 + " w" * (n - 1) + "." for n in lengths)  # n words and a mark
    tokens = [n + 1 for n in lengths]
    ends = np.cumsum([2 * n + 3 for n in lengths]).tolist()
    ends[-1] = len(text)
    passages = cut_text(text, word_spans(text), ends, most, 0)

    def groupings(rest: list[int]) -> Any:
        if not rest:
            yield []
        for count in range(1, len(rest) + 1):
            if sum(rest[:count]) <= most:
                for others in groupings(rest[count:]):
                    yield [sum(rest[:count]), *others]

    every = list(groupings(tokens)) if len(tokens) <= 8 else []
    if every and max(tokens) <= most:
        fewest = min(map(len, every))
        assert len(passages) == fewest
        assert max(sizes(text, passages)) == min(max(one) for one in every if len(one) == fewest)


def test_characters_are_what_people_see() -> None:
    for text in ("👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "e\u0301\u0301", "ทำ", "नि", "각"):
        for before in ("", "a ", "é"):
            starts = {
                character_start(before + text + "z", place)
                for place in range(len(before), len(before + text))
            }
            expected = {len(before), len(before) + 2} if text == "🇩🇪🇫🇷" else {len(before)}
            assert starts == expected, (before, text)
    assert character_start("abc", 3) == 3


# Splitting documents by the tokens of a model


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


# Indexes


def town(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Documents of 1 to 120 words in sentences, some with titles."""
    generator = np.random.default_rng(seed)
    records = []
    for number in range(count):
        words = generator.choice(WORDS, size=int(generator.integers(1, 120)))
        text = " ".join(
            f"{word}." if place % 7 == 6 else str(word) for place, word in enumerate(words)
        )
        records.append({"id": f"d{number}", "text": text})
        if number % 3 == 0:
            records[-1]["title"] = f"Title {number}"
    return records


OPTIONS = BuildOptions(passages=20, overlap=6, graph=True)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """150 documents in several segments."""
    options = dataclasses.replace(OPTIONS, segment_rows=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qsearch.indexing.chunks, "_CHUNK_RECORDS", 16)
        return Index.build(
            town(150), tmp_path_factory.mktemp("town") / "i", encoder=HashedWords(), options=options
        )


QUERIES = ["cat dog", "king of the river", "title 5 music", "night", "doctor law war paper"]


def test_rows_are_the_passages_in_order_of_documents(index: Index) -> None:
    documents = [Document(one["id"], one["text"], one.get("title")) for one in town(150)]
    split = PassageSplitter(HashedWords(), 20, 6).split(documents)
    assert index.rows == len(split.contents) > 500
    assert len(index) == 150
    assert len(index._open.segments) > 2
    rows = np.concatenate([segment.vectors for segment in index._open.segments])
    expected = HashedWords().encode_documents(split.contents)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(rows, expected, atol=1e-6)
    passages = np.concatenate(
        [one.passages + np.array([one.first_document, 0, 0]) for one in index._open.segments]
    )
    assert np.array_equal(passages, split.passages)
    for segment in index._open.segments:  # no document is in two segments
        assert segment.passages is not None
        assert segment.passages[0, 0] == 0
    assert verify_index(index.path, deep=True).ok


@pytest.mark.parametrize("k", [1, 3, 10, 149, 150, 400])
@pytest.mark.parametrize("method", [None, "binary", "cascade", "graph"])
def test_a_document_comes_once_by_its_best_passage(
    index: Index, method: str | None, k: int
) -> None:
    candidates = None if method is None else index.rows
    many = index.search_batch(QUERIES, k, method=method, candidates=candidates)
    every = index.search_batch(QUERIES, index.rows, all_passages=True)
    for result, passages in zip(many, every, strict=True):
        assert len(passages) == index.rows
        best: dict[str, tuple[float, Passage | None]] = {}
        for hit in passages:
            best.setdefault(hit.id, (hit.score, hit.passage))
        expected = [(name, *rest) for name, rest in list(best.items())[:k]]
        assert [(hit.id, hit.score, hit.passage) for hit in result] == expected
        assert [hit.rank for hit in result] == list(range(1, min(k, 150) + 1))
        assert passages.certified
        assert result.certified or method == "cascade"
        for hit in result:
            assert hit.passage is not None
            assert hit.text[hit.passage.begin : hit.passage.end] == hit.passage.text


@pytest.mark.parametrize("method", ["binary", "cascade", "graph"])
def test_few_candidates_still_give_as_many_documents_as_were_asked_for(
    index: Index, method: str
) -> None:
    for result in index.search_batch(QUERIES, 12, method=method, candidates=12):
        assert len({hit.id for hit in result}) == len(result) == 12
        assert [hit.score for hit in result] == sorted((hit.score for hit in result), reverse=True)
        assert not result.certified


def test_arrays_give_documents_and_where_their_passages_are(index: Index) -> None:
    vectors = HashedWords().encode_queries(QUERIES)
    found = index.search_vectors(vectors, 5)
    results = index.search_batch(QUERIES, 5)
    assert found.spans is not None
    assert found.positions.shape == found.scores.shape == found.spans.shape[:2] == (5, 5)
    ids = index.ids(found.positions)
    for number, result in enumerate(results):
        assert ids[number].tolist() == [hit.id for hit in result]
        spans = [(hit.passage.begin, hit.passage.end) for hit in result if hit.passage]
        assert [tuple(span) for span in found.spans[number].tolist()] == spans
    every = index.search_vectors(vectors, 40, all_passages=True)
    assert len(set(every.positions[0].tolist())) < 40


def test_explain_counts_what_was_done_twice(index: Index) -> None:
    once = index.search("cat dog", 3, explain=True).explanation
    again = index.search("cat dog", 140, explain=True).explanation
    assert once is not None
    assert again is not None
    rows = {stage.name: stage.rows for stage in again.stages}
    assert len(again.ranks) == 140
    assert rows.get("rotated codes", rows.get("float scan", 0)) % index.rows == 0
    assert max(rows.values()) >= 2 * index.rows  # 420 rows at first hold fewer documents


def test_one_document_of_very_many_passages_does_not_hide_others(tmp_path: Path) -> None:
    records = [{"id": "book", "text": "cat dog " * 4000}]
    records += [{"id": f"d{i}", "text": f"cat dog {word}"} for i, word in enumerate(WORDS[20:60])]
    index = Index.build(
        records, tmp_path / "i", encoder=HashedWords(), options=BuildOptions(passages=16)
    )
    assert index.rows > 500
    result = index.search("cat dog", 20)
    assert result[0].id == "book"
    assert result[0].passage == Passage(0, 63, ("cat dog " * 8).rstrip())  # the first of equals
    assert len({hit.id for hit in result}) == 20
    assert result.certified
    every = index.search("cat dog", 20, all_passages=True)
    assert {hit.id for hit in every} == {"book"}


@pytest.mark.parametrize("count", [0, 16, 45])
@pytest.mark.parametrize("segment_rows", [100, 10_000])
def test_a_resumed_build_equals_an_uninterrupted_one(
    tmp_path: Path, count: int, segment_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_RECORDS", 16)
    options = BuildOptions(passages=20, overlap=6, segment_rows=segment_rows)
    records = town(60)
    Index.build(records, tmp_path / "reference", encoder=HashedWords(), options=options)
    with pytest.raises(Interrupted):
        Index.build(
            interrupted_after(records, count),
            tmp_path / "index",
            encoder=HashedWords(),
            options=options,
        )
    if count:
        other = dataclasses.replace(options, overlap=5)
        with pytest.raises(IndexExists, match='"overlap": 6.*"overlap": 5'):
            Index.build(records, tmp_path / "index", encoder=HashedWords(), options=other)
        pending = tmp_path / "index.building" / "segments" / "pending" / "passages.npy"
        if segment_rows > 1000:
            with open(pending, "ab") as file:
                file.write(b"not committed" * 5)
    Index.build(records, tmp_path / "index", encoder=HashedWords(), options=options)
    first, second = contents(tmp_path / "index"), contents(tmp_path / "reference")
    for one in (first, second):
        one["settings"].pop("tuning")  # holds times
    assert first == second
    assert verify_index(tmp_path / "index", deep=True).ok


def test_passages_that_were_not_written_whole_are_noticed(tmp_path: Path) -> None:
    options = BuildOptions(passages=20)
    with pytest.raises(Interrupted):
        Index.build(
            interrupted_after(town(4000), 3000),
            tmp_path / "i",
            encoder=HashedWords(),
            options=options,
        )
    pending = tmp_path / "i.building" / "segments" / "pending" / "passages.npy"
    data = pending.read_bytes()
    pending.write_bytes(data[:-24])
    with pytest.raises(
        IndexFormatError, match=r"passages\.npy is missing or too short.*restart=True"
    ):
        Index.build(town(4000), tmp_path / "i", encoder=HashedWords(), options=options)
    pending.write_bytes(data)
    with pytest.raises(CorpusError, match="is not the corpus of the interrupted build"):
        Index.build(town(4), tmp_path / "i", encoder=HashedWords(), options=options)


def test_a_document_falls_with_a_passage_that_has_no_vector(tmp_path: Path) -> None:
    records = town(20)
    records[7]["text"] = "cat dog bird fish tree house river street. nothing"
    records[10]["text"] = "not a number"
    options = BuildOptions(passages=8)
    with pytest.raises(CorpusError, match="embedding of document 'd7' is zero"):
        Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options)
    options = dataclasses.replace(options, skip_invalid=True)
    index = Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options)
    assert len(index) == 18
    rest = [one for one in records if one["id"] not in ("d7", "d10")]
    plain = Index.build(rest, tmp_path / "rest", encoder=HashedWords(), options=options)
    for name in ("vectors.npy", "passages.npy"):
        first, second = (next(one.path.rglob(name)).read_bytes() for one in (index, plain))
        assert first == second
    assert verify_index(index.path, deep=True).ok


def test_chunks_of_long_documents_end_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qsearch.indexing.chunks, "_CHUNK_ENCODED", 1000)
    index = Index.build(town(30), tmp_path / "i", encoder=HashedWords(), options=OPTIONS)
    with sqlite3.connect(index.path / "catalog.sqlite") as catalog:
        chunks = catalog.execute("SELECT documents, rows FROM chunks ORDER BY number").fetchall()
    catalog.close()
    assert len(chunks) >= 8
    assert chunks[-1] == (30, index.rows)


def damage(path: Path, row: int, values: list[int]) -> None:
    (file,) = path.rglob("passages.npy")
    array = np.lib.format.open_memmap(file, mode="r+")
    array[row] = values
    array.flush()


def make_checksums_fit(index: Path) -> None:
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        for file in index.rglob("*.npy"):
            digest = xxhash.xxh3_128(file.read_bytes()).hexdigest()
            connection.execute(
                "UPDATE files SET xxh3 = ? WHERE segment = ? AND name = ?",
                (digest, file.parent.name, file.name),
            )
    catalog = Catalog.open(index)
    digest = catalog.digest()
    catalog.close()
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        connection.execute(
            "UPDATE settings SET value = ? WHERE key = 'catalog_xxh3'", (json.dumps(digest),)
        )
    connection.close()


@pytest.mark.parametrize(
    ("row", "values", "problem"),
    [
        (0, [1, 0, 5], "row 0 is of no next document"),
        (3, [-1, 0, 5], "row 3 is of no next document"),
        (5, [500, 0, 5], "row 5 is of no next document"),
        (0, [0, 5, 3], "row 0 is from 5 to 3 in a text of"),
        (0, [0, 0, 99_999], "row 0 is from 0 to 99999 in a text of"),
        (0, [0, -4, 3], "row 0 is from -4 to 3"),
    ],
)
def test_damaged_passages_are_found(
    row: int, values: list[int], problem: str, tmp_path: Path
) -> None:
    index = Index.build(town(12), tmp_path / "i", encoder=HashedWords(), options=OPTIONS)
    index.close()
    damage(tmp_path / "i", row, values)
    assert any("passages.npy: checksum" in one for one in verify_index(tmp_path / "i").problems)
    # Even where the checksums have been made to fit, or were wrong from the beginning.
    make_checksums_fit(tmp_path / "i")
    problems = verify_index(tmp_path / "i", deep=True).problems
    assert any(problem in one for one in problems), problems
    with Index.open(tmp_path / "i", encoder=HashedWords()) as opened:
        if values[2] == 99_999 or values[1] < 0 or values[1] > values[2]:
            with pytest.raises(IndexFormatError, match="lies outside of its text.*verify"):
                opened.search("cat", 100, all_passages=True)
        elif values[0] == 500:
            with pytest.raises(IndexFormatError, match="lacks the document at position 500"):
                opened.search("cat", 100, all_passages=True)


def test_a_missing_list_of_passages_is_noticed(tmp_path: Path) -> None:
    Index.build(town(12), tmp_path / "i", encoder=HashedWords(), options=OPTIONS).close()
    (file,) = (tmp_path / "i").rglob("passages.npy")
    moved = file.rename(tmp_path / "moved.npy")
    with pytest.raises(IndexFormatError, match=r"passages\.npy cannot be read"):
        Index.open(tmp_path / "i")
    shutil.copy(moved, file)
    with sqlite3.connect(tmp_path / "i" / "catalog.sqlite") as catalog:
        catalog.execute("DELETE FROM files WHERE name = 'passages.npy'")
    catalog.close()
    with pytest.raises(IndexFormatError, match=r"entry for .*passages\.npy is missing"):
        Index.open(tmp_path / "i")


# Recall of documents


def segments_with_passages(rows: np.ndarray, per_document: int, pieces: int) -> list[Segment]:
    """Segments of which every so many rows are one document."""
    segments = []
    for piece in np.array_split(np.arange(len(rows) // per_document), pieces):
        first = int(piece[0]) * per_document
        some = rows[first : first + len(piece) * per_document]
        numbers = np.repeat(np.arange(len(piece)), per_document)
        places = np.tile(np.arange(per_document), len(piece))
        segments.append(
            dataclasses.replace(
                segment_of(some, first),
                first_document=int(piece[0]),
                passages=np.stack([numbers, places, places + 1], axis=1),
            )
        )
    return segments


def test_rows_and_documents_know_each_other() -> None:
    segments = segments_with_passages(world(120, 0), 4, 3)
    documents = DocumentRows(segments)
    assert (documents.split, documents.count, documents.rows) == (True, 30, 120)
    positions = np.array([[0, 3, 4, 119, -1], [40, 41, 79, 80, 7]])
    assert documents.documents(positions).tolist() == [[0, 0, 1, 29, -1], [10, 10, 19, 20, 1]]
    assert documents.spans(positions)[1].tolist() == [[0, 1], [1, 2], [3, 4], [0, 1], [3, 4]]
    assert [documents.rows_of(one).tolist() for one in (0, 10, 29)] == [
        [0, 1, 2, 3], [40, 41, 42, 43], [116, 117, 118, 119]
    ]  # fmt: skip


@pytest.mark.parametrize("own", [True, False])
def test_recall_is_measured_for_documents(own: bool) -> None:
    """By hand: the best row of each document, and how many candidates it takes to find it."""
    noise = np.random.default_rng(3).standard_normal((4000, DIMENSIONS)) * 0.04
    rows = unit_rows(np.repeat(world(1000, 1), 4, axis=0) + noise)[0]  # passages are alike
    segments = segments_with_passages(rows, 4, 2)
    queries = None if own else world(60, 2)
    tuning = measure(segments, queries, "test", lambda count: None)
    assert tuning is not None
    assert tuning.documents == 1000
    assert [curve.k for curve in tuning.curves] == [1, 3, 10, 30, 100]
    assert tuning.measured_on == (FROM_PASSAGES if own else "test")
    signs = rows > 0
    halves = np.repeat([0, 1], 2000)

    def recalls(query: np.ndarray, left_out: list[int]) -> list[float]:
        """For each depth, at the first number of candidates."""
        usable = ~np.isin(np.arange(4000) // 4, left_out)
        scores, distances = rows.astype(np.float64) @ query, ((query > 0) != signs).sum(axis=1)
        best: dict[int, int] = {}
        for row in np.argsort(-scores, kind="stable"):
            if usable[row] and len(best) < 100:
                best.setdefault(row // 4, row)
        nearest = []
        for half in (0, 1):
            here = np.flatnonzero((halves == half) & usable)
            nearest.append(here[np.argsort(distances[here], kind="stable")])
        found = []
        for curve in tuning.curves:
            chosen = np.concatenate([one[: curve.points[0].candidates] for one in nearest])
            found.append(np.isin(list(best.values())[: curve.k], chosen).mean())
        return found

    if queries is not None:
        expected = np.mean([recalls(query, []) for query in queries], axis=0)
    else:  # the worse of passages and middles between two
        chosen = np.unique(np.linspace(0, 3999, 250).round().astype(int))
        others = chosen[np.random.default_rng(0).permutation(250)]
        alone = [recalls(rows[one], [one // 4]) for one in chosen]
        middles = [
            recalls(rows[one] + rows[two], [one // 4, two // 4])
            for one, two in zip(chosen, others, strict=True)
        ]
        expected = np.minimum(np.mean(alone, axis=0), np.mean(middles, axis=0))
    # The curve also counts what the int8 codes lose: next to nothing.
    measured = [curve.points[0].recall for curve in tuning.curves]
    assert measured == pytest.approx(expected, abs=0.002)


def test_a_recall_that_is_asked_for_is_reached_for_documents(tmp_path: Path) -> None:
    from qsearch.retrieval import Searcher

    segments = segments_with_passages(world(24_000, 1), 3, 2)
    tuning = measure(segments, world(500, 5), "test", lambda count: None)
    searcher = Searcher(segments, tuning)
    queries = world(300, 9)
    exact = searcher.search(queries, searcher.request(10))
    truth = searcher.documents.documents(exact.positions)
    assert exact.certified.all()
    used = set()
    for recall in (0.8, 0.9, 0.95):
        request = searcher.request(10, recall=recall)
        used.add(request.method)
        found = searcher.documents.documents(searcher.search(queries, request).positions)
        shares = [len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]
        assert np.mean(shares) >= recall
    assert "cascade" in used or all(
        searcher.request(10, recall=recall).plan.reason == "an exact search is as fast here"
        for recall in (0.8, 0.9, 0.95)
    )
    every = searcher.request(10, recall=0.8, all_passages=True)
    assert every.method == "exact"
    assert "not for passages" in every.plan.reason


# The encoder's promise holds for passages


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


FIRST_TABLES = (
    "CREATE TABLE segments ( id TEXT PRIMARY KEY, first_position INTEGER NOT NULL UNIQUE, "
    "rows INTEGER NOT NULL, documents_xxh3 TEXT NOT NULL ) STRICT, WITHOUT ROWID",
    "CREATE TABLE chunks ( number INTEGER PRIMARY KEY, digest TEXT NOT NULL, records INTEGER NOT NULL, "
    "documents INTEGER NOT NULL, truncated INTEGER NOT NULL ) STRICT",
)
"""Of format 1, where they differ."""


def test_an_interrupted_build_of_the_format_before_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        Index.build(interrupted_after(town(4000), 3000), tmp_path / "i", encoder=HashedWords())
    with sqlite3.connect(tmp_path / "i.building" / "catalog.sqlite") as catalog:
        for table in FIRST_TABLES:
            catalog.execute(f"DROP TABLE {table.split()[2]}")
            catalog.execute(table)
        catalog.execute("PRAGMA user_version = 1")
    catalog.close()
    with pytest.raises(IndexFormatError, match="it is of index format 1.*restart=True"):
        Index.build(town(30), tmp_path / "i", encoder=HashedWords())
    options = BuildOptions(restart=True)
    assert len(Index.build(town(30), tmp_path / "i", encoder=HashedWords(), options=options)) == 30
