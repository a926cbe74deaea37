"""Names of fields: matched whatever their case, missed when they are not there, proposed as ids."""

from __future__ import annotations

from typing import Any

import pytest

from qsearch.documents import Corpus, Document, Fields, FieldsFound, open_corpus
from qsearch.errors import CorpusError
from tests.documents.corpora import Files, kinds


def read_through(source: Any, **options: Any) -> tuple[Corpus, list[Any]]:
    corpus = open_corpus(source, **options)
    return corpus, list(corpus)


def found(records: list[dict[str, Any]], **options: Any) -> FieldsFound:
    return read_through(records, **options)[0].found


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ('{"ID": "D1", "Text": "x", "TITLE": "T"}', "c.jsonl"),
        ('[{"_Id": "D1", "tExt": "x", "Title": "T"}]', "c.json"),
        ("Id,TEXT,Title\nD1,x,T\n", "c.csv"),
    ],
)
def test_usual_names_match_whatever_their_case(files: Files, data: str, name: str) -> None:
    (document,) = files.documents(data, name)
    assert (document.id, document.title, document.text) == ("D1", "T", "x")
    assert document.metadata == {}


def test_given_names_match_whatever_their_case(files: Files) -> None:
    fields = Fields(id="DOCNO", text="Body", title="head", metadata=("YEAR",))
    data = '{"DocNo": "D1", "body": "x", "HEAD": "T", "Year": 1, "n": 2}'
    assert files.documents(data, fields=fields) == [Document("D1", "x", "T", {"Year": 1}, 1)]


@pytest.mark.parametrize(
    ("record", "id"),
    [
        ({"ID": "upper", "id": "exact"}, "exact"),
        ({"ID": "upper", "_id": "exact"}, "exact"),  # also one that is looked for later
        ({"_ID": "late", "Id": "early"}, "early"),
    ],
)
def test_an_exact_name_goes_before_one_that_differs_in_case(
    record: dict[str, Any], id: str
) -> None:
    for ordered in (record, dict(reversed(record.items()))):
        _, (document,) = read_through([ordered | {"text": "x"}])
        assert document.id == id
        assert len(document.metadata) == 1


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("ID", "Id"), "'ID' and 'Id' could both be the id (looked for 'id')"),
        (("Text", "TEXT"), "'Text' and 'TEXT' could both be the text (looked for 'text')"),
        (("TITLE", "Title"), "'TITLE' and 'Title' could both be the title (looked for 'title')"),
    ],
)
def test_two_names_that_differ_in_case_only_are_an_error_that_names_both(
    names: tuple[str, str], reason: str
) -> None:
    record = dict.fromkeys(names, "x")
    _, (reject,) = read_through([record | {"text": "x"} if "Text" not in names else record])
    assert reject.reason == reason


def test_a_name_of_no_use_may_differ_in_case_from_another(files: Files) -> None:
    (document,) = files.documents("text,Year,YEAR\nx,1,2\n", "c.csv")
    assert document.metadata == {"Year": "1", "YEAR": "2"}


def test_a_field_named_as_the_text_is_not_the_title_too() -> None:
    _, (document,) = read_through([{"title": "x", "text": "y"}], fields={"text": "title"})
    assert document.content == "x"
    assert document.metadata == {"text": "y"}


def test_names_that_no_record_has_are_known_after_reading() -> None:
    records = [{"text": "x", "Year": 1}, {"text": "y", "lang": "en"}]
    fields = Fields(title="headline", metadata=("year", "lang", "pages"))
    shown = found(records, fields=fields)
    assert shown.missing == (("title", "headline"), ("metadata", "pages"))
    assert shown.seen == ("text", "Year", "lang")


def test_each_of_several_names_must_be_somewhere() -> None:
    records = [{"body": "x"}, {"abstract": "y"}]
    assert found(records, fields=Fields(text=("body", "abstract"))).missing == ()
    shown = found(records, fields=Fields(text=("body", "abstract", "txet")))
    assert shown.missing == (("text", "txet"),)


def test_an_id_that_was_named_is_required_of_every_record(files: Files) -> None:
    records = files.read('{"text": "x"}\n{"docno": "D2", "text": "y"}\n', fields=Fields(id="docno"))
    assert kinds(records) == [(1, "!"), (2, "y")]
    assert records[0].reason == "no id (looked for 'docno', found 'text')"


@pytest.mark.parametrize(
    "fields",
    [
        Fields(text="body", metadata="n"),
        Fields(text=["body"], metadata=["n"]),
        {"text": "body", "metadata": ["n"]},
    ],
)
def test_fields_take_a_name_or_several_or_come_as_a_mapping(fields: Any) -> None:
    _, (document,) = read_through([{"body": "x", "n": 1, "m": 2}], fields=fields)
    assert document == Document("1", "x", None, {"n": 1}, 1)


def test_a_name_alone_is_the_same_as_a_list_of_one() -> None:
    assert Fields(text="body") == Fields(text=["body"]) == Fields(text=("body",))
    assert Fields() != Fields(text="text")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"body": "text"}, "fields takes id, text, title, metadata, .* found 'body'"),
        ({"text": 5}, "the text field must be a name or a list of names, found 5"),
        ({"text": ["a", None]}, "the text field must be a name or a list of names"),
        ("body", "fields must be a qsearch.Fields or a mapping .* found a str"),
        (["body"], "found a list"),
    ],
)
def test_fields_of_another_form_are_refused(fields: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        open_corpus([], fields=fields)


# Numbers in the place of ids


@pytest.mark.parametrize(
    ("data", "name", "ids", "numbered_by"),
    [
        ('{"text": "a"}\n\n{"text": "b"}\n', "c.jsonl", ["1", "3"], "line"),
        ("a\n\nb\n", "c.txt", ["1", "3"], "line"),
        ("text\na\nb\n", "c.csv", ["1", "2"], "row"),
        ('\ntext\n\n"a\nb"\n\nc\n', "c.csv", ["1", "2"], "row"),
        ("text\ta\n1\t2\n", "c.tsv", ["1"], "row"),
        ('[\n\n{"text": "a"},\n{"text": "b"}]', "c.json", ["1", "2"], "record"),
    ],
)
def test_records_without_ids_are_numbered_as_people_count(
    files: Files, data: str, name: str, ids: list[str], numbered_by: str
) -> None:
    corpus, documents = read_through(files.write(data.encode(), name))
    assert [one.id for one in documents] == ids
    assert corpus.found.numbered_by == numbered_by


def test_a_row_that_is_rejected_keeps_its_number(files: Files) -> None:
    records = files.read("text,n\na,1\nb,1,2\nc,1\n", "c.csv")
    assert kinds(records) == [(2, "a"), (3, "!"), (4, "c")]
    assert [one.id for one in records if isinstance(one, Document)] == ["1", "3"]


def test_rows_of_parquet_and_objects_of_python_are_numbered_from_one(files: Files) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"text": ["a", "b"]}), files.folder / "c.parquet")
    for source, word in ((files.folder / "c.parquet", "row"), ([{"text": "a"}] * 2, "record")):
        corpus, documents = read_through(source)
        assert [one.id for one in documents] == ["1", "2"]
        assert corpus.found.numbered_by == word


def test_nothing_is_numbered_where_there_are_ids() -> None:
    shown = found([{"id": "a", "text": "x", "docno": "D1"}])
    assert (shown.numbered_by, shown.id_like) == (None, ())


@pytest.mark.parametrize(
    "name",
    ["docno", "doc_id", "docid", "DocID", "pid", "key", "uuid", "identifier", "doc-id", "DOCNO"],
)
def test_a_field_with_the_name_of_an_id_is_proposed(name: str) -> None:
    assert found([{name: "D1", "text": "x"}]).id_like == (name,)


def test_a_field_whose_values_are_there_and_distinct_is_proposed_after_those() -> None:
    records = [
        {"code": f"A{n}", "text": "x", "docno": n, "lang": "en", "note": f"a {n}", "some": n}
        for n in range(20)
    ]
    del records[7]["some"]
    assert found(records).id_like == ("docno", "code")


@pytest.mark.parametrize(
    "values", [("a", "a"), ("a", None), ("a", 1.5), ("a", ""), (True, False), ("a", "x" * 200)]
)
def test_a_field_that_cannot_tell_records_apart_is_not_proposed(values: tuple[Any, Any]) -> None:
    assert found([{"docno": value, "text": "x"} for value in values]).id_like == ()


def test_one_record_makes_no_field_distinct() -> None:
    assert found([{"lang": "en", "text": "x"}]).id_like == ()
