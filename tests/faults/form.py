"""Short or long: the suite runs the short form, ``scripts/faults`` the long one."""

from __future__ import annotations

import logging
import os

# Read when the tests are collected: no setting of the user is there while one runs.
LONG = os.environ.get("QSEARCH_FAULTS") == "long"


def times(short: int, long: int) -> int:
    return long if LONG else short


class ThrownAway(logging.Handler):
    """Counts the changes of which the log says that they were thrown away."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "thrown away" in record.getMessage()
