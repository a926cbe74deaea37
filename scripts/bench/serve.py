"""What a server takes: `qsearch serve` beside a server that searches each request by itself.

    python scripts/bench/serve.py INDEX QUERIES [--clients 1,4,16,64] [--requests 400] [--rounds 3]

QUERIES holds a text a line, or vectors (.npy). Both servers are processes of their own, asked by turns by
clients that send their next request when the last one is answered, each over a connection that stays. The
other server is what somebody would write: a web framework whose threads search the index. Prints requests a
second and milliseconds (half, 95% and 99% of the requests took no more): medians of the rounds, with the
least and the most requests a second in brackets; then, by ``GET /info``, how many batches there were.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

Served = tuple[str, int]


def main() -> None:
    """Start both, ask them, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--clients", default="1,4,16,64")
    parser.add_argument("--requests", type=int, default=400, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        serve_alone(arguments.index, arguments.device)
        return
    if arguments.queries.suffix == ".npy":
        rows = np.load(arguments.queries, mmap_mode="r")[: arguments.requests]
        asked = [{"vector": [float(f"{one:.7g}") for one in row]} for row in rows]
    else:
        lines = arguments.queries.read_text("utf-8").splitlines()
        asked = [{"query": line} for line in lines if line.strip()]
    queries = [json.dumps({**one, "k": arguments.k}) for one in asked]
    servers = {
        "qsearch serve": ["-m", "qsearch", "serve", "-i", str(arguments.index), "--port", "0"],
        "one by one": [__file__, str(arguments.index), str(arguments.queries), "--alone"],
    }
    running = {
        name: subprocess.Popen(
            [sys.executable, *command, "--device", arguments.device],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, command in servers.items()
    }
    try:
        places = {name: place_of(process) for name, process in running.items()}
        for place in places.values():
            load(place, queries, 4, 50)
        for clients in map(int, arguments.clients.split(",")):
            rounds: dict[str, list[Load]] = {name: [] for name in places}
            for _ in range(arguments.rounds):
                for name, place in places.items():
                    rounds[name].append(load(place, queries, clients, arguments.requests))
            for name, loads in rounds.items():
                report(f"{clients:>3} clients  {name:<13}", loads)
        connection = http.client.HTTPConnection(*places["qsearch serve"])
        connection.request("GET", "/info")
        served = json.loads(connection.getresponse().read())["served"]
        print(f"{served['queries']:,} queries in {served['batches']:,} batches")
    finally:
        for process in running.values():
            process.terminate()
            process.wait()


@dataclass(frozen=True)
class Load:
    """What clients saw.

    Attributes:
        second: requests a second, of all clients together.
        milliseconds: of each request.
    """

    second: float
    milliseconds: list[float]


def place_of(process: subprocess.Popen[str]) -> Served:
    """Where it listens, which it prints."""
    assert process.stdout is not None
    told = urlsplit(process.stdout.readline().strip())
    if told.hostname is None or told.port is None:
        raise SystemExit("a server did not start")
    return told.hostname, told.port


def load(place: Served, bodies: list[str], clients: int, requests: int) -> Load:
    """Ask, with so many clients at once."""
    numbers, times = count(), []

    def ask() -> None:
        connection = http.client.HTTPConnection(*place, timeout=300)
        while (number := next(numbers)) < requests:
            began = time.perf_counter()
            connection.request("POST", "/search", bodies[number % len(bodies)])
            answer = connection.getresponse()
            if answer.status != 200 or not json.loads(answer.read())["hits"]:
                raise SystemExit("a request was not answered")
            times.append(1e3 * (time.perf_counter() - began))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    began = time.perf_counter()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return Load(len(times) / (time.perf_counter() - began), times)


def report(name: str, loads: list[Load]) -> None:
    """A line."""
    seconds = [one.second for one in loads]
    quantiles = [
        statistics.median(float(np.quantile(one.milliseconds, share)) for one in loads)
        for share in (0.5, 0.95, 0.99)
    ]
    print(
        f"{name}{statistics.median(seconds):>8,.0f} /s ({min(seconds):,.0f} to {max(seconds):,.0f})   "
        f"p50 {quantiles[0]:.1f}  p95 {quantiles[1]:.1f}  p99 {quantiles[2]:.1f} ms",
        flush=True,
    )


def serve_alone(path: Path, device: str) -> None:
    """The other server: each request is a search, on one of the framework's threads."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from qsearch import Index
    from qsearch.serving import Defaults, listening, prepare, run

    index = Index.open(path, device=device)
    prepare(index, Defaults())

    def found(asked: dict[str, Any]) -> dict[str, Any]:
        if "query" in asked:
            return index.search(asked["query"], asked["k"]).to_dict()
        return index.search_by_vectors([asked["vector"]], asked["k"])[0].to_dict()

    async def search(request: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(found, await request.json()))

    on = listening("127.0.0.1", 0)
    print(f"http://127.0.0.1:{on.getsockname()[1]}", flush=True)
    run(Starlette(routes=[Route("/search", search, methods=["POST"])]), on)


if __name__ == "__main__":
    main()
