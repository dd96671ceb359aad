"""Explain a policy: every value in force, the line that set it, and the document that line is based on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Any

from app.core.policy import Policy
from app.core.severity import Scale, Severity
from app.policy_file.fault import printable_excerpt
from app.policy_file.inheritance import DEFAULT_PROFILE, POLICY_PATH, load_profile_text, read_layers, read_profile
from app.policy_file.reader import EXTENDS, PolicyFileReader
from app.policy_file.writer import policy_to_dict
from app.policy_file.yaml_tree import MapNode, Node, ScalarNode

CHOICE = "choice"
"""Stands for a document where none prescribes the value: it was our choice."""

BUILT_IN_DOCUMENTS = {
    "aliases": CHOICE,
    "timezone": CHOICE,
    "warnings": CHOICE,
    "silence": CHOICE,
    "audiences": CHOICE,
    "regulations": CHOICE,
    "calendars": CHOICE,
    "first-notice": "003",
    "rotations": "004",
    "war-room": "002, 004",
    "matrix": "003",
    "floors": "000, 003, 004",
    "labels": CHOICE,
    "intake": CHOICE,
    "closing": "002",
    "postmortem.required": "000, 002",
    "postmortem.reviewers": "003",
    "postmortem.document": "002",
    "postmortem.review": "003",
    "postmortem.overdue": "004",
    "postmortem.agenda": "002, 003, 004",
    "goals": "003, 004",
    "retention": CHOICE,
}
"""The documents behind the built-in defaults, by the beginning of a path."""

_ITEM = re.compile(r"\[[0-9]+\]")
_DOCUMENT = "(?:00[0-4]|external|choice)"
_COMMENT = re.compile(rf"(?:^|\s)#\s*({_DOCUMENT}(?:, {_DOCUMENT})*)(?![\w-])")
_PLAIN = re.compile(r"[\w./%+](?:[\w ./%+@-]|:(?! ))*(?<![ :])")


@dataclass(frozen=True, slots=True)
class ExplainedValue:
    """One value in force.

    `where` and `value` are in the language of the file. `origin` is a file with a line, a profile or `application in`;
    `document` names what a profile or a default is based on, such as `003, 004`, and is empty for a team's own values.
    `policy explain --json` prints these field names.
    """

    where: str
    value: str
    origin: str
    document: str


def explain_policy(
    text: str | None, *, name: str = POLICY_PATH, org: str | None = None, severity: Severity | None = None
) -> tuple[ExplainedValue, ...]:
    """Return every value in force under a file, in the order of the policy; None: the repository has no file.

    `org` is the text of the organisation's file. With `severity`, only the values that concern it. Raises PolicyFaults.
    """
    policy, readers = _read_layers(text, name, org)
    relevance = None if severity is None else _SeverityRelevance(policy, severity)
    leaves_by_scale = {scale: list(_leaves(policy_to_dict(policy, scale, whole=True))) for scale in Scale}
    found = []
    for n, leaf in enumerate(leaves_by_scale[policy.scale]):
        layer, node = _find_origin(readers, {scale: leaves[n] for scale, leaves in leaves_by_scale.items()})
        empty = leaf.value in (None, "", [], {})
        if (layer is None and empty) or (relevance is not None and not relevance.is_relevant(leaf)):
            continue
        value = format_inline(leaf.value) if empty else _source_spelling(node) or format_inline(leaf.value)
        found.append(ExplainedValue(leaf.where, value, *_source_of(layer, node, leaf.where, readers)))
    return tuple(found)


def _source_spelling(node: Node | None) -> str:
    """Return a single value as its file spells it, such as `72h` for three days.

    Empty for a severity, which is shown by its name on the policy's own scale, and for anything but a single plain
    value.
    """
    if not isinstance(node, ScalarNode) or not node.plain or any(scale.parse(node.value) for scale in Scale):
        return ""
    return printable_excerpt(node.value, 200)


def _read_layers(text: str | None, name: str, org: str | None) -> tuple[Policy, tuple[PolicyFileReader, ...]]:
    if text is not None:
        return read_layers(text, name=name, org=org)
    if org is not None:
        return read_layers(org, name=f"org: {POLICY_PATH}")
    return read_profile(DEFAULT_PROFILE)


# Flattening the policy into single values.


@dataclass(frozen=True, slots=True)
class _Leaf:
    parts: tuple[str, ...]
    value: Any

    @property
    def where(self) -> str:
        return _join_path(self.parts)


def _join_path(parts: tuple[str, ...]) -> str:
    return "".join(part if _ITEM.fullmatch(part) else f".{printable_excerpt(part, 60)}" for part in parts).removeprefix(
        "."
    )


def _leaves(value: Any, parts: tuple[str, ...] = ()) -> Iterator[_Leaf]:
    """Yield the single values of a written policy.

    Maps are descended into, and so are lists of maps; a map in a list that contains no further maps is one value.
    """
    if isinstance(value, dict) and value and not (parts and _ITEM.fullmatch(parts[-1]) and _is_flat(value)):
        for key, inner in value.items():
            if parts or key != EXTENDS:
                yield from _leaves(inner, (*parts, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for n, item in enumerate(value):
            yield from _leaves(item, (*parts, f"[{n}]"))
    else:
        yield _Leaf(parts, value)


def _is_flat(value: dict[str, Any]) -> bool:
    return not any(isinstance(inner, dict) or _has_maps(inner) for inner in value.values())


def _has_maps(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def format_inline(value: Any) -> str:
    """Format a written value on one line, as it may stand in a file."""
    if value is None:
        return "off"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{format_inline(key)}: {format_inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        items = [format_inline(item) for item in value]
        return items[0] if len(items) == 1 else f"[{', '.join(items)}]"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in ("off", "null"):
        return text
    return json.dumps(text, ensure_ascii=False)


# Finding the origin of a value.


def _find_origin(
    readers: tuple[PolicyFileReader, ...], leaves: dict[Scale, _Leaf]
) -> tuple[PolicyFileReader | None, Node | None]:
    """Return the highest layer that sets the value, and the node that does.

    A list or an `off` in a layer ends the search below it. A layer names severities on its own scale, so the value has
    a path on each scale.
    """
    for reading in readers:
        parts = leaves[reading.scale].parts
        for end in range(len(parts), 0, -1):
            node = reading.nodes.get(_join_path(parts[:end]))
            if node is None:
                continue
            if end == len(parts) or not (isinstance(node, MapNode) or _is_empty(node)):
                return reading, node
            break
    parts = leaves[Scale.SEV].parts
    if parts[0] in ("calendars", "rotations") and parts[-1] == "timezone":
        zone_reader = next((reading for reading in readers if "timezone" in reading.nodes), None)
        return zone_reader, zone_reader.nodes["timezone"] if zone_reader else None
    return None, None


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.plain and not node.value


def _source_of(
    layer: PolicyFileReader | None, node: Node | None, where: str, readers: tuple[PolicyFileReader, ...]
) -> tuple[str, str]:
    """Return the origin and the document of a value."""
    if layer is None or node is None:
        begins = [path for path in BUILT_IN_DOCUMENTS if f"{where}.".replace("[", ".").startswith(f"{path}.")]
        return "built in", BUILT_IN_DOCUMENTS.get(max(begins, key=len, default=""), CHOICE)
    if layer is readers[-1]:
        name = PurePath(layer.file).stem
        return f"profile {name}", _document(name, node.line)
    return f"{layer.file if layer.file.startswith('org: ') else PurePath(layer.file).name}:{node.line}", ""


@cache
def _document(name: str, line: int) -> str:
    """Return the documents named in the comment on that line of a profile, or on the nearest line that encloses it."""
    lines = load_profile_text(name).splitlines()
    indent = len(lines[line - 1])
    for text in reversed(lines[:line]):
        begins = len(text) - len(text.lstrip(" "))
        if not text.strip() or begins > indent:
            continue
        if found := _COMMENT.search(text):
            return found[1]
        indent = begins
        if not begins:
            break
    return ""


# Selecting the values that concern one severity.

_SEVERITY_LIST_KEYS = {"closing": "severities", "postmortem": "required", "war-room": "severities"}
"""Parts that apply to the severities listed under one of their keys."""

_SEVERITY_DEPTH = {"severities": 1, "escalation": 1, "first-notice": 1, "aliases": 1, "audiences": 3, "overrides": 3}
"""How many keys deep each part names severities."""

_REFERENCED_PARTS = frozenset({"contacts", "roles", "teams", "rotations", "calendars", "people"})
_GENERAL_PARTS = frozenset({"scale", "timezone", "warnings", "silence", "regulations"})


class _SeverityRelevance:
    """Selects the values that concern one severity.

    Values for the severity come first; then, repeatedly, what those values refer to by name.
    """

    def __init__(self, policy: Policy, severity: Severity) -> None:
        self._severity_name = severity.inline_name(policy.scale)
        self._other_severities = frozenset(other.inline_name(policy.scale) for other in Severity) - {
            self._severity_name
        }
        everything = list(_leaves(policy_to_dict(policy)))
        self._matching_entries = {
            leaf.parts[:2] for leaf in everything if self._severity_of(leaf) == self._severity_name
        }
        self._matching_entries |= {leaf.parts[:2] for leaf in everything if leaf.parts[2:3] == ("contacts",)}
        self._listing_parts = {leaf.parts[0] for leaf in everything if self._lists_severity(leaf)}
        self._referenced_names: frozenset[str] = frozenset()
        while (
            named := frozenset(
                word for leaf in everything if self.is_relevant(leaf) for word in _strings_in(leaf.value)
            )
            - self._referenced_names
        ):
            self._referenced_names |= named

    def is_relevant(self, leaf: _Leaf) -> bool:
        """Return whether the value is about that severity, or about something such a value refers to."""
        first = leaf.parts[0]
        severity = self._severity_of(leaf)
        if severity is not None:
            relevant = severity == self._severity_name
        elif first in _SEVERITY_DEPTH:
            relevant = leaf.parts[:2] in self._matching_entries
        elif first in _SEVERITY_LIST_KEYS:
            relevant = first in self._listing_parts
        elif first in _REFERENCED_PARTS:
            relevant = not self._referenced_names.isdisjoint(leaf.parts[1:2])
        elif first == "alerts":
            relevant = leaf.parts[:2] in self._matching_entries or self._severity_name in _strings_in(leaf.value)
        else:
            relevant = first in _GENERAL_PARTS or (
                first in ("matrix", "floors", "intake") and self._severity_name in _strings_in(leaf.value)
            )
        return relevant

    def _severity_of(self, leaf: _Leaf) -> str | None:
        """Return the severity the value is for, in parts that have one value per severity; otherwise None."""
        if leaf.parts[0] == "alerts" and leaf.parts[-1] == "severity":
            return str(leaf.value)
        at = _SEVERITY_DEPTH.get(leaf.parts[0], len(leaf.parts))
        named = leaf.parts[at] if len(leaf.parts) > at else ""
        return named if named == self._severity_name or named in self._other_severities else None

    def _lists_severity(self, leaf: _Leaf) -> bool:
        return (
            len(leaf.parts) == 2
            and _SEVERITY_LIST_KEYS.get(leaf.parts[0]) == leaf.parts[1]
            and self._severity_name in leaf.value
        )


def _strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings_in(inner)
    elif value is not None:
        yield str(value)
