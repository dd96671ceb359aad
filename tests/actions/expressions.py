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
STATUS_FUNCTIONS = frozenset({"success", "failure", "always", "cancelled"})
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?)|(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>==|!=|&&|\|\||<=|>=|[!()\[\].,<>*]))"
)


class Broken(Exception):
    """A file of ours uses something that GitHub, or this interpreter, does not know."""


class StrictContext(dict[str, Any]):
    """A context whose names are all known: any other name is a typo, which GitHub would not report."""

    def __missing__(self, name: str) -> Any:
        raise Broken(f"there is no {name!r} among {', '.join(self) or 'nothing'}")


@dataclass(frozen=True)
class Expressions:
    """Evaluates expressions with these contexts (`inputs`, `steps`, ...) and functions beside the built-in ones."""

    contexts: Mapping[str, Any]
    functions: Functions

    def interpolate(self, template: str) -> str:
        """Return the string with each `${{ }}` in it replaced by its value."""
        return _EXPRESSION.sub(lambda found: as_text(self.evaluate(found[1])), template)

    def evaluate_or_interpolate(self, template: str) -> Any:
        """Return the value if the string is a single expression, such as a matrix; else as `interpolate`."""
        found = _EXPRESSION.fullmatch(template.strip())
        return self.evaluate(found[1]) if found else self.interpolate(template)

    def evaluate_condition(self, condition: str) -> bool:
        """Return the truth of an `if:`; unless it names a status function, all steps before must have succeeded."""
        found = _EXPRESSION.fullmatch(condition.strip())
        source = found[1] if found else condition
        if "${{" in source:
            raise Broken(f"an if that is half an expression is always true: {condition}")
        if not STATUS_FUNCTIONS & {name for kind, name in _tokenize(source) if kind == "name"}:
            return bool(self.functions["success"]()) and truthy(self.evaluate(source))
        return truthy(self.evaluate(source))

    def evaluate(self, source: str) -> Any:
        return _ExpressionParser(_tokenize(source), self, source).evaluate()


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
    return _as_number(left) == _as_number(right)


def _as_number(value: Any) -> float:
    if value is None or value == "":
        return 0.0
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _tokenize(source: str) -> list[tuple[str, str]]:
    found, at, end = [], 0, len(source.rstrip())
    while at < end:
        match = _TOKEN.match(source, at)
        if match is None or match.lastgroup is None:
            raise Broken(f"cannot parse {source[at:]!r} in {source!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class _ExpressionParser:
    """Parses and evaluates one expression, left to right.

    `&&` binds tighter than `||`, comparison tighter than both.
    """

    def __init__(self, tokens: Sequence[tuple[str, str]], expressions: Expressions, source: str) -> None:
        self._tokens, self._at, self._expressions, self._source = tokens, 0, expressions, source

    def evaluate(self) -> Any:
        found = self._or_expression()
        if self._at != len(self._tokens):
            raise self._syntax_error()
        return found

    def _or_expression(self) -> Any:
        left = self._and_expression()
        while self._accept("||"):
            right = self._and_expression()
            left = left if truthy(left) else right
        return left

    def _and_expression(self) -> Any:
        left = self._comparison()
        while self._accept("&&"):
            right = self._comparison()
            left = right if truthy(left) else left
        return left

    def _comparison(self) -> Any:
        left = self._unary()
        for sign, compare in (("==", equal), ("!=", lambda a, b: not equal(a, b))):
            if self._accept(sign):
                return compare(left, self._unary())
        for sign in ("<=", ">=", "<", ">"):
            if self._accept(sign):
                a, b = _as_number(left), _as_number(self._unary())
                return {"<=": a <= b, ">=": a >= b, "<": a < b, ">": a > b}[sign]
        return left

    def _unary(self) -> Any:
        if self._accept("!"):
            return not truthy(self._unary())
        if self._accept("("):
            found = self._or_expression()
            self._expect(")")
            return found
        kind, word = self._next()
        if kind == "number":
            return float(word)
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind != "name":
            raise self._syntax_error()
        if word in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[word]
        return self._function_call(word) if self._accept("(") else self._context_value(word)

    def _function_call(self, name: str) -> Any:
        arguments: list[Any] = []
        while not self._accept(")"):
            arguments.append(self._or_expression())
            if not self._accept(","):
                self._expect(")")
                break
        function = {**_BUILT_IN, **self._expressions.functions}.get(name)
        if function is None:
            raise Broken(f"there is no function {name}: {self._source}")
        return function(*arguments)

    def _context_value(self, name: str) -> Any:
        if name not in self._expressions.contexts:
            raise Broken(f"there is no context {name} here: {self._source}")
        found: Any = self._expressions.contexts[name]
        while True:
            if self._accept("."):
                found = self._object_filter(found) if self._accept("*") else _member(found, self._next()[1])
            elif self._accept("["):
                found = _member(found, self._or_expression())
                self._expect("]")
            else:
                return found

    def _object_filter(self, found: Any) -> list[Any]:
        """Return what `.*.name` gives: the member of that name of each element that has it."""
        rows = list(found.values()) if isinstance(found, Mapping) else list(found or [])
        self._expect(".")
        name = self._next()[1]
        return [_member(row, name) for row in rows if _member(row, name) is not None]

    def _accept(self, sign: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("sign", sign):
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise self._syntax_error()

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self._syntax_error()
        self._at += 1
        return self._tokens[self._at - 1]

    def _syntax_error(self) -> Broken:
        return Broken(f"cannot parse {self._source!r}")


def _member(found: Any, name: Any) -> Any:
    if isinstance(found, StrictContext):
        return found[name]
    if isinstance(found, Mapping):
        return found.get(name)
    if isinstance(found, list) and isinstance(name, float):
        return found[int(name)] if 0 <= name < len(found) else None
    return None


def _contains(container: Any, item: Any) -> bool:
    if isinstance(container, list):
        return any(equal(one, item) for one in container)
    return as_text(item).lower() in as_text(container).lower()


def _format(template: str, *values: Any) -> str:
    def replace_placeholder(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is None or int(found[1]) >= len(values):
            raise Broken(f"format: {template!r} asks for more than {len(values)} values")
        return as_text(values[int(found[1])])

    return re.sub(r"\{\{|\}\}|\{(\d+)\}|[{}]", replace_placeholder, template)


_BUILT_IN: Functions = {
    "contains": _contains,
    "startsWith": lambda text, start: as_text(text).lower().startswith(as_text(start).lower()),
    "endsWith": lambda text, end: as_text(text).lower().endswith(as_text(end).lower()),
    "format": _format,
    "toJSON": lambda value: json.dumps(value, indent=2),
    "fromJSON": json.loads,
}
