"""Whether vectors made elsewhere are those of an encoder, and which known habit explains a difference.

Other tools encode the same text with the same model and get other vectors: they leave the prompt out, do
not strip, pool otherwise, cut elsewhere, store fewer bits. Each habit is tried, and the one that
reproduces the vectors is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import near_cosines, unit_rows
from qsearch.encoding.identity import EncoderIdentity
from qsearch.encoding.loading import load_encoder_of
from qsearch.encoding.protocols import Encoder
from qsearch.errors import EncoderError
from qsearch.wording import words

__all__ = ["Diagnosis", "Trial", "diagnose"]

_SAME = 1e-5
"""Largest 1 − cosine of the same vector: float32 otherwise computed stays below 1e-9, float16 storage
costs up to 1e-6."""

_PROMPTS = ("query: ", "passage: ", "search_query: ", "search_document: ", "title: none | text: ")
_LENGTHS = (128, 256, 384, 512)
_POOLINGS = ("cls", "mean", "max")


@dataclass(frozen=True, slots=True)
class Trial:
    """One habit that was tried.

    Attributes:
        habit: what was done, a phrase that completes "the vectors were made …".
        worst: smallest cosine with the given vectors.
        median: of the cosines.
        advice: what to do if it is the explanation.
    """

    habit: str
    worst: float
    median: float
    advice: str

    @property
    def explains(self) -> bool:
        """Whether it reproduces every vector."""
        return 1.0 - self.worst <= _SAME


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is to be said of vectors made elsewhere.

    Attributes:
        fit: whether they can be searched for, or stored, beside those of the index as they are.
        verdict: one sentence.
        notes: what is worth knowing besides.
        trials: what was tried, the best first.
    """

    fit: bool
    verdict: str
    notes: tuple[str, ...]
    trials: tuple[Trial, ...]


def diagnose(
    identity: EncoderIdentity,
    encoder: Encoder,
    texts: Sequence[str],
    vectors: NDArray[np.floating],
    advance: Callable[[str], None] = lambda habit: None,
    model: str | None = None,
) -> Diagnosis:
    """Compare vectors with what an encoder makes of their texts.

    Args:
        identity: of the encoder of an index.
        encoder: that encoder.
        texts: n, a few dozen are enough; some with blank space around them, and some long ones, show
            more habits.
        vectors: (n, any) numbers.
        advance: told what is tried next.
        model: where the model is, if not where the identity says.

    Raises:
        EncoderError: the numbers of texts and vectors differ, or a vector is zero or not finite.
    """
    if len(texts) != len(vectors) or not len(texts):
        raise EncoderError(f"there are {len(texts):,} texts and {len(vectors):,} vectors")
    given = np.asarray(vectors, dtype=np.float32)
    rows, usable = unit_rows(given)
    if not usable.all():
        bad = int(np.argmin(usable))
        raise EncoderError(f"vector {bad} is zero, or holds NaN or infinity")
    notes = _notes(vectors, given)
    documents = encoder.encode_documents(list(texts))
    trials = [_trial("as documents of this index", "", documents, rows)]
    for habit, advice, encode in _habits(identity, encoder, model):
        if trials[-1].explains:
            break
        advance(habit)
        try:
            own = encode(list(texts))
        except EncoderError:
            continue  # a length or a pooling that this model does not have
        trials.append(_trial(habit, advice, own, rows))
    if trials[-1].explains and len(trials) <= 2 and given.shape[1] == identity.dimensions:
        verdict = f"the vectors fit: they were made {trials[-1].habit}"
        return Diagnosis(True, verdict, notes, tuple(trials))
    trials.sort(key=lambda trial: -trial.median)
    best = trials[0]
    if best.explains:
        verdict = f"the vectors do not fit: they were made {best.habit}. {best.advice}"
    elif 1.0 - best.worst <= 1e-3:
        verdict = (
            f"the vectors do not fit quite: nearest are those made {best.habit}, the worst cosine is "
            f"{best.worst:.6f}. That is what another precision or quantized vectors cost."
        )
    elif (moved := _moved(documents, rows)) is not None:
        verdict = (
            f"the vectors do not fit: they are in another order, {moved}. Sort them as the texts."
        )
    else:
        verdict = (
            f"the vectors do not fit, and no known habit explains them: nearest are those made "
            f"{best.habit}, median cosine {best.median:.4f}. They come from another model, or their "
            "texts are other ones."
        )
    return Diagnosis(False, verdict, notes, tuple(trials))


_Encode = Callable[[list[str]], NDArray[np.float32]]


def _habits(
    identity: EncoderIdentity, encoder: Encoder, model: str | None
) -> Iterator[tuple[str, str, _Encode]]:
    """Habits, what to do about each, and how to encode so; the first is that of a query, and fits."""
    yield "as queries of this index", "", encoder.encode_queries

    def like(**changes: object) -> _Encode:
        def encode(texts: list[str]) -> NDArray[np.float32]:
            changed: EncoderIdentity = replace(identity, **changes)  # type: ignore[arg-type] # by name
            return load_encoder_of(changed, model=model).encode_documents(texts)

        return encode

    own = {identity.document_prompt or "", identity.query_prompt or ""}
    for prompt in ("", *_PROMPTS):
        if prompt not in own:
            named = f"with the prompt {prompt!r}" if prompt else "without a prompt"
            yield named, "Give the texts the prompts of the index.", like(document_prompt=prompt)
    for prompt in sorted(own):
        yield (
            f"without stripping blank space (prompt {prompt!r})",
            "Strip the texts before they are encoded.",
            like(document_prompt=prompt, strip=False),
        )
    for length in _LENGTHS:
        if length != identity.max_length:
            yield (
                f"with texts cut after {length} tokens",
                f"Set the maximum length to {identity.max_length or 'none'}.",
                like(max_length=length),
            )
    for pooling in _POOLINGS:
        if pooling != identity.pooling:
            yield (
                f"with {pooling} pooling",
                f"Use {identity.pooling} pooling, as the model's own configuration says.",
                _pooled(identity, pooling, model),
            )
    for precision in ("bfloat16", "float16"):
        if precision != identity.precision:
            yield (
                f"with weights in {precision}",
                f"Load the model in {identity.precision}.",
                like(precision=precision),
            )


def _pooled(identity: EncoderIdentity, mode: str, model: str | None) -> _Encode:
    def encode(texts: list[str]) -> NDArray[np.float32]:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        from qsearch.encoding.sentence import SentenceEncoder

        loaded = load_encoder_of(identity, model=model, backend="torch", device="cpu")
        if not isinstance(loaded, SentenceEncoder):
            raise EncoderError("the model is not a sentence-transformers model")
        modules = [
            Pooling(module.embedding_dimension, mode) if isinstance(module, Pooling) else module
            for module in loaded.model
        ]
        changed = SentenceTransformer(modules=modules, device="cpu")
        return SentenceEncoder(
            changed,
            document_prompt=identity.document_prompt,
            max_length=identity.max_length,
            truncate_dim=identity.truncate_dim,
        ).encode_documents(texts)

    return encode


def _trial(habit: str, advice: str, own: NDArray[np.float32], rows: NDArray[np.float32]) -> Trial:
    width = min(own.shape[1], rows.shape[1])
    if own.shape[1] > width:
        habit += f", keeping the first {width} of {own.shape[1]} components"
        cut = f"{words().truncate_dim} {width}"
        advice = f"Keep all {own.shape[1]} components, or build the index with {cut}."
    elif rows.shape[1] > width:
        habit += f", with {rows.shape[1]} components instead of {width}"
        advice = f"Keep the first {width} components."
    left, right = unit_rows(own[:, :width])[0], unit_rows(rows[:, :width])[0]
    cosines = near_cosines(left, right)
    return Trial(habit, float(cosines.min()), float(np.median(cosines)), advice)


def _moved(own: NDArray[np.float32], rows: NDArray[np.float32]) -> str | None:
    """Where the vectors are, if they are all there in another order."""
    if own.shape != rows.shape or len(own) < 2:
        return None
    scores = unit_rows(own)[0] @ rows.T
    best = scores.argmax(axis=1)
    if (scores.max(axis=1) < 1 - _SAME).any() or len(set(best.tolist())) < len(best):
        return None
    first = int(np.flatnonzero(best != np.arange(len(best)))[0])
    return f"for example text {first} has vector {int(best[first])}"


def _notes(vectors: NDArray[np.floating], given: NDArray[np.float32]) -> tuple[str, ...]:
    notes = []
    lengths = np.linalg.norm(given.astype(np.float64), axis=1)
    if np.abs(lengths - 1).max() > 1e-3:
        notes.append(
            f"their lengths are {lengths.min():.3g} to {lengths.max():.3g}, not 1; qsearch normalises "
            "what it is given, other tools may not"
        )
    if vectors.dtype not in (np.float32, np.float64):
        notes.append(f"they are stored as {vectors.dtype}")
    return tuple(notes)
