"""Running an exported model: onnxruntime and tokenizers, neither torch nor sentence_transformers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.batches import Batch, by_length, plan_batches
from qsearch.encoding.identity import EncoderIdentity
from qsearch.encoding.onnx.cache import GRAPH, TOKENIZER, ExportedModel, library_versions
from qsearch.encoding.tokens import heads, slices, token_counts, token_spans, uncut
from qsearch.errors import EncoderError
from qsearch.kernels import thread_count
from qsearch.locks import ProcessLock

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["OnnxEncoder"]


_ALONE = 96
"""Texts of more tokens than this are encoded alone: their matrix products are large enough."""

_ROWS = 4
"""MiniLM on one thread (AVX-512), milliseconds for a text by rows 1, 2, 4, 8: 24 tokens 8.5, 6.8, 6.3,
5.5; 48 tokens 14.0, 11.4, 10.8, 10.6; 128 tokens 31.8, 30.2, 30.2, 31.7."""


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


def _document_batches(lengths: Sequence[int]) -> list[Batch]:
    """Short texts in batches of two to four of the same length, long ones alone.

    Two rows or more give the same bits, which is tried out when a model is exported; one row does not.
    So a short text is never alone: where there is one of its length it stands beside a dummy.
    """
    batches = []
    for length, members in by_length(lengths):
        count = len(members) if length > _ALONE else -(-len(members) // _ROWS)
        for part in range(count):
            some = members[part::count]
            rows = 1 if length > _ALONE else max(2, len(some))
            batches.append(Batch(tuple(some), length, rows))
    return batches


def _single_batches(lengths: Sequence[int]) -> list[Batch]:
    return plan_batches(lengths, lambda length: 1)


class OnnxEncoder:
    """An exported model as an ``Encoder``, on CPU.

    A text is stripped, the prompt put in front of it, and it runs beside others of the same number of
    tokens, so that nothing is padded, on one thread: an embedding is the same bit for bit whatever else
    is encoded, in whatever order, on however many threads. Safe to share between threads.
    """

    concurrent = True

    def __init__(self, export: ExportedModel, identity: EncoderIdentity | None = None) -> None:
        """Load the graph and the tokenizer.

        Args:
            export: see ``find_export``.
            identity: the same model with prompts, lengths and stripping of one's own; by default
                those of the model.

        Raises:
            EncoderError: the files cannot be loaded.
        """
        import onnxruntime
        from tokenizers import Tokenizer

        told = identity or export.identity
        self._identity = replace(told, backend="onnxruntime", versions=library_versions())
        self._rows_may_vary = export.rows_may_vary
        self._query_prompt = told.query_prompt or ""
        self._document_prompt = told.document_prompt or ""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # it would keep a plan for every shape
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                str(export.folder / GRAPH), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = Tokenizer.from_file(str(export.folder / TOKENIZER))
        except Exception as error:  # both raise many kinds
            raise EncoderError(
                f"the export in {export.folder} cannot be loaded ({error})"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if told.max_length:
            self._tokenizer.enable_truncation(told.max_length)
        self._lock = ProcessLock()
        self._pool: ThreadPoolExecutor | None = None
        self._pool_for = (0, 0)

    # The Encoder protocol

    def identity(self) -> EncoderIdentity:
        """What the export was made from."""
        return self._identity

    def encode_documents(
        self, texts: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Embed documents: (n, d) float32."""
        plan = _document_batches if self._rows_may_vary else _single_batches
        return self._encode(texts, self._document_prompt, plan, advance)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed queries: (n, d) float32."""
        return self._encode(texts, self._query_prompt, _single_batches, None)

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
        return self._encode(texts, self._document_prompt, _single_batches, None), queries

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

        threads = thread_count()
        several = threads > 1 and len(batches) > 1
        for batch, values in (self._workers(threads).map if several else map)(run, batches):
            if values is not None:
                embeddings[list(batch.indices)] = values
            if advance is not None:
                advance(len(batch.indices))
        return embeddings

    def _workers(self, threads: int) -> ThreadPoolExecutor:
        """Threads that all calls share: batches of a second call fill in where a first one ends."""
        with self._lock:
            wanted = threads, os.getpid()  # the threads of a process are not in its children
            if self._pool is None or self._pool_for != wanted:
                self._pool = ThreadPoolExecutor(threads, "qsearch-encode")
                self._pool_for = wanted
            return self._pool

    def _forward(self, ids: list[list[int]], batch: Batch) -> NDArray[np.float32] | None:
        if not batch.length:
            return None  # not a single token: it has no direction, as a vector of zeros
        # The dummy rows repeat the last text: any text will do, rows do not see each other.
        padded = np.array(ids + ids[-1:] * (batch.rows - len(ids)), dtype=np.int64)
        try:
            output: NDArray[np.float32] = self._session.run(None, {"input_ids": padded})[0]
        except Exception as error:  # onnxruntime raises kinds of its own
            raise EncoderError(
                f"the model {self._identity.model} failed on {len(ids)} texts of {batch.length} "
                f"tokens ({error})"
            ) from error
        return output[: len(ids), : self._identity.dimensions]
