"""The data sets: rows, queries, a sample, the exact truth, judgments where there are some.

Each is made once, by a process of its own, into ``<work>/data/<name>``:

    rows.npy     (n, d) float32, as they come: of any length
    queries.npy  (q, d) float32 of length 1, measured with
    sample.npy   (s, d) float32, other queries like these, for systems that learn from some
    truth.npz    positions (q, 100) and scores (q, 100): the nearest rows by cosine in float64
    judged.json  where there are judgments: ids of rows and of queries, and the judgments
    about.json   what it is, in numbers and a sentence
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .machine import ROOT
from .systems.base import Data, Floats, Ids, unit

DEPTH = 100
"""So many true neighbours are known."""

TIE = 1e-6
"""Rows whose scores differ by less are equally near: float32 rounds otherwise in each system."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """How to make a data set.

    Attributes:
        name: on the command line, of its folder and of its results.
        title: on the page, behind the number of rows.
        about: a sentence for the page.
        make: folders by what is needed → rows, queries, sample, judgments.
        rows: how many to make; ``None``: as many as there are.
        needs: the folder that it is made from: ``registry`` or ``scifact``; ``None``: none.
        rounds: how often each system has its turn.
        index_of: another data set of the same rows and sample, whose indexes serve this one too.
    """

    name: str
    title: str
    about: str
    make: Callable[[dict[str, Path], int | None], Made]
    rows: int | None = None
    needs: str | None = None
    rounds: int = 3
    index_of: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a maker returns."""

    rows: Floats
    queries: Floats
    sample: Floats
    judged: dict[str, Any] | None = None


def registry(folders: dict[str, Path], rows: int | None) -> Made:
    """Short real texts; every second query is measured with, the others are the sample."""
    vectors, queries = _registry_vectors(folders["registry"])
    if rows is None or rows == len(vectors):
        some = vectors
    elif rows < len(vectors):
        some = vectors[np.linspace(0, len(vectors) - 1, rows).astype(np.int64)]
    else:
        some = _search_script().mixed(vectors, rows)
    return Made(some, queries[1::2].copy(), queries[::2].copy())


def tokens(folders: dict[str, Path], rows: int | None) -> Made:
    """MiniLM's token embeddings; queries are mixtures of rows that were held out, with noise."""
    matrix = _token_matrix()
    generator = np.random.default_rng(0)
    held = generator.permutation(len(matrix))
    out, kept = matrix[held[:1000]], matrix[np.sort(held[1000:])]
    pairs = generator.integers(len(out), size=(2, 300))
    share = generator.uniform(0.0, 0.5, size=(300, 1))
    mixed = (1 - share) * out[pairs[0]] + share * out[pairs[1]]
    noise = generator.standard_normal(mixed.shape)
    noise *= (
        0.3 * np.linalg.norm(mixed, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1)[:, None]
    )
    queries = unit(mixed + noise)
    return Made(kept[: rows or len(kept)], queries[1::2].copy(), queries[::2].copy())


def tokens_sentences(folders: dict[str, Path], rows: int | None) -> Made:
    """The same rows, asked for with vectors of whole sentences: another distribution altogether.

    The sample is of mixtures, as above: whoever learns from it learns something else than what comes.
    """
    words = tokens(folders, rows)
    _, queries = _registry_vectors(folders["registry"])
    return Made(words.rows, queries[1::2].copy(), words.sample)


def scifact(folders: dict[str, Path], rows: int | None) -> Made:
    """Abstracts and claims with judgments, encoded here with all-MiniLM-L6-v2; no claim is a sample."""
    from sentence_transformers import SentenceTransformer

    from qsearch.encoding import DEFAULT_MODEL
    from qsearch.encoding.models import locate_model

    folder = folders["scifact"]
    judged = read_judged(folder)
    model = SentenceTransformer(str(locate_model(DEFAULT_MODEL).path), device="cpu")
    documents = list(judged.documents.items())[:rows]
    vectors = model.encode([text for _, text in documents], batch_size=64)
    queries = model.encode(list(judged.queries.values()), batch_size=64)
    about = {
        "rows": [name for name, _ in documents],
        "queries": list(judged.queries),
        "judgments": judged.judgments,
    }
    none = np.empty((0, vectors.shape[1]), dtype=np.float32)
    return Made(np.asarray(vectors), unit(queries), none, about)


DATA_SETS = {
    one.name: one
    for one in (
        DataSet(
            "registry-100k",
            "short texts",
            "Package descriptions, dictionary entries and glosses, as all-MiniLM-L6-v2 encodes "
            "them; queries are real.",
            registry,
            needs="registry",
        ),
        DataSet(
            "registry-10k",
            "short texts",
            "Some of the texts of registry-100k, evenly spread.",
            registry,
            10_000,
            "registry",
        ),
        DataSet(
            "registry-30k",
            "short texts",
            "Some of the texts of registry-100k, evenly spread.",
            registry,
            30_000,
            "registry",
        ),
        DataSet(
            "registry-300k",
            "rows made of short texts",
            "Those of registry-100k, and mixtures of two of them (scripts/bench/search.py).",
            registry,
            300_000,
            "registry",
        ),
        DataSet(
            "registry-1m",
            "rows made of short texts",
            "Those of registry-100k, and mixtures of two of them (scripts/bench/search.py).",
            registry,
            1_000_000,
            "registry",
        ),
        DataSet(
            "registry-3m",
            "rows made of short texts",
            "Those of registry-100k, and mixtures of two of them (scripts/bench/search.py).",
            registry,
            3_000_000,
            "registry",
            rounds=1,
        ),
        DataSet(
            "tokens",
            "token embeddings",
            "The token embedding matrix of all-MiniLM-L6-v2: rows of many lengths, most of them "
            "in one direction. Queries are noisy mixtures of 1,000 rows that were held out.",
            tokens,
        ),
        DataSet(
            "tokens-sentences",
            "token embeddings, asked by sentences",
            "The same rows; queries are vectors of whole sentences, which lie elsewhere.",
            tokens_sentences,
            needs="registry",
            index_of="tokens",
        ),
        DataSet(
            "scifact",
            "abstracts of SciFact",
            "Abstracts, and claims with judgments, as all-MiniLM-L6-v2 encodes them.",
            scifact,
            needs="scifact",
        ),
    )
}


def prepare(data_set: DataSet, folders: dict[str, Path], work: Path, rows: int | None) -> Path:
    """Make a data set unless it is there, and return its folder.

    Args:
        data_set: which.
        folders: of the data that it is made from, by name.
        work: the folder of the benchmark.
        rows: take no more, for trying things out.
    """
    folder = work / "data" / data_set.name
    if (folder / "about.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    made = data_set.make(folders, min(filter(None, (rows, data_set.rows)), default=None))
    positions, scores = truth(made.rows, made.queries)
    np.save(folder / "rows.npy", np.ascontiguousarray(made.rows, dtype=np.float32))
    np.save(folder / "queries.npy", np.ascontiguousarray(made.queries, dtype=np.float32))
    np.save(folder / "sample.npy", np.ascontiguousarray(made.sample, dtype=np.float32))
    np.savez(folder / "truth.npz", positions=positions, scores=scores)
    if made.judged is not None:
        (folder / "judged.json").write_text(json.dumps(made.judged), encoding="utf-8")
    lengths = np.linalg.norm(made.rows, axis=1)
    about = {
        "name": data_set.name,
        "rows": len(made.rows),
        "dimensions": made.rows.shape[1],
        "queries": len(made.queries),
        "sample": len(made.sample),
        "lengths": [round(float(x), 3) for x in np.quantile(lengths, [0.0, 0.5, 1.0])],
        # 0 where rows point anywhere, 1 where all point the same way.
        "one_direction": round(float(np.linalg.norm(unit(made.rows[:50_000]).mean(axis=0))), 3),
        "judged": made.judged is not None,
    }
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def truth(rows: Floats, queries: Floats) -> tuple[Ids, np.ndarray]:
    """The nearest rows by cosine, in float64.

    A float32 product finds twice as many candidates as are wanted; their scores are computed in float64.
    """
    depth = min(DEPTH, len(rows))
    wide = min(len(rows), 2 * DEPTH)
    positions = np.empty((len(queries), depth), dtype=np.int64)
    scores = np.empty((len(queries), depth))
    found: list[tuple[Ids, Floats]] = []
    for first in range(0, len(rows), 100_000):
        block = queries @ unit(rows[first : first + 100_000]).T
        some = np.argpartition(block, -min(wide, block.shape[1]), axis=1)[:, -wide:]
        found.append((some + first, np.take_along_axis(block, some, 1)))
    ids = np.concatenate([some for some, _ in found], axis=1)
    rough = np.concatenate([some for _, some in found], axis=1)
    for i in range(len(queries)):
        near = ids[i][np.argsort(-rough[i], kind="stable")[:wide]]
        sure = cosines(rows, near, queries[i])
        order = np.lexsort((near, -sure))[:depth]
        positions[i], scores[i] = near[order], sure[order]
    return positions, scores


def cosines(rows: Floats, ids: Ids, query: np.ndarray) -> np.ndarray:
    """Cosines of some rows with a query, in float64."""
    some = rows[ids].astype(np.float64)
    one = query.astype(np.float64)
    return np.asarray(some @ one / (np.linalg.norm(some, axis=1) * np.linalg.norm(one)))


def recall(rows: Floats, queries: Floats, found: Ids, scores: np.ndarray, k: int) -> list[float]:
    """Recall@k of each query: the share of k places that hold a row as near as the k-th true one.

    Rows that are equally near count alike: the same text stands in the data more than once.

    Args:
        rows: (n, d).
        queries: (q, d).
        found: (q, k).
        scores: (q, at least k) of the truth, best first.
        k: at most the rows there are.
    """
    shares = []
    for i, some in enumerate(found):
        ids = np.unique(some[some >= 0])
        near = cosines(rows, ids, queries[i]) >= scores[i, k - 1] - TIE
        shares.append(min(1.0, float(near.sum()) / k))
    return shares


def opened(folder: Path) -> tuple[Data, Floats]:
    """Rows and sample as systems get them, and the queries."""
    rows = np.load(folder / "rows.npy", mmap_mode="r", allow_pickle=False)
    sample = np.load(folder / "sample.npy", allow_pickle=False)
    return Data(rows, sample), np.load(folder / "queries.npy", allow_pickle=False)


def about(folder: Path) -> dict[str, Any]:
    """What ``prepare`` wrote down."""
    told: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return told


@dataclass(frozen=True, slots=True)
class Judged:
    """A labelled set: texts by id, and judgments by query and document."""

    documents: dict[str, str]
    queries: dict[str, str]
    judgments: dict[str, dict[str, int]]


def read_judged(folder: Path) -> Judged:
    """A folder in BEIR's form, of queries those with judgments."""
    from qsearch.documents import read_judgments, read_queries

    judgments = read_judgments(str(folder))
    documents = {
        str(one["_id"]): " ".join(filter(None, (one.get("title"), one["text"])))
        for one in records(folder, "corpus.jsonl")
    }
    asked = dict(read_queries(str(folder)))
    return Judged(documents, {name: asked[name] for name in asked if name in judgments}, judgments)


def ndcg10(
    found: Mapping[str, Sequence[str]], judgments: dict[str, dict[str, int]]
) -> float | None:
    """Mean nDCG@10 of the judged queries, as trec_eval computes it; ``None`` where it is not there.

    Not by ``qsearch.evaluation``: what that imports would count for every system.
    """
    try:
        import pytrec_eval
    except ImportError:
        return None
    run = {
        query: {document: float(-rank) for rank, document in enumerate(documents)}
        for query, documents in found.items()
    }
    evaluator = pytrec_eval.RelevanceEvaluator(judgments, {"ndcg_cut.10"})
    return float(np.mean([one["ndcg_cut_10"] for one in evaluator.evaluate(run).values()]))


def records(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The lines of a file of JSON, or of its compressed form."""
    plain = folder / name
    opener = open if plain.exists() else gzip.open
    with opener(plain if plain.exists() else folder / f"{name}.gz", "rb") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _registry_vectors(folder: Path) -> tuple[Floats, Floats]:
    vectors = np.load(folder / "vectors.f16.npy", allow_pickle=False)
    queries = np.load(folder / "query_vectors.f32.npy", allow_pickle=False)
    return unit(vectors), unit(queries)


def _token_matrix() -> Floats:
    from safetensors.numpy import load_file

    from qsearch.encoding import DEFAULT_MODEL
    from qsearch.encoding.models import locate_model

    weights = load_file(str(locate_model(DEFAULT_MODEL).path / "model.safetensors"))
    (name,) = (one for one in weights if one.endswith("embeddings.word_embeddings.weight"))
    return np.asarray(weights[name], dtype=np.float32)


def _search_script() -> ModuleType:
    """``scripts/bench/search.py``, which knows how rows are made of others.

    It asks for one thread when it is imported; what was asked for before is put back.
    """
    path = ROOT / "scripts" / "bench" / "search.py"
    spec = importlib.util.spec_from_file_location("benchmark_search", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    before = dict(os.environ)
    try:
        spec.loader.exec_module(module)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return module
