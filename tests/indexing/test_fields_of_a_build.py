"""What a build says of fields: those it was told of and did not find, and numbers in place of ids."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import Index
from qsearch.cli.wording import COMMAND_LINE
from qsearch.documents import Embeddings, Fields, open_corpus
from qsearch.errors import CorpusError
from qsearch.indexing import BuildOptions, BuildReport, build_index
from qsearch.wording import speaking
from tests.encoders import HashedWords

RECORDS = [{"docno": f"D{n}", "text": f"cat {n}", "lang": "en"} for n in range(1, 6)]


def built(source: Any, target: Path, **options: Any) -> BuildReport:
    corpus = open_corpus(source, **options)
    return build_index(corpus, target, load_encoder=HashedWords)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": "headline"}, r"no record has a field 'headline' \(Fields\(title=...\)\)"),
        (
            {"metadata": ["lang", "year", "pages"]},
            r"'year' \(Fields\(metadata=...\)\) or 'pages' \(Fields\(metadata=...\)\)",
        ),
    ],
)
@pytest.mark.parametrize("skip_invalid", [False, True])
def test_a_named_field_that_no_record_has_is_an_error_before_anything_is_encoded(
    tmp_path: Path, encoder: HashedWords, fields: Any, message: str, skip_invalid: bool
) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        Index.build(
            RECORDS,
            tmp_path / "i",
            encoder=encoder,
            fields=fields,
            options=BuildOptions(skip_invalid=skip_invalid),
        )
    assert str(caught.value).endswith("; there are 'docno', 'text', 'lang'")
    assert encoder.encoded == []


@pytest.mark.parametrize("role", ["id", "text"])
def test_a_required_field_that_is_nowhere_is_told_with_what_is_there(
    tmp_path: Path, encoder: HashedWords, role: str
) -> None:
    message = (
        rf"no {role} \(looked for 'nope', found 'docno', 'text', 'lang'\); name the field that "
    )
    for source in (RECORDS, iter(RECORDS)):
        with pytest.raises(CorpusError, match=message + rf"holds it with Fields\({role}=...\)"):
            Index.build(source, tmp_path / "i", encoder=encoder, fields={role: "nope"})
    with pytest.raises(CorpusError, match=r"no record has a field 'nope' \(Fields"):
        Index.build(
            RECORDS,
            tmp_path / "i",
            encoder=encoder,
            fields={role: "nope"},
            options=BuildOptions(skip_invalid=True),
        )
    assert not any(text.startswith("cat") for text in encoder.encoded)


def test_of_a_stream_it_is_told_at_the_end_and_nothing_is_published(
    tmp_path: Path, encoder: HashedWords
) -> None:
    fields = Fields(id="docno", title="headline")
    with pytest.raises(CorpusError, match="no record has a field 'headline'"):
        Index.build(iter(RECORDS), tmp_path / "i", encoder=encoder, fields=fields)
    assert not (tmp_path / "i").exists()
    again = HashedWords()  # the field left out: nothing is encoded again
    Index.build(iter(RECORDS), tmp_path / "i", encoder=again, fields={"id": "docno"})
    assert not any(text.startswith("cat") for text in again.encoded)


def test_it_is_told_where_embeddings_are_given_too(tmp_path: Path) -> None:
    vectors = np.eye(5, dtype=np.float32)
    corpus = open_corpus(RECORDS, fields={"text": "body"}, text_required=False)
    with pytest.raises(CorpusError, match="no record has a field 'body'"):
        build_index(corpus, tmp_path / "i", load_encoder=None, embeddings=Embeddings(vectors))
    assert not (tmp_path / "i").exists()


def test_an_empty_corpus_is_empty_whatever_was_named(tmp_path: Path, encoder: HashedWords) -> None:
    with pytest.raises(CorpusError, match="is empty"):
        Index.build([], tmp_path / "i", encoder=encoder, fields={"title": "headline"})


def test_advice_is_in_the_words_of_the_caller_and_reasons_are_in_nobodys(
    tmp_path: Path, encoder: HashedWords
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"body": "x"}\n{"text": "caf\xe9"}\n{"text": "cat"}\n')
    with pytest.raises(CorpusError, match=r"; name the field that holds it with Fields\(text="):
        Index.build(path, tmp_path / "i", encoder=encoder)
    with speaking(COMMAND_LINE), pytest.raises(CorpusError) as caught:
        Index.build(path, tmp_path / "i", encoder=encoder)
    assert "; name the field that holds it with --text-field (--skip-invalid" in str(caught.value)
    with speaking(COMMAND_LINE):
        Index.build(path, tmp_path / "i", encoder=encoder, options=BuildOptions(skip_invalid=True))
    written = (tmp_path / "i.rejects.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["reason"] for line in written.splitlines()] == [
        "no text (looked for 'text', found 'body')",
        "is not UTF-8 (at byte 14)",
    ]


def test_an_id_that_is_missing_in_the_middle_is_not_blamed_on_a_name(
    tmp_path: Path, encoder: HashedWords
) -> None:
    records = [{"id": "a", "text": "x"}, {"text": "y"}]
    with pytest.raises(CorpusError, match="though earlier documents have one \\(skip_invalid"):
        Index.build(records, tmp_path / "i", encoder=encoder)


# Numbers in the place of ids


def test_the_report_says_that_documents_are_numbered_and_what_could_be_their_ids(
    tmp_path: Path,
) -> None:
    report = built(RECORDS, tmp_path / "a")
    assert (report.numbered_by, report.id_like) == ("record", ("docno",))
    report = built(RECORDS, tmp_path / "b", fields={"id": "docno"})
    assert (report.numbered_by, report.id_like) == (None, ())
    path = tmp_path / "c.csv"
    path.write_text("text\nx\n")
    report = built(path, tmp_path / "c")
    assert (report.numbered_by, report.id_like) == ("row", ())
    vectors = Embeddings(np.eye(3, dtype=np.float32))
    report = build_index(None, tmp_path / "d", load_encoder=None, embeddings=vectors)
    assert (report.numbered_by, report.id_like) == ("vector", ())


def test_a_warning_comes_before_anything_is_encoded(
    tmp_path: Path, encoder: HashedWords, caplog: pytest.LogCaptureFixture
) -> None:
    def stopping() -> HashedWords:
        raise KeyboardInterrupt

    with caplog.at_level(logging.WARNING, "qsearch"), pytest.raises(KeyboardInterrupt):
        build_index(open_corpus(RECORDS), tmp_path / "i", load_encoder=stopping)
    (said,) = caplog.messages
    assert said == (
        "<documents>: no record has an id, so record numbers are used; 'docno' could hold ids: name it "
        "with Fields(id=...)"
    )


@pytest.mark.parametrize("stream", [False, True])
def test_the_warning_comes_once(
    tmp_path: Path, encoder: HashedWords, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    source: Any = iter(RECORDS) if stream else RECORDS
    with caplog.at_level(logging.WARNING, "qsearch"):
        Index.build(source, tmp_path / "i", encoder=encoder)
    assert len(caplog.messages) == 1


def test_no_warning_where_nothing_could_be_an_id(
    tmp_path: Path, encoder: HashedWords, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "qsearch"):
        Index.build([{"text": "a"}, {"text": "b"}], tmp_path / "i", encoder=encoder)
    assert caplog.messages == []


def test_an_array_is_built_and_its_build_resumed(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(RECORDS, indent=1))

    class Stopping(HashedWords):
        def encode_documents(self, texts: Any, advance: Any = None) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.build(path, tmp_path / "i", encoder=Stopping(), fields={"id": "docno"})
    index = Index.build(path, tmp_path / "i", encoder=HashedWords(), fields={"id": "docno"})
    assert list(index.ids(np.arange(5))) == [f"D{n}" for n in range(1, 6)]


def test_the_library_takes_a_delimiter_and_an_encoding(
    tmp_path: Path, encoder: HashedWords
) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes("Id#Text\nD1#Käse, Brot; mehr\n".encode("cp1252"))
    index = Index.build(path, tmp_path / "i", encoder=encoder, delimiter="#", encoding="cp1252")
    (hit,) = index.search("brot", k=1)
    assert (hit.id, hit.text) == ("D1", "Käse, Brot; mehr")


def test_values_of_numpy_are_stored_as_json(tmp_path: Path, encoder: HashedWords) -> None:
    records = [{"id": np.int64(1), "text": "cat", "n": np.float32(0.5), "x": float("nan")}]
    (hit,) = Index.build(records, tmp_path / "i", encoder=encoder).search("cat", k=1)
    assert (hit.id, dict(hit.metadata)) == ("1", {"n": 0.5, "x": None})


def test_names_of_fields_that_are_no_strings_are_stored_as_json_has_them(
    tmp_path: Path, encoder: HashedWords
) -> None:
    def source() -> Iterator[dict[Any, Any]]:
        yield {"text": "cat", 5: "five", None: "none"}

    (hit,) = Index.build(source(), tmp_path / "i", encoder=encoder).search("cat", k=1)
    assert dict(hit.metadata) == {"5": "five", "null": "none"}
