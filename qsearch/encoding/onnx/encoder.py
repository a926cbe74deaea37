"""Running an exported model: onnxruntime and tokenizers, neither torch nor sentence_transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.batches import Batch, same_length_batches, single_batches
from qsearch.encoding.identity import EncoderIdentity
from qsearch.encoding.onnx.cache import ExportedModel, library_versions
from qsearch.encoding.onnx.session import Session
from qsearch.encoding.tokens import heads, slices, token_counts, token_spans, uncut
from qsearch.lazily import cached_property
from qsearch.locks import ProcessLock

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["OnnxEncoder"]


_TRIAL_WORDS = (
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "was",
    "he",
    "for",
    "it",
    "with",
    "as",
    "his",
)


class OnnxEncoder:
    """An exported model as an ``Encoder``, on CPU.

    A text is stripped, the prompt put in front of it, and it runs beside others of the same number of
    tokens, so that nothing is padded, on one thread: an embedding is the same bit for bit whatever else
    is encoded, in whatever order, on however many threads. Safe to share between threads.
    """

    concurrent = True

    def __init__(
        self, export: ExportedModel[EncoderIdentity], identity: EncoderIdentity | None = None
    ) -> None:
        """Load the graph and the tokenizer.

        Args:
            export: see ``find_export``.
            identity: the same model with prompts, lengths and stripping of one's own; by default
                those of the model.

        Raises:
            EncoderError: the files cannot be loaded.
        """
        told = identity or export.identity
        self._identity = replace(told, backend="onnxruntime", versions=library_versions())
        self._rows_may_vary = export.rows_may_vary
        self._query_prompt = told.query_prompt or ""
        self._document_prompt = told.document_prompt or ""
        self._session = Session(export.folder)
        self._tokenizer = uncut(self._session.tokenizer)
        if told.max_length:
            self._tokenizer.enable_truncation(told.max_length)
        self._lock = ProcessLock()

    # The Encoder protocol

    def identity(self) -> EncoderIdentity:
        """What the export was made from."""
        return self._identity

    def encode_documents(
        self, texts: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Embed documents: (n, d) float32."""
        plan = same_length_batches if self._rows_may_vary else single_batches
        return self._encode(texts, self._document_prompt, plan, advance)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed queries: (n, d) float32."""
        return self._encode(texts, self._query_prompt, single_batches, None)

    def truncated(self, texts: Sequence[str]) -> int:
        """How many of ``texts``, as documents, are longer than the maximum length."""
        return sum(cut for _, cut in self._tokenize(texts, self._document_prompt))

    # The TokenEncoder protocol

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has as a document, not cut."""
        return self._uncut_counts(self._prepared(texts, self._document_prompt))

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Where the tokens of each text begin and end, in characters: (t, 2) each, not cut."""
        return token_spans(self._uncut_tokenizer, texts)

    # For the contract and the export

    def encode_canaries(
        self, texts: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed texts as documents and as queries the fastest way: equal up to rounding."""
        queries = self.encode_queries(texts)
        if self._query_prompt == self._document_prompt:
            return queries, queries
        return self._encode(texts, self._document_prompt, single_batches, None), queries

    def rows_may_vary(self) -> bool:
        """Whether texts get the same bits in batches of two, three and four rows; tries it out."""
        generator = np.random.default_rng(0)
        texts = [
            " ".join(generator.choice(_TRIAL_WORDS, size=n))
            for n in (1, 2, 3, 5, 8, 13, 21, 34, 55)
        ]
        for ids, _ in self._tokenize(texts, self._document_prompt):
            rows = [generator.permutation(ids).tolist() for _ in range(12)]
            length = len(ids)
            found = set()
            for count in (2, 3, 4):
                batch = Batch(tuple(range(count)), length, count)
                parts = [self._forward(rows[i : i + count], batch) for i in range(0, 12, count)]
                found.add(b"".join(b"" if part is None else part.tobytes() for part in parts))
            if len(found) > 1:
                return False
        return True

    def token_ids(self, text: str) -> list[int]:
        """The tokens that a text becomes as a document."""
        return self._tokenize([text], self._document_prompt)[0][0]

    # Encoding

    def _tokenize(self, texts: Sequence[str], prompt: str) -> list[tuple[list[int], bool]]:
        """The tokens of each text, and whether there would be more without the maximum length."""
        prepared = self._prepared(texts, prompt)
        found: list[tuple[list[int], bool]] = []
        for some in slices(heads(prepared, self._identity.max_length or 0, self._uncut_counts)):
            with self._lock:
                encodings = self._tokenizer.encode_batch(list(some))
            found += [(one.ids, bool(one.overflowing)) for one in encodings]
        return found

    def _uncut_counts(self, prepared: Sequence[str]) -> list[int]:
        return token_counts(self._uncut_tokenizer, prepared)

    def _prepared(self, texts: Sequence[str], prompt: str) -> list[str]:
        strip = self._identity.strip is not False
        return [prompt + (text.strip() if strip else text) for text in texts]

    @cached_property
    def _uncut_tokenizer(self) -> Tokenizer:
        """The same tokenizer without a maximum length."""
        return uncut(self._tokenizer)

    def _encode(
        self,
        texts: Sequence[str],
        prompt: str,
        plan: Callable[[Sequence[int]], list[Batch]],
        advance: Callable[[int], None] | None,
    ) -> NDArray[np.float32]:
        ids = [one for one, _ in self._tokenize(texts, prompt)]
        embeddings = np.zeros((len(texts), self._identity.dimensions), dtype=np.float32)
        batches = plan([len(one) for one in ids])

        def run(batch: Batch) -> tuple[Batch, NDArray[np.float32] | None]:
            return batch, self._forward([ids[index] for index in batch.indices], batch)

        for batch, values in self._session.each(run, batches):
            if values is not None:
                embeddings[list(batch.indices)] = values
            if advance is not None:
                advance(len(batch.indices))
        return embeddings

    def _forward(self, ids: list[list[int]], batch: Batch) -> NDArray[np.float32] | None:
        if not batch.length:
            return None  # not a single token: it has no direction, as a vector of zeros
        # The dummy rows repeat the last text: any text will do, rows do not see each other.
        padded = np.array(ids + ids[-1:] * (batch.rows - len(ids)), dtype=np.int64)
        what = f"{self._identity.model} failed on {len(ids)} texts of {batch.length} tokens"
        output = self._session.run({"input_ids": padded}, what)
        return output[: len(ids), : self._identity.dimensions]
