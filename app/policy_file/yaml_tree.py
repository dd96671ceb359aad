"""Parse YAML into scalars, lists and maps, each with its position in the file, without guessing the type of a value.

The law of this file: it rejects before it builds. Size and characters are checked before parsing, everything else on
the stream of events, so that the parser never gets deeper than `MAX_DEPTH` and a hostile file costs no more than its 64
KiB. `off`, `no`, `12:30` and `2026-02-30` are text here; the value parsers interpret them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from app.policy_file.fault import InvalidValue, quoted_excerpt

MAX_FILE_BYTES = 64 * 1024
"""The largest policy file that is read."""
MAX_DEPTH = 20
"""The deepest nesting that is read."""

_FORBIDDEN_CHARACTERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters rejected in a value: control characters, surrogates, and marks that change the text direction."""

_NON_YAML_CHARACTERS = yaml.reader.Reader.NON_PRINTABLE
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Position(NamedTuple):
    """A position in a file; `line` and `column` count from 1."""

    line: int = 1
    column: int = 1


@dataclass(slots=True)
class ScalarNode:
    """A scalar as it is written.

    `plain` is False between quotes.
    """

    value: str
    line: int
    column: int
    plain: bool = True

    @property
    def position(self) -> Position:
        """The position of the scalar."""
        return Position(self.line, self.column)


@dataclass(slots=True)
class ListNode:
    """A list of nodes."""

    line: int
    column: int
    nodes: list[Node] = field(default_factory=list)

    @property
    def position(self) -> Position:
        """The position where the list begins."""
        return Position(self.line, self.column)


@dataclass(slots=True)
class MapNode:
    """A map with its entries in order; no key occurs twice."""

    line: int
    column: int
    pairs: list[tuple[ScalarNode, Node]] = field(default_factory=list)

    @property
    def position(self) -> Position:
        """The position where the map begins."""
        return Position(self.line, self.column)


Node = ScalarNode | ListNode | MapNode


class UnsupportedYaml(Exception):
    """Raised when the text is not the plain YAML that a policy is written in."""

    def __init__(self, position: Position, where: str, error: InvalidValue) -> None:
        super().__init__(str(error))
        self.position, self.where, self.error = position, where, error


@dataclass(frozen=True, slots=True)
class DuplicateKey:
    """A key that its map already has; the second entry is dropped."""

    key: ScalarNode
    first: ScalarNode


class PurePythonParser(yaml.SafeLoader):
    """The pure Python parser, limited in how deeply it looks ahead into brackets.

    Of SafeLoader nothing but the parser is used.
    """

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Raise UnsupportedYaml beyond the depth limit."""
        if self.flow_level >= MAX_DEPTH:
            raise _depth_error(Position(self.line + 1, self.column + 1))
        super().fetch_flow_collection_start(token)


PARSER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else PurePythonParser
"""The parser in use: libyaml where it is installed.

libyaml reads 64 KiB in 20 ms instead of 600. It crashes on deep nesting only when it builds nodes, which is not used
here.
"""


def parse_yaml(text: str, parser: Any = PARSER) -> tuple[MapNode, list[DuplicateKey]]:
    """Parse the text into a map, an empty one for an empty text, and the keys that occur twice.

    Raises UnsupportedYaml.
    """
    if len(text) > MAX_FILE_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_FILE_BYTES:
        raise _unsupported_error(Position(), "the file is too large", "at most 64 KiB are read")
    if text.startswith("version https://git-lfs.github.com/spec/"):
        raise _unsupported_error(
            Position(), "the file is a Git LFS pointer", "store the policy itself in the repository"
        )
    if forbidden := _NON_YAML_CHARACTERS.search(text):
        before = text[: forbidden.start()]
        spot = Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        found = f"the character U+{ord(forbidden[0]):04X} is not allowed in YAML"
        raise _unsupported_error(spot, found, "take it out")
    lines = _LINE_END.split(text)
    builder = _TreeBuilder(lines)
    try:
        for event in yaml.parse(text, Loader=parser):
            builder.handle_event(event)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, lines) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise _unsupported_error(
            Position(), "the file is not YAML", r"check its directives and its \U escapes"
        ) from None
    return builder.finish(), builder.duplicate_keys


class _TreeBuilder:
    """Builds the tree from parser events, one at a time, without recursion."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.duplicate_keys: list[DuplicateKey] = []
        self._root: Node | None = None
        self._documents = 0
        self._open_nodes: list[tuple[ListNode | MapNode, dict[str, ScalarNode]]] = []
        self._pending_key: ScalarNode | None = None  # of the innermost map, until its value arrives
        self._outer_keys: list[ScalarNode | None] = []  # of the enclosing maps

    def handle_event(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._add_node(_scalar_node(event) if event.value or event.style else self._empty_scalar(event))
        elif kind in (yaml.MappingStartEvent, yaml.SequenceStartEvent):
            self._open_collection(event)
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            self._open_nodes.pop()
            self._pending_key = self._outer_keys.pop()
        elif kind is yaml.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                raise _unsupported_error(_position_of(event), "a second document begins", "a policy is one document")
        elif isinstance(event, yaml.AliasEvent):
            raise _unsupported_error(
                _position_of(event),
                f"the alias {quoted_excerpt('*' + str(event.anchor))} is not read",
                "write the value out",
            )

    def _open_collection(self, event: Any) -> None:
        _reject_anchor_and_tag(event)
        spot = _position_of(event)
        node = ListNode(*spot) if type(event) is yaml.SequenceStartEvent else MapNode(*spot)
        self._add_node(node)
        if len(self._open_nodes) == MAX_DEPTH:
            raise _depth_error(spot)
        self._open_nodes.append((node, {}))
        self._outer_keys.append(self._pending_key)
        self._pending_key = None

    def _add_node(self, node: Node) -> None:
        if not self._open_nodes:
            self._root = node
            return
        parent, seen = self._open_nodes[-1]
        key = self._pending_key
        if isinstance(parent, ListNode):
            parent.nodes.append(node)
        elif key is None:
            self._pending_key = _require_key(node)
        else:
            self._pending_key = None
            first = seen.setdefault(key.value, key)
            if first is key:
                parent.pairs.append((key, node))
            else:
                self.duplicate_keys.append(DuplicateKey(key, first))

    def _empty_scalar(self, event: Any) -> ScalarNode:
        """Create an empty scalar right behind its colon.

        libyaml reports it in front of what follows.
        """
        _reject_anchor_and_tag(event)
        line, column = _position_of(event)
        before = self._lines[line - 1][: column - 1] if line <= len(self._lines) else ""
        return ScalarNode("", line, len(before.rstrip(" ")) + 1 if before.strip(" ") else column)

    def finish(self) -> MapNode:
        if self._root is None or (isinstance(self._root, ScalarNode) and not self._root.value):
            return MapNode(1, 1)
        if not isinstance(self._root, MapNode):
            what = "list" if isinstance(self._root, ListNode) else "text"
            raise _unsupported_error(
                self._root.position, f"the file holds a {what}", "a policy is a map, such as extends: guide"
            )
        return self._root


def _scalar_node(event: Any) -> ScalarNode:
    if event.anchor is not None or event.tag is not None:
        _reject_anchor_and_tag(event)
    mark = event.start_mark
    value: str = event.value
    if value.isascii() and value.isprintable():
        return ScalarNode(value, mark.line + 1, mark.column + 1, not event.style)
    value = value.rstrip("\n")
    if forbidden := _FORBIDDEN_CHARACTERS.search(value):
        found = f"{quoted_excerpt(value)} has the character U+{ord(forbidden[0]):04X}"
        raise _unsupported_error(_position_of(event), found, "write plain text on one line")
    return ScalarNode(value, mark.line + 1, mark.column + 1, not event.style)


def _reject_anchor_and_tag(event: Any) -> None:
    if event.anchor is not None:
        wanted = "write the value out where it is used"
        raise _unsupported_error(
            _position_of(event), f"the anchor {quoted_excerpt('&' + event.anchor)} is not read", wanted
        )
    if event.tag is not None:
        raise _unsupported_error(
            _position_of(event), f"the tag {quoted_excerpt(event.tag)} is not read", "write the value without it"
        )


def _require_key(node: Node) -> ScalarNode:
    if not isinstance(node, ScalarNode):
        raise _unsupported_error(node.position, "a key is a list or a map", "a key is a word, such as extends")
    if node.value == "<<" and node.plain:
        raise _unsupported_error(node.position, "the merge key '<<' is not read", "write the keys out")
    return node


def _position_of(event: Any) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position()


def _depth_error(position: Position) -> UnsupportedYaml:
    return _unsupported_error(position, "the file is nested too deeply", f"at most {MAX_DEPTH} levels are read")


def _unsupported_error(position: Position, found: str, wanted: str) -> UnsupportedYaml:
    return UnsupportedYaml(position, "the file", InvalidValue(found, wanted))


def _syntax_error(error: yaml.MarkedYAMLError, lines: list[str]) -> UnsupportedYaml:
    mark = error.problem_mark or error.context_mark
    spot = Position(mark.line + 1, mark.column + 1) if mark else Position()
    problem = " ".join((error.problem or "it cannot be parsed").split()).replace("in this context", "here")
    tab = any("\t" in line[: spot.column] for line in lines[spot.line - 1 : spot.line])
    wanted = "indent with spaces" if tab else "write key: value, indented with spaces"
    return _unsupported_error(spot, f"the file is not YAML: {problem[:120]}", wanted)
