"""Random metadata, and random conditions on it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from qsearch.filters.conditions import (
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
)

TEXTS = st.sampled_from(
    [
        "",
        "a",
        "b",
        "A",
        "en",
        "de",
        "é",
        "É",
        "zürich",
        "12",
        " 12 ",
        "12.0",
        "-3",
        "1e1",
        "true",
        "FALSE",
    ]
    + [
        "2020-01-31",
        "2020-02-01T10:00:00",
        "%",
        "a_b",
        "it's",
        'say "x"',
        "\u2028",
        "🎈",
        "12x",
        "0x1",
        "inf",
        "a\0b",
        "\0",
        "12\0",
        "\ufffe",
        "\ufffd",
    ]
)
NUMBERS = st.sampled_from(
    [
        0,
        1,
        -1,
        2,
        10,
        12,
        2020,
        -3,
        0.5,
        12.0,
        1e10,
        -0.0,
        2**53,
        2**53 + 1,
        -(2**63),
        2**63 - 1,
        1e300,
    ]
)
BOOLEANS = st.booleans()
SCALARS = st.one_of(TEXTS, NUMBERS, BOOLEANS)
VALUES = st.one_of(
    SCALARS,
    st.none(),
    st.lists(st.one_of(SCALARS, st.none(), st.just([1])), max_size=4),
    st.dictionaries(st.sampled_from(["x", "y"]), SCALARS, max_size=2),
)
PLAIN = ("a", "b", "c")
ODD = ("with space", "dot.ted", 'quo"te', "back\\slash", "ünï", "select", "tab\there", "")
METADATA = st.dictionaries(st.sampled_from([*PLAIN, *ODD, "o"]), VALUES, max_size=5).flatmap(
    lambda plain: st.one_of(
        st.just(plain),
        VALUES.map(lambda value: {**plain, "dot": {"ted": value}}),  # beside the name with a dot
        st.dictionaries(st.sampled_from(["x", "y", 'in"ner']), VALUES, max_size=2).map(
            lambda inner: {**plain, "o": inner}
        ),
    )
)
FIELDS = st.one_of(
    st.sampled_from([Field((name,)) for name in PLAIN]),
    st.sampled_from([Field((name,), exact=True) for name in ODD if name]),
    st.sampled_from(
        [
            Field(("o", "x")),
            Field(("o", "y")),
            Field(("o", 'in"ner'), exact=True),
            Field(("dot", "ted")),
            Field(("id",)),
            Field(("title",)),
        ]
    ),
)
SIGNS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
PATTERNS = st.sampled_from(
    [
        "%",
        "",
        "_",
        "a%",
        "%2%",
        "EN",
        "É",
        "é%",
        "z_rich",
        "\\%",
        "a\\_b",
        "%'%",
        "a_b",
        "%\0%",
        "\ufffd",
    ]
)
CALLS = st.builds(
    lambda name, field: Call(name, (field,)),
    st.sampled_from(["lower", "upper", "trim", "length", "abs"]),
    FIELDS,
) | st.builds(
    lambda one, other, last: Call("coalesce", (one, other, Literal(last))), FIELDS, FIELDS, TEXTS
)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.builds(Compare, SIGNS, FIELDS, SCALARS.map(Literal)),
    st.builds(Compare, SIGNS, FIELDS, FIELDS),
    st.builds(Compare, SIGNS, CALLS, TEXTS.map(Literal)),
    st.builds(Among, FIELDS, st.lists(SCALARS, max_size=30).map(tuple)),
    st.builds(Like, FIELDS, PATTERNS, st.sampled_from([None, "\\"])),
    st.builds(Member, FIELDS, SCALARS),
    st.builds(Contains, FIELDS, SCALARS),
    st.builds(Exists, FIELDS),
    st.builds(Truth, FIELDS),
)
CONDITIONS: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Holds, inner),
        st.lists(inner, min_size=1, max_size=4).map(lambda some: And(tuple(some))),
        st.lists(inner, min_size=1, max_size=4).map(lambda some: Or(tuple(some))),
    ),
    max_leaves=6,
)
