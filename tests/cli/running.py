"""The command line in this process."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import traceback
from pathlib import Path
from unittest import mock

from qsearch import QsearchError
from qsearch.cli import main


def run(
    *arguments: str | Path,
    cwd: Path,
    stdin: str | bytes = b"",
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, which has imported the heavy packages already."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    code: object = 0
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, environment or {}),
        mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8")),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main([str(one) for one in arguments])
        except SystemExit as finished:
            code = finished.code
        except QsearchError:
            traceback.print_exc()
            code = 1
    for stream in (stdout, stderr):
        stream.seek(0)
    assert isinstance(code, int)
    return subprocess.CompletedProcess(list(arguments), code, stdout.read(), stderr.read())
