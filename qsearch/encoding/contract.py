"""The encoder contract: what an index promises about its encoder, and the check.

Two things are compared. The fields of the identity, because canaries cannot cover every text. And
the vectors of the canaries, because fields cannot cover every cause. Either alone is enough to
refuse an encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsearch.codes import near_cosines, unit_rows
from qsearch.encoding.canaries import Canary, canary_texts
from qsearch.encoding.identity import EncoderIdentity
from qsearch.encoding.protocols import CanaryEncoder, Encoder
from qsearch.errors import EncoderError, EncoderMismatch
from qsearch.wording import words

__all__ = [
    "CanaryResult",
    "ContractCheck",
    "EncoderContract",
    "check_contract",
    "contract_from_store",
    "contract_to_store",
    "encoders_unlike",
    "make_contract",
]

_TOLERANCE = {"float32": 1e-6, "float16": 1e-4, "bfloat16": 2e-3}
"""Largest 1 − cosine by precision. Two float32 runs of one model (CPU and CUDA, torch and ONNX
Runtime, other batches) stay below 1e-9; weights in bfloat16 instead of float32 cost 4e-3."""

_FATAL = {
    "weights": "the weights differ (another model, revision or a changed file)",
    "max_length": "maximum length",
    "query_prompt": "query prompt",
    "document_prompt": "document prompt",
    "pooling": "pooling",
    "precision": "precision of the weights",
    "strip": "stripping of surrounding whitespace",
    "truncate_dim": "truncated dimension",
}
_FATAL_UNLESS_VERSIONS_DIFFER = {
    "tokenizer": "the tokenizer's definition differs",
    "configuration": "the configuration of the model or its modules differs",
}
"""Library versions write these down differently, so there the canaries decide."""

_HASHED = {"weights", "tokenizer", "configuration"}


@dataclass(frozen=True, slots=True)
class EncoderContract:
    """The identity of an encoder, and what it made of the canaries.

    Attributes:
        identity: see ``EncoderIdentity``.
        canaries: the texts.
        documents: (c, d) float32 unit rows of the canaries as documents.
        queries: (c, d) float32 unit rows of the canaries as queries.
    """

    identity: EncoderIdentity
    canaries: tuple[Canary, ...]
    documents: NDArray[np.float32]
    queries: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """How far an encoder is from the contract on one canary: cosines, 1 when equal."""

    name: str
    document_cosine: float
    query_cosine: float

    @property
    def worst(self) -> float:
        """The smaller cosine."""
        return min(self.document_cosine, self.query_cosine)


@dataclass(frozen=True, slots=True)
class ContractCheck:
    """The outcome of a check.

    Attributes:
        differences: why the encoder is refused, one sentence each; empty if it keeps the contract.
        notes: what differs and does no harm.
        canaries: per canary; empty where the dimensions differ.
        tolerance: largest 1 − cosine that is accepted.
    """

    differences: tuple[str, ...]
    notes: tuple[str, ...]
    canaries: tuple[CanaryResult, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the encoder keeps the contract."""
        return not self.differences

    def require(self, index: str) -> None:
        """Do nothing if the contract is kept.

        Raises:
            EncoderMismatch: it is not; the message names what differs and the worst canary.
        """
        if self.ok:
            return
        lines = [f"this encoder is not the one that {index} was built with:"]
        lines += [f"  - {difference}" for difference in self.differences]
        lines.append("Query with the encoder of the index, or build the index again with this one.")
        raise EncoderMismatch("\n".join(lines), self.differences)


def make_contract(encoder: Encoder) -> EncoderContract:
    """Encode the canaries.

    Raises:
        EncoderError: the encoder fails on them, or gives vectors without a direction.
    """
    identity = encoder.identity()
    canaries = canary_texts(identity.max_length)
    documents, queries = _encode(encoder, canaries, identity.dimensions)
    return EncoderContract(identity, canaries, documents, queries)


def check_contract(contract: EncoderContract, encoder: Encoder) -> ContractCheck:
    """Compare ``encoder`` with the contract, field by field and canary by canary.

    Raises:
        EncoderError: the encoder fails on the canaries.
    """
    then, now = contract.identity, encoder.identity()
    tolerance = _TOLERANCE.get(then.precision or "float32", 1e-6)
    if then.dimensions != now.dimensions:
        reasons = (
            f"dimensions: the index has {then.dimensions}, this encoder gives {now.dimensions}",
            *_field_differences(then, now, canaries_agree=False)[0],
            *_other_fields(then, now),
        )
        return ContractCheck(reasons, (), (), tolerance)
    documents, queries = _encode(encoder, contract.canaries, then.dimensions)
    results = tuple(
        CanaryResult(canary.name, float(document), float(query))
        for canary, document, query in zip(
            contract.canaries,
            near_cosines(documents, contract.documents),
            near_cosines(queries, contract.queries),
            strict=True,
        )
    )
    agree = all(1.0 - result.worst <= tolerance for result in results)
    fields, notes = _field_differences(then, now, canaries_agree=agree)
    if agree and not fields:
        return ContractCheck((), (*notes, *_other_fields(then, now)), results, tolerance)
    differences = list(fields)
    if not agree:
        if not fields:
            differences.append(_guess(results, tolerance))
        differences += _other_fields(then, now)
        differences.append(_worst(results, tolerance))
    return ContractCheck(tuple(differences), tuple(notes), results, tolerance)


def encoders_unlike(there: EncoderIdentity, here: EncoderIdentity) -> list[str]:
    """What is known of two encoders, and differs, that may give other vectors; for people.

    Examples:
        >>> one, other = EncoderIdentity("bert", 8, max_length=32), EncoderIdentity("bert", 8, max_length=0)
        >>> encoders_unlike(one, other)
        ['maximum length: 32 there, no limit here']
    """
    texts = {
        "model": "model",
        "dimensions": "dimensions",
        **_FATAL,
        **_FATAL_UNLESS_VERSIONS_DIFFER,
    }
    return [
        text
        if name in _HASHED
        else f"{text}: {_shown(name, getattr(there, name))} there, {_shown(name, getattr(here, name))} here"
        for name, text in texts.items()
        if _differs(name, there, here)
    ]


def contract_to_store(
    contract: EncoderContract,
) -> tuple[dict[str, Any], list[tuple[str, str, bytes, bytes]]]:
    """The identity as JSON values, and (name, text, document vector, query vector) per canary."""
    return contract.identity.to_json(), [
        (canary.name, canary.text, document.astype("<f4").tobytes(), query.astype("<f4").tobytes())
        for canary, document, query in zip(
            contract.canaries, contract.documents, contract.queries, strict=True
        )
    ]


def contract_from_store(
    identity: dict[str, Any] | None, canaries: Sequence[tuple[str, str, bytes, bytes]]
) -> EncoderContract | None:
    """Undo ``contract_to_store``; ``None`` where none was stored.

    Raises:
        EncoderError: what was stored is damaged.
    """
    if identity is None and not canaries:
        return None
    try:
        if identity is None or not canaries:
            raise ValueError("it or its canaries are missing")
        contract = EncoderContract(
            EncoderIdentity.from_json(identity),
            tuple(Canary(str(name), str(text)) for name, text, _, _ in canaries),
            np.stack([np.frombuffer(document, dtype="<f4") for _, _, document, _ in canaries]),
            np.stack([np.frombuffer(query, dtype="<f4") for _, _, _, query in canaries]),
        )
        shape = (len(canaries), contract.identity.dimensions)
        if not contract.documents.shape == contract.queries.shape == shape:
            raise ValueError(f"canaries have {contract.documents.shape[1]} components")
    except (TypeError, ValueError) as error:
        raise EncoderError(
            f"what the index holds of its encoder is damaged ({error}): it can be searched by vector only; "
            f"{words().verify} tells more, {words().rebuild} builds the index again"
        ) from error
    return contract


def _encode(
    encoder: Encoder, canaries: Sequence[Canary], dimensions: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    texts = [canary.text for canary in canaries]
    rows = []
    if isinstance(encoder, CanaryEncoder):
        documents, queries = encoder.encode_canaries(texts)
    else:
        documents, queries = encoder.encode_documents(texts), encoder.encode_queries(texts)
    for kind, embeddings in (("document", documents), ("query", queries)):
        if embeddings.shape != (len(texts), dimensions):
            raise EncoderError(
                f"the encoder gave {embeddings.shape} for {len(texts)} {kind} texts, "
                f"expected {(len(texts), dimensions)}"
            )
        unit, usable = unit_rows(embeddings)
        if not usable.all():
            name = canaries[int(np.argmin(usable))].name
            raise EncoderError(
                f"the encoder gives a zero, NaN or infinite {kind} vector for the canary {name!r}; "
                "no search is possible with it"
            )
        rows.append(unit)
    return rows[0], rows[1]


def _field_differences(
    then: EncoderIdentity, now: EncoderIdentity, *, canaries_agree: bool
) -> tuple[list[str], list[str]]:
    """Sentences about fields: those that refuse, and those that are only worth a note."""
    fatal = [
        _sentence(name, text, then, now)
        for name, text in _FATAL.items()
        if _differs(name, then, now)
    ]
    soft = [
        text for name, text in _FATAL_UNLESS_VERSIONS_DIFFER.items() if _differs(name, then, now)
    ]
    if canaries_agree and dict(then.versions) != dict(now.versions):
        return fatal, [f"{text}, as other library versions write it" for text in soft]
    return fatal + soft, []


def _other_fields(then: EncoderIdentity, now: EncoderIdentity) -> list[str]:
    """Differences that explain, but do not refuse by themselves."""
    names = {"model": "model", "revision": "revision", "modules": "modules", "backend": "backend"}
    sentences = [
        _sentence(name, text, then, now)
        for name, text in names.items()
        if _differs(name, then, now)
    ]
    for library in sorted(set(then.versions) & set(now.versions)):
        if then.versions[library] != now.versions[library]:
            sentences.append(
                f"{library}: the index was built with {then.versions[library]}, "
                f"here is {now.versions[library]}"
            )
    return sentences


def _differs(name: str, then: EncoderIdentity, now: EncoderIdentity) -> bool:
    first, second = getattr(then, name), getattr(now, name)
    if name != "truncate_dim" and (first is None or second is None):
        return False
    return bool(first != second)


def _sentence(name: str, text: str, then: EncoderIdentity, now: EncoderIdentity) -> str:
    if name in _HASHED:
        return text
    first, second = _shown(name, getattr(then, name)), _shown(name, getattr(now, name))
    return f"{text}: the index has {first}, this encoder {second}"


def _shown(name: str, value: Any) -> str:
    if name == "max_length" and not value:
        return "no limit"
    if isinstance(value, tuple):
        return " → ".join(str(one) for one in value)
    return repr(value) if isinstance(value, str) else str(value)


def _worst(results: Sequence[CanaryResult], tolerance: float) -> str:
    worst = min(results, key=lambda result: result.worst)
    count = sum(1.0 - result.worst > tolerance for result in results)
    kind = "document" if worst.document_cosine <= worst.query_cosine else "query"
    return (
        f"{count} of {len(results)} canary texts come out differently; the worst is "
        f"{worst.name!r} as a {kind}, cosine {worst.worst:.6f} (should be at least {1 - tolerance:.6f})"
    )


def _guess(results: Sequence[CanaryResult], tolerance: float) -> str:
    """Name the likely cause where an encoder says nothing about itself."""
    documents = {one.name for one in results if 1.0 - one.document_cosine > tolerance}
    queries = {one.name for one in results if 1.0 - one.query_cosine > tolerance}
    wrong = documents | queries
    if wrong == {"whitespace"}:
        return "only the text with whitespace around it differs: texts are not stripped"
    if wrong == {"long text"}:
        return "only the long text differs: another maximum length"
    if not documents:
        return "only queries differ: another or no query prompt"
    if not queries:
        return "only documents differ: another or no document prompt"
    if wrong <= {"accents", "decomposed accents", "capitals", "chinese and japanese"}:
        return f"only {', '.join(sorted(wrong))} differ: the tokenizer normalises text otherwise"
    if min(one.worst for one in results) > 0.98:
        return "all vectors differ a little: another precision, revision or library version"
    return "the vectors differ throughout: another model, pooling or prompt"
