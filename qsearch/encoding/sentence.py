"""The sentence-transformers adapter: torch, on CPU or CUDA."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.batches import (
    SPARE_ON_GPU,
    Batch,
    batches_as_they_come,
    padded_length,
    plan_batches,
)
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
from qsearch.encoding.features import TokenFeatures
from qsearch.encoding.identity import UNNAMED_MODEL, EncoderIdentity
from qsearch.encoding.models import LocatedModel, locate_model
from qsearch.encoding.replicas import Replicas, chosen_devices
from qsearch.encoding.running import Features, Runner
from qsearch.encoding.tokens import heads, slices, token_counts, token_spans, uncut
from qsearch.errors import EncoderError
from qsearch.lazily import cached_property
from qsearch.locks import ProcessLock
from qsearch.wording import words

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

__all__ = ["SentenceEncoder"]

_DOCUMENT_ROWS = 8
_QUERY_ROWS = 4
"""A query waits for its whole batch: 4 rows cost 1.6 times the time of one, 16 rows 4 times. Of documents
8 rows a thread are best: MiniLM encodes 118 texts a second with 8, 112 with 4, 117 with 6."""

_GPU_ROWS = 16
_GPU_QUERY_ROWS = 8
_GPU_TOKENS = 16_384
_TOKENIZED = 2048
"""Texts that are tokenized before a GPU begins with them."""

_CUT_KNOWN = 4
"""Of so many lists of documents it is known how many were cut: those that were encoded last."""

_AT_ONCE_CPU = 128
_AT_ONCE_GPU = 16_384
"""MiniLM on CPU, long texts, bytes encoded in a second of one thread with 32, 64, 128, 256 texts at once:
6,500, 8,500, 9,700, 11,000 (scripts/bench/chunks.py)."""


class SentenceEncoder:
    """Any sentence-transformers model as an ``Encoder``.

    A text is stripped, the prompt is put in front of it, and it is encoded in a batch of fixed
    shape. Embeddings come out as the model gives them, in float32, not yet normalised by qsearch.
    """

    concurrent = True

    def __init__(
        self,
        model: str | Path | LocatedModel | SentenceTransformer,
        *,
        device: str = "auto",
        revision: str | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_length: int | None = None,
        truncate_dim: int | None = None,
        precision: str = "float32",
        strip: bool = True,
    ) -> None:
        """Load ``model`` where it is a name or path; take it as it is where it is an object.

        Args:
            model: see ``locate_model``; or what that found; or a loaded ``SentenceTransformer``, whose
                device and precision are kept.
            device: see ``chosen_devices``. Documents are encoded on all of them, queries on the first.
            revision: commit, branch or tag on the hub.
            query_prompt: ``None`` takes the model's prompt named ``query``.
            document_prompt: ``None`` takes the model's prompt named ``document``, ``passage`` or
                ``corpus``.
            max_length: tokens; ``None`` takes the model's own, 0 cuts nothing.
            truncate_dim: keep only so many components of an embedding.
            precision: dtype of the weights.
            strip: remove surrounding whitespace. Only to imitate encoders that do not.

        Raises:
            EncoderError: the model cannot be found or loaded.
        """
        if isinstance(model, str | Path | LocatedModel):
            located = model
            if not isinstance(located, LocatedModel):
                located = locate_model(str(model), revision)
            devices = chosen_devices(device)
            self._model = _loaded(located, devices[0], precision)
            self._name, self._revision = located.name, located.revision
        else:
            self._model = model
            devices = [str(model.device)]
            self._name, self._revision = UNNAMED_MODEL, None
        self._strip = strip
        self._own_max_length = plain_length(self._model.max_seq_length)
        self._own_query_prompt = self._own_prompt("query")
        self._own_document_prompt = self._own_prompt("document", "passage", "corpus")
        self._truncate_dim = truncate_dim or self._model.truncate_dim
        if max_length is not None and max_length != self._own_max_length:
            self._model.max_seq_length = max_length or NO_LIMIT + 1
        self._max_length = plain_length(self._model.max_seq_length)
        own = self._own_query_prompt, self._own_document_prompt
        self._query_prompt = own[0] if query_prompt is None else query_prompt
        self._document_prompt = own[1] if document_prompt is None else document_prompt
        self._tokenizer = default_tokenizer(self._model)
        self._on_gpu = self._model.device.type != "cpu"
        self._features: dict[tuple[str, str], TokenFeatures | None] = {}
        self._replicas = Replicas(self._model, devices, "sentence_embedding")
        self._identity: EncoderIdentity | None = None
        self._lock = ProcessLock()  # tokenizers refuse to be used by two threads at once
        self._cut: deque[tuple[int, int]] = deque(maxlen=_CUT_KNOWN)

    # The Encoder protocol

    def encode_documents(
        self, texts: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Embed documents: (n, d) float32."""
        return self._encode(texts, self._document_prompt, "document", advance)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed queries: (n, d) float32."""
        return self._encode(texts, self._query_prompt, "query", None)

    def truncated(self, texts: Sequence[str]) -> int:
        """How many of ``texts``, as documents, are longer than the maximum length."""
        if not self._max_length:
            return 0
        known = dict(self._cut).get(hash(tuple(texts)))
        if known is not None:
            return known
        prepared = self._heads([self._prepared(text) for text in texts], self._document_prompt)
        counts = self._token_counts(prepared, self._document_prompt)
        return sum(count > self._max_length for count in counts)

    def identity(self) -> EncoderIdentity:
        """Describe this encoder; hashes every weight the first time."""
        if self._identity is None:
            self._identity = self._describe()
        return self._identity

    # The TokenEncoder protocol

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has as a document, not cut."""
        prepared = [self._prepared(text) for text in texts]
        if self._tokenizer is None and self._uncut_tokenizer is not None:
            prepared = [self._document_prompt + text for text in prepared]
            return token_counts(self._uncut_tokenizer, prepared)
        return self._token_counts(prepared, self._document_prompt)

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Where the tokens of each text begin and end, in characters: (t, 2) each, not cut.

        Raises:
            EncoderError: the tokenizer does not tell.
        """
        if self._uncut_tokenizer is None:
            raise EncoderError(
                f"the tokenizer of {self._name} does not tell where its tokens stand in a text: "
                f"documents cannot be split into passages by it; leave out {words().passages}"
            )
        return token_spans(self._uncut_tokenizer, texts)

    @cached_property
    def _uncut_tokenizer(self) -> Tokenizer | None:
        """A copy of the tokenizer that neither cuts nor pads, where it is of the tokenizers package."""
        tokenizer: Any = getattr(self._model[0], "tokenizer", None)
        backend: Any = getattr(tokenizer, "backend_tokenizer", tokenizer)
        return uncut(backend) if hasattr(backend, "to_str") else None

    # For builds

    @property
    def documents_at_once(self) -> int:
        """So many are needed to fill batches of fixed shape with little waste."""
        return _AT_ONCE_GPU if self._on_gpu else _AT_ONCE_CPU

    # For those who export it

    @property
    def model(self) -> SentenceTransformer:
        """What runs; not to be changed."""
        return self._model

    def own_identity(self) -> EncoderIdentity:
        """The identity that this encoder has when all prompts and lengths are the model's own."""
        identity = self.identity()
        return replace(
            identity,
            query_prompt=self._own_query_prompt,
            document_prompt=self._own_document_prompt,
            max_length=self._own_max_length,
            truncate_dim=self._model.truncate_dim,
            dimensions=self._dimensions(self._model.truncate_dim),
            strip=True,
        )

    def token_ids(self, text: str) -> list[int]:
        """The tokens that a text becomes as a document."""
        prepared = [self._prepared(text)]
        with self._lock:
            ids = self._model.preprocess(prepared, prompt=self._document_prompt or None)[
                "input_ids"
            ]
        return [int(one) for one in ids[0]]

    # Encoding

    def _prepared(self, text: str) -> str:
        return text.strip() if self._strip else text

    def _own_prompt(self, *names: str) -> str:
        # As encode_query and encode_document do, the model's default prompt is not for either. Unlike
        # them, an empty "document" (which the library adds to every model) does not hide "passage".
        prompts: Mapping[str, str] = self._model.prompts or {}
        return next((prompts[name] for name in names if prompts.get(name)), "")

    def _encode(
        self,
        texts: Sequence[str],
        prompt: str,
        task: str,
        advance: Callable[[int], None] | None,
    ) -> NDArray[np.float32]:
        prepared = self._heads([self._prepared(text) for text in texts], prompt)
        embeddings: NDArray[np.float32] | None = None
        features = self._features_of(prompt, task)
        tokens: list[NDArray[np.int32]] = []
        rows_for = self._document_rows if task == "document" else self._query_rows
        spare = SPARE_ON_GPU if self._on_gpu else 0
        batches: Iterable[Batch]
        if self._tokenizer is None:
            batches = [
                Batch(tuple(range(start, min(start + 256, len(prepared)))), 0, 0)
                for start in range(0, len(prepared), 256)
            ]
        elif features is None:
            counts = self._token_counts(prepared, prompt)
            lengths = [padded_length(count, self._max_length) for count in counts]
            batches = plan_batches(lengths, rows_for, spare)
        else:
            key = hash(tuple(texts)) if task == "document" else None
            parts = self._tokenized(features, prepared, prompt, tokens, key)
            batches = batches_as_they_come(parts, rows_for, spare)

        def made(model: SentenceTransformer, batch: Batch) -> Features:
            if features is not None:
                return features.padded([tokens[index] for index in batch.indices], batch)
            chosen = [prepared[index] for index in batch.indices]
            return self._preprocessed(model, chosen, batch, prompt, task)

        def run(runner: Runner, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            return batch, self._forward(runner, made, batch, task)

        on = self._replicas.documents if task == "document" else self._replicas.queries
        for batch, values in on(run, batches):
            if embeddings is None:
                embeddings = np.empty((len(prepared), values.shape[1]), dtype=np.float32)
            embeddings[list(batch.indices)] = values
            if advance is not None:
                advance(len(batch.indices))
        if embeddings is None:
            return np.empty((0, self.identity().dimensions), dtype=np.float32)
        return embeddings

    def _tokenized(
        self,
        features: TokenFeatures,
        texts: Sequence[str],
        prompt: str,
        tokens: list[NDArray[np.int32]],
        key: int | None,
    ) -> Iterator[list[int]]:
        """Padded lengths of texts, part by part: the GPU computes the first ones meanwhile.

        Args:
            features: who tokenizes.
            texts: these.
            prompt: that stands before each.
            tokens: theirs are added to it.
            key: by which it is kept how many were cut, for who asks next.
        """
        cut = 0
        for start in range(0, len(texts), _TOKENIZED):
            part, more = features.tokens(
                [prompt + one for one in texts[start : start + _TOKENIZED]]
            )
            cut += more
            tokens += part
            yield [padded_length(one.shape[1], self._max_length) for one in part]
        if key is not None:
            self._cut.append((key, cut))

    def _features_of(self, prompt: str, task: str) -> TokenFeatures | None:
        """What makes features without the model, where a GPU would wait for it; ``None``: it does."""
        if not self._on_gpu or self._tokenizer is None:
            return None
        with self._lock:
            if (prompt, task) not in self._features:
                self._features[prompt, task] = TokenFeatures.of(
                    self._model, prompt, task, self._max_length
                )
            return self._features[prompt, task]

    def _preprocessed(
        self, model: SentenceTransformer, texts: list[str], batch: Batch, prompt: str, task: str
    ) -> Features:
        options: dict[str, Any] = {}
        if batch.length:
            # Any text will do for the dummy rows: rows do not see each other.
            dummy = [""] if self._on_gpu else texts[-1:]
            texts = texts + dummy * (batch.rows - len(texts))
            text_options = {"padding": "max_length", "max_length": batch.length}
            options["processing_kwargs"] = {"text": text_options}
        with self._lock:
            features: Features = model.preprocess(
                texts, prompt=prompt or None, task=task, **options
            )
        return features

    def _forward(
        self,
        runner: Runner,
        made: Callable[[SentenceTransformer, Batch], Features],
        batch: Batch,
        task: str,
    ) -> NDArray[np.float32]:
        try:
            values = runner.run(made(runner.model, batch), len(batch.indices), task=task)
        except (RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
            raise EncoderError(
                f"the model {self._name} failed on {len(batch.indices)} texts of {batch.length or 'any'} "
                f"tokens ({type(error).__name__}: {error})"
            ) from error
        return values[:, : self._truncate_dim] if self._truncate_dim else values

    # Rows of a batch are a function of the length, the task and the kind of device, nothing else.

    def _document_rows(self, length: int) -> int:
        if not self._on_gpu:
            return _DOCUMENT_ROWS
        rows = max(_GPU_ROWS, _GPU_TOKENS // max(1, length))
        return int(1 << (rows.bit_length() - 1))

    def _query_rows(self, length: int) -> int:
        return _GPU_QUERY_ROWS if self._on_gpu else _QUERY_ROWS

    def _token_counts(self, texts: list[str], prompt: str) -> list[int]:
        if self._tokenizer is None or not texts:
            return [0] * len(texts)
        counts: list[int] = []
        for some in slices([prompt + text for text in texts]):
            with self._lock:
                counts += token_counts_of(self._tokenizer, some)
        return counts

    def _heads(self, texts: list[str], prompt: str) -> list[str]:
        if self._tokenizer is None:
            return texts
        return heads(texts, self._max_length, lambda some: self._token_counts(some, prompt))

    # Describing

    def _describe(self) -> EncoderIdentity:
        model = self._model
        modules = [(type(module).__name__, module_config(module)) for module in model]
        normalizes = bool(modules) and modules[-1][0] == "Normalize"
        pooling = next(
            (config["pooling_mode"] for _, config in modules if "pooling_mode" in config), None
        )
        core = modules[:-1] if normalizes else modules
        settings = model_settings(getattr(model[0], "auto_model", None))
        return EncoderIdentity(
            model=self._name,
            dimensions=self._dimensions(self._truncate_dim),
            revision=self._revision,
            weights=weights_digest(model),
            tokenizer=tokenizer_digest(getattr(model[0], "tokenizer", None)),
            configuration=digest_json([core, settings]),
            modules=tuple(name for name, _ in modules),
            pooling=None if pooling is None else _plain_pooling(pooling),
            normalizes=normalizes,
            query_prompt=self._query_prompt,
            document_prompt=self._document_prompt,
            max_length=self._max_length,
            truncate_dim=self._truncate_dim,
            precision=precision_of(model),
            backend="torch",
            strip=self._strip,
            versions=torch_versions(),
        )

    def _dimensions(self, truncate_dim: int | None) -> int:
        dimensions = truncate_dim or self._model.get_embedding_dimension()
        if dimensions is None:
            raise EncoderError(f"the model {self._name} does not say how long its embeddings are")
        return int(dimensions)


def _loaded(located: LocatedModel, device: str, precision: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    model: SentenceTransformer = load_torch(SentenceTransformer, located, device, precision)
    return model


def _plain_pooling(pooling: Any) -> str:
    return pooling if isinstance(pooling, str) else "+".join(str(one) for one in pooling)
