"""Imports point one way: errors <- codes <- models, policies, events <- _core <- _io <- client <- relay, cli."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

import confirma_async

PACKAGE = "confirma_async"
ROOT = Path(confirma_async.__file__).parent

BENEATH: dict[str, set[str]] = {
    "_version": set(),
    "errors": set(),
    "codes": {"errors"},
    "models": {"errors", "codes"},
    "policies": {"errors", "codes"},
    "events": {"errors", "codes"},
    "_core": {"errors", "codes", "models", "policies", "events"},
    "_io": {"errors", "codes", "models", "policies", "events", "_core"},
    "client": {"errors", "codes", "models", "policies", "events", "_core", "_io"},
    "relay": {"errors", "codes", "models", "policies", "events", "_core", "_io", "client"},
    "sandbox": {"errors", "codes", "models", "_core"},
    "testing": {"errors", "codes", "models", "_core", "sandbox"},
}
"""What each part may import of ours, besides itself. The parts that are not here may import everything."""

ON_TOP = {"", "cli", "__main__"}
"""The table of contents, and the command line."""

PURE = {"errors", "codes", "models", "policies", "events", "_core"}
IMPURE = {"aiohttp", "asyncio", "logging", "random", "socket", "tenacity", "threading", "time"}
ONLY_IN = {"tenacity": {"_io/retrying.py"}}
COMMAND_LINE = {"typer", "rich", "click"}


def part_of(module: str) -> str:
    """The part of the package to which a dotted name of ours belongs; empty for the package itself."""
    return module.removeprefix(PACKAGE).removeprefix(".").partition(".")[0]


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that runs, in functions too; those for the type checker alone do not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and is_type_checking(child.test):
            for other in child.orelse:
                yield from imports(ast.Module([other], []))
        else:
            yield from imports(child)


def names(node: ast.Import | ast.ImportFrom, package: list[str], parts: set[str]) -> Iterator[str]:
    """The dotted names that an import in `package` needs."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = package[: len(package) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    if module == PACKAGE:
        # `from .. import errors` names a part of the house; `from confirma_async import Comment` its front door.
        yield from (f"{module}.{alias.name}" if alias.name in parts else module for alias in node.names)
    else:
        yield module


def complaints(path: str, source: str) -> Iterator[str]:
    """What is wrong with the imports of one module, as `_core/batch.py:1 pure layer imports asyncio`."""
    pure_path = PurePosixPath(path)
    own = part_of(".".join([PACKAGE, *pure_path.with_suffix("").parts])) if path != "__init__.py" else ""
    package = [PACKAGE, *pure_path.parent.parts]
    for node in imports(ast.parse(source)):
        for name in names(node, package, {*BENEATH, *ON_TOP}):
            if words := complaint(path, own, name):
                yield f"{path}:{node.lineno} {words}"


def complaint(path: str, own: str, name: str) -> str | None:
    top = name.partition(".")[0]
    if top == PACKAGE:
        other = part_of(name)
        if own in ON_TOP and not (own == "" and other in {"sandbox", "testing", "cli", "relay"}):
            return None
        allowed = other in {own, "_version"} or other in BENEATH.get(own, set())
        return None if allowed else f"{own or PACKAGE} imports {other or PACKAGE}"
    if own in PURE and top in IMPURE:
        return f"pure layer imports {name}"
    if top in ONLY_IN and path not in ONLY_IN[top]:
        return f"{name} is imported by {', '.join(ONLY_IN[top])} alone"
    if top in COMMAND_LINE and own != "cli":
        return f"{name} is imported by the command line alone"
    return None


def modules() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", modules())
def test_imports_point_one_way(path: str) -> None:
    """Each module imports what lies beneath it, the decisions import no I/O, and the sandbox stands apart."""
    found = list(complaints(path, (ROOT / path).read_text(encoding="utf-8")))
    assert not found, "\n".join(found)


def test_every_part_of_the_house_is_known() -> None:
    """Each module and package at the top has its place among the layers."""
    parts = {part_of(".".join([PACKAGE, *PurePosixPath(path).with_suffix("").parts])) for path in modules()}
    assert parts - {"__init__"} <= set(BENEATH) | ON_TOP
    assert {"_core", "_io", "models", "sandbox", "client"} <= parts


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("_core/batch.py", "import asyncio", ["_core/batch.py:1 pure layer imports asyncio"]),
        ("_core/batch.py", "import collections\nimport time\n", ["_core/batch.py:2 pure layer imports time"]),
        ("_core/rate.py", "from random import random", ["_core/rate.py:1 pure layer imports random"]),
        ("_core/rules.py", "def f():\n    import aiohttp.web", ["_core/rules.py:2 pure layer imports aiohttp.web"]),
        ("_core/token.py", "try:\n    import logging\nexcept E: pass", ["_core/token.py:2 pure layer imports logging"]),
        ("_core/retry.py", "from .._io import session", ["_core/retry.py:1 _core imports _io"]),
        ("_core/retry.py", "from ..client import ConfirmaClient", ["_core/retry.py:1 _core imports client"]),
        ("_core/retry.py", "from confirma_async._io.session import Session", ["_core/retry.py:1 _core imports _io"]),
        ("_core/retry.py", "import confirma_async.client", ["_core/retry.py:1 _core imports client"]),
        ("_core/retry.py", "from .. import client", ["_core/retry.py:1 _core imports client"]),
        ("_core/retry.py", "from .. import Comment", ["_core/retry.py:1 _core imports confirma_async"]),
        ("errors.py", "from .models import Violation", ["errors.py:1 errors imports models"]),
        ("models/actions.py", "from ..policies import BatchPolicy", ["models/actions.py:1 models imports policies"]),
        ("models/actions.py", "from .._core.rules import violations", ["models/actions.py:1 models imports _core"]),
        ("policies.py", "import asyncio", ["policies.py:1 pure layer imports asyncio"]),
        ("_io/session.py", "from ..client import ConfirmaClient", ["_io/session.py:1 _io imports client"]),
        (
            "_io/session.py",
            "import tenacity",
            ["_io/session.py:1 tenacity is imported by _io/retrying.py alone"],
        ),
        ("client.py", "from rich import print", ["client.py:1 rich is imported by the command line alone"]),
        ("client.py", "from .sandbox import Sandbox", ["client.py:1 client imports sandbox"]),
        ("client.py", "from .cli import app", ["client.py:1 client imports cli"]),
        ("__init__.py", "from .sandbox import Sandbox", ["__init__.py:1 confirma_async imports sandbox"]),
        ("sandbox/server.py", "from ..client import ConfirmaClient", ["sandbox/server.py:1 sandbox imports client"]),
        ("sandbox/server.py", "from .._io.session import Session", ["sandbox/server.py:1 sandbox imports _io"]),
        ("sandbox/server.py", "from ..policies import Timeouts", ["sandbox/server.py:1 sandbox imports policies"]),
        ("testing.py", "from .client import ConfirmaClient", ["testing.py:1 testing imports client"]),
        (
            "_core/batch.py",
            "if TYPE_CHECKING:\n    import asyncio\nelse:\n    import time",
            ["_core/batch.py:4 pure layer imports time"],
        ),
    ],
)
def test_a_wrong_import_is_caught(path: str, source: str, found: list[str]) -> None:
    """An import that points the wrong way is named with its module and line."""
    assert list(complaints(path, source)) == found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("_core/batch.py", "from ..policies import BatchPolicy\nfrom .wire import BODY_OVERHEAD\nimport heapq"),
        ("_core/batch.py", "if TYPE_CHECKING:\n    import asyncio"),
        ("_core/batch.py", "from .. import errors"),
        ("_io/retrying.py", "import tenacity"),
        ("_io/session.py", "import asyncio, aiohttp, logging\nfrom .._core import wire"),
        ("cli/app.py", "import typer, rich, asyncio\nfrom .. import ConfirmaClient\nfrom ..sandbox import Sandbox"),
        ("sandbox/server.py", "import aiohttp\nfrom .._core.wire import decode_action\nfrom ..models import Action"),
        ("testing.py", "from .sandbox import Sandbox"),
        ("__init__.py", "from .client import ConfirmaClient"),
    ],
)
def test_a_right_import_is_let_through(path: str, source: str) -> None:
    """An import that points the right way is nobody's business."""
    assert not list(complaints(path, source))
