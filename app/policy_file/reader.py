"""The strict reader: reads a YAML tree by the type it is to become, onto the value that was there before.

Maps are merged by key; lists and scalars replace. An error is recorded and reading goes on, so that one pass finds them
all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum
from functools import cache, lru_cache
from typing import Any

from app.core.policy import Calendar, Policy, Rotation, Targets
from app.core.severity import Scale, Severity
from app.policy_file.fault import FormerName, InvalidValue, PolicyFault, PolicyFaults, printable_excerpt, quoted_excerpt
from app.policy_file.field_rules import CHECKS, LIST_CHECKS, SHORTHAND_FIELDS, key_specs, shape_of
from app.policy_file.horizon import find_excessive_targets
from app.policy_file.references import (
    REFERENCE_KINDS,
    declared_names,
    find_dangling_references,
    find_name_clashes,
    join_path,
    normalize_name,
    unknown_name_error,
)
from app.policy_file.value_parsers import PARSERS, WeekdayRange, parse_enum_member, unknown_choice
from app.policy_file.yaml_tree import ListNode, MapNode, Node, Position, ScalarNode, UnsupportedYaml, parse_yaml

MAX_ERRORS = 100
"""How many errors are reported at once; a file with more is not a policy with mistakes."""

EXTENDS = "extends"
"""The key that names what the file builds on."""
ORG = "org"
"""The value of `extends` that means the organisation's file."""


class _Invalid:
    """The type of the placeholder for a value that could not be read."""


INVALID = _Invalid()
"""Stands for a value whose error has been recorded."""


class _TooManyErrors(Exception):
    """Raised when the limit of reported errors is reached."""


class PolicyFileReader:
    """One pass over one file.

    Holds the errors so far, the node of each value by its path (`nodes`), the names that must be declared in the end
    (`references`), what `off` removed (`removed_names`), and the paths of the time zones that are written out
    (`explicit_zones`). With `accept_former_names`, a name that an earlier release accepted is no error. The constructor
    raises PolicyFaults if the text is not plain YAML.
    """

    def __init__(self, text: str, file: str, *, accept_former_names: bool = False) -> None:
        self.file = file
        self._accept_former_names = accept_former_names
        self.errors: list[PolicyFault] = []
        self.nodes: dict[str, Node] = {}
        self.references: list[tuple[Any, str, str, Position]] = []
        self.removed_names: list[tuple[str, str]] = []
        self.explicit_zones: frozenset[str] = frozenset()
        self.scale = Scale.SEV
        self._severities_by_name = _severity_names(self.scale)
        try:
            self.root, duplicate_keys = parse_yaml(text)
        except UnsupportedYaml as refused:
            self._add_error(refused.position, refused.where, refused.error)
            raise self.collect_errors() from None
        self._duplicate_keys = duplicate_keys

    def read_extends(self, default: str, profiles: tuple[str, ...]) -> str:
        """Return the profile that the file builds on, or `org`.

        Returns `default` when the file does not say, or names something that does not exist.
        """
        profiles = (*profiles, ORG)
        for key, node in self.root.pairs:
            if key.value == EXTENDS:
                if isinstance(node, ScalarNode) and node.value in profiles:
                    return node.value
                if isinstance(node, ScalarNode):
                    error = unknown_choice(node.value, "a profile", profiles)
                else:
                    error = InvalidValue(
                        f"{_describe_node(node)} is not a profile", f"use one of {', '.join(profiles)}"
                    )
                self._add_error(node.position, EXTENDS, error)
        return default

    def extends_error(self, error: InvalidValue) -> PolicyFaults:
        """Return the errors of a file whose base is missing; everything else in it depends on that base."""
        node = next(node for key, node in self.root.pairs if key.value == EXTENDS)
        self._add_error(node.position, EXTENDS, error)
        return self.collect_errors()

    def read_onto(self, base: Policy, explicit_zones: frozenset[str] = frozenset()) -> Policy:
        """Read the file onto `base`, whose explicit zones, given by their paths, stay as they are.

        Raises PolicyFaults.
        """
        self.scale = self._peek_scale(base.scale)
        self._severities_by_name = _severity_names(self.scale)
        self.explicit_zones = explicit_zones
        policy = base
        try:
            for duplicate in self._duplicate_keys:
                error = InvalidValue(
                    f"{quoted_excerpt(duplicate.key.value)} stands in line {duplicate.first.position.line} already",
                    "keep one",
                )
                self._add_error(duplicate.key.position, printable_excerpt(duplicate.key.value, 60), error)
            policy = self._read_record(Policy, self.root, base, "")
            self.explicit_zones |= {path for path in self.nodes if path.endswith(".timezone")}
            policy = self._inherit_zones(policy)
            self._check_names(policy)
            if not self.errors:
                self._check_policy(policy)
        except _TooManyErrors:
            pass
        if self.errors:
            raise self.collect_errors()
        return policy

    # One method for each shape of type.

    def _read(self, kind: Any, node: Node, base: Any, where: str) -> Any:
        """Read one value; return INVALID after recording an error."""
        self.nodes[where] = node
        try:
            return self._read_shape(kind, node, base, where)
        except InvalidValue as wrong:
            self._add_error(node.position, where, wrong)
            return INVALID

    def _read_shape(self, kind: Any, node: Node, base: Any, where: str) -> Any:
        """Read a value by the shape of its type.

        Raises InvalidValue.
        """
        shape = shape_of(kind)
        value: Any
        match shape.form:
            case "word":
                value = self._read_word(kind, node, where)
            case "optional":
                value = None if _is_off(node) else self._read_shape(shape.inner[0], node, base, where)
            case "list":
                value = self._read_list(shape.inner[0], node, where)
            case "record":
                value = self._read_record(kind, node, base, where)
            case "map":
                keys, values = shape.inner
                value = self._read_map(keys, values, node, base, where, removable=shape.removable)
            case "row":
                value = self._read_row(shape.inner, node, base, where)
            case "set":
                value = frozenset(self._read_list(shape.inner[0], node, where))
            case _:
                value = frozenset[int]().union(*self._read_list(WeekdayRange, node, where))
        return value

    def _read_word(self, kind: Any, node: Node, where: str) -> Any:
        if not isinstance(node, ScalarNode):
            raise InvalidValue(f"{_describe_node(node)} stands here", "write a single value")
        if node.plain and not node.value:
            raise InvalidValue("nothing is written here", "write a value, or take the key out")
        if kind is Severity:
            return self._read_severity(node.value)
        value = _parse_word(kind, node.value)
        if kind in REFERENCE_KINDS:
            self.references.append((kind, value, where, node.position))
        return value

    def _read_list(self, kind: Any, node: Node, where: str) -> tuple[Any, ...]:
        """Read a list; a single value is a list of one, and `off` is an empty list."""
        if _is_off(node):
            return ()
        if isinstance(node, MapNode):
            raise InvalidValue("a map stands here", "write a list, each line beginning with a dash")
        if isinstance(node, ScalarNode) and node.plain and not node.value:
            raise InvalidValue("nothing is written here", "write [] for none")
        if isinstance(node, ScalarNode):
            return _valid_values([self._read(kind, node, None, where)])
        values = [self._read(kind, item, None, f"{where}[{n}]") for n, item in enumerate(node.nodes)]
        for n, wrong in LIST_CHECKS[kind](tuple(values)) if kind in LIST_CHECKS else ():
            self._add_error(node.nodes[n].position, f"{where}[{n}]", wrong)
        return _valid_values(values)

    def _read_row(self, kinds: tuple[Any, ...], node: Node, base: Any, where: str) -> tuple[Any, ...]:
        """Read one value for each severity: a list of them all, or a map of some."""
        if isinstance(node, MapNode):
            base_by_severity = dict(zip(Severity, base, strict=True))
            by_severity = self._read_map(Severity, kinds[0], node, base_by_severity, where, removable=False)
            values = tuple(by_severity[severity] for severity in Severity)
        elif isinstance(node, ListNode) and len(node.nodes) == len(kinds):
            values = tuple(
                self._read(kind, item, None, f"{where}[{n}]")
                for n, (kind, item) in enumerate(zip(kinds, node.nodes, strict=True))
            )
        else:
            raise InvalidValue(
                f"{_describe_node(node)} stands here", f"write a list of {len(kinds)}, or a map by severity"
            )
        return base if INVALID in values else values

    def _read_map(
        self,
        key_kind: Any,
        kind: Any,
        node: Node,
        base: Mapping[Any, Any] | None,
        where: str,
        *,
        removable: bool,
    ) -> dict[Any, Any]:
        """Read a map by name.

        A name whose value has an error is kept, so that no other check reports it as missing.
        """
        merged: dict[Any, Any] = dict(base or {})
        inherited = {normalize_name(key_kind, name): name for name in merged}
        keys_written: dict[Any, str] = {}
        for key, value_node in self._pairs(node):
            path = join_path(where, key.value)
            try:
                name = self._read_word(key_kind, key, path)
                normalized = normalize_name(key_kind, name)
                _check_not_repeated(key.value, keys_written.get(normalized))
                _check_same_spelling(key.value, name, inherited.get(normalized, name))
            except InvalidValue as wrong:
                self._add_error(key.position, path, wrong)
                continue
            keys_written[normalized] = key.value
            if key_kind is Severity:
                path = join_path(where, name.inline_name(self.scale))
            if removable and _is_off(value_node):
                self.nodes[path] = value_node
                if merged.pop(name, None) is not None:
                    self.removed_names.append((where, name))
            else:
                merged[name] = self._read(kind, value_node, merged.get(name), path)
        return merged

    def _read_record(self, cls: Any, node: Node, base: Any, where: str) -> Any:
        """Read a dataclass: its fields onto those of `base`, or onto the defaults of the class."""
        if cls is Targets and _is_off(node):
            return Targets()
        specs = key_specs(cls)
        if cls in SHORTHAND_FIELDS and isinstance(node, ScalarNode):
            (field,) = specs[SHORTHAND_FIELDS[cls]].fields
            return cls(**{field: self._read_shape(specs[SHORTHAND_FIELDS[cls]].kind, node, None, where)})
        errors_before = len(self.errors)
        values, keys_found = self._read_fields(cls, node, base, where)
        if base is None:
            for entry in specs.values():
                if entry.required and entry.key not in keys_found:
                    wrong = InvalidValue(f"{entry.key} is missing", f"write {entry.key}: with its value")
                    self._add_error(node.position, where, wrong)
        if len(self.errors) > errors_before and cls is not Policy:
            return INVALID if base is None else replace(base, **values)
        record = cls(**values) if base is None else replace(base, **values)
        for keys, wrong in CHECKS[cls](record) if cls in CHECKS else ():
            if self._accept_former_names and isinstance(wrong, FormerName):
                continue
            paths = [join_path(where, key) for key in keys]
            error_path = next((path for path in paths if path in self.nodes), where)
            self._add_error(
                self.nodes[error_path].position if error_path in self.nodes else node.position, error_path, wrong
            )
        return record

    def _read_fields(self, cls: Any, node: Node, base: Any, where: str) -> tuple[dict[str, Any], set[str]]:
        """Return the fields that the map fills without an error, and the keys it has."""
        values: dict[str, Any] = {}
        keys_found: set[str] = set()
        specs = key_specs(cls)
        for key, value_node in self._pairs(node):
            path = join_path(where, key.value)
            entry = specs.get(key.value)
            if entry is not None:
                keys_found.add(entry.key)
                base_value = None if base is None else getattr(base, entry.fields[0])
                if entry.clearable and _is_off(value_node):
                    self.nodes[path] = value_node
                    values[entry.fields[0]] = ""
                    continue
                value = self._read(entry.kind, value_node, base_value, path)
                if value is INVALID:
                    continue
                if len(entry.fields) == 1:
                    values[entry.fields[0]] = value
                else:
                    values |= zip(entry.fields, value, strict=True)
            elif cls is not Policy or key.value != EXTENDS:
                extra = (EXTENDS,) if cls is Policy else ()
                self._add_error(key.position, path, unknown_choice(key.value, "a key here", (*extra, *specs)))
        return values, keys_found

    def _pairs(self, node: Node) -> Iterable[tuple[ScalarNode, Node]]:
        """Return the entries of a map; none where nothing is written, as when all of them are commented out."""
        if isinstance(node, MapNode):
            return node.pairs
        if isinstance(node, ScalarNode) and node.plain and not node.value:
            return ()
        raise InvalidValue(f"{_describe_node(node)} stands here", "write a map, such as key: value")

    # What depends on the rest of the file.

    def _peek_scale(self, default: Scale) -> Scale:
        """Look up the scale, which must be known before the first severity is read.

        An error in it is reported when its key is read.
        """
        for key, node in self.root.pairs:
            if key.value == "scale" and isinstance(node, ScalarNode) and node.value.lower() in ("sev", "p"):
                return Scale(node.value.lower())
        return default

    def _read_severity(self, text: str) -> Severity:
        severity = self._severities_by_name.get(text.lower())
        if severity is not None:
            return severity
        names = [str(severity) for severity in Severity]
        if self.scale is Scale.P:
            names += [severity.display_name(Scale.P) for severity in Severity]
        if text.lower() in ("p0", "p1", "p2", "p3"):
            raise InvalidValue(
                f"{quoted_excerpt(text)} is a name of the other scale",
                f"use one of {', '.join(names)}, or write scale: p",
            )
        raise unknown_choice(text, "a severity", names)

    def _inherit_zones(self, policy: Policy) -> Policy:
        """Give calendars and rotations without a time zone of their own the zone of the policy."""
        calendars = {
            name: replace(calendar, zone=policy.zone) if self._inherits_zone("calendars", name, calendar) else calendar
            for name, calendar in policy.calendars.items()
        }
        rotations = {
            name: replace(rotation, zone=policy.zone) if self._inherits_zone("rotations", name, rotation) else rotation
            for name, rotation in policy.rotations.items()
        }
        return replace(policy, calendars=calendars, rotations=rotations)

    def _inherits_zone(self, part: str, name: str, entry: Any) -> bool:
        return isinstance(entry, (Calendar, Rotation)) and f"{part}.{name}.timezone" not in self.explicit_zones

    def _check_names(self, policy: Policy) -> None:
        """Record clashing and undeclared names."""
        for first, second, wrong in find_name_clashes(policy):
            written = [path for path in (first, second) if path in self.nodes]
            self._add_error_at(max(written, key=lambda path: self.nodes[path].position, default=first), wrong)
        names = declared_names(policy)
        for kind, name, where, spot in self.references:
            if name not in names[kind]:
                self._add_error(spot, where, unknown_name_error(kind, name, policy, names[kind]))

    def _check_policy(self, policy: Policy) -> None:
        """Check what can be seen only once there are no other errors."""
        for where, wrong in find_dangling_references(policy, self.removed_names):
            self._add_error_at(where, wrong)
        for where, calendar, wrong in find_excessive_targets(policy, self.scale):
            spot = self.nodes.get(where) or self.nodes.get(calendar)
            self._add_error(spot.position if spot else Position(), where, wrong)

    # Errors.

    def _add_error(self, spot: Position, where: str, error: InvalidValue) -> None:
        self.errors.append(PolicyFault(self.file, spot.line, spot.column, where, error.found, error.wanted))
        if len(self.errors) >= MAX_ERRORS:
            raise _TooManyErrors

    def _add_error_at(self, where: str, error: InvalidValue) -> None:
        self._add_error(self.nodes[where].position if where in self.nodes else Position(), where, error)

    def collect_errors(self) -> PolicyFaults:
        """Return all recorded errors, ordered by position."""
        return PolicyFaults(tuple(sorted(self.errors, key=lambda fault: (fault.line, fault.column))))


@lru_cache(maxsize=4096)
def _parse_word(kind: Any, text: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return parse_enum_member(kind, text)
    return PARSERS[kind](text)


@cache
def _severity_names(scale: Scale) -> Mapping[str, Severity]:
    names = {str(severity): severity for severity in Severity}
    return names | {severity.display_name(scale).lower(): severity for severity in Severity}


def _is_off(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.plain and node.value.lower() in ("off", "null", "~")


def _describe_node(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return quoted_excerpt(node.value)
    return "a list" if isinstance(node, ListNode) else "a map"


def _check_not_repeated(key: str, earlier_key: str | None) -> None:
    if earlier_key is not None:
        raise InvalidValue(f"{quoted_excerpt(key)} is {quoted_excerpt(earlier_key)} again", "keep one")


def _check_same_spelling(key: str, name: Any, inherited: Any) -> None:
    """Raise InvalidValue if a key spells an inherited name differently.

    `oncall` beside `on-call` would silently be a contact that no step knows.
    """
    if name != inherited:
        raise InvalidValue(
            f"{quoted_excerpt(key)} is not written like {quoted_excerpt(inherited)}", f"write {inherited}"
        )


def _valid_values(values: list[Any]) -> tuple[Any, ...]:
    return tuple(value for value in values if value is not INVALID)
