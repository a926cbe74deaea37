"""Tokens of texts as a model takes them, made by its tokenizer alone.

A model's own preprocessing tokenizes a batch and pads it in one step, on one thread. Here texts are
tokenized once, in the order they come, and batches are cut of their tokens. Whether these are the features
that the model would have made is tried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.batches import Batch, padded_length
from qsearch.encoding.tokens import slices, uncut

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TokenFeatures"]

_MASK = "attention_mask"

_GIVEN = {"input_ids": "ids", "token_type_ids": "type_ids", _MASK: "attention_mask"}
"""What a tokenizer calls the arrays of a model."""

_TRIALS = (
    "",
    "a",
    "Two words and a comma, then a stop.",
    "Ça déjà vu: Ångström, Łódź; 東京は日本の首都です。 Библиотека 🚀",
    "\ta line\nand another\r\n  with  blank   space ",
    "[CLS] a [MASK] </s> <s> <pad> query: passage:",
    "one after the other " * 40,
    "x" * 300,
)


class TokenFeatures:
    """What a model takes for texts with one prompt. Safe to share between threads."""

    def __init__(
        self, tokenizer: Tokenizer, padding: Mapping[str, int], left: bool, more: Mapping[str, Any]
    ) -> None:
        """Take what ``of`` has found out.

        Args:
            tokenizer: cuts, and does not pad.
            padding: by name of each array, what stands where there is no token.
            left: whether that is before the tokens.
            more: what else the model takes, the same for all texts.
        """
        self._tokenizer = tokenizer
        self._padding = dict(padding)
        # What is the same for all tokens is not asked for: lists of numbers take most of the time.
        constant = dict.fromkeys(padding, 0)
        self._varying = set(padding)
        for name in set(padding) - {"input_ids"}:
            values = {
                number
                for one in tokenizer.encode_batch(list(_TRIALS))
                for number in getattr(one, _GIVEN[name])
            }
            if len(values) == 1:
                (constant[name],) = values
                self._varying.remove(name)
        self._constant = np.array(list(constant.values()), dtype=np.int32)[:, None]
        self._left = left
        self._more = dict(more)

    @classmethod
    def of(cls, model: Any, prompt: str, task: str, max_length: int) -> TokenFeatures | None:
        """Find out how a model makes its features; ``None`` where it is not by padding tokens.

        Args:
            model: of sentence-transformers.
            prompt: that stands before each text.
            task: ``document`` or ``query``.
            max_length: tokens; 0: nothing is cut.
        """
        tokenizer: Any = getattr(model[0], "tokenizer", None)
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or not hasattr(backend, "to_str"):
            return None
        texts = list(_TRIALS)
        own = uncut(backend)
        longest = max(len(one.ids) for one in own.encode_batch([prompt + one for one in texts]))
        length = padded_length(longest, max_length)
        if max_length:
            own.enable_truncation(max_length, direction=tokenizer.truncation_side)
        options = {"text": {"padding": "max_length", "max_length": length}}
        expected = model.preprocess(
            texts, prompt=prompt or None, task=task, processing_kwargs=options
        )
        arrays = {key: one.numpy() for key, one in expected.items() if hasattr(one, "numpy")}
        padding = {
            "input_ids": tokenizer.pad_token_id,
            "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0),
            _MASK: 0,
        }
        if _MASK not in arrays or not set(arrays) <= set(padding):
            return None
        more = {key: one for key, one in expected.items() if key not in arrays}
        found = cls(
            own,
            {key: padding[key] for key in arrays},
            tokenizer.padding_side == "left",
            more,
        )
        batch = Batch(tuple(range(len(texts))), length, len(texts))
        made = found.padded(found.tokens([prompt + one for one in texts])[0], batch)
        same = all(
            made[key].dtype == one.dtype and np.array_equal(made[key], one)
            for key, one in arrays.items()
        )
        return found if same else None

    def tokens(self, texts: Sequence[str]) -> tuple[list[NDArray[np.int32]], int]:
        """Tokens of texts with their prompt, and how many texts were cut.

        Returns:
            Of each text (arrays, t), in the order of ``padding``; the number of those that have more.
        """
        found = []
        cut = 0
        given = [
            (row, _GIVEN[name]) for row, name in enumerate(self._padding) if name in self._varying
        ]
        for some in slices(texts):
            for one in self._tokenizer.encode_batch(list(some)):
                made = np.empty((len(self._padding), len(one)), dtype=np.int32)
                made[:] = self._constant
                for row, name in given:
                    made[row] = getattr(one, name)
                found.append(made)
                cut += bool(one.overflowing)
        return found, cut

    def padded(self, tokens: Sequence[NDArray[np.int32]], batch: Batch) -> dict[str, Any]:
        """The features of a batch; rows that no text takes hold one token of the last text.

        Args:
            tokens: of the batch's texts, none longer than the batch.
            batch: its shape.
        """
        shape = len(self._padding), batch.rows, batch.length
        whole = np.empty(shape, dtype=np.int64)
        whole[...] = np.array(list(self._padding.values()), dtype=np.int64)[:, None, None]
        for row in range(batch.rows):
            one = tokens[row] if row < len(tokens) else tokens[-1][:, :1]
            count = one.shape[1]
            begin = batch.length - count if self._left else 0
            whole[:, row, begin : begin + count] = one
        return {**dict(zip(self._padding, whole, strict=True)), **self._more}
