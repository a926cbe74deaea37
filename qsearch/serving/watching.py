"""Whether searches work, and what became of the index meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsearch.errors import IndexClosed, OptionError, QsearchError, QueryError
from qsearch.serving.answering import trials
from qsearch.serving.defaults import Defaults, without_folder
from qsearch.wording import first_line

if TYPE_CHECKING:
    from qsearch.index import Index

__all__ = ["Watch"]

_log = logging.getLogger("qsearch")

_AGAIN_SECONDS = 1.0
"""Between two looks whether searches that failed work again."""


class Watch:
    """Follows the changes of an index, and knows whether searches work. Safe to share between threads."""

    def __init__(self, index: Index, defaults: Defaults, refresh: float | None) -> None:
        """Take what is served.

        Args:
            index: an open one.
            defaults: of requests: with these it is tried.
            refresh: seconds between looks for a newer commit; ``None``: it is never looked.
        """
        self._index, self._defaults, self._refresh = index, defaults, refresh
        self._unread: str | None = None
        self._kinds = set(trials(index, defaults))
        self._failures: dict[str, str] = {}  # by what was searched for: texts, or vectors
        self._lock = threading.Lock()
        self._encoder = self.model()
        self._entered = 0
        self._ended = threading.Event()

    def begin(self) -> None:
        """Follow, until ``end`` is called as often."""
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                self._ended = threading.Event()
                # Whoever ends does not wait for it: it may be loading a model.
                threading.Thread(
                    target=self._follow, args=(self._ended,), name="qsearch-follow", daemon=True
                ).start()

    def end(self) -> None:
        """Follow no more."""
        with self._lock:
            self._entered -= 1
            if not self._entered:
                self._ended.set()

    def model(self) -> str | None:
        """The encoder of the index, without where on this machine it lies; ``None`` where it has none."""
        identity = self._index.encoder_identity
        return None if identity is None else without_folder(identity.model)

    def told(self) -> tuple[dict[str, Any], int]:
        """What to say of it, and the status of HTTP that says the same."""
        told: dict[str, Any] = {"status": "ok", "commit": self._index.commit}
        for failure in tuple(self._failures.values()):
            return {**told, "status": "failing", "error": self.without_paths(failure)}, 503
        if self._unread is not None:
            return {**told, "status": "stale", "error": self.without_paths(self._unread)}, 200
        return told, 200

    @contextmanager
    def noting(self, kind: str) -> Iterator[None]:
        """Around a search: after what is the server's failure none of its kind works, until one does."""
        try:
            yield
        except (QueryError, OptionError, IndexClosed):
            raise
        except QsearchError as error:
            self._failures[kind] = first_line(error)
            raise
        except Exception:
            self._failures[kind] = "the server failed; its log says how"
            raise
        self._failures.pop(kind, None)

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

    def _follow(self, ended: threading.Event) -> None:
        """Answer from what the index has become, and find out when searches work again."""
        while not ended.wait(self._seconds()):
            try:
                changed = self._refresh is not None and self._index.refresh()
                if changed:
                    documents = f"{len(self._index):,}"
                    _log.info("commit %s, %s documents", self._index.commit, documents)
                    model = self.model()
                    if model != self._encoder:
                        _log.info("the index is another one, by the encoder %s", model)
                    self._encoder = model
                if self._unread is not None:
                    _log.warning("the index can be read again")
                self._unread = None
            except IndexClosed:
                return
            except Exception as error:  # what is open is still there: better old answers than none
                told = first_line(error)
                if told != self._unread:
                    _log.warning("the index is served as it was, for it cannot be read: %s", told)
                self._unread, changed = told, False
            if changed or self._failures:
                self._try()

    def _seconds(self) -> float:
        if self._refresh is None:
            return _AGAIN_SECONDS
        return max(self._refresh, _AGAIN_SECONDS) if self._failures else self._refresh

    def _try(self) -> None:
        """Search, so that what a commit needs is loaded before somebody asks, and failures are known."""
        before = dict(self._failures)
        there = trials(self._index, self._defaults)
        for kind in sorted(self._kinds):
            try:
                if kind not in there:
                    raise QueryError(f"the index cannot be searched by {kind} any more")
                there[kind]()
                self._failures.pop(kind, None)
            except IndexClosed:
                return
            except Exception as error:
                self._failures[kind] = first_line(error)
                if self._failures[kind] != before.get(kind):
                    _log.error("searches fail: %s", first_line(error))
        if before and not self._failures:
            _log.warning("searches work again")
