"""How a directory becomes durable and takes another's place."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # the module or nothing

__all__ = [
    "make_directory",
    "replace_directory",
    "replaced_directories",
    "sync_directory",
    "sync_file",
]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # macOS, sys/stdio.h


def sync_file(descriptor: int) -> None:
    """Make a file durable. On macOS ``fsync`` leaves the data in the drive's own cache."""
    if sys.platform == "darwin" and fcntl is not None:
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def make_directory(path: Path) -> None:
    """Make ``path`` and what is missing above it, each name durable."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable (no-op where directories cannot be opened)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def replace_directory(new: Path, target: Path) -> None:
    """Put ``new`` in the place of ``target``, and delete what was there.

    Where the kernel can exchange two names this is one atomic step: at every moment ``target`` is
    the old directory or the new one. Elsewhere there is an instant without ``target``; a crash then
    leaves both directories complete, the old one as ``.<target>.<random>.replaced``.

    Open files and maps of the old directory stay valid until they are closed.
    """
    if not target.exists():
        os.rename(new, target)
        sync_directory(target.parent)
        return
    # A name of its own, so that nothing of the user's can ever be taken for it.
    replaced = Path(
        tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".replaced", dir=target.parent)
    )
    if _exchange(new, target):
        sync_directory(target.parent)
        os.rename(new, replaced)
    else:
        os.rename(target, replaced)
        os.rename(new, target)
    sync_directory(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def replaced_directories(target: Path) -> list[Path]:
    """What an exchange that was cut short left beside ``target``."""
    return [
        path
        for path in target.parent.iterdir()
        if path.name.startswith(f".{target.name}.") and path.name.endswith(".replaced")
    ]


def _exchange(left: Path, right: Path) -> bool:
    """Exchange two names atomically; False where the system cannot."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            result = libc.renamex_np(os.fsencode(left), os.fsencode(right), _RENAME_SWAP)
        else:
            result = libc.renameat2(
                _AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _RENAME_EXCHANGE
            )
    except (OSError, AttributeError, TypeError):
        return False
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(right))
