"""Exporting a model: its whole pipeline as one ONNX graph, accepted only if it does the same.

The graph takes token ids without padding and gives embeddings: transformer, pooling, dense layers,
normalisation. Every text in a batch has the same number of tokens, so there is no attention mask.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import near_cosines, unit_rows
from qsearch.encoding.canaries import canary_texts
from qsearch.encoding.identity import EncoderIdentity
from qsearch.encoding.onnx.cache import ExportedModel
from qsearch.encoding.onnx.graph import (
    ExportRefused,
    keep_export,
    tokenizer_definition,
    write_graph,
)
from qsearch.errors import EncoderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from qsearch.encoding.sentence import SentenceEncoder

__all__ = ["ExportRefused", "export_model"]

_LEAST_COSINE = 0.99999
_SAME_SCORE = 1e-6
"""Scores that are nearer than this may change places in a ranking."""

_TOKENIZED = (
    "",
    " ",
    "a",
    "[CLS] [SEP] [MASK] [PAD] [UNK] <s> </s> <pad> <unk> <mask>",
    "tabs\tand\r\nlines\x0band \u00a0 blanks\u3000\u200b\ufeff",
    "İstanbul ǅ ﬁ ℌ Ⅷ ½ ① ㎏ e\u0301 \ud55c\uae00",
    "antidisestablishmentarianism" * 12,
    "👩‍👩‍👧 🏳️‍🌈 \U0001d518\U0001d52b \U00020000",
    "!?;:,.()[]{}'\"`´‘’“”«»–—…%€$#@&*+=<>/\\|~^_",
)
"""What tokenizers differ in, beside the canaries."""


def export_model(encoder: SentenceEncoder, folder: Path | None) -> ExportedModel[EncoderIdentity]:
    """Export what ``encoder`` has loaded, hold it against it, and keep it in the cache.

    Args:
        encoder: in float32.
        folder: what it was loaded from, if from a folder.

    Raises:
        ExportRefused: it is not possible, or the export does not reproduce every canary (cosine at
            least 0.99999, the same order of canaries as results, the same tokens), or the cache
            cannot be written.
    """
    model = encoder.model

    def write(place: Path, traced: bool) -> None:
        _write_graph(model, place, traced=traced)

    def compare(export: ExportedModel[EncoderIdentity]) -> tuple[float, bool]:
        return _compare(model, export)

    identity = encoder.own_identity()
    return keep_export(identity, folder, model, _tokenizer_definition(model), write, compare)


def _tokenizer_definition(model: SentenceTransformer) -> str:
    return tokenizer_definition(model)


def _write_graph(model: SentenceTransformer, folder: Path, *, traced: bool) -> None:
    write_graph(_pipeline(model), model[0].auto_model, folder, ["input_ids"], traced=traced)


def _pipeline(model: SentenceTransformer) -> Any:
    """The modules of ``model`` as one torch module from token ids to embeddings."""
    import torch

    class Pipeline(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.modules_of_model = torch.nn.ModuleList(model)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            first, *others = self.modules_of_model
            core = first.auto_model
            features: dict[str, Any] = {
                "input_ids": input_ids,
                "token_embeddings": core(input_ids=input_ids).last_hidden_state,
                "attention_mask": torch.ones_like(input_ids),
            }
            for module in others:
                features = module(features)
            return features["sentence_embedding"]

    return Pipeline().eval()


def _compare(
    model: SentenceTransformer, exported: ExportedModel[EncoderIdentity]
) -> tuple[float, bool]:
    """Hold an export against the model it was made from.

    Returns:
        The smallest cosine of a canary, and whether the numbers of rows may vary.
    """
    from qsearch.encoding.onnx.encoder import OnnxEncoder
    from qsearch.encoding.sentence import SentenceEncoder

    identity, limit = exported.identity, model.max_seq_length
    try:
        encoder = SentenceEncoder(model, max_length=identity.max_length)
        export = OnnxEncoder(exported)
        texts = [canary.text for canary in canary_texts(identity.max_length)]
        for text in (*_TOKENIZED, *texts):
            if export.token_ids(text) != encoder.token_ids(text):
                raise ExportRefused(f"its tokens are other ones, for example of {text[:40]!r}")
        worst = 1.0
        spaces = []
        for ours, theirs in (
            (export.encode_documents(texts), encoder.encode_documents(texts)),
            (export.encode_queries(texts), encoder.encode_queries(texts)),
        ):
            rows, same = unit_rows(ours)[0], unit_rows(theirs)[0]
            spaces.append((rows.astype(np.float64), same.astype(np.float64)))
            worst = min(worst, float(near_cosines(rows, same).min()))
    except EncoderError as error:
        raise ExportRefused(f"the export does not run ({error})") from error
    finally:
        model.max_seq_length = limit
    if not worst >= _LEAST_COSINE:
        raise ExportRefused(
            f"the export does not do the same: the worst canary has cosine {worst:.6f}"
        )
    (documents, same_documents), (queries, same_queries) = spaces
    if not same_order(queries @ documents.T, same_queries @ same_documents.T):
        raise ExportRefused("the export ranks the canaries in another order")
    return worst, export.rows_may_vary()


def same_order(left: NDArray[np.float64], right: NDArray[np.float64]) -> bool:
    """Whether each row puts its columns in the same order, but for those of nearly equal score."""
    order = np.argsort(-right, axis=1, kind="stable")
    falling = np.take_along_axis(left, order, axis=1)
    return bool((np.diff(falling, axis=1) <= _SAME_SCORE).all())
