"""What an encoder must be able to do, and what it may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.identity import EncoderIdentity

__all__ = ["CanaryEncoder", "Encoder", "TokenEncoder"]


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into embeddings. Implement it to bring an encoder of your own.

    An embedding may have any length but zero: qsearch normalises. A text must give the same
    embedding whatever stands beside it in the list. An encoder that several threads may use at once
    says so by an attribute ``concurrent = True``: then a build reads and writes while it encodes. A build
    gives it some 32 kB of text at a time, and makes durable what has become of it; one that is slow on so
    little says by an attribute ``documents_at_once`` how many documents it wants at least (at most 16,384).
    """

    def identity(self) -> EncoderIdentity:
        """Say what the embeddings depend on."""
        ...

    def encode_documents(
        self, texts: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Embed documents.

        Args:
            texts: n strings.
            advance: may be told how many texts were just done, for a progress bar.

        Returns:
            (n, d) float32.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed queries: (n, d) float32."""
        ...

    def truncated(self, texts: Sequence[str]) -> int:
        """How many of ``texts``, as documents, are longer than the maximum length."""
        ...


@runtime_checkable
class CanaryEncoder(Protocol):
    """An ``Encoder`` that has a faster way for the check of its contract."""

    def encode_canaries(
        self, texts: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed texts as documents and as queries, equal up to rounding: twice (n, d) float32."""
        ...


@runtime_checkable
class TokenEncoder(Protocol):
    """An ``Encoder`` that shows its tokens, so that documents can be split into passages by them."""

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has as a document, with prompt and special tokens, not cut."""
        ...

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Where the tokens of each text alone begin and end, in characters: (t, 2) each, not cut.

        Raises:
            EncoderError: the tokenizer does not tell.
        """
        ...
