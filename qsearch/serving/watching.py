"""Whether searches work, and what became of the index meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from qsearch.errors import IndexClosed, OptionError, QsearchError, QueryError
from qsearch.serving.answering import prepare
from qsearch.serving.defaults import Defaults
from qsearch.wording import first_line

if TYPE_CHECKING:
    from qsearch.index import Index

__all__ = ["Watch"]

_log = logging.getLogger("qsearch")

_AGAIN_SECONDS = 1.0
"""Between two looks whether searches that failed work again."""


class Watch:
    """Follows the changes of an index, and knows whether searches work."""

    def __init__(self, index: Index, defaults: Defaults, refresh: float | None) -> None:
        """Take what is served.

        Args:
            index: an open one.
            defaults: of requests: with these it is tried.
            refresh: seconds between looks for a newer commit; ``None``: it is never looked.
        """
        self._index, self._defaults, self._refresh = index, defaults, refresh
        self._unread: str | None = None
        self._failure: str | None = None

    def told(self) -> tuple[dict[str, Any], int]:
        """What to say of it, and the status of HTTP that says the same."""
        told: dict[str, Any] = {"status": "ok", "commit": self._index.commit}
        if self._failure is not None:
            error = self.without_paths(self._failure)
            return {**told, "status": "failing", "error": error}, 503
        if self._unread is not None:
            return {**told, "status": "stale", "error": self.without_paths(self._unread)}, 200
        return told, 200

    @contextmanager
    def noting_failures(self) -> Iterator[None]:
        """Around a search: after what is the server's failure none works, until one does."""
        try:
            yield
        except (QueryError, OptionError, IndexClosed):
            raise
        except QsearchError as error:
            self._failure = first_line(error)
            raise
        except Exception:
            self._failure = "the server failed; its log says how"
            raise
        self._failure = None

    def without_paths(self, text: str) -> str:
        """What an error says, without where on this machine the index lies, and its models."""
        index = self._index
        models = [self._defaults.options.get("rerank")]
        with suppress(IndexClosed):
            identity = index.encoder_identity
            models.append(identity and identity.model)
        places = [index.path.absolute(), index.path]
        places += [Path(one) for one in models if isinstance(one, str) and Path(one).is_absolute()]
        for one in places:
            if len(one.parts) > 1:
                text = text.replace(str(one), one.name)
        return text

    async def follow(self) -> None:
        """Answer from what the index has become, and find out when searches work again."""
        tried = time.monotonic()
        while True:
            await asyncio.sleep(_AGAIN_SECONDS if self._refresh is None else self._refresh)
            if self._failure is not None and time.monotonic() - tried >= _AGAIN_SECONDS:
                await run_in_threadpool(self._try)
                tried = time.monotonic()
            if self._refresh is None:
                continue
            try:
                if await run_in_threadpool(self._index.refresh):
                    documents = f"{len(self._index):,}"
                    _log.info("commit %s, %s documents", self._index.commit, documents)
                    await run_in_threadpool(self._try)
                if self._unread is not None:
                    _log.warning("the index can be read again")
                self._unread = None
            except IndexClosed:
                return
            except Exception as error:  # what is open is still there: better old answers than none
                told = first_line(error)
                if told != self._unread:
                    _log.warning("the index is served as it was, for it cannot be read: %s", told)
                self._unread = told

    def _try(self) -> None:
        """Search, so that what a commit needs is loaded before somebody asks, and failures are known."""
        before = self._failure
        try:
            with self.noting_failures():
                prepare(self._index, self._defaults)
        except Exception as error:
            if self._failure not in (None, before):
                _log.error("searches fail: %s", first_line(error))
        else:
            if before is not None:
                _log.warning("searches work again")
