"""Evaluates the expressions of GitHub Actions that our files use, such as `${{ steps.look.outputs.python == '' }}`.

The rule of this file: what it does not know raises Broken and is never guessed.  So a wrong name, which GitHub would
quietly evaluate as null, is found here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Functions = Mapping[str, Callable[..., Any]]
STATUS = frozenset({"success", "failure", "always", "cancelled"})
_INSIDE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?)|(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>==|!=|&&|\|\||<=|>=|[!()\[\].,<>*]))"
)


class Broken(Exception):
    """A file of ours uses something that GitHub, or this interpreter, does not know."""


class Strict(dict[str, Any]):
    """A context whose names are all known: any other name is a typo, which GitHub would not report."""

    def __missing__(self, name: str) -> Any:
        raise Broken(f"there is no {name!r} among {', '.join(self) or 'nothing'}")


@dataclass(frozen=True)
class Expressions:
    """Evaluates expressions with these contexts (`inputs`, `steps`, ...) and functions beside the built-in ones."""

    contexts: Mapping[str, Any]
    functions: Functions

    def text(self, template: str) -> str:
        """Return the string with each `${{ }}` in it replaced by its value."""
        return _INSIDE.sub(lambda found: as_text(self.value(found[1])), template)

    def whole(self, template: str) -> Any:
        """Return the value if the string is a single expression, such as a matrix; else as `interpolate`."""
        found = _INSIDE.fullmatch(template.strip())
        return self.value(found[1]) if found else self.text(template)

    def holds(self, condition: str) -> bool:
        """Return the truth of an `if:`; unless it names a status function, all steps before must have succeeded."""
        found = _INSIDE.fullmatch(condition.strip())
        source = found[1] if found else condition
        if "${{" in source:
            raise Broken(f"an if that is half an expression is always true: {condition}")
        if not STATUS & {name for kind, name in _tokens(source) if kind == "name"}:
            return bool(self.functions["success"]()) and truthy(self.value(source))
        return truthy(self.value(source))

    def value(self, source: str) -> Any:
        return _Reading(_tokens(source), self, source).all()


def as_text(value: Any) -> str:
    """Return a value as GitHub writes it into a string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Mapping):
        return "Object"
    return "Array" if isinstance(value, list) else str(value)


def truthy(value: Any) -> bool:
    return value not in (None, False, 0, "") or isinstance(value, (Mapping, list))


def equal(left: Any, right: Any) -> bool:
    """Compare as GitHub does: texts without regard to case, and different types as numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() == right.lower()
    if isinstance(left, (Mapping, list)) or isinstance(right, (Mapping, list)):
        return left is right
    if type(left) is type(right):
        return bool(left == right)
    return _number(left) == _number(right)


def _number(value: Any) -> float:
    if value is None or value == "":
        return 0.0
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _tokens(source: str) -> list[tuple[str, str]]:
    found, at, end = [], 0, len(source.rstrip())
    while at < end:
        match = _TOKEN.match(source, at)
        if match is None or match.lastgroup is None:
            raise Broken(f"cannot parse {source[at:]!r} in {source!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class _Reading:
    """Parses and evaluates one expression, left to right.

    `&&` binds tighter than `||`, comparison tighter than both.
    """

    def __init__(self, tokens: Sequence[tuple[str, str]], under: Expressions, source: str) -> None:
        self._tokens, self._at, self._under, self._source = tokens, 0, under, source

    def all(self) -> Any:
        found = self._either()
        if self._at != len(self._tokens):
            raise self._broken()
        return found

    def _either(self) -> Any:
        left = self._both()
        while self._takes("||"):
            right = self._both()
            left = left if truthy(left) else right
        return left

    def _both(self) -> Any:
        left = self._compared()
        while self._takes("&&"):
            right = self._compared()
            left = right if truthy(left) else left
        return left

    def _compared(self) -> Any:
        left = self._single()
        for sign, holds in (("==", equal), ("!=", lambda a, b: not equal(a, b))):
            if self._takes(sign):
                return holds(left, self._single())
        for sign in ("<=", ">=", "<", ">"):
            if self._takes(sign):
                a, b = _number(left), _number(self._single())
                return {"<=": a <= b, ">=": a >= b, "<": a < b, ">": a > b}[sign]
        return left

    def _single(self) -> Any:
        if self._takes("!"):
            return not truthy(self._single())
        if self._takes("("):
            found = self._either()
            self._needs(")")
            return found
        kind, word = self._next()
        if kind == "number":
            return float(word)
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind != "name":
            raise self._broken()
        if word in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[word]
        return self._called(word) if self._takes("(") else self._inside(word)

    def _called(self, name: str) -> Any:
        given: list[Any] = []
        while not self._takes(")"):
            given.append(self._either())
            if not self._takes(","):
                self._needs(")")
                break
        function = {**_BUILT_IN, **self._under.functions}.get(name)
        if function is None:
            raise Broken(f"there is no function {name}: {self._source}")
        return function(*given)

    def _inside(self, name: str) -> Any:
        if name not in self._under.contexts:
            raise Broken(f"there is no context {name} here: {self._source}")
        found: Any = self._under.contexts[name]
        while True:
            if self._takes("."):
                found = self._each(found) if self._takes("*") else _within(found, self._next()[1])
            elif self._takes("["):
                found = _within(found, self._either())
                self._needs("]")
            else:
                return found

    def _each(self, found: Any) -> list[Any]:
        """Return what `.*.name` gives: the member of that name of each element that has it."""
        rows = list(found.values()) if isinstance(found, Mapping) else list(found or [])
        self._needs(".")
        name = self._next()[1]
        return [_within(row, name) for row in rows if _within(row, name) is not None]

    def _takes(self, sign: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("sign", sign):
            self._at += 1
            return True
        return False

    def _needs(self, sign: str) -> None:
        if not self._takes(sign):
            raise self._broken()

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self._broken()
        self._at += 1
        return self._tokens[self._at - 1]

    def _broken(self) -> Broken:
        return Broken(f"cannot parse {self._source!r}")


def _within(found: Any, name: Any) -> Any:
    if isinstance(found, Strict):
        return found[name]
    if isinstance(found, Mapping):
        return found.get(name)
    if isinstance(found, list) and isinstance(name, float):
        return found[int(name)] if 0 <= name < len(found) else None
    return None


def _contains(where: Any, what: Any) -> bool:
    if isinstance(where, list):
        return any(equal(one, what) for one in where)
    return as_text(what).lower() in as_text(where).lower()


def _format(template: str, *values: Any) -> str:
    def one(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is None or int(found[1]) >= len(values):
            raise Broken(f"format: {template!r} asks for more than {len(values)} values")
        return as_text(values[int(found[1])])

    return re.sub(r"\{\{|\}\}|\{(\d+)\}|[{}]", one, template)


_BUILT_IN: Functions = {
    "contains": _contains,
    "startsWith": lambda text, start: as_text(text).lower().startswith(as_text(start).lower()),
    "endsWith": lambda text, end: as_text(text).lower().endswith(as_text(end).lower()),
    "format": _format,
    "toJSON": lambda value: json.dumps(value, indent=2),
    "fromJSON": json.loads,
}
