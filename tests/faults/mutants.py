"""Shows that the battery can fail: breaks a copy of qsearch, a place at a time, and runs what must notice.

``scripts/faults_mutants`` runs all of them, ``scripts/faults_mutants -k sync`` those that match this.
A mutant that survives is a hole in the battery; the command then ends with 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.shim import ROOT

CRASHES = "tests/faults/test_crashes.py"
DAMAGE = "tests/faults/test_damage.py"
EVERY_KIND = "tests/changes/test_every_kind.py"
INTERRUPTED = "tests/changes/test_interrupted.py"
HISTORIES = "tests/faults/test_histories.py"
KILLS = "tests/faults/test_kills.py"
READERS = "tests/faults/test_readers.py"

STORE = "qsearch/store/"
NATIVE = "qsearch/kernels/native/"

PRAGMA = (
    '            connection.execute("PRAGMA synchronous = EXTRA")\n'
    '            connection.execute("PRAGMA fullfsync'
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One place that is broken.

    Attributes:
        name: what is wrong then.
        file: below the root.
        old: what is there, once.
        new: what takes its place.
        tests: that must fail, each more expensive than the one before.
        only: an expression for pytest's -k.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    only: str = ""


MUTANTS = (
    # Syncs
    Mutant(
        "no sync of a segment's files",
        STORE + "segment.py",
        "            file.flush()\n            sync_file(file.fileno())\n    finally:",
        "            file.flush()\n    finally:",
        (CRASHES,),
        "compact",
    ),
    Mutant(
        "no sync of a segment's names",
        STORE + "pending.py",
        "        sync_directory(self.path)\n        announce(name)",
        "        announce(name)",
        (CRASHES,),
        "compact",
    ),
    Mutant(
        "no sync of a segment's own name",
        STORE + "pending.py",
        "        sync_directory(self._segments)\n        return name, files, error",
        "        return name, files, error",
        (CRASHES,),
        "compact",
    ),
    Mutant(
        "a new catalog is renamed before its sync",
        STORE + "rewriting.py",
        "        descriptor = os.open(index / NEW_CATALOG, os.O_RDWR)\n",
        "        os.replace(index / NEW_CATALOG, index / CATALOG)\n"
        "        os.link(index / CATALOG, index / NEW_CATALOG)\n"
        "        descriptor = os.open(index / NEW_CATALOG, os.O_RDWR)\n",
        (CRASHES,),
        "compact",
    ),
    Mutant(
        "no sync of rows that are kept",
        STORE + "pending.py",
        "            if sync:\n                sync_file(file.fileno())",
        "            if sync:\n                pass",
        (CRASHES,),
        "large",
    ),
    Mutant(
        "no sync of the name of rows that are kept",
        STORE + "pending.py",
        "            sync_directory(self.path)\n            sync_directory(self._segments)\n",
        "            sync_directory(self.path)\n",
        (CRASHES,),
        "large",
    ),
    Mutant(
        "no sync of a new catalog",
        STORE + "rewriting.py",
        "            sync_file(descriptor)",
        "            pass",
        (CRASHES,),
        "compact or upgrade",
    ),
    Mutant(
        "no sync of the name of a new catalog",
        STORE + "rewriting.py",
        "        os.replace(index / NEW_CATALOG, index / CATALOG)\n        sync_directory(index)",
        "        os.replace(index / NEW_CATALOG, index / CATALOG)",
        (CRASHES,),
        "compact or upgrade",
    ),
    Mutant(
        "no sync of a graph",
        STORE + "segment.py",
        '    with open(unfinished, "r+b") as file:\n        sync_file(file.fileno())\n    os.rename',
        "    os.rename",
        (CRASHES,),
        "compact",
    ),
    Mutant(
        "the name of a graph is not synced",
        STORE + "segment.py",
        "    os.rename(unfinished, path)\n    sync_directory(path.parent)",
        "    os.rename(unfinished, path)",
        (CRASHES,),
        "compact",
    ),
    Mutant(
        "SQLite does not sync",
        STORE + "database.py",
        PRAGMA,
        PRAGMA.replace("EXTRA", "OFF"),
        (CRASHES,),
        "tail",
    ),
    Mutant(
        "SQLite does not sync the end of its journal",
        STORE + "database.py",
        PRAGMA,
        PRAGMA.replace("EXTRA", "FULL"),
        (CRASHES,),
        "tail",
    ),
    Mutant(
        "SQLite's journal is in memory",
        STORE + "database.py",
        PRAGMA,
        '            connection.execute("PRAGMA journal_mode = MEMORY")\n' + PRAGMA,
        (CRASHES,),
        "tail",
    ),
    Mutant(
        "SQLite's journal is a write-ahead log",
        STORE + "database.py",
        PRAGMA,
        '            connection.execute("PRAGMA journal_mode = WAL")\n' + PRAGMA,
        (CRASHES,),
        "tail",
    ),
    # Order
    Mutant(
        "the number of a commit is raised in a transaction before",
        STORE + "editor.py",
        "            tail = small or []\n        with self.catalog.within():\n            self._begin()\n",
        "            tail = small or []\n        with self.catalog.within():\n            self._begin()\n"
        '            self.catalog.store_settings(self.catalog.writer, {"commit": self.base + 1})\n'
        "            self._store_digest()\n"
        "            self._end()\n"
        "            self._begin()\n",
        (CRASHES,),
        "tail",
    ),
    Mutant(
        "litter is removed before the commit that makes it",
        STORE + "editor.py",
        "            self._store(tail, settings or {})\n            self._end()",
        "            self._store(tail, settings or {})\n"
        "            self._clean()\n"
        "            self._end()",
        (KILLS, CRASHES),
        "kill or merge",
    ),
    Mutant(
        "litter is removed before a new catalog is in its place",
        STORE + "editor.py",
        "            write_catalog(self.index, self.catalog, text, advance)\n        self._roll_back()",
        "            write_catalog(self.index, self.catalog, text, advance)\n"
        "            import shutil as s\n"
        "            listed = {one.id for one in self.catalog.segments()}\n"
        "            for one in (self.index / SEGMENTS).iterdir():\n"
        "                if one.name not in listed:\n"
        "                    s.rmtree(one)\n"
        "        self._roll_back()",
        (CRASHES,),
        "compact",
    ),
    # What is seen
    Mutant(
        "a reader sees what went with its commit",
        STORE + "catalog.py",
        'return f"came <= {self.commit} AND (went IS NULL OR went > {self.commit})"',
        'return f"came <= {self.commit} AND (went IS NULL OR went >= {self.commit})"',
        (HISTORIES,),
    ),
    Mutant(
        "a reader sees what comes with the next commit",
        STORE + "catalog.py",
        'return f"came <= {self.commit} AND (went IS NULL OR went > {self.commit})"',
        'return f"came <= {self.commit} + 1 AND (went IS NULL OR went > {self.commit})"',
        (HISTORIES,),
    ),
    Mutant(
        "a reader opens a commit in several transactions",
        "qsearch/snapshot.py",
        "                with catalog.view():\n                    set_commit(catalog)\n",
        "                if True:\n                    set_commit(catalog)\n",
        (READERS,),
    ),
    Mutant(
        "refresh takes the new segments and the old catalog",
        "qsearch/index.py",
        "                self._snapshot = now\n",
        "                now.catalog = before.catalog\n                self._snapshot = now\n",
        (READERS,),
    ),
    # Masks
    Mutant(
        "a mask is ignored by the scan of rotated codes",
        NATIVE + "worker.hpp",
        "masks_[q] = (masks_[q] | impossible) & mask & there;",
        "masks_[q] = (masks_[q] | impossible) & there;",
        (HISTORIES,),
    ),
    Mutant(
        "a mask is ignored by the scan of binary codes",
        NATIVE + "hamming.cpp",
        "std::uint64_t left = masks[q] & allowed; left;",
        "std::uint64_t left = masks[q]; left;",
        (HISTORIES,),
    ),
    Mutant(
        "a mask is ignored by the reference of binary codes",
        "qsearch/kernels/reference.py",
        "    rows = np.arange(n_rows, dtype=np.int64) if mask is None else mask.indices()\n    for i",
        "    rows = np.arange(n_rows, dtype=np.int64)\n    for i",
        (HISTORIES,),
    ),
    Mutant(
        "a mask is ignored by float products",
        "qsearch/retrieval/floats.py",
        "some = None if mask is None else mask.to_bools(first, last)",
        "some = None",
        (HISTORIES,),
    ),
    Mutant(
        "a mask is ignored by the float products of a few queries",
        "qsearch/retrieval/floats.py",
        "                approximate[:, ~allows] = -np.inf",
        "                pass",
        (HISTORIES,),
    ),
    Mutant(
        "a mask is ignored by graphs",
        "qsearch/retrieval/graph.py",
        "            allowed.masks,\n            queries,",
        "            [None] * len(allowed.masks),\n            queries,",
        (HISTORIES,),
    ),
    Mutant(
        "a mask is ignored where there is no graph",
        "qsearch/retrieval/graph.py",
        "self._exact.search(queries, min(k, others.rows), threads, others)",
        "self._exact.search(queries, min(k, others.rows), threads, None)",
        (HISTORIES,),
    ),
    Mutant(
        "rows of a segment are masked from the second document on",
        STORE + "masks.py",
        "    else:\n        living[numbers] = False",
        "    else:\n        living[numbers[1:]] = False",
        (HISTORIES,),
    ),
    # Checksums
    Mutant(
        "what is merged is not held against its checksum",
        STORE + "merging.py",
        "        if found != file.xxh3:",
        "        if False:",
        (DAMAGE,),
    ),
    Mutant(
        "what is in the tail is not held against its checksum",
        STORE + "catalog.py",
        "            if not isinstance(one.vector, bytes) or one.values() != row:",
        "            if not isinstance(one.vector, bytes):",
        (DAMAGE,),
    ),
    Mutant(
        "lists are not held against their checksum before a change",
        STORE + "catalog.py",
        '        if self.settings().get("catalog_xxh3") != self.digest():',
        "        if False:",
        (DAMAGE,),
    ),
    Mutant(
        "documents are not held against their checksum when a catalog is written anew",
        STORE + "rewriting.py",
        "            if row_checksum(row[:-1]) != row[-1]:",
        "            if False:",
        (EVERY_KIND,),
    ),
    Mutant(
        "verify does not compare the checksum of a file",
        STORE + "verify.py",
        "            if digest.hexdigest() != file.xxh3:",
        "            if False:",
        (DAMAGE,),
    ),
    Mutant(
        "verify does not compare the checksum of documents",
        STORE + "catalog.py",
        "                if row_checksum(row[:-1]) != row[-1]:\n"
        '                    yield f"the document at',
        '                if False:\n                    yield f"the document at',
        (DAMAGE,),
    ),
    # Writers
    Mutant(
        "the writer's lock is not taken",
        STORE + "writer_lock.py",
        "            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "            pass",
        (HISTORIES,),
    ),
    Mutant(
        "documents of a change that is thrown away stay",
        STORE + "edits.py",
        "        self._forget_from(self._first_new)\n",
        "",
        (HISTORIES,),
    ),
    Mutant(
        "documents that went with a change that is thrown away stay gone",
        STORE + "edits.py",
        '            connection.executemany("UPDATE documents SET went = NULL WHERE position = ?", gone)\n',
        "",
        (HISTORIES,),
    ),
    Mutant(
        "metadata of a change that is thrown away stay",
        STORE + "edits.py",
        "                self._set_metadata(position, metadata, line)\n",
        "",
        (HISTORIES,),
    ),
    Mutant(
        "earlier metadata of a change that is thrown away stay",
        STORE + "edits.py",
        '                    "DELETE FROM earlier WHERE position = ? AND until = ?", (position, until)\n',
        '                    "SELECT ? + ?", (position, until)\n',
        (INTERRUPTED,),  # no answer is another one, but what is past is told
    ),
    Mutant(
        "segments of a change that is thrown away stay",
        STORE + "editor.py",
        "                    self._segments.throw_away()\n",
        "",
        (HISTORIES, KILLS),
    ),
    Mutant(
        "what a thrown away change has noted stays",
        STORE + "edits.py",
        "        forget_steps(self._catalog)\n\n    def _forget_from",
        "\n    def _forget_from",
        (HISTORIES, KILLS),
    ),
    Mutant(
        "positions of documents that are gone are given again",
        STORE + "editor.py",
        '                "positions": self._documents.next,',
        '                "positions": 1 + max([-1, *self.catalog.positions(0, 1 << 40).tolist()]),',
        (HISTORIES,),
    ),
    Mutant(
        "who goes on with a change gives its positions again",
        STORE + "edits.py",
        "        self.next = max(self.next, (highest if highest is not None else -1) + 1)\n",
        "",
        (HISTORIES, KILLS),
    ),
    Mutant(
        "who goes on with a change forgets what went",
        STORE + "edits.py",
        "            self.gone.update(\n                row[0]",
        "            set().update(\n                row[0]",
        (HISTORIES, KILLS),
    ),
)


class Copy:
    """A copy of the tree with an environment of its own: what is imported there is its own code."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        self._build = folder / "build"
        self._builder = folder / "builder"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for name in filter(None, listed.decode().split("\0")):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        self.python = environment / "bin" / "python"
        # Packages are borrowed, but not what an editable installation puts before them.
        borrowed = [path for path in sys.path if "site-packages" in path]
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = environment / "lib" / version / "site-packages"
        (site / "borrowed.pth").write_text("\n".join([str(self.root), *borrowed]) + "\n")
        native = importlib.util.find_spec("qsearch.kernels._native")
        self._native = None
        if native is not None and native.origin is not None:
            self._native = Path(native.origin)
            self._take(self._native)
        found = self._run("-c", "import qsearch, sys; sys.stdout.write(qsearch.__file__)").stdout
        if not Path(found).is_relative_to(self.root):
            raise RuntimeError(f"the copy would test {found}")

    def _take(self, native: Path) -> None:
        shutil.copy2(native, self.root / "qsearch" / "kernels" / native.name)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "QSEARCH_FAULTS": "short"}
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
        )

    def apply(self, mutant: Mutant) -> None:
        """Break it; what is to be replaced must be there, once.

        Raises:
            ValueError: it is not.
        """
        (self.root / mutant.file).write_text(mutated(ROOT, mutant))
        if mutant.file.startswith(NATIVE):
            self._take(self._built())

    def mend(self, mutant: Mutant) -> None:
        """As it was."""
        shutil.copy2(ROOT / mutant.file, self.root / mutant.file)
        if mutant.file.startswith(NATIVE) and self._native is not None:
            self._take(self._native)

    def _built(self) -> Path:
        """The native kernels, built anew: what has not changed is kept from one time to the next."""
        python = self._builder / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", self._builder], check=True)
            needed = ["scikit-build-core>=0.11", "nanobind>=2.4"]
            subprocess.run([python, "-m", "pip", "--quiet", "install", *needed], check=True)
        installed = self._builder / "installed"
        shutil.rmtree(installed, ignore_errors=True)
        subprocess.run(
            [python, "-m", "pip", "--quiet", "install", "--no-deps", "--no-build-isolation"]
            + [
                "--no-compile",
                "--target",
                installed,
                "--config-settings",
                f"build-dir={self._build}",
                ".",
            ],
            cwd=self.root,
            check=True,
        )
        (native,) = (installed / "qsearch" / "kernels").glob(
            f"_native*{sysconfig.get_config_var('EXT_SUFFIX')}"
        )
        return native

    def caught_by(self, mutant: Mutant) -> str | None:
        """The first test that fails; ``None`` where none does."""
        for tests in mutant.tests:
            only = ["-k", mutant.only] if mutant.only else []
            quick = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=found"]
            done = self._run("-m", "pytest", *quick, tests, *only)
            failed = re.search(r"^(?:FAILED|ERROR) \S*?::(\S+)", done.stdout, re.MULTILINE)
            if failed:
                return failed[1]
            if done.returncode:
                raise RuntimeError(
                    f"{tests} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
                )
        return None


def mutated(root: Path, mutant: Mutant) -> str:
    """The text of a file, broken.

    Raises:
        ValueError: what is to be replaced is not there, or more than once.
    """
    text = (root / mutant.file).read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.name}: {mutant.file} has {text.count(mutant.old)} times\n{mutant.old}"
        )
    return text.replace(mutant.old, mutant.new)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-k", default="", help="a pattern: only mutants whose file and name match it"
    )
    wanted = parser.parse_args().k
    chosen = [one for one in MUTANTS if re.search(wanted, f"{one.file} {one.name}")]
    survived = 0
    print("| what is wrong | where | caught by | seconds |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        for mutant in chosen:
            copy.apply(mutant)
            started = time.perf_counter()
            found = copy.caught_by(mutant)
            seconds = time.perf_counter() - started
            copy.mend(mutant)
            survived += found is None
            told = "**nothing**" if found is None else f"`{found}`"
            print(f"| {mutant.name} | `{mutant.file}` | {told} | {seconds:.0f} |", flush=True)
    print(f"\n{len(chosen) - survived} of {len(chosen)} were caught")
    return 1 if survived or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
