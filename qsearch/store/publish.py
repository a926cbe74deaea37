"""How a directory becomes durable and takes another's place."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path

__all__ = ["replace_directory", "sync_directory"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # macOS, sys/stdio.h


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable (no-op where directories cannot be opened)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
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
