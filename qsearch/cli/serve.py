"""``qsearch serve``."""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from collections import OrderedDict
from ipaddress import ip_address
from pathlib import Path
from typing import Unpack

import click

from qsearch.cli.help import Command
from qsearch.cli.output import Console, ConsoleHandler, print_data
from qsearch.cli.search_options import RERANK, STANDING, standing_options
from qsearch.cli.target import (
    backend_option,
    device_option,
    find_index,
    index_option,
    model_option,
)
from qsearch.errors import QsearchError
from qsearch.options import WORDS, TextSearchOptions

__all__ = ["serve"]

_SELDOM_SECONDS, _SELDOM_KNOWN = 60.0, 256
"""Between two lines of the log that say the same, and of how many it is known."""

_LOCAL = ("localhost", "127.0.0.1", "::1")


@click.command(
    cls=Command,
    groups={
        "Index": ("index",),
        "Address": ("host", "port", "allow_host"),
        "Search, where a request does not say": (
            "k",
            *(name for name in STANDING if name not in (*WORDS, *RERANK)),
        ),
        "Words": WORDS,
        "Rerank": RERANK,
        "Server": ("refresh", "log_requests"),
        "Encoder": ("model", "device", "backend"),
    },
    epilog="""\b
Examples:
  qsearch serve
  qsearch serve -i indexes/wiki --device cuda --recall 0.99
  qsearch serve --host 0.0.0.0 --port 80
  qsearch serve --rerank cross-encoder/ms-marco-MiniLM-L6-v2
\b
And then, anywhere:
  curl 'http://127.0.0.1:8420/search?query=how+do+birds+navigate&k=3'
  curl http://127.0.0.1:8420/search -d '{"query": "bird", "where": "year >= 2020"}'
  curl http://127.0.0.1:8420/search -d '{"queries": ["one", "another"], "recall": 0.99}'
""",
)
@index_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Name or address of this machine to listen on. 0.0.0.0: all, for everybody who reaches it.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8420,
    show_default=True,
    help="Where to listen; 0: any port that is free, which is printed.",
)
@click.option(
    "--allow-host",
    "allow_host",
    multiple=True,
    metavar="NAME",
    help="Another name that requests may be for, such as that which a proxy is asked for; may be repeated; "
    "* for any. Where only this machine is listened to, requests for other names than localhost are "
    "refused, and pages of others, so that no page in a browser reads the index under a name of its own. "
    "Where others are listened to, that is so once a name is given.",
)
@click.option("-k", "k", type=int, default=10, show_default=True, help="Hits for each query.")
@standing_options
@click.option(
    "--refresh",
    type=click.FloatRange(min=0.01),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look for changes of the index, which are followed.",
)
@click.option("--log-requests", is_flag=True, help="Note each request on standard error.")
@model_option
@device_option
@backend_option
@click.pass_obj
def serve(
    console: Console,
    index: Path | None,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    k: int,
    refresh: float,
    log_requests: bool,
    model: str | None,
    device: str,
    backend: str,
    **options: Unpack[TextSearchOptions],
) -> None:
    """Answer searches over HTTP, in JSON, until Ctrl-C.

    Searches that come together are done together, so that many clients are answered about as fast as one.
    What add, sync and delete do to the index meanwhile is followed; nothing can be changed over HTTP.
    Its address is printed as soon as everything is loaded. GET / tells what there is.
    """
    from qsearch.index import Index

    try:
        import uvicorn  # noqa: F401  # is used later: it is to be there before anything is loaded

        from qsearch.serving import Defaults, application, listening, prepare, run
    except ImportError as error:
        raise QsearchError(
            f"serving needs starlette and uvicorn ({error}): pip install starlette uvicorn"
        ) from None
    if console.quiet and log_requests:
        raise click.UsageError("--quiet and --log-requests contradict each other; leave one out")
    allowed = [*map(_name, allow_host)]
    path = find_index(index)
    defaults = Defaults(k, {**options})
    with (
        listening(host, port) as on,
        Index.open(path, encoder=model, device=device, backend=backend) as opened,
    ):
        started = time.perf_counter()
        prepare(opened, defaults)
        _log_to(console, log_requests)
        address, bound = on.getsockname()[:2]
        local = ip_address(address).is_loopback
        names = [*_LOCAL, host.lower(), address, *allowed] if local or allowed else None
        where = opened.searches_on
        console.note(
            f"{path}: {len(opened):,} documents, ready after {time.perf_counter() - started:.1f} s"
            + ("" if where == "cpu" else f", on {where}")
        )
        if not local:
            console.note(f"everybody who reaches {address} can search it and read its documents")
        shown = f"[{host}]" if ":" in host else host
        run(
            application(opened, defaults, refresh=refresh, hosts=None if "*" in allowed else names),
            on,
            log_requests=log_requests,
            ready=lambda: print_data(f"http://{shown}:{bound}"),
        )
        console.note("stopped")


def _name(given: str) -> str:
    """The name in what is given for one, as it is compared."""
    from qsearch.serving import name_of

    if given == "*":
        return given
    host = given.rpartition("//")[2].removesuffix("/")
    name = None if "/" in host else name_of(host)
    if name is not None and not name.isascii():  # as browsers and curl ask for it
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            name = None
    if name is None or "*" in name:
        raise click.BadParameter(
            f"{given!r} is no name of a host, such as search.example", param_hint="--allow-host"
        )
    return name


class _ServerLog(ConsoleHandler):
    """A server's log is read later: each line says when, whether or not anybody watches."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.setLevel(logging.INFO)

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))
        return f"{when} {super().format(record)}"


class _Seldom(logging.Filter):
    """What clients can bring about again and again is told once a minute, and how often it was."""

    def __init__(self) -> None:
        super().__init__()
        self._told: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, CancelledError):  # it is stopping
            return False
        if record.levelno < logging.WARNING:
            return record.name == "qsearch"
        text = record.getMessage()
        if text.startswith("No supported WebSocket library"):  # there is none on purpose
            return False
        if record.name == "asyncio":  # where in asyncio says nothing
            record.exc_info = None
        key = record.name + text[:100]
        when, more = self._told.get(key, (float("-inf"), 0))
        if record.created - when < _SELDOM_SECONDS:
            self._told[key] = when, more + 1
            return False
        if more:
            record.msg, record.args = f"{text} (and {more:,} times before)", ()
        self._told[key] = record.created, 0
        self._told.move_to_end(key)
        if len(self._told) > _SELDOM_KNOWN:
            self._told.popitem(last=False)
        return True


def _log_to(console: Console, requests: bool) -> None:
    handler, seldom = _ServerLog(console), _ServerLog(console)
    seldom.addFilter(_Seldom())
    logging.getLogger("qsearch").handlers = [seldom]
    for name, level, to in (
        ("asyncio", logging.WARNING, seldom),
        ("uvicorn.error", logging.WARNING, seldom),
        ("uvicorn.access", logging.INFO if requests else logging.CRITICAL, handler),
    ):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [to], False
        log.setLevel(level)
