"""One strict reader: a tree of text is read by the type it is to become, onto the value that was there before.

Maps are merged by key, lists and scalars replace.  A fault is noted and reading goes on, so that one pass finds them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from datetime import timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from app.core.policy import Calendar, Duration, Policy, Targets
from app.core.severity import Scale, Severity
from app.policy_file.fault import Fault, PolicyFaults, Wrong, clean, shown
from app.policy_file.spelling import CHECKS, SHORT, entries
from app.policy_file.tree import Entries, Items, Node, Refused, Spot, Text, parse
from app.policy_file.words import WORDS, CalendarName, Contact, Name, WeekdayRange, Weekdays, member, nearest, one_of

FAULTS = 100
"""How many faults are told at once; a file with more is not a policy with mistakes."""

REACH = timedelta(days=3650)
"""How long a target may take when only the open hours of a calendar count."""

EXTENDS = "extends"


class _Faulty:
    """Stands where a value would be, had it been readable."""


FAULTY = _Faulty()


class _Enough(Exception):
    """There are as many faults as anyone will read."""


class Reading:
    """One pass over one file: what is wrong so far, where each value stands, and which names must exist in the end."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.spots: dict[str, Spot] = {}
        self.mentions: list[tuple[Any, str, str]] = []
        self.scale = Scale.SEV
        try:
            self.tree, twice = parse(text)
        except Refused as refused:
            self._fault(refused.spot, refused.where, refused.wrong)
            raise self._end() from None
        self._twice = twice

    def extends(self, default: str, known: tuple[str, ...]) -> str:
        """The profile that the file builds on; `default` when it does not say, or says what cannot be."""
        for key, node in self.tree.pairs:
            if key.value == EXTENDS:
                if isinstance(node, Text) and node.value in known:
                    return node.value
                if isinstance(node, Text) and node.value == "org":
                    wrong = Wrong("'org' cannot be extended yet", f"use one of {', '.join(known)}")
                elif isinstance(node, Text):
                    wrong = one_of(node.value, "a profile", known)
                else:
                    wrong = Wrong(f"{_what(node)} is not a profile", f"use one of {', '.join(known)}")
                self._fault(node.spot, EXTENDS, wrong)
        return default

    def policy(self, base: Policy) -> Policy:
        """What the file makes of `base`.  Raises PolicyFaults."""
        self.scale = self._scale(base.scale)
        policy = base
        try:
            for repeated in self._twice:
                wrong = Wrong(
                    f"{shown(repeated.key.value)} stands in line {repeated.first.spot.line} already", "keep one"
                )
                self._fault(repeated.key.spot, clean(repeated.key.value, 60), wrong)
            policy = self._record(Policy, self.tree, base, "")
            policy = self._zones_followed(policy, base)
            self._check_mentions(policy)
            if not self.faults:
                self._check_reach(policy)
        except _Enough:
            pass
        if self.faults:
            raise self._end()
        return policy

    # One reader for each shape of type.

    def _read(self, kind: Any, node: Node, base: Any, where: str) -> Any:
        """The value, or FAULTY when there is a fault to tell."""
        self.spots[where] = node.spot
        try:
            return self._shape(kind, node, base, where)
        except Wrong as wrong:
            self._fault(node.spot, where, wrong)
            return FAULTY

    def _shape(self, kind: Any, node: Node, base: Any, where: str) -> Any:
        origin, args = get_origin(kind), get_args(kind)
        value: Any
        if origin in (Union, UnionType):
            (kind,) = (arg for arg in args if arg is not NoneType)
            value = None if _is_off(node) else self._shape(kind, node, base, where)
        elif origin is tuple:
            value = self._list(args[0], node, where) if Ellipsis in args else self._row(args, node, base, where)
        elif origin is frozenset:
            value = frozenset(self._list(args[0], node, where))
        elif origin is Mapping:
            value = self._map(args[0], args[1], node, base, where)
        elif kind is Weekdays:
            value = frozenset[int]().union(*self._list(WeekdayRange, node, where))
        elif is_dataclass(kind) and kind is not Duration:
            value = self._record(kind, node, base, where)
        else:
            value = self._word(kind, node, where)
        return value

    def _word(self, kind: Any, node: Node, where: str) -> Any:
        if not isinstance(node, Text):
            raise Wrong(f"{_what(node)} stands here", "write a single value")
        if node.plain and not node.value:
            raise Wrong("nothing is written here", "write a value, or take the key out")
        if kind is Severity:
            return self._severity(node.value)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return member(kind, node.value)
        value = WORDS[kind](node.value)
        if kind in (Contact, CalendarName):
            self.mentions.append((kind, value, where))
        return value

    def _list(self, kind: Any, node: Node, where: str) -> tuple[Any, ...]:
        """A list; a single value is a list of one, and `off` is an empty one."""
        if _is_off(node):
            return ()
        if isinstance(node, Entries):
            raise Wrong("a map stands here", "write a list, each line beginning with a dash")
        if isinstance(node, Text) and node.plain and not node.value:
            raise Wrong("nothing is written here", "write [] for none")
        if isinstance(node, Text):
            return _sound([self._read(kind, node, None, where)])
        return _sound([self._read(kind, item, None, f"{where}[{n}]") for n, item in enumerate(node.nodes)])

    def _row(self, kinds: tuple[Any, ...], node: Node, base: Any, where: str) -> tuple[Any, ...]:
        """One value for each severity: a list of them all, or a map of some."""
        if isinstance(node, Entries):
            named = self._map(Severity, kinds[0], node, dict(zip(Severity, base, strict=True)), where)
            values = tuple(named[severity] for severity in Severity)
        elif isinstance(node, Items) and len(node.nodes) == len(kinds):
            values = tuple(
                self._read(kind, item, None, f"{where}[{n}]")
                for n, (kind, item) in enumerate(zip(kinds, node.nodes, strict=True))
            )
        else:
            raise Wrong(f"{_what(node)} stands here", f"write a list of {len(kinds)}, or a map by severity")
        return base if FAULTY in values else values

    def _map(self, key_kind: Any, kind: Any, node: Node, base: Mapping[Any, Any] | None, where: str) -> dict[Any, Any]:
        """A map by name.  A name whose value has a fault is kept, so that nothing else complains of its absence."""
        merged: dict[Any, Any] = dict(base or {})
        inherited = {_folded(key_kind, name): name for name in merged}
        written: dict[Any, str] = {}
        for key, value_node in self._pairs(node):
            path = _path(where, key.value)
            try:
                name = self._word(key_kind, key, path)
                folded = _folded(key_kind, name)
                _must_be_new(key.value, written.get(folded))
                _must_be_spelled(key.value, name, inherited.get(folded, name))
            except Wrong as wrong:
                self._fault(key.spot, path, wrong)
            else:
                written[folded] = key.value
                merged[name] = self._read(kind, value_node, merged.get(name), path)
        return merged

    def _record(self, cls: Any, node: Node, base: Any, where: str) -> Any:
        """A dataclass.  Its fields are read onto those of `base`, or onto the defaults of the class."""
        if cls is Targets and _is_off(node):
            return Targets()
        if cls in SHORT and isinstance(node, Text):
            (field,) = entries(cls)[SHORT[cls]].fields
            return cls(**{field: self._shape(entries(cls)[SHORT[cls]].kind, node, None, where)})
        faults = len(self.faults)
        values, spots = self._fields(cls, node, base, where)
        for entry in entries(cls).values():
            if base is None and entry.required and entry.key not in spots:
                self._fault(node.spot, where, Wrong(f"{entry.key} is missing", f"write {entry.key}: with its value"))
        if len(self.faults) > faults:
            return FAULTY if base is None else replace(base, **values)
        whole = cls(**values) if base is None else replace(base, **values)
        for keys, wrong in CHECKS[cls](whole) if cls in CHECKS else ():
            blamed = next((key for key in keys if key in spots), "")
            self._fault(spots.get(blamed, node.spot), _path(where, blamed), wrong)
        return whole

    def _fields(self, cls: Any, node: Node, base: Any, where: str) -> tuple[dict[str, Any], dict[str, Spot]]:
        """The fields that the map fills without a fault, and the spot of each key it has."""
        values: dict[str, Any] = {}
        spots: dict[str, Spot] = {}
        for key, value_node in self._pairs(node):
            path = _path(where, key.value)
            entry = entries(cls).get(key.value)
            if entry is not None:
                spots[entry.key] = value_node.spot
                before = None if base is None else getattr(base, entry.fields[0])
                value = self._read(entry.kind, value_node, before, path)
                if value is not FAULTY:
                    values |= zip(entry.fields, value if len(entry.fields) > 1 else (value,), strict=True)
            elif cls is not Policy or key.value != EXTENDS:
                extra = (EXTENDS,) if cls is Policy else ()
                self._fault(key.spot, path, one_of(key.value, "a key here", (*extra, *entries(cls))))
        return values, spots

    def _pairs(self, node: Node) -> Iterator[tuple[Text, Node]]:
        """The keys of a map; none where nothing is written, as when all of them are commented out."""
        if isinstance(node, Entries):
            yield from node.pairs
        elif not (isinstance(node, Text) and node.plain and not node.value):
            raise Wrong(f"{_what(node)} stands here", "write a map, such as key: value")

    # Names that depend on the rest of the file.

    def _scale(self, default: Scale) -> Scale:
        """The scale has to be known before the first severity is read; a fault in it is told when its turn comes."""
        for key, node in self.tree.pairs:
            if key.value == "scale" and isinstance(node, Text) and node.value.lower() in ("sev", "p"):
                return Scale(node.value.lower())
        return default

    def _severity(self, text: str) -> Severity:
        names = {str(severity): severity for severity in Severity}
        if self.scale is Scale.P:
            names |= {severity.on(Scale.P): severity for severity in Severity}
        for name, severity in names.items():
            if text.lower() == name.lower():
                return severity
        if text.lower() in ("p0", "p1", "p2", "p3"):
            raise Wrong(
                f"{shown(text)} is a name of the other scale", f"use one of {', '.join(names)}, or write scale: p"
            )
        raise one_of(text, "a severity", names)

    def _zones_followed(self, policy: Policy, base: Policy) -> Policy:
        """A calendar that names no zone of its own keeps the zone of the policy."""
        followed = {
            name: replace(calendar, zone=policy.zone)
            if isinstance(calendar, Calendar)
            and calendar.zone in ("UTC", base.zone)
            and f"calendars.{name}.timezone" not in self.spots
            else calendar
            for name, calendar in policy.calendars.items()
        }
        return replace(policy, calendars=followed)

    def _check_mentions(self, policy: Policy) -> None:
        for kind, name, where in self.mentions:
            if kind is Contact and name not in policy.contacts:
                if name in policy.people:
                    wrong = Wrong(f"{shown(name)} is a person", "name a contact that this person holds, see contacts:")
                else:
                    guess = nearest(name, policy.contacts)
                    meant = f"did you mean {guess}? " if guess else ""
                    wrong = Wrong(f"{shown(name)} is not a contact", f"{meant}add it to contacts:")
                self._fault(self.spots[where], where, wrong)
            if kind is CalendarName and name not in policy.calendars:
                self._fault(self.spots[where], where, one_of(name, "a calendar", policy.calendars))

    def _check_reach(self, policy: Policy) -> None:
        """A target that takes decades of a short working week is a slip of the pen."""
        for severity, targets in policy.targets.items():
            for entry in entries(Targets).values():
                target = getattr(targets, entry.fields[0])
                if target is None or target.calendar is None or target.within.business_days:
                    continue
                if _reach(policy.calendars[target.calendar], target.within) > REACH:
                    where = f"severities.{severity}.{entry.key}"
                    on_scale = f"severities.{severity.on(self.scale)}.{entry.key}"
                    spot = next(
                        (self.spots[p] for p in (where, on_scale, f"calendars.{target.calendar}") if p in self.spots),
                        Spot(),
                    )
                    wrong = Wrong(
                        f"{target.within} of the open hours of {target.calendar} take over ten years", "such as 4h"
                    )
                    self._fault(spot, where, wrong)

    # Faults.

    def _fault(self, spot: Spot, where: str, wrong: Wrong) -> None:
        self.faults.append(Fault(self.file, spot.line, spot.column, where, wrong.found, wrong.wanted))
        if len(self.faults) >= FAULTS:
            raise _Enough

    def _end(self) -> PolicyFaults:
        return PolicyFaults(tuple(sorted(self.faults, key=lambda fault: (fault.line, fault.column))))


def _is_off(node: Node) -> bool:
    return isinstance(node, Text) and node.plain and node.value.lower() in ("off", "null", "~")


def _what(node: Node) -> str:
    if isinstance(node, Text):
        return shown(node.value)
    return "a list" if isinstance(node, Items) else "a map"


def _path(where: str, key: str) -> str:
    return ".".join(part for part in (where, clean(key, 60)) if part)


def _folded(kind: Any, name: Any) -> Any:
    """What makes a name the same as another: not its case, and where we choose the names, not its separators either."""
    if kind is Name:
        return name.casefold().translate({ord(separator): None for separator in " -_."})
    return name.casefold() if isinstance(name, str) else name


def _must_be_new(key: str, before: str | None) -> None:
    if before is not None:
        raise Wrong(f"{shown(key)} is {shown(before)} again", "keep one")


def _must_be_spelled(key: str, name: Any, inherited: Any) -> None:
    """`oncall` beside `on-call` would silently be a contact that no step knows."""
    if name != inherited:
        raise Wrong(f"{shown(key)} is not written like {shown(inherited)}", f"write {inherited}")


def _sound(values: list[Any]) -> tuple[Any, ...]:
    return tuple(value for value in values if value is not FAULTY)


def _reach(calendar: Calendar, within: Duration) -> timedelta:
    """About how long `within` takes on that calendar."""
    opens, closes = (timedelta(hours=t.hour, minutes=t.minute) for t in (calendar.opens, calendar.closes))
    a_day = closes - opens if opens < closes else closes - opens + timedelta(days=1)
    return timedelta(days=7) * (within.elapsed / (a_day * len(calendar.days)))
