"""YAML as text, maps and lists, each with its spot in the file; nothing is guessed from the look of a value.

The law of this file: it refuses before it builds.  Size is checked before parsing, everything else on the event stream of
the pure Python parser (the C one crashes on deep nesting), so a hostile file costs no more than its 64 KiB.
`off`, `no`, `12:30` and `2026-02-30` are text here; whoever knows what is wanted reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from app.policy_file.fault import Wrong, shown

SIZE = 64 * 1024
DEPTH = 20

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What has no place in a value: control characters, halves of characters, and marks that turn the direction of text."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file; `line` and `column` count from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar as it is written.  `plain` is False between quotes."""

    value: str
    spot: Spot
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    spot: Spot
    nodes: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Entries:
    """A map; its keys in order, none of them twice."""

    spot: Spot
    pairs: list[tuple[Text, Node]] = field(default_factory=list)


Node = Text | Items | Entries


class Refused(Exception):
    """The text is not the plain YAML that a policy is written in."""

    def __init__(self, spot: Spot, where: str, wrong: Wrong) -> None:
        super().__init__(str(wrong))
        self.spot, self.where, self.wrong = spot, where, wrong


@dataclass(frozen=True, slots=True)
class Twice:
    """A key that its map has already; the second is left out."""

    key: Text
    first: Text


def parse(text: str) -> tuple[Entries, list[Twice]]:
    """The map that the text holds, an empty one for an empty text.  Raises Refused."""
    if len(text) > SIZE or len(text.encode("utf-8", "surrogatepass")) > SIZE:
        raise _refused(Spot(), "the file is too large", "at most 64 KiB are read")
    if text.startswith("version https://git-lfs.github.com/spec/"):
        raise _refused(Spot(), "the file is a Git LFS pointer", "store the policy itself in the repository")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_Parser):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        spot = Spot(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        found = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise _refused(spot, found, "take it out") from None
    except (ValueError, OverflowError):
        raise _refused(Spot(), "the file is not YAML", r"check its directives and its \U escapes") from None
    return builder.result(), builder.twice


class _Parser(yaml.SafeLoader):
    """Looks no deeper ahead into brackets than it may go; of SafeLoader nothing but the parser is used."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        if self.flow_level >= DEPTH:
            raise _too_deep(Spot(self.line + 1, self.column + 1))
        super().fetch_flow_collection_start(token)


class _Builder:
    """Puts events together, one at a time, without recursion."""

    def __init__(self) -> None:
        self.twice: list[Twice] = []
        self._root: Node | None = None
        self._documents = 0
        self._open: list[tuple[Items | Entries, Text | None, dict[str, Text]]] = []

    def take(self, event: yaml.Event) -> None:
        spot = Spot(event.start_mark.line + 1, event.start_mark.column + 1) if event.start_mark else Spot()
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _refused(spot, "a second document begins", "a policy is one document")
        elif isinstance(event, yaml.AliasEvent):
            raise _refused(spot, f"the alias {shown('*' + str(event.anchor))} is not read", "write the value out")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._node(event, spot)

    def _node(self, event: yaml.NodeEvent, spot: Spot) -> None:
        if event.anchor is not None:
            raise _refused(
                spot, f"the anchor {shown('&' + event.anchor)} is not read", "write the value out where it is used"
            )
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _refused(spot, f"the tag {shown(tag)} is not read", "write the value without it")
        if isinstance(event, yaml.ScalarEvent):
            value = event.value.rstrip("\n")
            strange = _FORBIDDEN.search(value)
            if strange:
                raise _refused(
                    spot, f"{shown(value)} has the character U+{ord(strange[0]):04X}", "write plain text on one line"
                )
            self._place(Text(value, spot, event.style is None))
            return
        node = Items(spot) if isinstance(event, yaml.SequenceStartEvent) else Entries(spot)
        self._place(node)
        self._open.append((node, None, {}))
        if len(self._open) > DEPTH:
            raise _too_deep(spot)

    def _place(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        parent, key, seen = self._open[-1]
        if isinstance(parent, Items):
            parent.nodes.append(node)
        elif key is None:
            self._open[-1] = (parent, self._key(node), seen)
        else:
            self._open[-1] = (parent, None, seen)
            if key.value in seen:
                self.twice.append(Twice(key, seen[key.value]))
            else:
                seen[key.value] = key
                parent.pairs.append((key, node))

    def _key(self, node: Node) -> Text:
        if not isinstance(node, Text):
            raise _refused(node.spot, "a key is a list or a map", "a key is a word, such as extends")
        if node.value == "<<" and node.plain:
            raise _refused(node.spot, "the merge key '<<' is not read", "write the keys out")
        return node

    def result(self) -> Entries:
        if self._root is None or (isinstance(self._root, Text) and not self._root.value):
            return Entries(Spot())
        if not isinstance(self._root, Entries):
            what = "list" if isinstance(self._root, Items) else "text"
            raise _refused(self._root.spot, f"the file holds a {what}", "a policy is a map, such as extends: guide")
        return self._root


def _too_deep(spot: Spot) -> Refused:
    return _refused(spot, "the file is nested too deeply", f"at most {DEPTH} levels are read")


def _refused(spot: Spot, found: str, wanted: str) -> Refused:
    return Refused(spot, "the file", Wrong(found, wanted))


def _not_yaml(error: yaml.MarkedYAMLError) -> Refused:
    mark = error.problem_mark or error.context_mark
    spot = Spot(mark.line + 1, mark.column + 1) if mark else Spot()
    problem = " ".join((error.problem or "it cannot be parsed").split())
    wanted = "indent with spaces" if r"'\t'" in problem else "write key: value, indented with spaces"
    return _refused(spot, f"the file is not YAML: {problem[:120]}", wanted)
