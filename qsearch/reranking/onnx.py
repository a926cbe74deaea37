"""Cross-encoders through ONNX Runtime: exporting one, accepted only if it does the same, and running it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.batches import Batch, same_length_batches, single_batches
from qsearch.encoding.onnx.cache import ExportedModel, library_versions
from qsearch.encoding.onnx.graph import (
    ExportRefused,
    keep_export,
    tokenizer_definition,
    write_graph,
)
from qsearch.encoding.onnx.session import Session
from qsearch.errors import EncoderError
from qsearch.reranking.activation import ACTIVATIONS, activated
from qsearch.reranking.canaries import canary_pairs
from qsearch.reranking.identity import RerankerIdentity
from qsearch.reranking.protocols import Pair
from qsearch.reranking.tokens import PairTokenizer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from qsearch.reranking.cross import CrossEncoderReranker

__all__ = ["OnnxReranker", "export_reranker"]

_SAME_LOGIT = 1e-4
"""Largest difference of a canary's logit, beside its size where that is above 1. Rounding alone makes some
1e-6; a side that is forgotten, or another token, makes more than 1e-2."""

_TRIAL_LENGTHS = (5, 8, 13, 21, 34, 55, 89)


class OnnxReranker:
    """An exported cross-encoder as a ``Reranker``, on CPU. Safe to share between threads.

    A pair runs beside others of the same number of tokens, so that nothing is padded, on one thread: a
    score is the same bit for bit whatever else is scored, in whatever order, on however many threads.
    """

    def __init__(
        self, export: ExportedModel[RerankerIdentity], identity: RerankerIdentity | None = None
    ) -> None:
        """Load the graph and the tokenizer.

        Args:
            export: see ``find_export``.
            identity: the same model with a name and a maximum length of one's own.

        Raises:
            EncoderError: the files cannot be loaded.
        """
        told = identity or export.identity
        self._identity = replace(told, backend="onnxruntime", versions=library_versions())
        self._activation = told.activation or "identity"
        self._rows_may_vary = export.rows_may_vary
        self._session = Session(export.folder)
        self._tokenizer = PairTokenizer(self._session.tokenizer, told.max_length or 0)
        self._prompt = told.prompt or ""

    # The Reranker protocol

    def identity(self) -> RerankerIdentity:
        """What the export was made from."""
        return self._identity

    def score(
        self, pairs: Sequence[Pair], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Score pairs: (n,) float32.

        Raises:
            EncoderError: the model fails on them.
        """
        return activated(self._activation, self.logits(pairs, advance))

    def truncated(self, pairs: Sequence[Pair]) -> NDArray[np.bool_]:
        """Which of the pairs are longer than the maximum length: (n,) bool."""
        found = self._tokenizer.tokens(self._prepared(pairs))
        return np.array([one.truncated for one in found], dtype=np.bool_)

    # For the export

    def logits(
        self, pairs: Sequence[Pair], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """What the model gives before its activation: (n,) float32."""
        tokens = self._tokenizer.tokens(self._prepared(pairs))
        plan = same_length_batches if self._rows_may_vary else single_batches
        batches = plan([len(one.ids) for one in tokens])
        logits = np.empty(len(pairs), dtype=np.float32)

        def run(batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            chosen = [tokens[index] for index in batch.indices]
            return batch, self._forward(
                [one.ids for one in chosen], [one.sides for one in chosen], batch
            )

        for batch, values in self._session.each(run, batches):
            logits[list(batch.indices)] = values
            if advance is not None:
                advance(len(batch.indices))
        return logits

    def tokens(self, pair: Pair) -> tuple[list[int], list[int]]:
        """The tokens that a pair becomes, and which side each is of."""
        (found,) = self._tokenizer.tokens(self._prepared([pair]))
        return found.ids, found.sides

    def rows_may_vary(self) -> bool:
        """Whether pairs get the same bits in batches of two, three and four rows; tries it out."""
        generator = np.random.default_rng(0)
        known = np.array(self.tokens(canary_pairs(0)[2])[0])
        for length in _TRIAL_LENGTHS:
            rows = generator.choice(known, (12, length)).tolist()
            sides = [[0] * (length // 2) + [1] * (length - length // 2)] * 12
            found = set()
            for count in (2, 3, 4):
                batch = Batch(tuple(range(count)), length, count)
                parts = [
                    self._forward(rows[i : i + count], sides[i : i + count], batch)
                    for i in range(0, 12, count)
                ]
                found.add(b"".join(part.tobytes() for part in parts))
            if len(found) > 1:
                return False
        return True

    # Scoring

    def _prepared(self, pairs: Sequence[Pair]) -> list[Pair]:
        return [(self._prompt + query, text) for query, text in pairs]

    def _forward(
        self, ids: list[list[int]], sides: list[list[int]], batch: Batch
    ) -> NDArray[np.float32]:
        count = len(ids)
        missing = batch.rows - count
        # The dummy rows repeat the last pair: any will do, rows do not see each other.
        feeds = {
            "input_ids": np.array(ids + ids[-1:] * missing, dtype=np.int64),
            "token_type_ids": np.array(sides + sides[-1:] * missing, dtype=np.int64),
        }
        what = f"{self._identity.model} failed on {count} pairs of {batch.length} tokens"
        output = self._session.run({name: feeds[name] for name in self._session.inputs}, what)
        return output.reshape(-1)[:count]


def export_reranker(
    reranker: CrossEncoderReranker, folder: Path | None
) -> ExportedModel[RerankerIdentity]:
    """Export what ``reranker`` has loaded, hold it against it, and keep it in the cache.

    Args:
        reranker: in float32.
        folder: what it was loaded from, if from a folder.

    Raises:
        ExportRefused: it is not possible, or the export does not reproduce every canary pair (the same
            tokens, logits that differ by no more than rounding), or the cache cannot be written.
    """
    model = reranker.model
    identity = reranker.own_identity()
    if identity.activation not in ACTIVATIONS:
        raise ExportRefused(
            f"its activation is {identity.activation}, not one of torch's plain ones"
        )
    task = getattr(model[0], "transformer_task", None)
    if task != "sequence-classification" or len(model) != 1:
        raise ExportRefused("it is no plain sequence classifier")
    inputs = ["input_ids"]
    if reranker.tokens(("a", "b"))[1] is not None:
        inputs.append("token_type_ids")

    def write(place: Path, traced: bool) -> None:
        _write_graph(model, place, inputs, traced=traced)

    def compare(exported: ExportedModel[RerankerIdentity]) -> tuple[float, bool]:
        return _compare(model, exported)

    return keep_export(identity, folder, model, _tokenizer_definition(model), write, compare)


def _tokenizer_definition(model: CrossEncoder) -> str:
    """The tokenizer, with the side that it cuts, which the library keeps apart."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_definition(model))
    direction = getattr(model[0].tokenizer, "truncation_side", "right")
    tokenizer.enable_truncation(512, strategy="longest_first", direction=direction)
    return str(tokenizer.to_str())


def _write_graph(model: CrossEncoder, folder: Path, inputs: Sequence[str], *, traced: bool) -> None:
    write_graph(_pipeline(model), model[0].auto_model, folder, inputs, traced=traced)


def _pipeline(model: CrossEncoder) -> Any:
    """The model as one torch module from token ids, and sides where it takes them, to logits."""
    import torch

    class Pipeline(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.core = model[0].auto_model

        def forward(self, input_ids: torch.Tensor, token_type_ids: Any = None) -> torch.Tensor:
            sides = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            return self.core(input_ids=input_ids, **sides).logits

    return Pipeline().eval()


def _compare(model: CrossEncoder, exported: ExportedModel[RerankerIdentity]) -> tuple[float, bool]:
    """Hold an export against the model it was made from.

    Returns:
        The largest difference of a canary's logit, and whether the numbers of rows may vary.
    """
    from qsearch.reranking.cross import CrossEncoderReranker

    identity, limit = exported.identity, model.max_seq_length
    try:
        theirs = CrossEncoderReranker(model, max_length=identity.max_length)
        ours = OnnxReranker(exported)
        pairs = canary_pairs(identity.max_length)
        for pair in pairs:
            (ids, sides), (expected, expected_sides) = ours.tokens(pair), theirs.tokens(pair)
            if ids != expected or expected_sides not in (None, sides):
                raise ExportRefused(f"its tokens are other ones, for example of {pair[1][:40]!r}")
        found, expected_logits = ours.logits(pairs), theirs.logits(pairs)
    except EncoderError as error:
        raise ExportRefused(f"the export does not run ({error})") from error
    finally:
        model.max_seq_length = limit
    differences = np.abs(found.astype(np.float64) - expected_logits)
    allowed = _SAME_LOGIT * np.maximum(1.0, np.abs(expected_logits))
    if not (differences <= allowed).all():
        worst = float(differences.max())
        raise ExportRefused(
            f"the export does not do the same: a canary's score differs by {worst:.6f}"
        )
    return float(differences.max()), ours.rows_may_vary()
