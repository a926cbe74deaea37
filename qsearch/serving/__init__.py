"""An index answers over HTTP: requests become searches, those that come together are done together.

``application`` makes an ASGI application, ``qsearch serve`` runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsearch.lazily import lazily

if TYPE_CHECKING:
    from qsearch.serving.answering import prepare
    from qsearch.serving.application import application
    from qsearch.serving.defaults import Defaults
    from qsearch.serving.server import listening, name_of, run

__all__ = ["Defaults", "application", "listening", "name_of", "prepare", "run"]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Defaults": ".defaults",
        "application": ".application",
        "listening": ".server",
        "name_of": ".server",
        "prepare": ".answering",
        "run": ".server",
    },
)
