"""Check the names in app/ against the rules of CONTRIBUTING that ruff does not know: `make lint` runs it.

Without arguments it reads app/ of this checkout.  It prints one line for each problem, and exits 1 if there are any.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
MAX_FUNCTION_LINES = 60


def _words(text: str) -> set[str]:
    return set(text.split())


_IRREGULAR_PARTICIPLES = _words(
    "begun bound brought built done found given gone heard held hidden kept known laid left lent lost made meant met"
    " paid put rang rung said seen sent set shown sold spoken spent stood taken told thought woken written"
)
_FILLER_WORDS = _words(
    "again all alone anew at both by every first here last later more most none of one other others own same some"
    " still surplus then there these this those"
)
_VERBS_AND_NOUNS = {"embed", "feed", "need", "proceed", "seed", "speed"}
"""Words that end like a participle and are none."""
_INTERFACE_NAMES = {
    *(("app/render/markdown/policy_review.py", name) for name in ("found", "wanted")),
    ("app/web/connection.py", "received"),  # waitress calls it
}
"""Names that others prescribe, such as the fields of a policy fault, which `muster policy check --json` prints."""

_UNCLEAR_IDENTIFIER_WORDS = _words(
    "anew concern desk heard lane lanes lived moot nobody patience rang rung rungs said somebody spoke spoken told"
    " whoever woken"
)
_UNCLEAR_PROSE = re.compile(
    r"\b(nobody|whoever|somebody|lanes?|(?<!incident )desks?|rungs?|rang|moot|woken)\b", re.IGNORECASE
)
_PRINTED_PROSE = ("app/core/policy/", "app/cli/", "app/policy_file/field_docs.py")
"""Where docstrings are printed for users, in docs/policy.md or by `--help`."""

_CLOCK_CALLS = {"now", "utcnow", "today", "time"}
_CLOCK_OWNERS = {"datetime", "date", "time"}
_WIRING = {"app/cli/main.py"}
"""The only modules that read the real clock: everything else is given the time."""

_UNITS = _words(
    "LEVEL SECONDS MINUTES HOURS DAYS YEARS BYTES CHARACTERS PERCENT POINTS ROWS LINES FILES WIDTH COUNT RATIO FRACTION"
    " DIVISOR STATUS PRIORITY PORT ID WEEKDAY TURNS VERSION"
)
_UNIT_IN_NAME = re.compile(rf"(^|_)(MAX|MIN)_|_({'|'.join(sorted(_UNITS))})$|_PER_[A-Z_]+$")
_UNITLESS = {
    ("app/bootstrap.py", "_M_MMAP_THRESHOLD"),  # the name of a setting in glibc's malloc.h
    ("app/rate_limit.py", "APP"),  # stands for an installation
    ("app/github/slash_commands.py", "_QUOTE"),  # stands for a kind of container
}


@dataclass(frozen=True, slots=True)
class Module:
    """A module to check; `path` is relative to the checkout, with slashes."""

    path: str
    text: str

    @property
    def is_sandbox(self) -> bool:
        """True for the sandbox, whose classes may share names with those of the app."""
        return self.path.startswith("app/sandbox/")


def main() -> int:
    """Print the problems of app/; returns 1 if there are any."""
    files = sorted((ROOT / "app").rglob("*.py"))
    modules = [Module(file.relative_to(ROOT).as_posix(), file.read_text("utf-8")) for file in files]
    problems = list(find_problems(modules))
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    sys.stdout.write(f"{len(modules)} modules checked, {len(problems)} problems found.\n")
    return 1 if problems else 0


def find_problems(modules: Sequence[Module]) -> Iterator[str]:
    """Yield the problems of these modules, one line each, in the order of the modules."""
    for module in modules:
        tree = ast.parse(module.text)
        for line, problem in sorted(_module_problems(module, tree)):
            yield f"{module.path}:{line}: {problem}"
    yield from _duplicate_classes(modules)


def _module_problems(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    yield from _function_problems(module, tree)
    yield from _identifier_problems(tree)
    yield from _prose_problems(module)
    yield from _constant_problems(module, tree)
    if module.path not in _WIRING:
        yield from _clock_problems(tree)


def _function_problems(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if is_bare_participle(node.name) and (module.path, node.name) not in _INTERFACE_NAMES:
            yield node.lineno, f"{node.name}() is a bare participle or filler: name it by a verb and its object"
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            yield node.lineno, f"{node.name}() has {lines} lines, at most {MAX_FUNCTION_LINES}: take it apart"


def is_bare_participle(name: str) -> bool:
    """Return True if the name of a function is one word that is a participle, an adverb or a pronoun."""
    word = name.strip("_")
    if "_" in word or word in _VERBS_AND_NOUNS:
        return False
    return word in _IRREGULAR_PARTICIPLES | _FILLER_WORDS or bool(re.fullmatch(r"[a-z]{2,}ed", word))


def _identifier_problems(tree: ast.Module) -> Iterator[tuple[int, str]]:
    seen: set[str] = set()
    for node, name in _defined_names(tree):
        unclear = _UNCLEAR_IDENTIFIER_WORDS.intersection(split_identifier(name))
        if unclear and name not in seen:
            seen.add(name)
            yield node, f"{name} holds {', '.join(sorted(unclear))}: take the field's term"


def _defined_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def split_identifier(name: str) -> list[str]:
    """Split a name in snake case or camel case into its words, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def _prose_problems(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the unclear words of docstrings and comments; what is in quotes or code is somebody's words."""
    if module.path.startswith(_PRINTED_PROSE):
        return
    for line, text in (*_docstrings(ast.parse(module.text)), *_comments(module.text)):
        for found in _UNCLEAR_PROSE.finditer(re.sub(r"`[^`]*`|\"[^\"]*\"|'[^']*'", "", text)):
            yield line, f"'{found[0]}' in a docstring or comment: say who or what it is, in the field's terms"


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the strings that stand by themselves: docstrings, also those of constants and fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _constant_problems(module: Module, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        unitless = name.isupper() and _is_number(value) and not _UNIT_IN_NAME.search(name)
        if unitless and (module.path, name) not in _UNITLESS:
            yield statement.lineno, f"{name} is a number without its unit, such as {name}_SECONDS or MAX_{name}"


def _is_number(value: ast.expr) -> bool:
    """Return True for a number, or a computation from numbers alone."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float) and not isinstance(value.value, bool)
    if isinstance(value, ast.UnaryOp):
        return _is_number(value.operand)
    return isinstance(value, ast.BinOp) and _is_number(value.left) and _is_number(value.right)


def _clock_problems(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name, value=ast.Name(id=owner) | ast.Attribute(attr=owner))):
                if name in _CLOCK_CALLS and owner in _CLOCK_OWNERS:
                    yield node.lineno, f"{owner}.{name}() reads the clock: take the time as an argument"


def _duplicate_classes(modules: Iterable[Module]) -> Iterator[str]:
    places: Mapping[str, list[str]] = defaultdict(list)
    for module in modules:
        if not module.is_sandbox:
            for node in ast.walk(ast.parse(module.text)):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{PurePosixPath(module.path)}:{node.lineno}")
    for name, found in sorted(places.items()):
        if len(found) > 1:
            yield f"{found[0]}: class {name} stands for another thing in {', '.join(found[1:])}: rename one"


if __name__ == "__main__":
    sys.exit(main())
