"""One target of the fuzzing, under atheris, in a process of its own.

``python -m tests.faults.fuzz_worker TARGET SECONDS SEED CORPUS FINDINGS [DEFECT]``: grows the corpus in
one folder, and keeps what broke something in another: the input, and beside it in ``.txt`` what was
raised. Of one kind of failure the first inputs are kept and the shortest. A signal, a hang or too much
memory ends the process, and libFuzzer keeps the input. With the name of a defect of ``fuzz_defects``
that is planted, and the first finding ends the process. ``TARGET.json`` among the findings says what
was found; libFuzzer says the rest.

The modules of qsearch are compiled here with atheris's counters in them. Its own hook wraps loaders,
and does not see through that of an editable installation.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import os
import random
import re
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tests.faults.fuzz_defects import DEFECTS, Defect
from tests.faults.fuzzing import Target, limit_memory

MOST_SECONDS = 20
"""For one case: most take a thousandth of it."""


_INDEX = ("qsearch.store", "qsearch.snapshot", "qsearch.retrieval.tuning")
_READERS = ("qsearch.documents", "qsearch.cli.ids")

COUNTED = {
    "catalog": _INDEX,
    "arrays": _INDEX,
    "export": (
        "qsearch.documents",
        "qsearch.indexing",
        "qsearch.store.writer",
        "qsearch.cli.records",
    ),
}
"""Where new code that is reached counts, by target; of the others it is where files are read. To put
counters into a module takes longer than to run it."""


class _Counting(importlib.machinery.SourceFileLoader):
    """Compiles a module with counters, and perhaps with a defect."""

    def __init__(
        self, fullname: str, path: str, counted: tuple[str, ...], defect: Defect | None
    ) -> None:
        super().__init__(fullname, path)
        self._counted, self._defect = counted, defect

    def get_code(self, fullname: str) -> CodeType:
        from atheris.instrument_bytecode import patch_code  # not everywhere to be had

        source = Path(self.path).read_text(encoding="utf-8")
        if self._defect is not None and self.path.endswith(self._defect.file):
            source = self._defect.planted(source)
        code = compile(source, self.path, "exec", dont_inherit=True)
        if not fullname.startswith(self._counted):
            return code
        counted: CodeType = patch_code(code, True)
        return counted


class _Finder(importlib.abc.MetaPathFinder):
    """Finds qsearch where it is found anyway."""

    def __init__(self, counted: tuple[str, ...], defect: Defect | None) -> None:
        self._counted, self._defect = counted, defect

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != "qsearch":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                break
        else:
            return None
        if spec.origin is None or not spec.origin.endswith(".py"):
            return spec
        return importlib.util.spec_from_file_location(
            fullname,
            spec.origin,
            loader=_Counting(fullname, spec.origin, self._counted, self._defect),
            submodule_search_locations=spec.submodule_search_locations,
        )


class _Findings:
    """What broke something, by what was raised where."""

    def __init__(self, folder: Path, target: str, *, stop: bool) -> None:
        self.folder, self.target, self._stop = folder, target, stop
        self.began = time.monotonic()
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, data: bytes, error: BaseException) -> None:
        kind = _kind(error)
        seconds = round(time.monotonic() - self.began, 1)
        known = self.found.setdefault(
            kind, {"times": 0, "bytes": len(data) + 1, "seconds": seconds}
        )
        known["times"] += 1
        if len(data) < known["bytes"]:
            known["bytes"] = len(data)
            self._keep(kind, data, error)
        (self.folder / f"{self.target}.json").write_text(json.dumps(self.found))
        if self._stop:
            os._exit(0)

    def _keep(self, kind: str, data: bytes, error: BaseException) -> None:
        name = f"{self.target}-{hashlib.sha256(kind.encode()).hexdigest()[:8]}"
        (self.folder / name).write_bytes(data)
        (self.folder / f"{name}.txt").write_text(
            f"{kind}\n\n{data!r}\n\n{''.join(traceback.format_exception(error))}", errors="replace"
        )


def _kind(error: BaseException) -> str:
    """What was raised and by which line of qsearch, or else by which of the check."""
    frames = traceback.extract_tb(error.__traceback__)
    product = str(Path(str(sys.modules["qsearch"].__file__)).parent)
    ours = [one for one in frames if one.filename.startswith(product)]
    last = (ours or frames)[-1]
    what = f"{type(error).__name__} in {Path(last.filename).name}:{last.name}: {last.line}"
    if not ours:
        what += f" ({re.sub(r'[^ ]*/[^ ]*', '', str(error)).partition(':')[0].strip()[:60]})"
    return what


def _plain_mutate(data: bytes, most: int) -> bytes:
    import atheris

    changed: bytes = atheris.Mutate(data, max(1, min(most, len(data) + 64)))
    return changed


def main(given: Sequence[str]) -> None:
    import atheris

    name, seconds, seed, corpus, findings = given[:5]
    defect = next((one for one in DEFECTS if [one.name] == list(given[5:])), None)
    sys.meta_path.insert(0, _Finder(COUNTED.get(name, _READERS), defect))
    log = logging.getLogger("qsearch")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    target: Target = importlib.import_module(f"tests.faults.fuzz_{name}").TARGET
    found = _Findings(Path(findings), name, stop=defect is not None)
    for number, data in enumerate(target.seeds()):
        path = Path(corpus) / f"seed-{number:03d}"
        if not path.exists():
            path.write_bytes(data)
    words = Path(corpus).with_name(f"{name}.words")
    words.write_text(
        "".join(
            '"' + "".join(f"\\x{one:02x}" for one in word[:60]) + '"\n' for word in target.words
        )
    )

    def one(data: bytes) -> int:
        try:
            used = target.check(data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            found.add(data, error)
            return 0
        return 0 if used else -1

    def other(data: bytes, most: int, seed: int) -> bytes:
        changed = target.change(data, random.Random(seed), _plain_mutate)
        return changed[:most]

    atheris.Setup(
        [
            name,
            corpus,
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-max_len={target.largest}",
            f"-timeout={MOST_SECONDS}",
            *([f"-dict={words}"] if target.words else []),
            f"-artifact_prefix={findings}/{name}-",
            "-rss_limit_mb=3072",
            "-print_final_stats=1",
        ],
        one,
        custom_mutator=other,
    )
    limit_memory()
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
