"""Says once that searches could be faster."""

from __future__ import annotations

import logging

from qsearch.kernels import without_native

__all__ = ["tell_if_slow"]

_log = logging.getLogger("qsearch")
_told = False


def tell_if_slow() -> None:
    """Warn once in a process where native kernels are missing and nobody asked to do without."""
    global _told
    if _told:
        return
    _told = True
    advice = without_native()
    if advice is not None:
        _log.warning("%s", advice)
