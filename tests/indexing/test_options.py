"""Options of a build are checked when they are given, by name or as an object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qsearch import BuildOptions, Index, OptionError
from tests.encoders import HashedWords

RECORDS = [{"id": str(number), "text": f"cat {number}. dog"} for number in range(20)]


def test_options_are_taken_by_their_names(tmp_path: Path) -> None:
    rejects = str(tmp_path / "left-out.jsonl")
    options: dict[str, Any] = {
        "segment_rows": np.int64(8),
        "skip_invalid": True,
        "rejects": rejects,
    }
    records: list[dict[str, Any]] = [*RECORDS, {"id": "bad"}]
    index = Index.build(records, tmp_path / "i", encoder=HashedWords(), options=options)
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 1  # chunks are larger
    assert index.settings["rejected"] == 1
    assert (tmp_path / "left-out.jsonl").exists()
    assert BuildOptions(rejects=rejects).rejects == Path(rejects)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment_row": 5}, "unknown build option 'segment_row'; did you mean 'segment_rows'"),
        ({"zzz": 5}, "unknown build option 'zzz'; there are graph, force, restart"),
        ([1], "options must be BuildOptions or a mapping of their names, found list"),
    ],
)
def test_unknown_names_are_refused_and_the_nearest_is_named(
    tmp_path: Path, options: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        Index.build(RECORDS, tmp_path / "i", encoder=HashedWords(), options=options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment_rows": 0}, "segment_rows must be at least 1, found 0"),
        ({"segment_rows": 2.5}, "segment_rows must be a whole number, found 2.5"),
        ({"segment_rows": True}, "segment_rows must be a whole number, found True"),
        ({"passages": -1}, "passages must be at least 1, found -1"),
        ({"passages": "20"}, "passages must be a whole number, found '20'"),
        ({"passages": 20, "overlap": -1}, "overlap must be at least 0, found -1"),
        ({"passages": 20, "overlap": 11}, "overlap of 11 tokens does not go with passages of 20"),
        ({"overlap": 5}, r"say how long they are with BuildOptions\(passages=...\)"),
        ({"force": "no"}, "force must be True or False, found 'no'"),
        ({"rejects": 5}, "rejects must be a path, found 5"),
        ({"language": 5}, "language must be a code as 'en', found 5"),
        ({"tune_queries": "cat"}, "tune_queries must be a list of texts or an array, found one"),
    ],
)
def test_values_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        BuildOptions(**options)
    assert issubclass(OptionError, ValueError)


def test_queries_to_tune_with_may_be_any_iterable(tmp_path: Path) -> None:
    texts = [f"cat {number}" for number in range(5)]
    assert BuildOptions(tune_queries=(one for one in texts)).tune_queries == texts  # type: ignore[arg-type]
    for wrong in ("cat", {"a": "cat"}, 7):
        with pytest.raises(OptionError, match="must be a list of texts or an array"):
            BuildOptions(tune_queries=wrong)  # type: ignore[arg-type]
