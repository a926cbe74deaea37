"""The house stands as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

import qsearch
from qsearch.cli import cli
from qsearch.cli.wording import COMMAND_LINE
from qsearch.wording import PYTHON, Words, speaking, words
from tests.conftest import ROOT

# Lowest first; a room may import from rooms before it, and from itself.
ROOMS = (
    "version",
    "lazily",
    "wording",
    "locks",
    "patience",
    "streams",
    "errors",
    "options",
    "documents",
    "filters",
    "kernels",
    "codes",
    "store",
    "encoding",
    "reranking",
    "retrieval",
    "gpu",
    "indexing",
    "results",
    "reordering",
    "selection",
    "keywords",
    "snapshot",
    "changeable",
    "index",
    "evaluation",
    "integrations",
    "serving",
    "cli",
    "__main__",
)
HEAVY = {
    "torch",
    "sentence_transformers",
    "transformers",
    "faiss",
    "usearch",
    "huggingface_hub",
}
HEAVY |= {"mteb", "datasets", "ir_datasets"}


def modules() -> list[Path]:
    return sorted((ROOT / "qsearch").rglob("*.py"))


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts else "__init__"


def imports(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    here = room_of(path.relative_to(ROOT / "qsearch").with_suffix("").parts)
    if here == "__init__":
        return
    for name in imports(path, top_level_only=False):
        if name.startswith("qsearch."):
            there = room_of(tuple(name.split(".")[1:]))
            assert ROOMS.index(there) <= ROOMS.index(here), f"{here} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_packages_are_imported_where_they_are_used(path: Path) -> None:
    top = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    assert not top & HEAVY


def test_a_search_by_vectors_enters_no_room_that_it_does_not_need(tmp_path: Path) -> None:
    """Whoever starts a process to ask something waits for its imports."""
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    qsearch.Index.build(None, tmp_path / "index", embeddings=rows).close()
    script = (
        "import sys, numpy\n"
        "from qsearch import Index\n"
        "found = Index.open(sys.argv[1]).search_vectors(numpy.ones((1, 8), numpy.float32), 3)\n"
        "assert found.certified.all()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "index")],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    rooms = {one.split(".")[1] for one in loaded if one.startswith("qsearch.")}
    assert "retrieval" in rooms
    assert not rooms & {"filters", "encoding", "reranking", "keywords", "indexing", "selection"}
    written = {"editor", "writer", "verify", "merging", "staging", "rewriting", "columns"}
    assert not loaded & {f"qsearch.store.{one}" for one in written}
    assert {one for one in loaded if one.startswith("qsearch.documents.")} <= {
        "qsearch.documents.numbers"
    }
    assert not loaded & {*HEAVY, "numpy.ma", "importlib.metadata", "hashlib"}


@pytest.mark.parametrize(
    "package",
    [path for path in modules() if path.name == "__init__.py" and "lazily(" in path.read_text()],
    ids=lambda path: path.parent.name,
)
def test_names_that_are_imported_lazily_have_one_home(package: Path) -> None:
    """What a type checker reads, what is public and where it is found are the same."""
    tree = ast.parse(package.read_text(encoding="utf-8"))
    name = ".".join(package.parent.relative_to(ROOT).parts)
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    read = {
        alias.name: node.module.removeprefix(name)
        for node in checked.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    (call,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 2
    )
    assert ast.literal_eval(call.args[1]) == read
    module = importlib.import_module(name)
    assert set(module.__all__) - {"__version__"} == set(read)
    for one in module.__all__:
        assert getattr(module, one) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing
    assert dir(module) == sorted(module.__all__)


def test_only_the_output_module_prints() -> None:
    for path in modules():
        if path.name == "output.py":
            continue
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                assert called not in ("print", "echo", "secho"), f"{path} prints"


def test_the_public_names_are_sorted_and_there() -> None:
    assert list(qsearch.__all__) == sorted(qsearch.__all__)
    for name in qsearch.__all__:
        assert getattr(qsearch, name) is not None
    assert dir(qsearch) == qsearch.__all__


def test_every_module_lists_its_public_names() -> None:
    for path in modules():
        if path.name in ("__main__.py", "version.py"):
            continue
        names = [
            node
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign)
            and any(isinstance(one, ast.Name) and one.id == "__all__" for one in node.targets)
        ]
        assert names, f"{path} has no __all__"


def test_no_room_for_odds_and_ends() -> None:
    for path in modules():
        assert path.stem not in ("utils", "helpers", "common", "misc")


def test_arrays_are_never_unpickled() -> None:
    for path in modules():
        source = path.read_text(encoding="utf-8")
        assert "pickle" not in imports(path, top_level_only=False)
        if "np.load(" in source:
            assert source.count("np.load(") == source.count("allow_pickle=False")


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file imports, at its top or inside of functions."""
    compiled = (ROOT / "qsearch").rglob("*.pyi")
    known = {module_name(one) for one in (*modules(), *compiled)}
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:  # a module of that package, or a name in that module
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found & known


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circle_in(graph: dict[str, set[str]]) -> list[str] | None:
    """Names that point at each other in a circle, or ``None``."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str] | None:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return None
        for there in sorted(graph.get(name, ())):
            if circle := walk(there, [*way, name]):
                return circle
        done.add(name)
        return None

    return next((circle for name in sorted(graph) if (circle := walk(name, []))), None)


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        module_name(path): imported_modules(path)
        for path in modules()
        if path != ROOT / "qsearch" / "__init__.py"  # whose names are imported when they are used
    }
    circle = circle_in(graph)
    assert circle is None, " → ".join(circle or [])


def test_a_circle_would_be_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def literal_strings(path: Path) -> list[str]:
    """Strings of a module, but for docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
    ]


def test_the_library_does_not_speak_of_the_command_line() -> None:
    for path in modules():
        inside = path.relative_to(ROOT / "qsearch").parts
        if inside[0] in ("cli", "wording.py"):
            continue
        for text in literal_strings(path):
            assert not re.search(r"(^|\W)--[a-z]|'qsearch [a-z]|words\(\)", text), f"{path}: {text}"


def test_the_command_line_has_words_of_its_own() -> None:
    """And names options that there are."""
    options = {
        option
        for name in cli.list_commands(click.Context(cli))
        for parameter in cli.get_command(click.Context(cli), name).params
        for option in parameter.opts
    }
    for name in (field.name for field in dataclasses.fields(Words)):
        python, shell = getattr(PYTHON, name), getattr(COMMAND_LINE, name)
        assert python != shell
        assert "--" not in python
        for option in re.findall(r"--?[a-z-]+$", shell):
            assert option.strip() in options, option


def test_words_are_exchanged_for_a_while() -> None:
    assert words() is PYTHON
    with speaking(COMMAND_LINE):
        assert words().force == "--force"
    assert words() is PYTHON
