"""What reaches a terminal, a pipe, a full disk: escaped, at once, or an error in a line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from qsearch import Index
from qsearch.cli.output import printable

HOSTILE = "a\x1b]0;owned\x07b\x9b31m\u202edrow\u2066\x7f\r\n\u2028end"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    place = tmp_path_factory.mktemp("place")
    records = [
        {"id": f"id {HOSTILE}", "title": HOSTILE, "text": f"cat {HOSTILE}", "note": HOSTILE},
        {"id": "plain", "text": "king queen"},
    ]
    Index.build(records, place / "indexes" / "c", encoder=str(tiny_bert)).close()
    return place


def run(
    place: Path,
    *arguments: str | bytes,
    stdout: IO[bytes] | int = subprocess.PIPE,
    stdin: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "qsearch", *arguments],
        cwd=place,
        stdout=stdout,
        stderr=subprocess.PIPE,
        input=stdin,
        check=False,
    )


def harmless(output: bytes) -> bool:
    text = output.decode("utf-8")
    return all(one == "\n" or printable(one) == one for one in text)


def test_text_that_a_terminal_would_act_on_is_escaped(place: Path) -> None:
    done = run(place, "query", f"cat {HOSTILE}", "king", "-k", "2")
    assert done.returncode == 0, done.stderr
    assert harmless(done.stdout)
    assert harmless(done.stderr)
    text = done.stdout.decode()
    assert "\\x1b]0;owned\\x07b\\x9b31m\\u202edrow\\u2066\\x7f" in text
    assert len([line for line in text.splitlines() if "0." in line or "1." in line]) == 4
    assert "id a\\x1b]0;owned" in text
    assert "\\r\\n\\u2028end" in text  # an id stays on its line


def test_json_is_the_same_value_and_harmless(place: Path) -> None:
    done = run(place, "query", f"cat {HOSTILE}", "-k", "1", "--format", "jsonl")
    assert harmless(done.stdout)
    record = json.loads(done.stdout)
    assert record["query"] == f"cat {HOSTILE}"
    assert record["id"] == f"id {HOSTILE}"
    assert record["metadata"] == {"note": HOSTILE}


def test_no_id_is_written_to_a_trec_run_otherwise_than_it_is(tmp_path: Path) -> None:
    records = [{"id": "\u202ea", "text": "x"}, {"id": "b\u200fc", "text": "y"}]
    Index.build(records, tmp_path / "i", embeddings=np.eye(2)).close()
    np.save(tmp_path / "q.npy", np.eye(2))
    done = run(tmp_path, "query", "-i", "i", "--vectors", "q.npy", "--format", "trec")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"the id '\\u202ea' holds white space or control characters" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "x", "-i", "no\x1b[31m\x9bindex"),
        ("query", "x", "--no\x1b[31m"),
        ("bu\x1b[31mild",),
        ("build", "no\x1b[31m\u202e.jsonl"),
        ("info", "no\x1b[31m"),
    ],
)
def test_errors_quote_nothing_that_a_terminal_acts_on(
    place: Path, arguments: tuple[str, ...]
) -> None:
    done = run(place, *arguments)
    assert done.returncode in (1, 2)
    assert harmless(done.stderr)


def test_a_query_that_is_no_unicode_is_an_error_in_a_line(place: Path) -> None:
    done = run(place, "query", b"caf\xe9")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == (
        b"error: the query is not valid Unicode text: the character at 3 is half of a surrogate pair\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [("query", "cat"), ("info",), ("verify",), ("--help",), ("query", "-h"), ("--version",)],
)
def test_a_full_disk_is_an_error_in_a_line(place: Path, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = run(place, *arguments, stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"error: standard output cannot be written (No space left on device)\n"


def test_a_closed_standard_output_is_an_error_in_a_line(place: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m qsearch query cat >&-', sys.executable],
        cwd=place,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: standard output is closed")
    assert done.stderr.count(b"\n") == 1


def test_a_closed_standard_error_hinders_nothing(place: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m qsearch query cat -k 1 --explain 2>&-', sys.executable],
        cwd=place,
        stdout=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 1


def test_an_encoding_without_a_character_shows_it_escaped(place: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "qsearch", "query", "caf\u00e9 \u732b", "cat", "-k", "1"],
        cwd=place, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"# caf\\xe9 \\u732b" in done.stdout


@pytest.mark.parametrize("stdin", [b"", b"cat\n"])
def test_no_text_is_a_usage_error_and_reads_nothing(place: Path, stdin: bytes) -> None:
    done = run(place, "query", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"- to read queries from standard input" in done.stderr


def test_a_line_of_a_pipe_that_stays_open_is_answered(place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "qsearch", "query", "-", "-k", "1", "--format", "jsonl"],
        cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for number, text in enumerate(["cat", "king queen", "cat"], 1):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            record = json.loads(process.stdout.readline())
            assert (record["query_id"], record["query"]) == (str(number), text)
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("way_out", "k", "code", "told"),
    [
        ("interrupt", "1", 130, b"\nerror: interrupted\n"),
        ("nobody reads", "1", 0, b""),
        ("an error", "0", 1, b"error: k must be at least 1, found 0\n"),
    ],
)
def test_it_ends_while_it_waits_for_a_line(
    place: Path, way_out: str, k: str, code: int, told: bytes
) -> None:
    """The thread that waits must not be in the way, with an abort, when the process ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "qsearch", "query", "-", "-k", k],
        cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"cat\n")
        process.stdin.flush()
        if code != 1:
            assert process.stdout.readline() == b"# cat\n"
        if way_out == "interrupt":
            process.send_signal(signal.SIGINT)
        elif way_out == "nobody reads":
            process.stdout.close()
            process.stdin.write(b"king\n")
            process.stdin.flush()
        assert process.wait(60) == code
        assert process.stderr.read() == told


def test_what_came_before_a_broken_line_is_answered(place: Path) -> None:
    done = run(place, "query", "-", "-k", "1", "--format", "trec", stdin=b"king queen\n\xff\n")
    assert done.returncode == 1
    assert done.stdout.startswith(b"1 Q0 plain 1 ")
    assert b"standard input, line 2: is not UTF-8" in done.stderr


def test_many_lines_are_all_answered_in_order(place: Path) -> None:
    lines = b"".join(b"cat %d\n" % number for number in range(700))
    done = run(place, "query", "-", "-k", "1", "--format", "jsonl", stdin=lines)
    found = [json.loads(line)["query"] for line in done.stdout.splitlines()]
    assert found == [f"cat {number}" for number in range(700)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ['{"_id": "a", "text": "x"}', '{"_id": "a", "text": "y"}'],
            "q:2: has the id 'a', which q:1",
        ),
        (
            ['{"_id": 1, "text": "x"}', '{"_id": "1", "text": "y"}'],
            "q:2: has the id '1', which q:1",
        ),
        (['{"_id": "a", "text": "x"}', '{"text": "y"}'], "q:2: has no id, though earlier"),
        (['{"text": "x"}', '{"id": "a", "text": "y"}'], "q:2: has an id, though earlier"),
        (['{"_id": null, "text": "x"}', '{"_id": "2", "text": "y"}'], "q:2: has an id, though"),
    ],
)
def test_query_ids_are_all_there_and_different_or_none(
    place: Path, tmp_path: Path, lines: list[str], message: str
) -> None:
    (place / "q").write_text("\n".join(lines))
    done = run(place, "query", "--queries", "q", "--format", "trec")
    assert done.returncode == 1
    assert message in done.stderr.decode()


def test_every_control_and_format_character_is_escaped() -> None:
    import unicodedata

    for code in range(0x110000):
        one = chr(code)
        kind = unicodedata.category(one)
        direction = unicodedata.bidirectional(one)
        turns = direction in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        assert (printable(one) != one) >= (kind in {"Cc", "Cs", "Zl", "Zp"} or turns), hex(code)
    words = "naïve 猫 שלום 👩‍👩‍👧 é"
    assert printable(words) == words


def test_verify_counts_problems(tmp_path: Path) -> None:
    Index.build(None, tmp_path / "i", embeddings=np.eye(4)).close()
    path = next((tmp_path / "i" / "segments").iterdir()) / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    done = run(tmp_path, "verify", "i")
    assert done.returncode == 1
    assert b"i is damaged (1 problem)" in done.stderr
