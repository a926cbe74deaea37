"""The states that a power cut may leave, from a log of what was done.

The promise that a file system makes is taken at its word and no further: a file's sync makes its bytes
durable, a directory's sync its names, and nothing else does. What was not synced when the power went may be
there, in part, or not: each write and each new size by itself, torn at the edges of sectors or pages, with
zeros or noise where a file grew and its bytes did not come; each name by itself.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.faults.shim import Call, Op

State = dict[str, bytes | None]
"""By path below the folder: the bytes of a file; ``None``: a directory."""

UNIMPORTANT = ("writer.lock",)
"""Files of which no word is believed: states that differ there alone are one."""


@dataclass(eq=False, slots=True)
class File:
    """What is durable of it, and what was done since: (offset, bytes), or (size, ``None``)."""

    durable: bytes
    since: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Directory:
    """Its durable names, those that a process sees, and what was done between.

    A change is (name that goes, name that comes, of what); either name may be "".
    """

    durable: dict[str, Node] = field(default_factory=dict)
    names: dict[str, Node] = field(default_factory=dict)
    since: list[tuple[str, str, Node]] = field(default_factory=list)

    def change(self, gone: str, come: str, node: Node) -> None:
        """Do a change, not durable yet."""
        self.since.append((gone, come, node))
        _rename(self.names, gone, come, node)


Node = File | Directory
Change = TypeVar("Change")


def _rename(names: dict[str, Node], gone: str, come: str, node: Node) -> None:
    if gone and names.get(gone) is node:
        del names[gone]
    if come:
        names[come] = node


class World:
    """A folder, while the calls of a log are done one by one."""

    def __init__(self, folder: Path) -> None:
        """As it is now, all of it durable."""
        self._files: dict[int, File] = {}
        self.root = self._scanned(folder)

    def _scanned(self, folder: Path) -> Directory:
        found = Directory()
        for entry in os.scandir(folder):
            node: Node
            if entry.is_dir():
                node = self._scanned(Path(entry.path))
            else:
                node = self._files.setdefault(entry.inode(), File(Path(entry.path).read_bytes()))
            found.durable[entry.name] = found.names[entry.name] = node
        return found

    def _place(self, path: str) -> tuple[Directory, str]:
        """The directory of a path, and its name there."""
        *parents, name = path.split("/")
        here = self.root
        for parent in parents:
            there = here.names[parent]
            if not isinstance(there, Directory):
                raise TypeError(path)
            here = there
        return here, name

    def do(self, call: Call) -> None:
        """Do one call."""
        if call.op in (Op.WRITE, Op.TRUNCATE):
            self._files[call.file].since.append(
                (call.offset, call.data if call.op is Op.WRITE else None)
            )
        elif call.op is Op.SYNC:
            file = self._files[call.file]
            file.durable, file.since = contents(file.durable, file.since), []
        elif call.op is Op.SYNC_DIRECTORY:
            here = self.root
            if call.path:
                parent, name = self._place(call.path)
                there = parent.names[name]
                if not isinstance(there, Directory):
                    raise TypeError(call.path)
                here = there
            here.durable, here.since = dict(here.names), []
        elif call.op in (Op.CREATE, Op.MKDIR):
            parent, name = self._place(call.path)
            node: Node = Directory()
            if call.op is Op.CREATE:
                node = self._files[call.file] = File(b"")
            parent.change("", name, node)
        elif call.op in (Op.UNLINK, Op.RMDIR):
            parent, name = self._place(call.path)
            parent.change(name, "", parent.names[name])
        elif call.op in (Op.RENAME, Op.LINK):
            if call.offset:
                raise NotImplementedError("an exchange of names")
            parent, name = self._place(call.path)
            other, new = self._place(call.other)
            node = parent.names[name]
            if call.op is Op.LINK:
                other.change("", new, node)
            elif other is parent:  # one step, there or not
                parent.change(name, new, node)
            else:
                other.change("", new, node)
                parent.change(name, "", node)

    def unsynced(self) -> list[Directory]:
        """Directories with names that came or went and are not durable."""
        found: list[Directory] = []
        waiting = [self.root]
        seen = {id(self.root)}
        while waiting:
            here = waiting.pop()
            if here.since:
                found.append(here)
            for node in [*here.durable.values(), *here.names.values()]:
                if isinstance(node, Directory) and id(node) not in seen:
                    seen.add(id(node))
                    waiting.append(node)
        return found

    def seen(self) -> State:
        """What a process sees, and what is left when it is killed."""
        return self.state(partial(_bytes, every=True), partial(_names, every=True))

    def state(
        self,
        bytes_of: Callable[[File], bytes],
        names_of: Callable[[Directory], Mapping[str, Node]],
    ) -> State:
        """The state that two functions choose: the bytes of a file, the names of a directory."""
        found: State = {}

        def walk(directory: Directory, prefix: str) -> None:
            for name, node in sorted(names_of(directory).items()):
                path = prefix + name
                if isinstance(node, Directory):
                    found[path] = None
                    walk(node, path + "/")
                else:
                    found[path] = bytes_of(node)

        walk(self.root, "")
        return found


def contents(durable: bytes, changes: Sequence[tuple[int, bytes | None]]) -> bytes:
    """The bytes of a file after some changes."""
    data = bytearray(durable)
    for offset, piece in changes:
        if piece is None:
            del data[offset:]
            data.extend(bytes(offset - len(data)))
            continue
        data.extend(bytes(max(0, offset + len(piece) - len(data))))
        data[offset : offset + len(piece)] = piece
    return bytes(data)


STRICT = ("kept", "dropped", "names", "bytes")
"""Ways to choose that are no chance: everything is kept; nothing; the names alone; the bytes alone."""


def states_at(world: World, generator: random.Random, mixed: int) -> Iterator[tuple[str, State]]:
    """States that a power cut at this moment may leave, each with the way in which it was chosen."""
    for way in STRICT:
        bytes_kept, names_kept = way in ("kept", "bytes"), way in ("kept", "names")
        yield (
            way,
            world.state(
                partial(_bytes, every=bytes_kept),
                partial(_names, every=names_kept),
            ),
        )
    unsynced = world.unsynced()
    if len(unsynced) > 1:  # the names of one came first, whatever was done in which order
        for only in unsynced:
            yield (
                "names of one",
                world.state(partial(_bytes, every=True), partial(_names_of_one, only=only)),
            )
    for _ in range(mixed):
        yield (
            "mixed",
            world.state(
                lambda file: _some_bytes(file, generator),
                lambda one: _some_names(one, generator),
            ),
        )


def _bytes(file: File, *, every: bool) -> bytes:
    return contents(file.durable, file.since) if every else file.durable


def _names(directory: Directory, *, every: bool) -> dict[str, Node]:
    return directory.names if every else directory.durable


def _names_of_one(directory: Directory, *, only: Directory) -> dict[str, Node]:
    return directory.names if directory is only else directory.durable


def _some_names(directory: Directory, generator: random.Random) -> dict[str, Node]:
    names = dict(directory.durable)
    for change in _some(directory.since, generator):
        _rename(names, *change)
    return names


def _some_bytes(file: File, generator: random.Random) -> bytes:
    if not file.since:
        return file.durable
    kept: list[tuple[int, bytes | None]] = []
    length = len(file.durable)
    for offset, piece in _some(file.since, generator):
        if piece is None:
            kept.append((offset, None))
            length = offset
            continue
        how = generator.choice(["whole", "whole", "torn", "torn", "zeros", "noise"])
        if how == "whole":
            kept.append((offset, piece))
        elif how == "torn":
            kept += _torn(offset, piece, generator)
        elif offset + len(piece) > length:  # the new size came, and not the bytes
            first = max(offset, length)
            size = offset + len(piece) - first
            kept.append((first, bytes(size) if how == "zeros" else generator.randbytes(size)))
        length = max(length, offset + len(piece))
    return contents(file.durable, kept)


def _torn(offset: int, piece: bytes, generator: random.Random) -> Iterator[tuple[int, bytes]]:
    """Some sectors or pages of a write."""
    size = generator.choice([512, 4096])
    at = offset
    while at < offset + len(piece):
        end = min(offset + len(piece), (at // size + 1) * size)
        if generator.random() < 0.5:
            yield at, piece[at - offset : end - offset]
        at = end


def _some(changes: list[Change], generator: random.Random) -> list[Change]:
    """Some of what was done, in order: none, all, what came first, the last alone, or any of it."""
    how = generator.choice(["none", "all", "first", "last", "any", "any"])
    if how == "none":
        return []
    if how == "first":
        return changes[: generator.randint(0, len(changes))]
    if how == "last":
        return changes[-1:]
    return [one for one in changes if how == "all" or generator.random() < 0.5]


def digest(state: State) -> bytes:
    """What tells states apart."""
    found = hashlib.blake2b(digest_size=16)
    for path, data in sorted(state.items()):
        if path.rpartition("/")[2] not in UNIMPORTANT:
            found.update(repr((path, None if data is None else len(data))).encode())
            found.update(data or b"")
    return found.digest()


def write_state(state: State, folder: Path) -> None:
    """Make a folder of a state; nothing is there yet."""
    folder.mkdir(parents=True)
    for path, data in state.items():  # parents come before what is in them
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)


def read_state(folder: Path) -> State:
    """A folder as a state."""
    found: State = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = None if path.is_dir() else path.read_bytes()
    return found
