"""Run a collection as a retrieval task of MTEB, with its own search and on qsearch, and compare.

    python scripts/check_mteb.py FOLDER [--model NAME] [--documents N] [--ways exact,0.99]

FOLDER is in BEIR's form: a corpus.jsonl and a queries.jsonl, also compressed, and judgments. MTEB's runner
is what runs it, on embeddings that are made once. Each line is a way of searching: nDCG@10, recall@100,
and the seconds that MTEB's runner took beside encoding. Exits 1 if exact search has another nDCG@10 than
MTEB's own. Needs mteb (pip install mteb).
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from qsearch.documents import Document, open_corpus, read_judgments, read_queries
from qsearch.encoding import DEFAULT_MODEL, load_encoder
from qsearch.integrations.mteb import QsearchIndex


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", help="in BEIR's form")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--documents", type=int, help="take only the first ones")
    parser.add_argument("--ways", default="exact,0.99", help="exact, or recalls below 1")
    options = parser.parse_args()
    task = made_task(options.folder, options.documents)
    encoder = made_encoder(options.model)
    own = measured(encoder, task, None)
    print(line("MTEB's own", own))
    differs = False
    for way in options.ways.split(","):
        recall = way if way == "exact" else float(way)
        found = measured(encoder, task, QsearchIndex(encoder, recall=recall))
        print(line(f"qsearch, {way}", found))
        differs |= way == "exact" and found["ndcg_at_10"] != own["ndcg_at_10"]
    raise SystemExit(differs)


def measured(encoder: Any, task: Any, backend: QsearchIndex | None) -> dict[str, float]:
    """The scores of a run, and what it took."""
    import mteb
    from mteb.models import SearchEncoderWrapper

    before = encoder.seconds
    started = time.perf_counter()
    model = SearchEncoderWrapper(encoder, index_backend=backend)
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
    took = time.perf_counter() - started - (encoder.seconds - before)
    (scores,) = result.task_results[0].scores["test"]
    return {**scores, "seconds": took}


def line(name: str, scores: dict[str, float]) -> str:
    """For people."""
    return (
        f"{name:<16} nDCG@10 {scores['ndcg_at_10']:.5f}  recall@100 {scores['recall_at_100']:.5f}  "
        f"{scores['seconds']:6.1f} s"
    )


def made_task(folder: str, most: int | None) -> Any:
    """A task of MTEB from a folder, of queries that have a relevant document among those taken."""
    from datasets import Dataset
    from mteb import TaskMetadata
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    records = (one for one in open_corpus(folder) if isinstance(one, Document))
    corpus = [
        {"id": one.id, "title": one.title or "", "text": one.text} for one in islice(records, most)
    ]
    there = {one["id"] for one in corpus}
    judgments = {
        query: kept
        for query, judged in read_judgments(folder).items()
        if any((kept := {one: value for one, value in judged.items() if one in there}).values())
    }
    queries = [{"id": name, "text": text} for name, text in read_queries(folder)]
    data = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list([one for one in queries if one["id"] in judgments]),
        "relevant_docs": judgments,
        "top_ranked": None,
    }

    class Collection(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=Path(folder).resolve().name,
            description="A collection on disk.",
            dataset={"path": "local/collection", "revision": "1"},
            type="Retrieval",
            category="t2t",
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, *arguments: Any, **named: Any) -> None:
            self.dataset = {"default": {"test": {**data}}}
            self.data_loaded = True

    return Collection()


def made_encoder(model: str) -> Any:
    """A model as MTEB takes it, run by qsearch, which encodes no text twice."""
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ScoringFunction
    from mteb.types import PromptType

    class Kept(AbsEncoder):
        def __init__(self) -> None:
            self.encoder = load_encoder(model)
            self.seconds = 0.0
            self.kept: dict[tuple[bool, str], np.ndarray] = {}
            self.mteb_model_meta = ModelMeta.create_empty(
                {
                    "name": f"qsearch/{Path(model).name}",
                    "similarity_fn_name": ScoringFunction.COSINE,
                }
            )

        def encode(self, inputs: Any, *, prompt_type: Any = None, **named: Any) -> np.ndarray:
            started = time.perf_counter()
            asked = prompt_type is PromptType.query
            texts = [text for batch in inputs for text in batch["text"]]
            new = list(dict.fromkeys(one for one in texts if (asked, one) not in self.kept))
            encode = self.encoder.encode_queries if asked else self.encoder.encode_documents
            for text, vector in zip(new, encode(new) if new else (), strict=True):
                self.kept[asked, text] = vector
            self.seconds += time.perf_counter() - started
            return np.array([self.kept[asked, text] for text in texts])

    return Kept()


if __name__ == "__main__":
    main()
