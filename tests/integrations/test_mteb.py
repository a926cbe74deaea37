"""MTEB's tasks on qsearch: the answers of NumPy, and by MTEB's own runner the scores of its own search.

What runs MTEB itself is skipped where it is not installed: it brings 300 MB, and is no dependency of
the tests.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from qsearch import CorpusError, EncoderError, IndexExists, QueryError
from qsearch.integrations.mteb import QsearchIndex
from tests.encoders import WORDS, HashedWords

DIMENSIONS = 24


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype(np.float32)


def names(count: int, start: int = 0) -> list[str]:
    return [f"doc {number}" for number in range(start, start + count)]


def cosine(left: Any, right: Any) -> np.ndarray:
    left, right = (np.asarray(one, dtype=np.float64) for one in (left, right))
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    return np.divide(left @ right.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0)


def best(scores: np.ndarray, k: int) -> list[list[int]]:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k].tolist()


def test_documents_may_come_in_several_calls() -> None:
    documents, queries = vectors(300), vectors(7, 1)
    index = QsearchIndex()
    for start, end in ((0, 120), (120, 121), (121, 121), (121, 300)):
        index.add_documents(documents[start:end], names(end - start, start))
    scores, numbers = index.search(queries, 20, cosine)
    expected = cosine(queries, documents)
    assert numbers == best(expected, 20)
    assert np.allclose(scores, np.take_along_axis(expected, np.array(numbers), axis=1), atol=1e-6)
    everything = index.search(queries, 1000, cosine)[1]
    assert [sorted(one) for one in everything] == [list(range(300))] * 7
    index.clear()


@pytest.mark.parametrize(
    "made",
    [
        torch.tensor,
        lambda array: torch.tensor(array, requires_grad=True),
        lambda array: torch.tensor(array).bfloat16(),
        lambda array: array.astype(np.float16),
        lambda array: array.astype(np.float64).tolist(),
    ],
    ids=["tensor", "gradients", "bfloat16", "float16", "lists"],
)
def test_embeddings_are_taken_as_models_give_them(made: Callable[[np.ndarray], Any]) -> None:
    documents, queries = vectors(60), vectors(3, 1)
    index = QsearchIndex()
    index.add_documents(made(documents), names(60))

    def similarity(left: Any, right: Any) -> torch.Tensor:
        left, right = (torch.as_tensor(one).float() for one in (left, right))
        return torch.nn.functional.cosine_similarity(left[:, None], right[None], dim=2)

    _, numbers = index.search(made(queries), 1, similarity)
    assert numbers == best(cosine(queries, documents), 1)


def test_what_was_ranked_before_is_put_in_order() -> None:
    documents, queries = vectors(50), vectors(3, 1)
    index = QsearchIndex(method="binary")
    index.add_documents(documents, names(50))
    ranked = {"q0": names(30, 10)[::-1], "q1": ["doc 7", "doc 3", "doc 7"], "q2": []}
    scores, places = index.search(queries, 5, cosine, ranked, {0: "q0", 1: "q1", 2: "q2"})
    found = [ranked["q0"][place] for place in places[0]]
    expected = best(cosine(queries[:1], documents[10:40]), 5)[0]
    assert found == [f"doc {10 + number}" for number in expected]
    assert sorted(places[1]) == [0, 1]  # the same document a second time is the first
    assert (scores[2], places[2]) == ([], [])
    assert index.search(queries[:1], 5, cosine, {}, {0: "q9"}) == ([[]], [[]])
    with pytest.raises(QueryError, match="'doc 99' was ranked before, and was not added"):
        index.search(queries[:1], 5, cosine, {"q0": ["doc 99"]}, {0: "q0"})
    with pytest.raises(QueryError, match="give query_idx_to_id too"):
        index.search(queries[:1], 5, cosine, ranked)


def test_what_has_no_direction_has_the_score_zero() -> None:
    documents, queries = vectors(20), vectors(3, 1)
    documents[[0, 5]] = 0
    queries[1] = 0
    index = QsearchIndex()
    index.add_documents(documents[:1], names(1))
    index.add_documents(documents[1:], names(19, 1))
    expected = cosine(queries, documents)
    scores, numbers = index.search(queries, 20, cosine)
    assert numbers == best(expected, 20)
    assert np.allclose(scores, np.take_along_axis(expected, np.array(numbers), axis=1), atol=1e-6)
    ranked = {"q": names(10)}
    scores, places = index.search(queries[:2], 10, cosine, ranked, {0: "q", 1: "q"})
    assert places == best(expected[:2, :10], 10)
    assert scores[1] == [0.0] * 10


@pytest.mark.parametrize(
    "similarity",
    [
        lambda left, right: left @ right.T,
        lambda left, right: -np.linalg.norm(left[:, None] - right[None], axis=2),
        lambda left, right: 20 * cosine(left, right),
        lambda left, right: cosine(left, right) * np.nan,
    ],
    ids=["dot", "euclidean", "scaled", "nan"],
)
def test_another_similarity_is_refused(similarity: Callable[..., Any]) -> None:
    index = QsearchIndex()
    index.add_documents(vectors(30), names(30))
    with pytest.raises(
        EncoderError, match=r"is not the cosine: it is .*without this index_backend"
    ):
        index.search(vectors(3, 1), 5, similarity)


def test_a_dot_product_of_unit_vectors_is_the_cosine() -> None:
    documents, queries = (
        one / np.linalg.norm(one, axis=1)[:, None] for one in (vectors(30), vectors(3, 1))
    )
    index = QsearchIndex(named("dot"))
    index.add_documents(documents, names(30))
    _, numbers = index.search(queries, 5, lambda left, right: left @ right.T)
    assert numbers == best(queries @ documents.T, 5)


def named(similarity: str | None) -> Any:
    return SimpleNamespace(mteb_model_meta=SimpleNamespace(similarity_fn_name=similarity))


def test_a_model_that_says_so_is_refused_before_it_encodes() -> None:
    for name in ("euclidean", "manhattan", "MaxSim"):
        with pytest.raises(EncoderError, match=f"similarity is {name}, not the cosine"):
            QsearchIndex(named(name))
    for name in ("cosine", "custom", None):
        QsearchIndex(named(name))


def test_options_are_checked_before_anything_is_encoded() -> None:
    with pytest.raises(QueryError, match="recall must be above 0"):
        QsearchIndex(recall=1.5)
    with pytest.raises(TypeError, match="did you mean 'recall'"):
        QsearchIndex(recal=0.9)  # type: ignore[call-arg]


@pytest.mark.parametrize("options", [{"recall": 0.9}, {"method": "binary"}, {"method": "graph"}])
def test_other_ways_of_searching_give_scores_that_are_right(options: Any) -> None:
    documents, queries = vectors(2500), vectors(20, 1)
    index = QsearchIndex(**options)
    index.add_documents(documents, names(2500))
    scores, numbers = index.search(queries, 10, cosine)
    expected = cosine(queries, documents)
    assert np.allclose(scores, np.take_along_axis(expected, np.array(numbers), axis=1), atol=1e-6)
    true = best(expected, 10)
    assert sum(len({*a} & {*b}) for a, b in zip(numbers, true, strict=True)) > 180


def test_nothing_is_left_after_clear(tmp_path: Path) -> None:
    index = QsearchIndex(folder=tmp_path / "made")
    for _ in range(2):
        index.add_documents(vectors(20), names(20))
        assert (tmp_path / "made").is_dir()
        index.clear()
        assert not (tmp_path / "made").exists()
        with pytest.raises(QueryError, match="call add_documents first"):
            index.search(vectors(1), 5, cosine)
    index.clear()


def test_a_temporary_index_goes_with_its_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    index = QsearchIndex()
    index.add_documents(vectors(20), names(20))
    assert len([*tmp_path.iterdir()]) == 1
    del index
    gc.collect()
    assert not [*tmp_path.iterdir()]


def test_what_is_in_the_folder_stays(tmp_path: Path) -> None:
    first = QsearchIndex(folder=tmp_path / "made")
    first.add_documents(vectors(20), names(20))
    second = QsearchIndex(folder=tmp_path / "made")
    with pytest.raises(IndexExists):
        second.add_documents(vectors(20), names(20))
    second.clear()
    assert (tmp_path / "made").is_dir()


def test_documents_that_are_none_are_refused() -> None:
    index = QsearchIndex()
    with pytest.raises(CorpusError, match="there are 3 embeddings, and 2 ids"):
        index.add_documents(vectors(3), names(2))
    broken = vectors(3)
    broken[1, 0] = np.nan
    with pytest.raises(CorpusError, match="NaN"):
        index.add_documents(broken, names(3))


# With MTEB itself


@pytest.fixture(scope="module")
def mteb() -> Any:
    return pytest.importorskip("mteb", exc_type=ModuleNotFoundError)


def made_task(*, top_ranked: bool, instructions: bool) -> Any:
    """A task of MTEB, in memory: documents of common words, and queries of some of theirs."""
    from datasets import Dataset
    from mteb import TaskMetadata
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    generator = np.random.default_rng(3)
    documents = [
        {"id": f"d{number}", "title": "the", "text": " ".join(generator.choice(WORDS, size=8))}
        for number in range(200)
    ]
    queries = [
        {"id": f"q{number}", "text": " ".join(documents[number]["text"].split()[:3])}
        | ({"instruction": "find a light book"} if instructions else {})
        for number in range(20)
    ]
    candidates = {
        f"q{number}": [f"d{one}" for one in {number, *generator.integers(200, size=30).tolist()}]
        for number in range(20)
    }
    data = {
        "corpus": Dataset.from_list(documents),
        "queries": Dataset.from_list(queries),
        "relevant_docs": {f"q{number}": {f"d{number}": 1} for number in range(20)},
        "top_ranked": candidates if top_ranked else None,
    }

    class Made(AbsTaskRetrieval):  # type: ignore[misc]
        metadata = TaskMetadata(
            name="Made",
            description="Made in a test.",
            dataset={"path": "made/here", "revision": "1"},
            type="InstructionRetrieval" if instructions else "Retrieval",
            category="t2t",
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, *arguments: Any, **named: Any) -> None:
            self.dataset = {"default": {"test": {**data}}}
            self.data_loaded = True

    return Made()


def made_encoder(similarity: str = "cosine") -> Any:
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ScoringFunction

    class Words(AbsEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            told = {"name": "made/words", "similarity_fn_name": ScoringFunction(similarity)}
            self.mteb_model_meta = ModelMeta.create_empty(told)

        def encode(self, inputs: Any, **named: Any) -> np.ndarray:
            words = HashedWords(DIMENSIONS)
            return np.concatenate([words.encode_documents(batch["text"]) for batch in inputs])

    return Words()


def evaluated(mteb: Any, model: Any, task: Any) -> dict[str, float]:
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
    (scores,) = result.task_results[0].scores["test"]
    return {name: value for name, value in scores.items() if isinstance(value, float)}


@pytest.mark.filterwarnings("ignore")  # those of MTEB and its libraries
@pytest.mark.parametrize("instructions", [False, True], ids=["queries", "instructions"])
@pytest.mark.parametrize("top_ranked", [False, True], ids=["retrieval", "reranking"])
def test_mtebs_runner_gives_the_scores_of_its_own_search(
    mteb: Any, top_ranked: bool, instructions: bool
) -> None:
    from mteb.models import SearchEncoderWrapper

    encoder = made_encoder()
    own = evaluated(mteb, encoder, made_task(top_ranked=top_ranked, instructions=instructions))
    model = SearchEncoderWrapper(encoder, index_backend=QsearchIndex(encoder))
    found = evaluated(mteb, model, made_task(top_ranked=top_ranked, instructions=instructions))
    assert 0.3 < own["ndcg_at_10"] < 0.99
    assert len(own) > 50
    assert found == pytest.approx(own, abs=1e-4, nan_ok=True)
    assert found["ndcg_at_10"] == own["ndcg_at_10"]


@pytest.mark.filterwarnings("ignore")
def test_mtebs_runner_tells_that_the_similarity_is_another(mteb: Any) -> None:
    from mteb.models import SearchEncoderWrapper

    encoder = made_encoder("dot")
    model = SearchEncoderWrapper(encoder, index_backend=QsearchIndex(encoder))
    with pytest.raises(EncoderError, match="similarity is not the cosine"):
        evaluated(mteb, model, made_task(top_ranked=False, instructions=False))


@pytest.mark.filterwarnings("ignore")
def test_the_protocol_is_the_one_of_mteb(mteb: Any) -> None:
    import inspect

    protocol = mteb.IndexEncoderSearchProtocol
    for name in ("add_documents", "search", "clear"):
        theirs = list(inspect.signature(getattr(protocol, name)).parameters)
        ours = list(inspect.signature(getattr(QsearchIndex, name)).parameters)
        assert ours == theirs


def test_no_more_of_the_embeddings_is_kept_than_is_compared() -> None:
    index = QsearchIndex()
    for some in (np.eye(64), torch.eye(64)):
        index.add_documents(some, [f"{type(some)} {number}" for number in range(64)])
    array, tensor = index._samples
    assert array.base is None
    assert tensor.untyped_storage().nbytes() == 8 * 64 * 4
    assert index.search(np.empty((0, 64)), 3) == ([], [])
    index.clear()
