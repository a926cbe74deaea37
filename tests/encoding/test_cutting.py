"""Where texts are cut into passages: at ends of sentences, lines, words and letters."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsearch.encoding.passages import character_start, cut_text, sentence_ends
from tests.encoders import WORDS


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
