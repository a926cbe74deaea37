"""Exporting a model: its whole pipeline as one ONNX graph, accepted only if it does the same.

The graph takes token ids without padding and gives embeddings: transformer, pooling, dense layers,
normalisation. Every text in a batch has the same number of tokens, so there is no attention mask.
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import near_cosines, unit_rows
from qsearch.encoding.canaries import canary_texts
from qsearch.encoding.onnx.cache import (
    GRAPH,
    TOKENIZER,
    WEIGHTS,
    ExportedModel,
    export_key,
    new_export,
)
from qsearch.errors import EncoderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from qsearch.encoding.sentence import SentenceEncoder

__all__ = ["ExportRefused", "export_model"]

_LEAST_COSINE = 0.99999
_SAME_SCORE = 1e-6
"""Scores that are nearer than this may change places in a ranking."""

_MOST_BYTES = 1_800_000_000
"""A graph must be written as one file, of less than 2 GiB, before its weights can be put beside it."""

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


class ExportRefused(Exception):
    """The model cannot be exported, or the export does not do the same; says why.

    Attributes:
        final: whether that is because of the model, so that another try would end alike.
    """

    def __init__(self, reason: str, *, final: bool = True) -> None:
        """Say why."""
        super().__init__(reason)
        self.final = final


def export_model(encoder: SentenceEncoder, folder: Path | None) -> ExportedModel:
    """Export what ``encoder`` has loaded, hold it against it, and keep it in the cache.

    Args:
        encoder: in float32.
        folder: what it was loaded from, if from a folder.

    Raises:
        ExportRefused: it is not possible, or the export does not reproduce every canary (cosine at
            least 0.99999, the same order of canaries as results, the same tokens), or the cache
            cannot be written.
    """
    from qsearch.encoding.onnx.encoder import OnnxEncoder

    identity = encoder.own_identity()
    if identity.precision != "float32":
        raise ExportRefused(f"the weights are in {identity.precision}, not float32")
    if export_key(identity) is None:
        raise ExportRefused(
            "onnxruntime or tokenizers is missing, or the tokenizer is unknown", final=False
        )
    tokenizer = _tokenizer_definition(encoder.model)
    size = sum(one.numel() * one.element_size() for one in encoder.model.parameters())
    if size > _MOST_BYTES:
        raise ExportRefused(f"its weights ({size / 1e9:.1f} GB) do not fit an ONNX file")
    try:
        with new_export(identity, folder) as made:
            (made.folder / TOKENIZER).write_text(tokenizer, encoding="utf-8")
            reasons: list[ExportRefused] = []
            for traced in (True, False):
                try:
                    _write_graph(encoder.model, made.folder, traced=traced)
                    export = ExportedModel(made.folder, identity, 1.0, rows_may_vary=False)
                    worst = _compare(encoder.model, export)
                    return made.publish(worst, rows_may_vary=OnnxEncoder(export).rows_may_vary())
                except ExportRefused as reason:
                    reasons.append(reason)
            raise ExportRefused(
                "; ".join(dict.fromkeys(map(str, reasons))),
                final=all(reason.final for reason in reasons),
            )
    except OSError as error:
        raise ExportRefused(f"the cache cannot be written ({error})", final=False) from error


def _tokenizer_definition(model: SentenceTransformer) -> str:
    backend = getattr(getattr(model[0], "tokenizer", None), "backend_tokenizer", None)
    if backend is None:
        raise ExportRefused("its tokenizer is not one of the tokenizers package")
    return str(backend.to_str())


def _write_graph(model: SentenceTransformer, folder: Path, *, traced: bool) -> None:
    """Write ``GRAPH`` and ``WEIGHTS``, optimised for any processor of this kind."""
    import onnxruntime
    import torch

    for name in (GRAPH, WEIGHTS):
        (folder / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".graph-") as work:
        plain = os.path.join(work, "plain.onnx")
        example = torch.arange(10).repeat(3, 1) + 5
        options: dict[str, Any] = {"dynamo": False, "opset_version": 18}
        options["dynamic_axes"] = {"input_ids": {0: "texts", 1: "tokens"}}
        if not traced:
            options = {"dynamo": True, "external_data": False}
            options["dynamic_shapes"] = ({0: "texts", 1: "tokens"},)
        try:
            with _silent(), _plain_attention(model), torch.inference_mode():
                torch.onnx.export(
                    _pipeline(model),
                    (example,),
                    plain,
                    input_names=["input_ids"],
                    output_names=["embeddings"],
                    **options,
                )
            session = onnxruntime.SessionOptions()
            level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            session.graph_optimization_level = level
            session.log_severity_level = 4
            session.optimized_model_filepath = str(folder / GRAPH)
            beside = "session.optimized_model_external_initializers_"
            session.add_session_config_entry(beside + "file_name", WEIGHTS)
            session.add_session_config_entry(beside + "min_size_in_bytes", "1024")
            onnxruntime.InferenceSession(plain, session, providers=["CPUExecutionProvider"])
        except Exception as error:  # torch and onnxruntime raise nearly anything here
            first = (str(error).strip().splitlines() or [""])[0][:200]
            # What the exporter cannot do looks like what the machine cannot: only the first would last.
            raise ExportRefused(
                f"it cannot be exported ({type(error).__name__}: {first})",
                final=not _may_pass(error),
            ) from error


def _may_pass(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is one of disk or memory, or of onnxruntime."""
    while error is not None:
        here = type(error).__module__
        if isinstance(error, OSError | MemoryError) or here.startswith("onnxruntime"):
            return True
        error = error.__cause__ or error.__context__
    return False


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


@contextmanager
def _plain_attention(model: SentenceTransformer) -> Iterator[None]:
    """Attention written out in operators that every exporter knows."""
    core: Any = model[0].auto_model
    before = core.config._attn_implementation
    core.set_attn_implementation("eager")
    try:
        yield
    finally:
        core.set_attn_implementation(before)


@contextmanager
def _silent() -> Iterator[None]:
    """The exporters warn about much that the comparison afterwards settles."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _compare(model: SentenceTransformer, exported: ExportedModel) -> float:
    """Hold an export against the model it was made from; returns the smallest cosine."""
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
    return worst


def same_order(left: NDArray[np.float64], right: NDArray[np.float64]) -> bool:
    """Whether each row puts its columns in the same order, but for those of nearly equal score."""
    order = np.argsort(-right, axis=1, kind="stable")
    falling = np.take_along_axis(left, order, axis=1)
    return bool((np.diff(falling, axis=1) <= _SAME_SCORE).all())
