"""What is made when it is first used: the names of packages, and properties.

A process that opens an index and searches it needs a part of qsearch only, and what it does not import it
does not wait for: half of the time from its start to its first answer was imports.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar, overload

__all__ = ["cached_property", "lazily"]

_T = TypeVar("_T")


class cached_property(Generic[_T]):  # noqa: N801 (as that of functools)
    """A property that is computed once.

    As that of functools from Python 3.12 on: without a lock, which before is one for all instances and
    stays held in a child that was forked meanwhile. Several threads may compute it, and all get one value.
    """

    def __init__(self, find: Callable[[Any], _T]) -> None:
        """Decorate a method."""
        self._find = find
        self.__doc__ = find.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn the name."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> _T: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> Self | _T:
        """The value, which is an attribute of the instance from then on."""
        if instance is None:
            return self
        value: _T = instance.__dict__.setdefault(self._name, self._find(instance))
        return value


def lazily(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: its ``__name__``.
        homes: of each of its public names the module that defines it, relative to the package where it
            begins with a dot.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return find, lambda: sorted(sys.modules[package].__all__)
