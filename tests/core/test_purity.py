"""The core is pure: no clock, no I/O and no randomness."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import app.core

FILES = sorted(Path(app.core.__file__).parent.rglob("*.py"))
ALLOWED = {
    *("__future__", "bisect", "collections", "collections.abc", "dataclasses", "datetime", "difflib", "enum"),
    *("functools", "itertools", "math", "re", "typing", "zoneinfo"),
    "holidays",  # a table of days by country and year: no clock in it
}
FORBIDDEN = {"now", "utcnow", "today", "open", "input", "print", "exec", "eval", "__import__", "getenv"}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or ""


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_the_core_is_pure(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    foreign = {name for name in imports(tree) if name not in ALLOWED and not name.startswith("app.core")}
    assert not foreign
    assert not FORBIDDEN.intersection(calls(tree))


def test_the_whole_core_was_read() -> None:
    assert {"decide", "replay", "escalate", "ack"} <= {path.stem for path in FILES}
