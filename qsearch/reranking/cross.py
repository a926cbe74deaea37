"""The adapter of sentence-transformers' cross-encoders: torch, on CPU or CUDA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.batches import SPARE_ON_GPU, Batch, padded_length, plan_batches
from qsearch.encoding.describing import (
    NO_LIMIT,
    default_tokenizer,
    digest_json,
    load_torch,
    model_settings,
    module_config,
    plain_length,
    precision_of,
    token_counts_of,
    tokenizer_digest,
    torch_versions,
    weights_digest,
)
from qsearch.encoding.models import LocatedModel
from qsearch.encoding.replicas import Replicas, chosen_devices
from qsearch.encoding.running import Runner
from qsearch.errors import EncoderError
from qsearch.locks import ProcessLock
from qsearch.reranking.activation import ACTIVATIONS, activated, activation_of
from qsearch.reranking.identity import UNNAMED_RERANKER, RerankerIdentity
from qsearch.reranking.kinds import require_cross_encoder, require_one_label
from qsearch.reranking.models import locate_reranker
from qsearch.reranking.protocols import Pair

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

__all__ = ["CrossEncoderReranker"]

_ROWS_CPU = 8
_ROWS_GPU = 64
"""Pairs in a batch; the same for every length, and whatever else is scored."""

_CHARACTERS = 1 << 18
"""Of pairs that are tokenized at a time."""


class CrossEncoderReranker:
    """Any ``CrossEncoder`` of sentence-transformers that gives one score, as a ``Reranker``, through torch.

    Pairs are prepared as ``CrossEncoder.predict`` does (the model's default prompt in front of the query,
    the longer side of a pair that is too long cut first), and scored in batches of fixed shape: a pair
    gets the same score, bit for bit, alone and among others, in any order, on any number of threads.
    """

    def __init__(
        self,
        model: str | Path | LocatedModel | CrossEncoder,
        *,
        device: str = "auto",
        revision: str | None = None,
        max_length: int | None = None,
        precision: str = "float32",
    ) -> None:
        """Load ``model`` where it is a name or path; take it as it is where it is an object.

        Args:
            model: see ``locate_reranker``; or what that found; or a loaded ``CrossEncoder``, whose device,
                precision and activation are kept.
            device: see ``chosen_devices``.
            revision: commit, branch or tag on the hub.
            max_length: tokens of query and text together; ``None`` takes the model's own, 0 cuts nothing.
            precision: dtype of the weights.

        Raises:
            EncoderError: the model cannot be found or loaded, or is no cross-encoder of one score.
        """
        if isinstance(model, str | Path | LocatedModel):
            located = model
            if not isinstance(located, LocatedModel):
                located = locate_reranker(str(model), revision)
            require_cross_encoder(located)
            devices = chosen_devices(device)
            self._model = _loaded(located, devices[0], precision)
            self._name, self._revision = located.name, located.revision
        else:
            self._model = model
            devices = [str(model.device)]
            self._name, self._revision = UNNAMED_RERANKER, None
        require_one_label(self._name, int(self._model.num_labels))
        self._own_max_length = plain_length(self._model.max_seq_length)
        if max_length is not None and max_length != self._own_max_length:
            self._model.max_seq_length = max_length or NO_LIMIT + 1
        self._max_length = plain_length(self._model.max_seq_length)
        prompts: Mapping[str, str] = self._model.prompts or {}
        self._prompt = prompts.get(self._model.default_prompt_name or "") or ""
        self._activation = activation_of(self._model.activation_fn)
        # Where pairs become messages of a chat, nobody else knows their tokens.
        plain = getattr(self._model[0], "modalities", None) == ["text"]
        self._tokenizer = default_tokenizer(self._model) if plain else None
        self._on_gpu = self._model.device.type != "cpu"
        self._replicas = Replicas(self._model, devices, "scores")
        self._identity: RerankerIdentity | None = None
        self._lock = ProcessLock()  # tokenizers refuse to be used by two threads at once

    # The Reranker protocol

    def identity(self) -> RerankerIdentity:
        """Describe this reranker; hashes every weight the first time."""
        if self._identity is None:
            self._identity = self._describe(self._max_length)
        return self._identity

    def score(
        self, pairs: Sequence[Pair], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Score pairs: (n,) float32.

        Raises:
            EncoderError: the model fails on them.
        """
        return self._scored(pairs, advance, self._activated)

    def truncated(self, pairs: Sequence[Pair]) -> NDArray[np.bool_]:
        """Which of the pairs are longer than the maximum length: (n,) bool.

        Of a model that reads pairs as messages of a chat it is not known, and none is told.
        """
        counts = np.array(self._token_counts(self._prepared(pairs)), dtype=np.int64)
        return counts > (self._max_length or np.iinfo(np.int64).max)

    # For those who export it

    @property
    def model(self) -> CrossEncoder:
        """What runs; not to be changed."""
        return self._model

    def own_identity(self) -> RerankerIdentity:
        """The identity that this reranker has when its maximum length is the model's own."""
        return self._describe(self._own_max_length)

    def logits(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """What the model gives before its activation: (n,) float32."""
        return self._scored(pairs, None, lambda model, logits: logits)

    def tokens(self, pair: Pair) -> tuple[list[int], list[int] | None]:
        """The tokens that a pair becomes, and which side each is of, where the model is told."""
        with self._lock:
            features = self._model.preprocess(self._prepared([pair]))
        sides = features.get("token_type_ids")
        return features["input_ids"][0].tolist(), None if sides is None else sides[0].tolist()

    # Scoring

    def _prepared(self, pairs: Sequence[Pair]) -> list[Pair]:
        return [(self._prompt + query, text) for query, text in pairs]

    def _token_counts(self, prepared: Sequence[Pair]) -> list[int]:
        if self._tokenizer is None:
            return [0] * len(prepared)
        counts: list[int] = []
        start = characters = 0
        for end, pair in enumerate(prepared, 1):
            characters += len(pair[0]) + len(pair[1])
            if characters >= _CHARACTERS or end == len(prepared):
                with self._lock:
                    counts += token_counts_of(self._tokenizer, prepared[start:end])
                start, characters = end, 0
        return counts

    def _scored(
        self,
        pairs: Sequence[Pair],
        advance: Callable[[int], None] | None,
        finish: Callable[[Any, Any], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        prepared = self._prepared(pairs)
        if self._tokenizer is None:
            batches = [Batch((number,), 0, 1) for number in range(len(prepared))]
        else:
            lengths = [
                padded_length(count, self._max_length) for count in self._token_counts(prepared)
            ]
            rows, spare = (_ROWS_GPU, SPARE_ON_GPU) if self._on_gpu else (_ROWS_CPU, 0)
            batches = plan_batches(lengths, lambda length: rows, spare)
        scores = np.empty(len(prepared), dtype=np.float32)

        def run(runner: Runner, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            chosen = [prepared[index] for index in batch.indices]
            return batch, finish(runner.model, self._forward(runner, chosen, batch))

        for batch, values in self._replicas.documents(run, batches):
            scores[list(batch.indices)] = values
            if advance is not None:
                advance(len(batch.indices))
        return scores

    def _forward(self, runner: Runner, pairs: list[Pair], batch: Batch) -> NDArray[np.float32]:
        """Logits of a batch: (n,) float32."""
        options: dict[str, Any] = {}
        if batch.length:
            # Any pair will do for the dummy rows: rows do not see each other.
            dummy = [("", "")] if self._on_gpu else pairs[-1:]
            pairs = pairs + dummy * (batch.rows - len(pairs))
            text_options = {"padding": "max_length", "max_length": batch.length}
            options["processing_kwargs"] = {"text": text_options}
        try:
            with self._lock:
                features = runner.model.preprocess(pairs, **options)
            found = runner.run(features, len(batch.indices))
        except (RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
            raise EncoderError(
                f"the model {self._name} failed on {len(pairs)} pairs of {batch.length or 'any'} tokens "
                f"({type(error).__name__}: {error})"
            ) from error
        return found.reshape(-1)

    def _activated(self, model: CrossEncoder, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of logits, of each by itself."""
        if self._activation in ACTIVATIONS:
            return activated(self._activation, logits)
        import torch

        with torch.inference_mode():
            each = torch.from_numpy(logits).reshape(-1, 1, 1)
            found = [float(model.activation_fn(one)) for one in each]
        return np.array(found, dtype=np.float32)

    # Describing

    def _describe(self, max_length: int) -> RerankerIdentity:
        model = self._model
        modules = [(type(module).__name__, module_config(module)) for module in model]
        settings = model_settings(getattr(model[0], "auto_model", None))
        return RerankerIdentity(
            model=self._name,
            revision=self._revision,
            weights=weights_digest(model),
            tokenizer=tokenizer_digest(getattr(model[0], "tokenizer", None)),
            configuration=digest_json([modules, settings]),
            activation=self._activation,
            max_length=max_length,
            prompt=self._prompt,
            precision=precision_of(model),
            backend="torch",
            versions=torch_versions(),
        )


def _loaded(located: LocatedModel, device: str, precision: str) -> CrossEncoder:
    from sentence_transformers import CrossEncoder

    model: CrossEncoder = load_torch(CrossEncoder, located, device, precision)
    return model
