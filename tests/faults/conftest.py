"""Which parts of the battery run with the suite: those whose short forms are short."""

from __future__ import annotations

import os

# Crash states, refused calls and damage take minutes; scripts/faults runs them.
collect_ignore = (
    []
    if os.environ.get("QSEARCH_FAULTS")
    else ["test_crashes.py", "test_refusals.py", "test_damage.py"]
)
