"""Conditions as people write them: in SQL's words, or as mappings. What is none is an error that helps."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from qsearch import Index, QueryError
from qsearch.filters import OPERATORS, as_condition, as_field
from qsearch.filters.advice import advice
from qsearch.filters.conditions import (
    All,
    Among,
    And,
    Call,
    Compare,
    Contains,
    Exists,
    Field,
    Holds,
    Like,
    Literal,
    Member,
    Not,
    Or,
    Truth,
    number_of,
    spelled,
)

YEAR, LANG, TAGS = Field(("year",)), Field(("lang",)), Field(("tags",))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("year = 2020", Compare("=", YEAR, Literal(2020))),
        ("year == 2020", Compare("=", YEAR, Literal(2020))),
        ("2020 < year", Compare(">", YEAR, Literal(2020))),
        ("year <> -1.5e3", Compare("!=", YEAR, Literal(-1500.0))),
        ("lang = 'it''s'", Compare("=", LANG, Literal("it's"))),
        ("lang = TRUE", Compare("=", LANG, Literal(True))),
        ("a.b.c = 1", Compare("=", Field(("a", "b", "c")), Literal(1))),
        ('"a.b" = 1', Compare("=", Field(("a.b",), exact=True), Literal(1))),
        ('"say ""x""" = 1', Compare("=", Field(('say "x"',), exact=True), Literal(1))),
        ("größe > 1", Compare(">", Field(("größe",)), Literal(1))),
        ("lang IN ('en', 'de')", Among(LANG, ("en", "de"))),
        ("lang in ()", Among(LANG, ())),
        ("lang NOT IN ('en')", Not(Among(LANG, ("en",)))),
        ("'x' IN tags", Member(TAGS, "x")),
        ("'x' NOT IN tags", Not(Member(TAGS, "x"))),
        ("contains(tags, 'x')", Contains(TAGS, "x")),
        (
            "year BETWEEN 1 AND 2",
            And((Compare(">=", YEAR, Literal(1)), Compare("<=", YEAR, Literal(2)))),
        ),
        ("lang LIKE 'e%'", Like(LANG, "e%")),
        ("lang LIKE '!%' ESCAPE '!'", Like(LANG, "!%", "!")),
        ("lang IS NULL", Not(Exists(LANG))),
        ("lang IS NOT NULL", Exists(LANG)),
        ("lang IS 'en'", Holds(Compare("=", LANG, Literal("en")))),
        ("lang IS NOT 'en'", Not(Holds(Compare("=", LANG, Literal("en"))))),
        ("year IS TRUE", Holds(Truth(YEAR))),
        ("(year = 1) IS NOT TRUE", Not(Holds(Compare("=", YEAR, Literal(1))))),
        ("year", Truth(YEAR)),
        ("NOT year", Not(Truth(YEAR))),
        ("lower(lang) = 'en'", Compare("=", Call("lower", (LANG,)), Literal("en"))),
        (
            "year OR lang AND tags",
            Or((Truth(YEAR), And((Truth(LANG), Truth(TAGS))))),
        ),
        ("NOT (year OR lang)", Not(Or((Truth(YEAR), Truth(LANG))))),
        ("year = lang", Compare("=", YEAR, LANG)),
        (" \n\tyear\n=\n1 ", Compare("=", YEAR, Literal(1))),
    ],
)
def test_a_text_becomes_a_tree(text: str, tree: Any) -> None:
    assert as_condition(text) == tree


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"year": 2020}, "year = 2020"),
        ({"year": {"$gte": 2020, "$lt": 2030}}, "year >= 2020 AND year < 2030"),
        ({"year": {"$gt": 1}, "lang": {"$in": ["en"]}}, "year > 1 AND lang IN ('en')"),
        ({"$or": [{"year": 1}, {"lang": "en"}]}, "year = 1 OR lang = 'en'"),
        ({"$and": [{"year": 1}, {"$or": [{"a": 1}, {"b": 2}]}]}, "year = 1 AND (a = 1 OR b = 2)"),
        ({"year": {"$lte": 1.5}}, "year <= 1.5"),
        ({"year": {"$ne": 1}}, "(year = 1) IS NOT TRUE"),
        ({"year": {"$nin": [1]}}, "(year IN (1)) IS NOT TRUE"),
        ({"$not": {"year": 1}}, "(year = 1) IS NOT TRUE"),
        ({"year": {"$not": {"$gt": 1}}}, "(year > 1) IS NOT TRUE"),
        ({"year": {"$exists": True}}, "year IS NOT NULL"),
        ({"year": {"$exists": False}}, "year IS NULL"),
        ({"year": None}, "year IS NULL"),
        ({"year": {"$eq": None}}, "year IS NULL"),
        ({"year": {"$ne": None}}, "year IS NOT NULL"),
        ({"tags": {"$contains": "x"}}, "contains(tags, 'x')"),
        ({"author.name": "x"}, "author.name = 'x'"),
        ({"day": datetime.date(2020, 1, 2)}, "day = '2020-01-02'"),
        ({"n": np.int64(3)}, "n = 3"),
    ],
)
def test_a_mapping_says_the_same_as_a_text(given: dict[str, Any], text: str) -> None:
    assert as_condition(given) == as_condition(text)


def test_an_empty_mapping_holds_for_every_document() -> None:
    assert as_condition({}) == All()


def test_parameters_are_values_and_never_words() -> None:
    hostile = "x' OR 1 = 1; DROP TABLE documents --"
    assert as_condition("lang = :it", {"it": hostile}) == Compare("=", LANG, Literal(hostile))
    assert as_condition("lang IN :some", {"some": {"en"}}) == Among(LANG, ("en",))
    assert as_condition("lang IN (:one, 'de')", {"one": "en"}) == Among(LANG, ("en", "de"))
    assert as_condition("lang LIKE :it", {"it": "e%"}) == Like(LANG, "e%")


HOSTILE = [
    # more than one statement, or another one
    "1; DROP TABLE documents",
    "year = 1;",
    "; year = 1",
    "PRAGMA journal_mode = WAL",
    "PRAGMA writable_schema = 1",
    "ATTACH DATABASE 'x' AS y",
    "DETACH y",
    "VACUUM INTO 'x'",
    "DROP TABLE documents",
    "DELETE FROM documents",
    "UPDATE documents SET text = ''",
    "INSERT INTO documents VALUES (1)",
    "CREATE TABLE t (a)",
    "REINDEX",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "EXPLAIN SELECT 1",
    "SELECT 1",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "VALUES (1)",
    # subqueries and tables
    "year = (SELECT 1)",
    "year IN (SELECT position FROM documents)",
    "EXISTS (SELECT 1 FROM settings)",
    "year IN documents FROM settings",
    "(SELECT value FROM settings)",
    "id IN (TABLE documents)",
    "year = 1 UNION SELECT 1",
    "year = 1 LIMIT 1",
    "year = 1 ORDER BY 1",
    "year = 1 GROUP BY 1",
    "1 FROM documents",
    # functions that are not allowed
    "load_extension('x')",
    "load_extension('x') = 1",
    "readfile('/etc/passwd') = 'x'",
    "writefile('x', 'y')",
    "randomblob(1000000000) = 1",
    "zeroblob(1000000000) = 1",
    "hex(zeroblob(100000000)) = 'x'",
    "printf('%1000000000d', 1) = 'x'",
    "replace(lang, 'a', 'b') = 'x'",
    "json_extract(metadata, '$.x') = 1",
    "sqlite_version() = 'x'",
    "group_concat(lang) = 'x'",
    "count(*) > 1",
    "random() > 1",
    "qs_number('1') = 1",
    "qs_inner(metadata, 'x') = 1",
    "glob('*', lang)",
    "regexp('a', lang)",
    "match(lang, 'a')",
    "fts5(lang)",
    "edit('x')",
    "date('now') = 'x'",
    "lower()",
    "lower(lang, lang) = 'x'",
    "coalesce(lang) = 'x'",
    "substr(lang) = 'x'",
    "lower(lower)( lang ) = 'x'",
    # operators that are not allowed
    "lang GLOB '*'",
    "lang REGEXP '(a+)+$'",
    "lang MATCH 'x'",
    "lang LIKE lang",
    "lang COLLATE nocase = 'x'",
    "year + 1 = 2",
    "year * 2 = 4",
    "year || 'x' = 'y'",
    "year & 1",
    "~year = 1",
    "year << 1",
    "year % 2 = 0",
    "year / 0 = 1",
    "CAST(year AS TEXT) = '1'",
    "CASE WHEN 1 THEN 1 END",
    "year ISNULL",
    "year NOTNULL",
    "lang -> 'a'",
    "lang ->> 'a' = 'x'",
    "year = NULL",
    "NULL",
    "year IN (NULL)",
    "x'00' = lang",
    "lang = 0x10",
    "lang = 1_000",
    # what is not ended, or begins nothing
    "",
    "   ",
    "lang = 'x",
    'lang = "x',
    "lang =",
    "= 'x'",
    "(lang = 'x'",
    "lang = 'x')",
    "lang = 'x' AND",
    "OR lang = 'x'",
    "lang IN ('x'",
    "lang IN",
    "lang BETWEEN 1",
    "lang BETWEEN 1 OR 2",
    "NOT",
    "lang NOT 'x'",
    "lang.",
    ".lang = 1",
    "lang..x = 1",
    '"" = 1',
    "lang LIKE",
    "lang LIKE 'a' ESCAPE 'ab'",
    "lang LIKE 'a' ESCAPE ''",
    "lang IS",
    "contains(lang)",
    "contains(lang, tags)",
    "contains(lang, 'x', 'y')",
    # comments, variables, quotes, other scripts
    "lang = 'x' -- comment",
    "lang = 'x' /* comment */",
    "/**/ lang = 'x'",
    "lang = ?",
    "lang = ?1",
    "lang = $x",
    "lang = @x",
    "lang = :missing",
    "lang = #x",
    "lang = `x`",
    "[lang] = 'x'",
    "lang = ‘x’",
    "lang = “x”",
    "lang ＝ 'x'",
    "lang = 'x'\0",
    "lang\0 = 'x'",
    "\ufefflang = 'x'",
    "lang = 'x' \u2028 OR 1",
    "lang = 1e",
    "lang = 1.2.3",
    "lang = 12abc",
    "lang = 1e400",
    # too much
    "(" * 60 + "lang" + ")" * 60,
    "NOT " * 200 + "lang",
    "lower(" * 60 + "lang" + ")" * 60 + " = 'x'",
    "lang = '" + "x" * 30_000 + "'",
    " OR ".join(["lang = 'x'"] * 3_000),
    "lang LIKE '" + "%a" * 300 + "'",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    documents = [
        {"id": f"d{number}", "text": "x", "year": number, "lang": "en", "tags": ["x"]}
        for number in range(20)
    ]
    vectors = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    path = tmp_path_factory.mktemp("battery") / "index"
    with Index.build(documents, path, embeddings=vectors) as opened:
        yield opened


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_condition_is_refused_and_says_what_is(index: Index, text: str) -> None:
    before = {file: file.read_bytes() for file in index.path.rglob("*") if file.is_file()}
    with pytest.raises(QueryError) as refused:
        index.search_vectors(np.ones((1, 4)), where=text)
    told = str(refused.value)
    helps = (
        "allowed",
        "a condition is made of",
        "nested more than",
        "no document has a field",
        "no value is given",
        "too large",
    )
    assert any(one in told for one in helps), told
    assert len(told) < 1200
    assert {file: file.read_bytes() for file in index.path.rglob("*") if file.is_file()} == before
    assert index.count({}) == 20


def test_the_battery_is_large_enough() -> None:
    assert len(set(HOSTILE)) >= 100


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"year": {"$gte": 1, "$foo": 2}}, r"no operator '\$foo'; there are \$eq, \$ne"),
        ({"$nor": []}, r"no operator '\$nor'.*did you mean \$not|no operator '\$nor'; there are"),
        ({"year": {"$regex": "(a+)+$"}}, r"no operator '\$regex'"),
        ({"$where": "sleep(1)"}, r"no operator '\$where'"),
        ({"year": {}}, "has no operator"),
        ({"$or": []}, "which is not empty"),
        ({"$or": {"year": 1}}, "takes a list"),
        ({"$and": ["year"]}, "found str in it"),
        ({"year": {"$in": "en"}}, "takes a list of values"),
        ({"year": {"$in": [None]}}, "is None"),
        ({"year": {"$exists": 1}}, "takes true or false"),
        ({"year": {"$and": [1]}}, "stands before the fields"),
        ({"year": {"gte": 1}}, r"no operator 'gte'.*did you mean \$gte"),
        ({"year": [1]}, "found list"),
        ({"year": float("nan")}, "is nan"),
        ({"year": {"$gt": b"x"}}, "found bytes"),
        ({1: 2}, "names of fields are texts"),
        ({"$not": 1}, "takes a condition"),
        ("year = 1", "a text or a mapping"),
    ],
)
def test_a_mapping_that_is_no_condition_is_refused(given: Any, told: str) -> None:
    if isinstance(given, str):
        given = [given]
    with pytest.raises(QueryError, match=told):
        as_condition(given)


def test_deep_mappings_are_refused() -> None:
    deep: dict[str, Any] = {"year": 1}
    for _ in range(200):
        deep = {"$not": deep}
    with pytest.raises(QueryError, match="nested more than"):
        as_condition(deep)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, "no value is given"),
        ({"it": 1, "more": 2}, "has no :more"),
        ({"it": None}, "IS NULL"),
        ({"it": float("inf")}, "is inf"),
        ({"it": object()}, "found object"),
        ({"it": "\ud800"}, "not valid Unicode"),
        ([1], "a mapping of names"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(params: Any, told: str) -> None:
    with pytest.raises(QueryError, match=told):
        as_condition("year = :it", params)


def test_a_parameter_behind_in_is_a_list() -> None:
    with pytest.raises(QueryError, match=r"IN must be a list, such as \[2020, 2021\]"):
        as_condition("year IN :it", {"it": "en"})
    with pytest.raises(QueryError, match="at most 100,000"):
        as_condition("year IN :it", {"it": range(100_001)})


def test_every_operator_is_named_where_one_is_not_known() -> None:
    with pytest.raises(QueryError) as refused:
        as_condition({"a": {"$unknown": 1}})
    assert all(one in str(refused.value) for one in OPERATORS)


@pytest.mark.parametrize("parts", [("a",), ("a", "b"), ("a.b",), ('q"x',), ("ünï", "x y"), ("",)])
def test_a_name_is_spelled_so_that_it_is_read_again(parts: tuple[str, ...]) -> None:
    assert as_field(spelled(parts)).parts == parts


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), (" -1.5 ", -1.5), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("+7", 7)]
    + [("9223372036854775808", 9223372036854775808.0), ("9223372036854775807", 2**63 - 1)],
)
def test_a_text_that_is_written_as_a_number_is_one(text: str, number: float) -> None:
    assert number_of(text) == number
    assert type(number_of(text)) is type(number)


@pytest.mark.parametrize(
    "text", ["", "x", "12x", "0x10", "inf", "nan", "1e", "1_000", "１２", "--1", "1 2"]
)
def test_other_texts_are_no_numbers(text: str) -> None:
    assert number_of(text) is None


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("price < 100", "price holds texts: a number is compared only with those"),
        ("NOT (day BETWEEN 2024 AND 2025)", "day holds texts"),
        ("tags LIKE '%sea%'", "tags holds lists"),
        ("tags IN ('sea', 'air')", "tags holds lists"),
        ("'sea' IN tags", None),
        ("author = 'Ada'", "author holds objects; compare what is in them: author.name"),
        ("author.name = 'Ada'", None),
        ("vip = 'true'", "vip holds booleans: TRUE and FALSE stand without quotes"),
        ("vip = 1 OR vip = TRUE", None),
        ("year = 'new'", "year holds numbers, and was compared with a text"),
        ("year = '2020' OR nowhere = 1 OR mixed = 1 OR lower(price) = 1", None),
    ],
)
def test_advice_names_comparisons_that_hold_for_nothing(where: str, told: str | None) -> None:
    kinds = {
        "price": {"text": 3},
        "day": {"text": 3, "number": 0},
        "tags": {"list": 3},
        "author": {"object": 3},
        "author.name": {"text": 3},
        "vip": {"boolean": 3},
        "year": {"number": 3},
        "mixed": {"number": 3, "text": 2},
    }
    found = advice(as_condition(where), kinds)
    assert [one[: len(told or "")] for one in found] == ([] if told is None else [told])
