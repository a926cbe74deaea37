"""What of a torch model goes into its identity: digests, and settings that change what it gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from qsearch.encoding.models import LocatedModel
from qsearch.errors import EncoderError

__all__ = [
    "NO_LIMIT",
    "default_tokenizer",
    "digest_json",
    "load_torch",
    "model_settings",
    "module_config",
    "plain_length",
    "precision_of",
    "token_counts_of",
    "tokenizer_digest",
    "torch_versions",
    "weights_digest",
]

NO_LIMIT = 1_000_000
"""Tokenizers without a maximum say a number far above this."""

_VOLATILE = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache"}
"""Keys of a model's configuration that change nothing that it gives (precision is kept apart)."""


def load_torch(kind: Any, located: LocatedModel, device: str, precision: str) -> Any:
    """Load a model from its folder.

    Args:
        kind: a class of sentence-transformers.
        located: where it is.
        device: as torch names it.
        precision: dtype of the weights.

    Raises:
        EncoderError: there is no such precision, or the model cannot be loaded.
    """
    import torch

    dtypes = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if precision not in dtypes:
        raise EncoderError(f"unknown precision {precision!r}; known are {', '.join(dtypes)}")
    try:
        with _quiet_transformers():
            # Never trust_remote_code: an index names its model, and nothing that an index says
            # may run code.
            return kind(
                str(located.path),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"dtype": dtypes[precision]},
            )
    except Exception as error:  # broken files raise nearly anything
        raise EncoderError(
            f"the model in {located.path} cannot be loaded ({type(error).__name__}: {error})"
        ) from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep the library's loading bars and reports off the user's terminal."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def plain_length(limit: int | None) -> int:
    """A maximum length: 0 where there is no limit; ``None`` would mean that nobody knows."""
    return 0 if limit is None or limit > NO_LIMIT else int(limit)


def module_config(module: Any) -> dict[str, Any]:
    """The settings of a module of sentence-transformers."""
    getter = getattr(module, "get_config_dict", None)
    return dict(getter()) if callable(getter) else {}


def model_settings(core: Any) -> dict[str, Any]:
    """What the configuration of a transformer says, but for what changes nothing that it gives."""
    config: dict[str, Any] = getattr(getattr(core, "config", None), "to_dict", dict)()
    return {key: value for key, value in config.items() if key not in _VOLATILE}


def tokenizer_digest(tokenizer: Any) -> str | None:
    """SHA-256 of the definition of a tokenizer; ``None`` where it has none that can be compared."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(backend, "to_str"):
        definition = json.loads(backend.to_str())
        # These two change with every call that pads or cuts; the maximum length is kept apart.
        definition.pop("truncation", None)
        definition.pop("padding", None)
        return digest_json(definition)
    if hasattr(tokenizer, "get_vocab"):
        return digest_json([type(tokenizer).__name__, tokenizer.get_vocab()])
    return None


def default_tokenizer(model: Any) -> Any:
    """The tokenizer of a model, where texts are tokenized in the standard way; else ``None``."""
    tokenizer = getattr(model[0], "tokenizer", None)
    has_padding = getattr(tokenizer, "pad_token_id", None) is not None
    return tokenizer if callable(tokenizer) and has_padding else None


def token_counts_of(tokenizer: Any, inputs: Sequence[Any]) -> list[int]:
    """How many tokens texts, or pairs of them, have, with special tokens, not cut."""
    ids = tokenizer(
        list(inputs),
        add_special_tokens=True,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    return [len(one) for one in ids]


def precision_of(model: Any) -> str:
    """The dtype of its weights."""
    return str(next(iter(model.parameters())).dtype).removeprefix("torch.")


def torch_versions() -> dict[str, str]:
    """The libraries that run a model through torch."""
    import sentence_transformers
    import torch
    import transformers

    return {
        "sentence-transformers": sentence_transformers.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }


def weights_digest(model: Any) -> str:
    """SHA-256 over the sorted digests of all parameters.

    Names are left out: they change between library versions while the weights do not.
    """
    import torch

    digests = []
    for parameter in model.parameters():
        data = parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest = hashlib.sha256(f"{parameter.dtype} {tuple(parameter.shape)}".encode())
        digest.update(memoryview(data))
        digests.append(digest.digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of JSON values."""
    encoded = json.dumps(value, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(encoded.encode("ascii")).hexdigest()
