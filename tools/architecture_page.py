"""Print the page of the architecture from the import contracts and the first lines of the packages."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.policy_page import markdown_table

ROOT = Path(__file__).parent.parent
_DATA_FOLDERS = {"app/policies": "The four profiles that Muster ships, as YAML files."}
"""Folders without a package, and so without a docstring."""


def architecture_page() -> Iterator[str]:
    """Yield the parts of docs/architecture.md."""
    contracts = {contract["name"]: contract for contract in _read_contracts()}
    floors, parts = (contract for contract in contracts.values() if contract["type"] == "layers")
    yield "# Architecture\n"
    yield (
        "What happened goes in, what to do comes out; the rules in between touch nothing:\n\n"
        "    decide(incident, event, policy, now) -> Decision(incident, effects)\n\n"
        "Everything else brings events in and carries effects out. "
        "[The decision records](adr/0000-index.md) say why it is built so, and "
        "[CONTRIBUTING](../CONTRIBUTING.md) how to add to it.\n"
    )
    yield "## Floors\n"
    yield (
        "A module imports only from floors below its own, and rooms on one floor do not know each other. "
        "`make lint` checks it; this page is printed from the same contracts and the first lines of the packages.\n"
    )
    yield _mermaid(floors["layers"])
    yield markdown_table(("Room", "What it does", "Imports"), _room_rows("app", floors["layers"]))
    yield "## Inside the worker\n"
    yield markdown_table(("Room", "What it does", "Imports"), _room_rows("app.worker", parts["layers"]))
    yield "## Inside the other rooms\n"
    rooms = [name for layer in floors["layers"] for name in _layer_rooms(layer) if name != "worker"]
    yield markdown_table(("Room", "What it does"), _inner_rows(rooms))
    yield "## Contracts\n"
    yield "\n".join(f"- {name}." for name in contracts) + "\n"


def _read_contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return contracts


def _layer_rooms(layer: str) -> list[str]:
    """List the rooms of one floor of a contract; parentheses mark one that an installation may lack."""
    return [name.strip(" ()") for name in layer.split("|")]


def _mermaid(layers: Sequence[str]) -> str:
    """Draw the floors from the top to the bottom."""
    lines = ["```mermaid", "flowchart TB"]
    for number, layer in enumerate(layers):
        lines.append(f'    subgraph floor{number}[" "]\n        direction LR')
        lines += [f'        {name.replace(".", "_")}["{name}"]' for name in _layer_rooms(layer)]
        lines.append("    end")
    lines += [f"    floor{number} --> floor{number + 1}" for number in range(len(layers) - 1)]
    return "\n".join([*lines, "```\n"])


def _room_rows(package: str, layers: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    rooms = [name for layer in layers for name in _layer_rooms(layer)]
    for name in rooms:
        path = _path_of(f"{package}.{name}")
        imported = _imported_rooms(path, package, rooms) - {name}
        yield f"`{name}`", _first_line(path), ", ".join(f"`{room}`" for room in rooms if room in imported)


def _inner_rows(rooms: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the packages below these rooms, and the folders of data."""
    for name in rooms:
        folder = _path_of(f"app.{name}")
        if folder.is_dir():
            for inner in sorted(folder.rglob("__init__.py")):
                if inner.parent != folder and "__pycache__" not in inner.parts:
                    path = inner.parent
                    yield f"`{path.relative_to(ROOT / 'app').as_posix().replace('/', '.')}`", _first_line(path)
    for folder_name, meaning in _DATA_FOLDERS.items():
        yield f"`{folder_name.removeprefix('app/')}`", meaning


def _path_of(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path if path.is_dir() else path.with_suffix(".py")


def _first_line(path: Path) -> str:
    """Return the first line of the docstring of a module or package.  Raises ValueError where there is none."""
    file = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    if not text:
        raise ValueError(f"{file.relative_to(ROOT)} has no docstring")
    return text.splitlines()[0]


def _imported_rooms(path: Path, package: str, rooms: Sequence[str]) -> set[str]:
    """Return the rooms that the modules at this path import from."""
    files = path.rglob("*.py") if path.is_dir() else [path]
    modules = {module for file in files for module in _imported_modules(file)}
    return {room for room in rooms if any(f"{module}.".startswith(f"{package}.{room}.") for module in modules)}


def _imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
