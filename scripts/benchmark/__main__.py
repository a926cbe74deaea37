"""``python scripts/benchmark``: see ``commands.py``."""

from __future__ import annotations

import sys
from pathlib import Path

# The folder above this one, in place of this one, so that no module here hides one of the same name
# elsewhere; and not the root of the repository, whose qsearch lacks the kernels of the installed one.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmark.commands import main  # noqa: E402 (where it is, is known only now)

if __name__ == "__main__":
    main()
