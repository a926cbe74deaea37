"""Any text is a query: nothing that a user types is syntax of SQLite's."""

from __future__ import annotations

from pathlib import Path

import pytest

from qsearch import BuildOptions, Index
from qsearch.keywords.queries import MOST_CHARACTERS, MOST_PHRASE_TOKENS, MOST_TERMS, Term, terms_of
from qsearch.store.schema import TOKENIZERS
from qsearch.store.text_index import tokenized, tokenizer_for
from tests.encoders import HashedWords

TEXTS = {
    "animals": "the cat AND the dog NOT near the river OR the sea",
    "title": "title text rank documents column filter",
    "caret": "two words with café naïve coöperation and x2 c++ c# .net",
    "near": "NEAR means close by 10 or so",
    "asia": "東京都庁 は 東京 に あります",
    "code": "error 0x80070057: SELECT * FROM documents; DROP TABLE documents",
}

HOSTILE = [
    '"', '""', '"""', '"cat', 'cat"', '" "', '"cat" "', '"cat""dog"', "'", "''",
    "'; DROP TABLE documents; --", "cat AND dog", "cat OR", "OR", "AND", "NOT", "NOT cat",
    "cat NOT dog", "NEAR", "NEAR(cat dog)",
    "NEAR(cat dog, 5)", "NEAR/5", "cat NEAR dog", "cat*", "*", "* cat", "ca*t", "^cat", "^", "cat ^ dog",
    "title:cat", "text : cat", "{title text}: cat", "- title : cat", "-cat", "--", "+cat", "cat + dog",
    "(", ")", "(cat", "cat)", "((cat))", "()", "cat AND (dog OR", "{", "}", "[cat]", "cat:dog", ":", "::",
    "text_index:cat", "rank:cat", "rowid:1", "documents MATCH 'cat'", "\\", "\\\"", "%", "_", "c_t", "cat%",
    "\0", "cat\0dog", "\x01\x02", "\n", "cat\ndog", "\t\r\n cat", "\u2028cat", "\ufeffcat", "\u200bcat",
    "🚀", "👩‍👩‍👧", "cat 🐈 dog", "é", "e\u0301", "́", "ß", "İ", "ﬁ", "Ǆ", "京", "東京", "東京都",
    "ไทย", "كتب",
    "?", "!", "...", "-", "cat-dog", "c++", "C#", ".NET", "0x80070057", "1e999", "NaN",
    "NULL", "null", "x'41'",
    "$1", "?1", ":p", "@a", "cat; SELECT 1", "/* cat */", "-- cat", "`cat`", "[", "]", "<cat>", "&",
    "|", "~",
    "cat AND NOT (title : dog OR NEAR(sea \"river", "highlight(text_index, 0, '<', '>')",
    "bm25(text_index)", "porter", "trigram", "content=''", "a" * 10_000,
    "INSERT INTO text_index(text_index) VALUES('rebuild')",
    '"' * 999, "(" * 2_000, "AND " * 2_000, "cat " * 30_000, "\U0010ffff", "\ud7ff\ue000",
]  # fmt: skip


@pytest.fixture(scope="module", params=["en", "fr", "ja"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(
        [{"id": name, "text": text} for name, text in TEXTS.items()],
        tmp_path_factory.mktemp("queries") / "index",
        encoder=HashedWords(),
        options=BuildOptions(text_index=True, language=request.param),
    )


def held(index: Index, query: str) -> set[str]:
    """Documents that hold one of the terms, by the plain meaning of that."""
    told = index.text_index
    assert told is not None
    (terms,) = terms_of([query], told["tokenizer"])
    found = set()
    for name, text in TEXTS.items():
        (tokens,) = tokenized(told["tokenizer"], [text])
        for term in terms.counts:
            size = len(term.tokens)
            runs = [tuple(tokens[start : start + size]) for start in range(len(tokens))]
            if term.prefix:
                hit = any(one.startswith(term.tokens[0]) for one in tokens)
            else:
                hit = term.tokens in runs
            if hit:
                found.add(name)
    return found


def test_the_battery_is_large() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60


@pytest.mark.parametrize("mode", ["keywords", "hybrid"])
def test_any_text_is_a_text(index: Index, mode: str) -> None:
    asked = [query for query in HOSTILE if query.strip()]  # an empty query is one in every mode
    if mode == "hybrid":  # the encoder of the tests takes long for long ones
        asked = [query for query in asked if len(query) < 1000]
    results = index.search_batch(asked, 10, mode=mode)  # type: ignore[arg-type]
    for query, found in zip(asked, results, strict=True):
        assert {hit.id for hit in found if hit.bm25} == held(index, query), ascii(query[:60])
    assert len(index) == len(TEXTS)


def test_operators_are_words(tmp_path: Path) -> None:
    with Index.build(
        [
            {"id": "a", "text": "cat and dog"},
            {"id": "b", "text": "near a cat"},
            {"id": "c", "text": "or"},
        ],
        tmp_path / "i",
        encoder=HashedWords(),
        options=BuildOptions(text_index=True, language="de"),
    ) as index:
        found = {hit.id for hit in index.search("cat NOT dog", mode="keywords")}
        assert found == {"a", "b"}
        assert [hit.id for hit in index.search("OR", mode="keywords")] == ["c"]
        assert [hit.id for hit in index.search("NEAR", mode="keywords")] == ["b"]


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("Cats running", ["cat", "run"]),
        ('"exact phrase" other', ["exact phrase", "other"]),
        ('a "b c', ["a", "b", "c"]),
        ('a "b c" d "e', ["a", "b c", "d", "e"]),
        ('"one"', ["on"]),
        ('""', []),
        ("!!!", []),
        ("état", ["etat"]),
    ],
)
def test_words_and_phrases(query: str, terms: list[str]) -> None:
    (found,) = terms_of([query], tokenizer_for("en"))
    assert [" ".join(term.tokens) for term in found.counts] == terms


def test_a_phrase_is_one_term_with_a_weight_of_its_own(tmp_path: Path) -> None:
    with Index.build(
        [
            {"id": "a", "text": "red green blue"},
            {"id": "b", "text": "green red blue"},
            {"id": "c", "text": "x"},
        ],
        tmp_path / "i",
        encoder=HashedWords(),
        options={"text_index": True, "language": "de"},
    ) as index:
        (hit,) = index.search('"red green"', mode="keywords")
        assert hit.id == "a"
        first, second = index.search('"red green" blue', mode="keywords")
        assert (first.id, second.id) == ("a", "b")
        report = index.search('"red green" blue', mode="keywords", explain=True).explanation
        assert report is not None
        assert report.keywords is not None
        assert [(one.term, one.documents) for one in report.keywords.terms] == [
            ('"red green"', 1),
            ("blue", 2),
        ]


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [
        ("en", "porter unicode61 remove_diacritics 2"),
        ("EN_us", "porter unicode61 remove_diacritics 2"),
        ("zh", "trigram"),
        ("zh-Hant", "trigram"),
        ("ja", "trigram"),
        ("th", "trigram"),
        ("de", "unicode61 remove_diacritics 2"),
        ("qq", "unicode61 remove_diacritics 2"),
    ],
)
def test_the_language_chooses_the_tokenizer(language: str, tokenizer: str) -> None:
    assert tokenizer_for(language) == tokenizer
    assert tokenizer in TOKENIZERS


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_texts_are_tokenized_alike_alone_and_together(tokenizer: str) -> None:
    texts = [*TEXTS.values(), "", "\0", "東", "a\0b"]
    assert tokenized(tokenizer, texts) == [tokenized(tokenizer, [one])[0] for one in texts]


JAPANESE = ["東", "東京", "東京都", "東京都庁", "京都", '"東京"', '"京都庁"', "x 東京"]


def test_short_and_long_queries_find_something_where_words_have_no_spaces(tmp_path: Path) -> None:
    texts = {"a": "昨日、東京都庁へ行きました。", "b": "大阪は雨です。"}
    with Index.build(
        [{"id": name, "text": text} for name, text in texts.items()],
        tmp_path / "i",
        encoder=HashedWords(),
        options=BuildOptions(text_index=True, language="ja"),
    ) as index:
        for query in JAPANESE:
            assert [hit.id for hit in index.search(query, mode="keywords")] == ["a"], query


def test_short_runs_fold_case_as_the_index_does() -> None:
    (terms,) = terms_of(["ÄB c"], "trigram")
    assert list(terms.counts) == [Term(("äb",), prefix=True), Term(("c",), prefix=True)]


def test_what_counts_of_a_long_query_is_bounded() -> None:
    words = " ".join(f"w{number}" for number in range(2 * MOST_TERMS))
    phrase = '"' + " ".join(f"p{number}" for number in range(2 * MOST_PHRASE_TOKENS)) + '"'
    short, long, cut, far = terms_of(
        ["one two", words, phrase, "x" + " " * MOST_CHARACTERS + "beyond"], tokenizer_for("de")
    )
    assert not short.cut
    assert [term.tokens for term in long.counts] == [(f"w{n}",) for n in range(MOST_TERMS)]
    assert [len(term.tokens) for term in cut.counts] == [MOST_PHRASE_TOKENS]
    assert [term.tokens for term in far.counts] == [("x",)]
    assert long.cut and cut.cut and far.cut  # noqa: PT018
