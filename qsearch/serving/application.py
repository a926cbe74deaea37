"""The ASGI application: which address does what, and what an error looks like."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from traceback import clear_frames
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from qsearch.errors import OptionError, QsearchError, QueryError
from qsearch.patience import while_wanted
from qsearch.serving.answering import as_json, pieces_of, searched
from qsearch.serving.asking import MOST_QUERIES, Asked, asked_in_json, asked_in_url
from qsearch.serving.batching import Answered, Batches, Overloaded, Part, TooLarge
from qsearch.serving.bodies import SHORT, UnderWay, answer_of, body_of
from qsearch.serving.defaults import Defaults
from qsearch.serving.server import name_of
from qsearch.serving.watching import Watch
from qsearch.version import __version__
from qsearch.wording import Words, speaking_here, words

if TYPE_CHECKING:
    from qsearch.index import Index

__all__ = ["application"]


class _Rest(Convertor[str]):
    """The rest of a path, with whatever an id may hold: ends of lines too."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())

_log = logging.getLogger("qsearch")

_MOST_READING, _MOST_SENDING = 256 << 20, 512 << 20
"""Bytes of requests and answers that are in memory: when there are as many, no more come."""

_PATIENCE = 2.0
"""Seconds for searches that nobody has been waiting for any more when it ends."""

_OF_PAGE = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Vary": "Accept",
}
"""The page asks this server, and nobody else."""

_VARIES = {"Vary": "Accept"}

_ADDRESSES = {
    "GET /": "this list, or a page to search with in a browser",
    "GET /search?query=TEXT": "search; any option as in the body",
    "POST /search": 'search: {"query": "a text", "k": 10, "recall": 0.99, "where": "year >= 2020"}',
    "GET /documents/ID": "a document",
    "GET /info": "what is served, and what was done so far",
    "GET /health": "whether it is served, and searches work",
}


def application(
    index: Index,
    defaults: Defaults | None = None,
    *,
    refresh: float | None = 1.0,
    hosts: Sequence[str] | None = None,
) -> Starlette:
    """Make an application (ASGI 3) that answers from an index.

    Searches that come together are done together; changes of the index, made by whomever, are followed. It
    only reads.

    Args:
        index: an open one, which is the caller's to close.
        defaults: of requests.
        refresh: seconds between looks for a newer commit; ``None``: it is never looked.
        hosts: names that requests may be for (their header ``Host`` without the port); ``None``: any.
            Without names a page in somebody's browser may reach what listens on that machine, by a name of
            its own.
    """
    serving = _Serving(index, defaults or Defaults(), refresh)

    @asynccontextmanager
    async def lifespan(_application: Starlette) -> AsyncIterator[None]:
        async with serving.running():
            yield

    def route(path: str, answer: _Answer, *methods: str) -> Route:
        return Route(path, _answered(answer, hosts, serving.without_paths), methods=list(methods))

    made = Starlette(
        routes=[
            route("/", serving.addresses, "GET"),
            route("/search", serving.search, "GET", "POST"),
            route("/documents/{id:rest}", serving.document, "GET"),
            route("/info", serving.info, "GET"),
            route("/health", serving.health, "GET"),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_such_address},
    )
    made.router.redirect_slashes = False
    return made


_Answer = Callable[[Request], Awaitable[Response]]


class _NotRunning(Exception):
    """It was not started, or has been stopped."""


class _Serving:
    """What is behind the addresses."""

    def __init__(self, index: Index, defaults: Defaults, refresh: float | None) -> None:
        self._index = index
        self._defaults = defaults
        self._watch = Watch(index, defaults, refresh)
        self._started = time.time()
        self._running_ones: list[Batches] = []
        self._reading = UnderWay("requests", _MOST_READING)
        self._sending = UnderWay("answers", _MOST_SENDING)
        self._parsing: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
        self._parsing = WeakKeyDictionary()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While this is entered, there are answers."""
        batches = Batches(self._searched)
        # It may be entered while it runs, where it is mounted twice or served by two; any may end first.
        self._running_ones.append(batches)
        self._watch.begin()
        try:
            yield
        finally:
            self._watch.end()
            self._running_ones.remove(batches)
            await run_in_threadpool(batches.close, _PATIENCE)

    def _searched(self, parts: Sequence[Part], wanted: Callable[[], bool]) -> list[list[bytes]]:
        kind = "text" if parts[0].request.vectors is None else "vector"
        # Of several together one alone may be to blame: they are searched one by one then.
        noting = self._watch.noting(kind) if len(parts) == 1 else nullcontext()
        with speaking_here(_in_requests()), while_wanted(wanted), noting:
            return searched(self._index, parts)

    def without_paths(self, text: str) -> str:
        """See ``Watch.without_paths``."""
        return self._watch.without_paths(text)

    async def addresses(self, request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return Response(_page(), media_type="text/html", headers=_OF_PAGE)
        return _json({"qsearch": __version__, "addresses": _addresses(request)}, headers=_VARIES)

    async def search(self, request: Request) -> Response:
        self._sending.check()
        if request.method == "POST":
            asked = await self._read(request)
        else:
            asked = asked_in_url(request.query_params.multi_items(), self._defaults)
        self._check(asked)
        if asked.slow and await run_in_threadpool(_is_quick, self._index, asked):
            asked = replace(asked, slow=False)
        answered = await self._answer(request, asked)
        times = f"wait;dur={1e3 * answered.waited:.2f}, search;dur={1e3 * answered.worked:.2f}"
        return answer_of(pieces_of(answered.results, single=asked.single), times, self._sending)

    async def _read(self, request: Request) -> Asked:
        """What the body asks for."""
        parts: list[bytes] = []
        try:
            body = await body_of(request, parts, self._reading)
            most = MOST_QUERIES * self._index.dimensions
            if len(body) <= SHORT:
                return asked_in_json(body, self._defaults, most)
            loop = asyncio.get_running_loop()
            async with self._parsing.setdefault(loop, asyncio.Semaphore(1)):
                # One after the other: the interpreter does nothing else meanwhile.
                return await run_in_threadpool(asked_in_json, body, self._defaults, most)
        finally:
            self._reading.add(-sum(map(len, parts)))

    async def document(self, request: Request) -> Response:
        wanted = str(request.path_params["id"])
        document = await run_in_threadpool(_document, self._index, wanted)
        if document is None:
            return _json({"error": f"there is no document of the id {wanted!r}"}, 404)
        return _json(document)

    async def info(self, request: Request) -> Response:
        return _json(await run_in_threadpool(self._info))

    async def health(self, request: Request) -> Response:
        self._running()
        return _json(*self._watch.told())

    def _info(self) -> dict[str, Any]:
        index, batches = self._index, self._running()
        return {
            "qsearch": __version__,
            "index": index.path.name,
            "commit": index.commit,
            "device": index.searches_on,
            "changed": index.settings.get("changed") or index.settings.get("created"),
            "documents": len(index),
            "rows": index.rows,
            "dimensions": index.dimensions,
            "model": self._watch.model(),
            "text_index": index.text_index,
            "graph": index.has_graph,
            "fields": [one.name for one in index.fields],
            "k": self._defaults.k,
            "options": {**self._defaults.options, "rerank": self._defaults.reranker},
            "seconds": round(time.time() - self._started, 3),
            "served": {**asdict(batches.served), "waiting": batches.waiting},
        }

    def _check(self, asked: Asked) -> None:
        """What only another index could answer is the client's to know, and no failure of the server."""
        index = self._index
        if asked.options["method"] == "graph" and not index.has_graph:
            raise QueryError("the index has no graph: leave out the method, or name another")
        words_only = asked.options.get("mode") == "keywords"
        if asked.vectors is None and index.contract is None and not words_only:
            raise QueryError("the index has no encoder: it can be searched by vector")
        if asked.vectors is not None and asked.vectors.shape[1] != index.dimensions:
            raise QueryError(
                f"the index has {index.dimensions} dimensions, the query vectors have "
                f"{asked.vectors.shape[1]}"
            )

    def _running(self) -> Batches:
        if not self._running_ones:
            raise _NotRunning
        return self._running_ones[-1]

    async def _answer(self, request: Request, asked: Asked) -> Answered:
        """The answer, unless the client goes before it is there."""
        future = asyncio.wrap_future(self._running().submit(asked))
        gone = asyncio.create_task(_gone(request))
        try:
            both: set[asyncio.Future[Any]] = {future, gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                raise ClientDisconnect
            return await future
        finally:  # also where the server ends, and has waited for long enough
            gone.cancel()
            future.cancel()


def _in_requests() -> Words:
    """What clients read of: what is theirs is called as in a request."""
    return replace(
        words(),
        missing_fields_ok='"missing_fields_ok": true',
        params='"params"',
        rerank='"rerank"',
        search_vectors='"vector"',
    )


@cache
def _page() -> bytes:
    return resources.files("qsearch.serving").joinpath("page.html").read_bytes()


def _is_quick(index: Index, asked: Asked) -> bool:
    """Whether its condition is answered at once: also one that is none, with an error."""
    options = asked.options
    try:
        return index.is_quick(
            options["where"],
            params=options["params"],
            missing_fields_ok=options["missing_fields_ok"],
        )
    except QueryError:
        return True


def _document(index: Index, id: str) -> dict[str, Any] | None:
    try:
        found = index.get(id)
    except QueryError:
        return None
    told: dict[str, Any] = {"id": found.id}
    if found.title is not None:
        told["title"] = found.title
    return {
        **told,
        "text": found.text,
        **({"metadata": dict(found.metadata)} if found.metadata else {}),
    }


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answered(
    answer: _Answer, hosts: Sequence[str] | None, without_paths: Callable[[str], str]
) -> _Answer:
    """What answers, or says what is wrong."""

    async def handler(request: Request) -> Response:
        try:
            host = request.headers.get("host", "")
            if hosts is not None and name_of(host) not in hosts:
                allowed = f"if it is, start it with {words().allow_host} and that name"
                raise HTTPException(421, f"this server is not {host!r}; {allowed}")
            if hosts is not None and _by_another_page(request, hosts):
                allowed = f"{words().allow_host} * lets them"
                raise HTTPException(403, f"pages of others do not search here; {allowed}")
            return await answer(request)
        except _NotRunning:
            why = "the application does not run: its lifespan was not started, or has ended"
            return _json({"error": why}, 503)
        except Overloaded as error:
            why = f"{error}; try again in a moment"
            return _json({"error": why}, 503, {"Retry-After": "1"})
        except TooLarge as error:
            return _json({"error": str(error)}, 400)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except asyncio.CancelledError:
            return _json({"error": "the server is stopping"}, 503)
        except QsearchError as error:
            clear_frames(error.__traceback__)  # what was read of a body is not kept with it
            told = {"error": without_paths(str(error)), "kind": type(error).__name__}
            if isinstance(error, QueryError | OptionError):
                return _json(told, 400)
            _log.error("%s", error)
            return _json(told, 500)
        except HTTPException:
            raise
        except Exception:
            _log.exception("%s %s failed", request.method, request.url.path)
            return _json({"error": "the server failed; its log says how"}, 500)

    return handler


def _by_another_page(request: Request, hosts: Sequence[str]) -> bool:
    """Whether a browser says that a page of somebody else's asks; whoever follows a link there may."""
    headers = request.headers
    origin = headers.get("origin")
    if origin is not None and name_of(origin.partition("://")[2]) not in hosts:
        return True
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    opened = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest", "document")
    return opened != ("navigate", "document")


def _addresses(request: Request) -> dict[str, str]:
    """What there is, and where: the application may be mounted below another one."""
    root = request.scope.get("root_path", "")
    return {name.replace(" /", f" {root}/", 1): told for name, told in _ADDRESSES.items()}


async def _no_such_address(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(getattr(error, "detail", error))
    if status == 404:
        detail = (
            f"there is nothing at {request.url.path}; there is {', '.join(_addresses(request))}"
        )
    elif status == 405:
        detail = f"{request.url.path} does not take {request.method}"
    headers: Mapping[str, str] | None = getattr(error, "headers", None)
    return _json({"error": detail}, status, headers)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(as_json(value), status, headers=headers, media_type="application/json")
