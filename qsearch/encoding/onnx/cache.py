"""Where exported models are kept: a folder for each, in the user's cache.

::

    onnx/<key>/manifest.json     what the files are, and the identity of the model
               model.onnx        the graph, already optimised
               weights.bin       its weights, mapped into memory
               tokenizer.json
    onnx/models/<digest>         the identity of the encoder in a folder with these files
    onnx/rerankers/<digest>      the identity of the cross-encoder in a folder with these files
    onnx/refused/<digest>        why a model in a folder with these files cannot be exported

A key stands for all that the graph depends on: its purpose, weights, tokenizer, configuration,
precision, and the libraries and the kind of processor that run it. Prompts and lengths are not part of the
graph, so models that differ only in them share an export. Losing the cache costs an export, and never an
index.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from qsearch.version import __version__

__all__ = [
    "GRAPH",
    "TOKENIZER",
    "WEIGHTS",
    "ExportedIdentity",
    "ExportedModel",
    "cache_folder",
    "export_key",
    "files_digest",
    "find_export",
    "find_export_of",
    "keep_refusal",
    "known_refusal",
    "library_versions",
    "new_export",
]

GRAPH = "model.onnx"
WEIGHTS = "weights.bin"
TOKENIZER = "tokenizer.json"
_MANIFEST = "manifest.json"
_FORMAT = 3

_READ = 1 << 20

_REFUSAL_SECONDS = 24 * 3600


_ENTRIES = {"encoding": "models", "reranking": "rerankers"}
"""Folders of entries for models by their purpose: one folder may hold a model that serves both."""


class ExportedIdentity(Protocol):
    """What an identity says of the model that is exported; ``None`` where that is not known."""

    purpose: ClassVar[str]

    @property
    def weights(self) -> str | None:
        """SHA-256."""
        ...

    @property
    def tokenizer(self) -> str | None:
        """SHA-256."""
        ...

    @property
    def configuration(self) -> str | None:
        """SHA-256."""
        ...

    @property
    def precision(self) -> str | None:
        """Dtype of the weights."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        ...

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Undo ``to_json``; a ``ValueError`` where these are not such values."""
        ...


Identity = TypeVar("Identity", bound=ExportedIdentity)


@dataclass(frozen=True, slots=True)
class ExportedModel(Generic[Identity]):
    """An export whose files are complete.

    Attributes:
        folder: holds ``GRAPH``, ``WEIGHTS`` and ``TOKENIZER``.
        identity: the model with its own prompts and lengths.
        worst: of the canaries, beside what torch made of them: the smallest cosine of embeddings, or
            the largest difference of scores.
        rows_may_vary: whether a text gets the same bits in batches of any two rows or more.
    """

    folder: Path
    identity: Identity
    worst: float
    rows_may_vary: bool


def cache_folder() -> Path:
    """Where qsearch keeps what it can make again; ``QSEARCH_CACHE`` names another place."""
    named = os.environ.get("QSEARCH_CACHE")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("qsearch", appauthor=False)


def library_versions() -> dict[str, str]:
    """Versions of what runs an export; raises ``PackageNotFoundError`` where one is missing."""
    return {name: importlib.metadata.version(name) for name in ("onnxruntime", "tokenizers")}


def export_key(identity: ExportedIdentity) -> str | None:
    """The name of the export of a model; ``None`` where too little is known about the model."""
    parts = {
        "purpose": identity.purpose,
        "weights": identity.weights,
        "tokenizer": identity.tokenizer,
        "configuration": identity.configuration,
        "precision": identity.precision,
    }
    if None in parts.values() or _onnxruntime_would_crash():
        return None
    try:
        versions = library_versions()
    except importlib.metadata.PackageNotFoundError:
        return None
    told = {**parts, **versions, "format": _FORMAT, "machine": _machine()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def find_export(identity: Identity) -> ExportedModel[Identity] | None:
    """The export of a model, if the cache holds an undamaged one."""
    key = export_key(identity)
    if key is None:
        return None
    folder = cache_folder() / "onnx" / key
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        found = type(identity).from_json(manifest["identity"])
        if export_key(found) != key:
            return None
        for name, digest in manifest["files"].items():
            if file_digest(folder / name) != digest:
                return None
        return ExportedModel(folder, found, manifest["worst"], manifest["rows may vary"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_export_of(files: str, kind: type[Identity]) -> ExportedModel[Identity] | None:
    """The export of a model's folder, if one was made of just these files.

    Its identity is that of this folder: another, of the same graph, may have other prompts and lengths.

    Args:
        files: see ``files_digest``.
        kind: of its identity.
    """
    try:
        told = json.loads(_model_entry(files, kind.purpose).read_text(encoding="utf-8"))
        identity = kind.from_json(told)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    export = find_export(identity)
    return None if export is None else replace(export, identity=identity)


def known_refusal(files: str, purpose: str) -> str | None:
    """Why the model of a folder could not be exported when that was tried, by the same libraries.

    After a day nobody knows any more: it may have been for another reason.

    Args:
        files: see ``files_digest``.
        purpose: what it was to be exported for.
    """
    try:
        entry = _refusal_entry(files, purpose)
        if time.time() - entry.stat().st_mtime > _REFUSAL_SECONDS:
            return None
        return str(json.loads(entry.read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError, importlib.metadata.PackageNotFoundError):
        return None


def keep_refusal(files: str, purpose: str, reason: str) -> None:
    """Remember why the model of a folder cannot be exported, so that not every start tries again.

    Args:
        files: see ``files_digest``.
        purpose: what it was to be exported for.
        reason: a phrase for people.
    """
    with suppress(OSError, importlib.metadata.PackageNotFoundError):
        _replace_json(_refusal_entry(files, purpose), {"reason": reason})


def files_digest(model: Path) -> str:
    """SHA-256 over names and contents of the files that a model is loaded from."""
    total = hashlib.sha256()
    for path in sorted(model.rglob("*")):
        relative = path.relative_to(model)
        if not path.is_file() or relative.parts[0] in ("onnx", "openvino", ".git", ".cache"):
            continue
        if path.suffix in (".md", ".h5", ".msgpack", ".ot", ".onnx", ".gguf"):
            continue
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        total.update(json.dumps(relative.as_posix()).encode() + digest)
    return total.hexdigest()


@contextmanager
def new_export(identity: Identity, model: Path | None) -> Iterator[_NewExport[Identity]]:
    """A folder to write an export to; what is not published when the block ends is removed.

    Args:
        identity: the model with its own prompts and lengths.
        model: its folder, if it was loaded from one.

    Raises:
        OSError: the cache cannot be written.
    """
    parent = cache_folder() / "onnx"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    try:
        yield _NewExport(folder, identity, model)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _NewExport(Generic[Identity]):
    folder: Path
    identity: Identity
    model: Path | None

    def publish(self, worst: float, *, rows_may_vary: bool) -> ExportedModel[Identity]:
        """Put the folder where ``find_export`` looks; another process may have been faster."""
        key = export_key(self.identity)
        if key is None:
            raise ValueError("a model of which so little is known has no export")
        files = {path.name: file_digest(path) for path in sorted(self.folder.iterdir())}
        manifest = {
            "identity": self.identity.to_json(),
            "files": files,
            "worst": worst,
            "rows may vary": rows_may_vary,
            "libraries": library_versions(),
        }
        _write_json(self.folder / _MANIFEST, manifest)
        target = cache_folder() / "onnx" / key
        if find_export(self.identity) is None:
            with suppress(OSError):
                shutil.rmtree(target)
            with suppress(OSError):
                os.rename(self.folder, target)
        if self.model is not None:
            entry = _model_entry(files_digest(self.model), self.identity.purpose)
            _replace_json(entry, self.identity.to_json())
        published = find_export(self.identity)
        if published is None:
            raise OSError(f"{target} cannot be read back")
        return published


def file_digest(path: Path) -> str:
    """XXH3 (128 bits) of a file, as hexadecimal: against damage, not against malice."""
    import xxhash

    digest = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_READ):
            digest.update(block)
    return digest.hexdigest()


def _onnxruntime_would_crash() -> bool:
    """Whether somebody has imported usearch before onnxruntime; see ``retrieval.graph``."""
    loaded = sys.modules
    return sys.platform == "linux" and "usearch.compiled" in loaded and "onnxruntime" not in loaded


def _model_entry(digest: str, purpose: str) -> Path:
    return cache_folder() / "onnx" / _ENTRIES[purpose] / digest


def _refusal_entry(files: str, purpose: str) -> Path:
    names = (
        "onnx", "onnx-ir", "onnxruntime", "onnxscript", "sentence-transformers", "tokenizers", "torch",
        "transformers",
    )  # fmt: skip
    versions = {name: importlib.metadata.version(name) for name in names}
    told = [files, purpose, versions, __version__, _FORMAT, _machine()]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]
    return cache_folder() / "onnx" / "refused" / digest


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}"


def _replace_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    _write_json(temporary, value)
    os.replace(temporary, path)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
