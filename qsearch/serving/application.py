"""The ASGI application: which address does what, and what an error looks like."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from qsearch.errors import OptionError, QsearchError, QueryError
from qsearch.patience import while_wanted
from qsearch.serving.answering import as_json, pieces_of, searched
from qsearch.serving.asking import Asked, asked_in_json, asked_in_url
from qsearch.serving.batching import Answered, Batches, Overloaded, Part, TooLarge
from qsearch.serving.defaults import Defaults
from qsearch.serving.server import name_of
from qsearch.serving.watching import Watch
from qsearch.version import __version__
from qsearch.wording import Words, speaking_here, words

if TYPE_CHECKING:
    from qsearch.index import Index

__all__ = ["MOST_BYTES", "application"]


class _Rest(Convertor[str]):
    """The rest of a path, with whatever an id may hold: ends of lines too."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())

_log = logging.getLogger("qsearch")

MOST_BYTES = 32 << 20
"""Of a request's body: a thousand vectors of a thousand dimensions."""

_PATIENCE = 2.0
"""Seconds for searches that nobody has been waiting for any more when it ends."""

_BODY_SECONDS = 60.0
"""For all of it to come."""

_LONG = 1 << 18
"""Bytes of an answer that are not put together: they are sent piece by piece, as the client takes them."""

_SHORT = 1 << 14
"""Bytes of a body that are read at once, and not on another thread while others are listened to."""

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

    return Starlette(
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
        self._batches: Batches | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While this is entered, there are answers."""
        before = self._batches  # it may be entered while it runs, where it is mounted twice
        self._batches = batches = Batches(self._searched)
        following = asyncio.create_task(self._watch.follow())
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            self._batches = before
            await run_in_threadpool(batches.close, _PATIENCE)

    def _searched(self, parts: Sequence[Part], wanted: Callable[[], bool]) -> list[list[bytes]]:
        with speaking_here(_in_requests()), while_wanted(wanted), self._watch.noting_failures():
            return searched(self._index, parts)

    def without_paths(self, text: str) -> str:
        """See ``Watch.without_paths``."""
        return self._watch.without_paths(text)

    async def addresses(self, request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return Response(_page(), media_type="text/html", headers=_OF_PAGE)
        return _json({"qsearch": __version__, "addresses": _addresses(request)}, headers=_VARIES)

    async def search(self, request: Request) -> Response:
        if request.method == "POST":
            body = await _body(request)
            if len(body) <= _SHORT:
                asked = asked_in_json(body, self._defaults)
            else:
                asked = await run_in_threadpool(asked_in_json, body, self._defaults)
        else:
            asked = asked_in_url(request.query_params.multi_items(), self._defaults)
        self._check(asked)
        answered = await self._answer(request, asked)
        times = f"wait;dur={1e3 * answered.waited:.2f}, search;dur={1e3 * answered.worked:.2f}"
        pieces = pieces_of(answered.results, single=asked.single)
        size = sum(map(len, pieces))
        headers = {"Server-Timing": times}
        if size <= _LONG:
            return Response(b"".join(pieces), media_type="application/json", headers=headers)
        headers["Content-Length"] = str(size)
        return StreamingResponse(_sent(pieces), media_type="application/json", headers=headers)

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
        identity = index.encoder_identity
        return {
            "qsearch": __version__,
            "index": index.path.name,
            "commit": index.commit,
            "changed": index.settings.get("changed") or index.settings.get("created"),
            "documents": len(index),
            "rows": index.rows,
            "dimensions": index.dimensions,
            "model": None if identity is None else identity.model,
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

    def _running(self) -> Batches:
        if self._batches is None:
            raise _NotRunning
        return self._batches

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


async def _body(request: Request) -> bytes:
    """The body, unless it is too large, or does not come: what comes then is not kept."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    raise HTTPException(413, f"a request takes {MOST_BYTES >> 20} MiB at most")
                parts.append(part)
    except TimeoutError:
        why = f"the body did not come within {_BODY_SECONDS:.0f} s"
        raise HTTPException(408, why, {"Connection": "close"}) from None
    return b"".join(parts)


async def _sent(pieces: list[bytes]) -> AsyncIterator[bytes]:
    """The pieces, as large ones, each of which is forgotten when it has been sent."""
    pieces.reverse()
    while pieces:
        some, size = [], 0
        while pieces and size < _LONG:
            some.append(pieces.pop())
            size += len(some[-1])
        yield b"".join(some)


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
            origin = request.headers.get("origin")
            if hosts is not None and origin is not None and _origin(origin) not in hosts:
                raise HTTPException(403, f"pages of {origin!r} do not search here")
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


def _origin(header: str) -> str | None:
    """The name of the host whose page asks."""
    return name_of(header.partition("://")[2])


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
