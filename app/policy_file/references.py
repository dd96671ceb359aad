"""Check the names by which one part of a policy refers to another.

The law of this file: every name in use is declared, and a name that a step can notify stands for one thing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from app.core.policy import OWNER, TEAM, Policy, RoleHolders, Service
from app.policy_file.fault import InvalidValue, printable_excerpt, quoted_excerpt
from app.policy_file.field_rules import RECIPIENT_PARTS, key_specs, shape_of
from app.policy_file.value_parsers import (
    CalendarName,
    Contact,
    Name,
    OwnCalendar,
    OwnContact,
    RotationName,
    RunbookName,
    ServiceName,
    TeamName,
    closest_match,
    unknown_choice,
)

REFERENCE_KINDS = frozenset(
    {Contact, OwnContact, CalendarName, OwnCalendar, TeamName, RotationName, RunbookName, ServiceName}
)
"""The kinds of word that refer to another part of the policy."""

_DECLARING_PARTS: Mapping[Any, tuple[str, str]] = {
    TeamName: ("a team", "teams"),
    RotationName: ("a rotation", "rotations"),
    RunbookName: ("a runbook", "runbooks"),
    ServiceName: ("a service", "services"),
}
"""What each kind of name stands for in words, and the part that declares it."""

_PART_NOUNS = {"contacts": "a contact", "roles": "a role", "teams": "a team", "rotations": "a rotation"}
_FILLABLE_PAIRS = frozenset({("contacts", part) for part in RECIPIENT_PARTS[1:]} | {("roles", "rotations")})
"""Pairs of parts where the first may declare an empty entry that the second fills.

The profiles declare contacts and roles that no one holds yet.
"""

_SEPARATORS = {ord(separator): None for separator in " -_."}


def join_path(parent: str, key: str) -> str:
    """Return the path to the value under that key."""
    if len(key) > 60 or not key.isprintable():
        key = printable_excerpt(key, 60)
    return f"{parent}.{key}" if parent and key else parent or key


def normalize_name(kind: Any, name: Any) -> Any:
    """Normalize a name for comparison.

    Case is ignored, and so are separators where the policy's author chooses the names.
    """
    if kind is Name:
        return name.casefold().translate(_SEPARATORS)
    return name.casefold() if isinstance(name, str) else name


def declared_names(policy: Policy) -> Mapping[Any, Collection[str]]:
    """Return the names that each kind of reference may use."""
    contact_names = {*policy.contacts, *policy.roles, *policy.rotations}
    return {
        Contact: {OWNER, *contact_names, *policy.teams},
        OwnContact: contact_names - policy.teams.keys(),
        CalendarName: (*policy.calendars, TEAM),
        OwnCalendar: tuple(policy.calendars),
        **{kind: getattr(policy, part) for kind, (_, part) in _DECLARING_PARTS.items()},
    }


def unknown_name_error(kind: Any, name: str, policy: Policy, candidates: Collection[str]) -> InvalidValue:
    """Describe a name that is not declared, with the closest one or where to declare it."""
    if kind in (CalendarName, OwnCalendar):
        return unknown_choice(name, "a calendar", candidates)
    noun, part = _DECLARING_PARTS.get(kind, ("a contact", "contacts"))
    if kind is OwnContact and name in policy.teams:
        return InvalidValue(f"{quoted_excerpt(name)} is a team, not a contact", "tell another contact in escalation:")
    if kind is Contact and name in policy.people:
        return InvalidValue(
            f"{quoted_excerpt(name)} is a person", "name a contact that this person holds, see contacts:"
        )
    for service, declared in policy.services.items() if kind is ServiceName else ():
        if isinstance(declared, Service) and name.casefold() in map(str.casefold, declared.aliases):
            return InvalidValue(f"{quoted_excerpt(name)} is another name of a service", f"write {service}")
    closest = closest_match(name, sorted(candidates))
    hint = f"did you mean {closest}? " if closest else ""
    return InvalidValue(f"{quoted_excerpt(name)} is not {noun}", f"{hint}add it to {part}:")


def find_name_clashes(policy: Policy) -> Iterator[tuple[str, str, InvalidValue]]:
    """Yield names that stand for two things, or for one thing in two spellings.

    Yields both paths and what is wrong with the later one.
    """
    declarations: dict[Any, tuple[str, str]] = {}
    for part in RECIPIENT_PARTS:
        for name in getattr(policy, part):
            key = normalize_name(Name, name)
            if key not in declarations:
                declarations[key] = part, name
                continue
            first_part, first_name = declarations[key]
            error = None
            if first_name != name:
                error = InvalidValue(
                    f"{quoted_excerpt(name)} is not written like {quoted_excerpt(first_name)}", f"write {first_name}"
                )
            elif (first_part, part) in _FILLABLE_PAIRS and getattr(policy, first_part)[first_name] in (
                (),
                RoleHolders(),
            ):
                declarations[key] = part, name
            else:
                error = InvalidValue(
                    f"{quoted_excerpt(name)} is used for {_PART_NOUNS[first_part]} and for {_PART_NOUNS[part]}",
                    "give each its own",
                )
            if error is not None:
                yield f"{part}.{name}", f"{first_part}.{first_name}", error


def find_dangling_references(
    policy: Policy, removed: Collection[tuple[str, str]]
) -> Iterator[tuple[str, InvalidValue]]:
    """Yield names that were removed, as (part, name), but are still used by inherited values; each with its path."""
    for part, name in removed:
        for kind, referenced, where in find_references(Policy, policy, ""):
            declaring_parts = (
                RECIPIENT_PARTS if kind is Contact else (_DECLARING_PARTS[kind][1],) if kind in _DECLARING_PARTS else ()
            )
            if (
                referenced == name
                and part in declaring_parts
                and not any(name in getattr(policy, other) for other in declaring_parts)
            ):
                yield (
                    f"{part}.{name}",
                    InvalidValue(f"{quoted_excerpt(name)} is still named by {where}", "change that too"),
                )
                break


def find_references(kind: Any, value: Any, where: str) -> Iterator[tuple[Any, str, str]]:
    """Yield every reference in a value of that kind: its kind, the name, and its path."""
    shape = shape_of(kind)
    if kind in REFERENCE_KINDS:
        yield kind, value, where
    elif shape.form == "optional" and value is not None:
        yield from find_references(shape.inner[0], value, where)
    elif shape.form == "list":
        for n, item in enumerate(value):
            yield from find_references(shape.inner[0], item, f"{where}[{n}]")
    elif shape.form == "map":
        for key, item in value.items():
            yield from find_references(shape.inner[1], item, join_path(where, str(key)))
    elif shape.form == "record":
        for entry in key_specs(kind).values():
            if len(entry.fields) == 1:
                yield from find_references(entry.kind, getattr(value, entry.fields[0]), join_path(where, entry.key))
