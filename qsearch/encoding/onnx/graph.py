"""Writing a model as an ONNX graph, whatever it is for, and keeping it if it does the same."""

from __future__ import annotations

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from qsearch.encoding.onnx.cache import (
    GRAPH,
    TOKENIZER,
    WEIGHTS,
    ExportedModel,
    Identity,
    export_key,
    new_export,
)

__all__ = ["ExportRefused", "keep_export", "tokenizer_definition", "write_graph"]

_MOST_BYTES = 1_800_000_000
"""A graph must be written as one file, of less than 2 GiB, before its weights can be put beside it."""


class ExportRefused(Exception):
    """The model cannot be exported, or the export does not do the same; says why.

    Attributes:
        final: whether that is because of the model, so that another try would end alike.
    """

    def __init__(self, reason: str, *, final: bool = True) -> None:
        """Say why."""
        super().__init__(reason)
        self.final = final


def keep_export(
    identity: Identity,
    folder: Path | None,
    model: Any,
    tokenizer: str,
    write: Callable[[Path, bool], None],
    compare: Callable[[ExportedModel[Identity]], tuple[float, bool]],
) -> ExportedModel[Identity]:
    """Export a model by one exporter or the other, hold it against itself, and keep it in the cache.

    Args:
        identity: of the model with its own prompts and lengths.
        folder: what it was loaded from, if from a folder.
        model: a torch module.
        tokenizer: see ``tokenizer_definition``.
        write: writes the graph to a folder, by the exporter that traces or the other one.
        compare: tells ``ExportedModel.worst`` and ``rows_may_vary``; refuses what does not do the same.

    Raises:
        ExportRefused: it is not possible, or the export does something else, or the cache cannot be
            written.
    """
    if identity.precision != "float32":
        raise ExportRefused(f"the weights are in {identity.precision}, not float32")
    if export_key(identity) is None:
        raise ExportRefused(
            "onnxruntime or tokenizers is missing, or the tokenizer is unknown", final=False
        )
    size = sum(one.numel() * one.element_size() for one in model.parameters())
    if size > _MOST_BYTES:
        raise ExportRefused(f"its weights ({size / 1e9:.1f} GB) do not fit an ONNX file")
    try:
        with new_export(identity, folder) as made:
            (made.folder / TOKENIZER).write_text(tokenizer, encoding="utf-8")
            reasons: list[ExportRefused] = []
            for traced in (True, False):
                try:
                    write(made.folder, traced)
                    worst, rows_may_vary = compare(
                        ExportedModel(made.folder, identity, 0.0, rows_may_vary=False)
                    )
                    return made.publish(worst, rows_may_vary=rows_may_vary)
                except ExportRefused as reason:
                    reasons.append(reason)
            raise ExportRefused(
                "; ".join(dict.fromkeys(map(str, reasons))),
                final=all(reason.final for reason in reasons),
            )
    except OSError as error:
        raise ExportRefused(f"the cache cannot be written ({error})", final=False) from error


def tokenizer_definition(model: Any) -> str:
    """The tokenizer of a model of sentence-transformers, as ``TOKENIZER`` holds it.

    Raises:
        ExportRefused: it is not one of the tokenizers package.
    """
    backend = getattr(getattr(model[0], "tokenizer", None), "backend_tokenizer", None)
    if backend is None:
        raise ExportRefused("its tokenizer is not one of the tokenizers package")
    return str(backend.to_str())


def write_graph(
    pipeline: Any, core: Any, folder: Path, inputs: Sequence[str], *, traced: bool
) -> None:
    """Write ``GRAPH`` and ``WEIGHTS``, optimised for any processor of this kind.

    Args:
        pipeline: a torch module of ``inputs``, each (texts, tokens) int64, which may have any size.
        core: the transformer in it.
        folder: where to.
        inputs: their names.
        traced: by the exporter that watches a run, not by the one that reads the code.

    Raises:
        ExportRefused: it cannot be done.
    """
    import onnxruntime
    import torch

    for name in (GRAPH, WEIGHTS):
        (folder / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".graph-") as work:
        plain = os.path.join(work, "plain.onnx")
        ids = torch.arange(10).repeat(3, 1) + 5
        segments = (torch.arange(10).repeat(3, 1) >= 5).long()
        examples = tuple(ids if name == "input_ids" else segments for name in inputs)
        axes = {0: "texts", 1: "tokens"}
        options: dict[str, Any] = {"dynamo": False, "opset_version": 18}
        options["dynamic_axes"] = dict.fromkeys(inputs, axes)
        if not traced:
            options = {"dynamo": True, "external_data": False}
            options["dynamic_shapes"] = tuple(axes for _ in inputs)
        try:
            with _silent(), _plain_attention(core), torch.inference_mode():
                torch.onnx.export(
                    pipeline,
                    examples,
                    plain,
                    input_names=list(inputs),
                    output_names=["output"],
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


@contextmanager
def _plain_attention(core: Any) -> Iterator[None]:
    """Attention written out in operators that every exporter knows."""
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
