"""`muster policy`: look at a policy, try it, and see what another one would change."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

from app import past_events
from app.core.backtest import Backtest, Past, backtest
from app.core.changes import Move, changes
from app.core.policy import Duration, Policy, Shift
from app.core.report import Exposure, Kind, Report
from app.core.rules import affected
from app.core.severity import Severity
from app.core.simulate import Row, Scene, simulate
from app.policy_file import DEFAULT, PROFILES, Fault, PolicyFaults, read, shipped
from app.ports import DeliveryFailed, Tracker
from app.render.timetable import Line, timetable
from app.text import visible

LONGEST = timedelta(days=14)
"""A simulation takes no longer: by then everything has rung, and most of it again."""

_CELL = 60
"""The widest cell of a table; JSON has everything."""
_COLOURS = {"strong": "1", "warning": "33", "bad": "31", "good": "32", "quiet": "2"}


class _Fault(Exception):
    """Something the user can mend, said in one line.  Exit code 1."""


class _Usage(Exception):
    """The command was not written as it should be, said in one line.  Exit code 2."""


@dataclass(frozen=True)
class Outside:
    """What a command may touch: where it prints, the clock, and `repository`, which opens one on GitHub by its name."""

    out: TextIO
    err: TextIO
    now: Callable[[], datetime]
    repository: Callable[[str], AbstractContextManager[Tracker]]


def main(words: Sequence[str], now: Callable[[], datetime], outside: Outside | None = None) -> int:
    """Run one command.  Returns 0 for good, 1 for a fault the user can mend, 2 for wrong usage."""
    outside = outside or Outside(sys.stdout, sys.stderr, now, lambda name: on_github(name, now))
    options = _parser().parse_args(words)
    run: Callable[[argparse.Namespace, Outside], int] = options.run
    try:
        return run(options, outside)
    except PolicyFaults as found:
        for fault in found.faults:
            print(fault, file=outside.err)
    except past_events.PastFaults as found:
        print(found, file=outside.err)
    except (_Fault, DeliveryFailed) as fault:
        print(f"muster: {fault}", file=outside.err)
    except _Usage as wrong:
        print(f"muster: {wrong}", file=outside.err)
        return 2
    return 1


# What can be written on the command line.

_CHECK = """\
examples:
  muster policy check .github/incidents.yml
  muster policy check .github/incidents.yml --org ../.github/.github/incidents.yml
"""
_EXPLAIN = """\
examples:
  muster policy explain
  muster policy explain .github/incidents.yml --sev sev1
"""
_SIMULATE = """\
examples:
  muster policy simulate guide --sev sev1 --at 2026-03-06T16:40:00-05:00 --for 6h
  muster policy simulate .github/incidents.yml --sev sev1 \\
      --at 2026-03-28T23:30:00+01:00 --for 6h --ack 12m --resolve 3h
  muster policy simulate .github/incidents.yml --sev sev2 \\
      --at 2026-03-06T16:40:00Z --for 1d --service checkout
  muster policy simulate strict --sev sev3 --type "security breach" \\
      --at 2026-03-06T16:40:00Z --for 4h --json
"""
_DIFF = """\
examples:
  muster policy diff guide strict
  muster policy diff old.yml .github/incidents.yml --json
"""
_KEYS = "\n".join(
    textwrap.fill(f"  {event}: {', '.join(keys) or 'nothing'}", 78, subsequent_indent="    ", break_on_hyphens=False)
    for event, keys in past_events.EVENTS.items()
)
_REPLAY = f"""\
Events are JSON Lines, one event a line; these three are written on several
lines here to be read:
  {{"incident": "octo/shop#12", "at": "2026-03-06T16:40:00Z", "event": "opened",
   "by": "mona", "title": "Checkout is down", "severity": "sev1",
   "type": "service outage", "services": ["checkout"]}}
  {{"incident": "octo/shop#12", "at": "2026-03-06T16:52:00Z", "event": "said",
   "by": "hubot", "text": "/ack"}}
  {{"incident": "octo/shop#12", "at": "2026-03-06T18:10:00Z", "event": "closed",
   "by": "hubot"}}

Every line has incident, at and event, and may have by and role (write when it
is left out).  Events, and what their lines may have beside:
{_KEYS}

Without --against, FILE is held against the policy in force in the repository
(with --repo), or against the profile that it extends (with --events).  A
profile itself is held against the default one.

examples:
  muster policy replay .github/incidents.yml --repo octo/shop --save past.jsonl
  muster policy replay .github/incidents.yml --events past.jsonl --against strict
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muster policy", description="Look at a policy file, and try it.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, says: str, run: Callable[[argparse.Namespace, Outside], int], examples: str = ""
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=says,
            description=says[0].upper() + says[1:] + ".",
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    check = command("check", "name every fault of a policy file, with its line", _check, _CHECK)
    check.add_argument("file", type=Path, metavar="FILE")
    _with(check, "a list of objects instead of lines")
    explain = command("explain", "say every value of a policy, and where it comes from", _explain, _EXPLAIN)
    explain.add_argument("file", nargs="?", metavar="FILE", help=_WHICH)
    explain.add_argument("--sev", metavar="SEVERITY", help="only what holds for that severity")
    _with(explain, "a list of objects instead of a table")
    schema = command("schema", "print the JSON Schema of a policy file, for editors", _schema)
    schema.set_defaults(json=True)
    tried = command("simulate", "imagine an incident, and say who is told what and when", _simulate, _SIMULATE)
    tried.add_argument("file", metavar="FILE", help=_WHICH)
    tried.add_argument("--sev", required=True, metavar="SEVERITY", help="such as sev1, or P0 where the policy says so")
    tried.add_argument("--at", required=True, metavar="TIME", help="with its zone: 2026-03-06T16:40:00-05:00")
    tried.add_argument(
        "--for", required=True, dest="length", metavar="LENGTH", help="how long to look: 6h, at most 14d"
    )
    tried.add_argument("--ack", metavar="AFTER", help="somebody acknowledges then; nobody without it")
    tried.add_argument("--resolve", metavar="AFTER", help="it is resolved then; never without it")
    tried.add_argument("--service", action="append", default=[], metavar="NAME", help="affected; may be repeated")
    tried.add_argument("--type", metavar="TYPE", help=", ".join(kind.value for kind in Kind))
    tried.add_argument("--personal-data", metavar="ANSWER", help="exposed: yes, possibly or no")
    _with(tried, "a list of objects instead of a timetable")
    moved = command("diff", "say what moves from one policy to another", _diff, _DIFF)
    moved.add_argument("old", metavar="OLD", help=_WHICH)
    moved.add_argument("new", metavar="NEW", help=_WHICH)
    _with(moved, "a list of objects instead of lines")
    replayed = command("replay", "say what would have been different in past incidents", _replay, _REPLAY)
    replayed.add_argument("file", metavar="FILE", help=_WHICH)
    source = replayed.add_mutually_exclusive_group(required=True)
    source.add_argument("--events", metavar="FILE.jsonl", help="past incidents as JSON Lines; - reads them from stdin")
    source.add_argument("--repo", metavar="OWNER/NAME", help="past incidents of that repository")
    replayed.add_argument("--since", default="90d", metavar="LENGTH", help="how far back (with --repo): 90d")
    replayed.add_argument("--against", metavar="OLD", help="the policy to hold it against")
    replayed.add_argument("--save", type=Path, metavar="FILE.jsonl", help="keep the incidents that were read")
    _with(replayed, "an object instead of lines")
    return parser


_WHICH = f"a policy file, or one of {', '.join(PROFILES)}"


def _with(parser: argparse.ArgumentParser, json_says: str) -> None:
    parser.add_argument("--org", type=Path, metavar="FILE", help="the organisation's file, for extends: org")
    parser.add_argument("--json", action="store_true", help=json_says)


# The commands.


def _check(options: argparse.Namespace, outside: Outside) -> int:
    faults: tuple[Fault, ...] = ()
    try:
        read(_text(options.file), name=str(options.file), org=_org(options))
    except PolicyFaults as found:
        faults = found.faults
    if options.json:
        _print_json([dataclasses.asdict(fault) for fault in faults], outside)
    else:
        for fault in faults:
            print(fault, file=outside.out)
    return 1 if faults else 0


def _explain(options: argparse.Namespace, outside: Outside) -> int:
    from app.policy_file.explain import explained  # noqa: PLC0415  reads every document's line, which nothing else needs

    policy = _policy(options.file or DEFAULT, options)
    severity = _severity(options.sev, policy) if options.sev else None
    text, name = _source(options.file)
    rows = explained(text, name=name, org=_org(options), severity=severity)
    if options.json:
        _print_json([dataclasses.asdict(row) for row in rows], outside)
        return 0
    cells = [tuple(visible(cell, _CELL) for cell in (row.where, row.value, row.origin, row.document)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
    for row in cells:
        print("  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip(), file=outside.out)
    return 0


def _schema(options: argparse.Namespace, outside: Outside) -> int:
    from app.policy_file import schema  # noqa: PLC0415

    _print_json(schema(), outside)
    return 0


def _simulate(options: argparse.Namespace, outside: Outside) -> int:
    policy = _policy(options.file, options)
    scene = _scene(options, policy)
    policy = _with_feeds(policy, Path(options.file), scene.at)
    rows = simulate(policy, scene)
    if options.json:
        _print_json([_row(row) for row in rows], outside)
        return 0
    for line in timetable(rows, policy, scene, width=_width(outside.out)):
        _show(line, outside.out)
    return 0


def _diff(options: argparse.Namespace, outside: Outside) -> int:
    old, new = _policy(options.old, options), _policy(options.new, options)
    moves = changes(old, new)
    if options.json:
        _print_json([_move(move, new) for move in moves], outside)
    elif not moves:
        print("Nothing moves: both mean the same.", file=outside.out)
    else:
        for severity in (*Severity, None):
            mine = [move for move in moves if move.severity is severity]
            if mine:
                _show(Line(severity.said(new.scale) if severity else "elsewhere", "strong"), outside.out)
            for move in mine:
                tone = "good" if move.was is None else "bad" if move.now is None else ""
                _show(Line(f"  {visible(str(move), 500)}", tone), outside.out)
    return 0


def _replay(options: argparse.Namespace, outside: Outside) -> int:
    new = _policy(options.file, options)
    past, in_force, where = _events(options, new, outside) if options.events else _repository(options, new, outside)
    if options.against:
        old, against = _policy(options.against, options), options.against
    elif in_force is not None:
        old, against = in_force, f"the policy in force in {where}"
    elif new == shipped(new.profile):
        old, against = shipped(DEFAULT), f"the profile {DEFAULT}, the default"
    else:
        old, against = shipped(new.profile), f"the profile {new.profile}, which it extends"
    if options.save:
        _save(options.save, past, new)
    found = backtest(_counted(past, outside.err), old, new)
    if options.json:
        _print_json(_tested(found, against, new), outside)
        return 0
    for line in _told(found, against, where, options.file, new):
        _show(line, outside.out)
    return 0


# What was written, read.


def _policy(name: str | Path, options: argparse.Namespace) -> Policy:
    """The policy of a file, or a shipped profile of that name where there is no such file.  Raises PolicyFaults."""
    if str(name) in PROFILES and not Path(name).exists():
        return shipped(str(name))
    return read(_text(Path(name)), name=str(name), org=_org(options))


def _with_feeds(policy: Policy, file: Path, at: datetime) -> Policy:
    """The policy with the shifts of those feeds that stand beside it in the repository.  Others are not asked here."""
    root = file.parent.parent if file.parent.name == ".github" else file.parent
    rotations = dict(policy.rotations)
    for name, rotation in policy.rotations.items():
        path = root / rotation.feed
        if rotation.feed and "://" not in rotation.feed and path.is_file():
            rotations[name] = replace(rotation, shifts=_shifts(path, policy, rotation.zone, at))
    return replace(policy, rotations=rotations)


def _shifts(path: Path, policy: Policy, zone: str, at: datetime) -> tuple[Shift, ...]:
    from app.feeds import LARGEST, FeedFault, meant, occurrences  # noqa: PLC0415  few policies have feeds

    try:
        with path.open("rb") as opened:
            found = occurrences(opened.read(LARGEST + 1), at - LONGEST, at + 2 * LONGEST)
    except OSError as problem:
        raise _Fault(f"{path}: {problem.strerror}") from None
    except FeedFault as fault:
        raise _Fault(f"{path}: {fault}") from None
    return meant(found, policy.people, zone, at).shifts


def _source(name: str | None) -> tuple[str | None, str]:
    """The text of a file, None where it is a profile, and what to call it."""
    if name is None or (name in PROFILES and not Path(name).exists()):
        return (f"extends: {name}" if name else None), name or DEFAULT
    return _text(Path(name)), name


def _org(options: argparse.Namespace) -> str | None:
    return _text(options.org) if options.org else None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as problem:
        raise _Fault(f"{path}: {problem.strerror}") from None


def _severity(name: str, policy: Policy) -> Severity:
    severity = policy.severity(name)
    if severity is None:
        names = ", ".join(each.said(policy.scale) for each in Severity)
        raise _Usage(f"--sev: '{visible(name)}' is not a severity of this policy: one of {names}")
    return severity


def _scene(options: argparse.Namespace, policy: Policy) -> Scene:
    length = _length("--for", options.length)
    if not timedelta() < length <= LONGEST:
        raise _Usage(f"--for: '{visible(options.length)}' is out of range: from 1m to {LONGEST.days}d")
    ack = _length("--ack", options.ack) if options.ack else None
    resolve = _length("--resolve", options.resolve) if options.resolve else None
    if ack is not None and resolve is not None and ack >= resolve:
        raise _Usage(f"--ack: {options.ack} is not before --resolve {options.resolve}")
    return Scene(
        severity=_severity(options.sev, policy),
        at=_time("--at", options.at),
        length=length,
        ack=ack,
        resolve=resolve,
        services=tuple(_service(name, policy) for name in options.service),
        kind=_member("--type", options.type, Kind),
        personal_data=_member("--personal-data", options.personal_data, Exposure),
    )


def _length(option: str, text: str) -> timedelta:
    try:
        duration = Duration.parse(text)
    except ValueError as wrong:
        raise _Usage(f"{option}: {visible(str(wrong), 120)}") from None
    if duration.business_days:
        raise _Usage(f"{option}: '{visible(text)}' has no length of its own: hours or days, such as 6h or 2d")
    return duration.elapsed


def _time(option: str, text: str) -> datetime:
    example = "such as 2026-03-06T16:40:00-05:00, or Z at its end for UTC"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _Usage(f"{option}: '{visible(text)}' is not a time: {example}") from None
    if at.tzinfo is None:
        raise _Usage(f"{option}: '{visible(text)}' has no zone: {example}")
    if at.year not in past_events.YEARS:
        raise _Usage(f"{option}: '{visible(text)}' is too far away: {example}")
    return at


def _service(name: str, policy: Policy) -> str:
    if affected(policy, Report(services=(name,))):
        return name
    if not policy.services:
        raise _Usage(f"--service: '{visible(name)}': the policy names no services")
    near = get_close_matches(name, policy.services, n=1)
    hint = f"did you mean {visible(near[0])}?" if near else f"one of {', '.join(map(visible, policy.services))}"
    raise _Usage(f"--service: '{visible(name)}' is no service of the policy: {hint}")


def _member(option: str, text: str | None, kind: Any) -> Any:
    if text is None:
        return None
    for member in kind:
        if member.value == text.casefold():
            return member
    values = [member.value for member in kind]
    near = get_close_matches(text.casefold(), values, n=1)
    raise _Usage(
        f"{option}: '{visible(text)}' is unknown: {f'did you mean {near[0]}?' if near else 'one of ' + ', '.join(values)}"
    )


# Past incidents.


def _events(options: argparse.Namespace, policy: Policy, outside: Outside) -> tuple[Sequence[Past], Policy | None, str]:
    if options.events == "-":
        return past_events.read(sys.stdin, policy, "stdin"), None, "stdin"
    text = _text(Path(options.events))
    return past_events.read(text.splitlines(), policy, options.events), None, options.events


def _repository(
    options: argparse.Namespace, policy: Policy, outside: Outside
) -> tuple[Sequence[Past], Policy | None, str]:
    from app.github.past import past_incidents  # noqa: PLC0415  the client for GitHub takes long to load

    since, now = _length("--since", options.since), outside.now()
    with outside.repository(options.repo) as tracker:
        in_force = None
        if not options.against:
            text, org = tracker.policy("").text, _org(options) or tracker.organisation_policy("").text
            in_force = read(text or "", name=f"{options.repo}: .github/incidents.yml", org=org)
        found = past_incidents(tracker, policy.labels.incident, now - since, policy, repo=options.repo, now=now)
        past = list(_counted(found, outside.err, "read"))
    return past, in_force, options.repo


@contextmanager
def on_github(name: str, now: Callable[[], datetime]) -> Iterator[Tracker]:
    """That repository: by the token in GITHUB_TOKEN where there is one, otherwise as the App.  Raises DeliveryFailed."""
    from app import settings  # noqa: PLC0415
    from app.github.auth import AppKey, PlainToken  # noqa: PLC0415
    from app.github.client import Client  # noqa: PLC0415
    from app.github.tracker import GitHubTracker  # noqa: PLC0415
    from app.ports import Repository  # noqa: PLC0415
    from app.worker.rebuild import repositories  # noqa: PLC0415

    found = settings.read()
    token = os.environ.get("GITHUB_TOKEN", "")
    if not token:
        settings.complete(found)
    client = Client(found.api_url, PlainToken(token) if token else AppKey(found.app_id, found.private_key), now)
    try:
        if token:
            repository = Repository(0, name, 0)
        else:
            known = {each.name.lower(): each for each in repositories(client)}
            if name.lower() not in known:
                raise _Fault(f"--repo: the App is not installed in '{visible(name)}'")
            repository = known[name.lower()]
        yield GitHubTracker(client, repository)
    finally:
        client.close()


def _counted(past: Iterable[Past], err: TextIO, done: str = "tried") -> Iterator[Past]:
    """The same, counted in one line of a terminal on the way."""
    watched, number = err.isatty(), 0
    for number, each in enumerate(past, 1):
        if watched and number % 10 == 0:
            err.write(f"\r{number} incidents {done} …")
            err.flush()
        yield each
    if watched and number >= 10:
        err.write("\r\033[K")


def _save(path: Path, past: Iterable[Past], policy: Policy) -> None:
    try:
        path.write_text("".join(f"{line}\n" for line in past_events.written(past, policy.scale)), "utf-8")
    except OSError as problem:
        raise _Fault(f"{path}: {problem.strerror}") from None


# What is printed.


def _row(row: Row) -> dict[str, Any]:
    return {
        "at": row.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "offset_s": int(row.offset.total_seconds()),
        "kind": row.kind,
        "to": list(row.to),
        "step": row.step,
        "via": [via.value for via in row.via],
        "contacts": list(row.contacts),
        "missing": list(row.missing),
        "note": row.note,
    }


def _move(move: Move, policy: Policy) -> dict[str, Any]:
    severity = move.severity.said(policy.scale) if move.severity else None
    return {"severity": severity, "what": move.what, "was": move.was, "now": move.now}


def _tested(found: Backtest, against: str, policy: Policy) -> dict[str, Any]:
    return {
        "tried": found.tried,
        "against": against,
        "summary": found.summary,
        "notices": {"was": found.notices[0], "now": found.notices[1]},
        "incidents": [
            {
                "incident": each.name,
                "title": each.title,
                "declared_at": each.declared_at.isoformat().replace("+00:00", "Z"),
                "severity": each.severity.said(policy.scale),
                "later": each.later,
                "earlier": each.earlier,
                "differences": [dataclasses.asdict(difference) for difference in each.differences],
            }
            for each in found.compared
        ],
    }


def _told(found: Backtest, against: str, where: str, file: str, policy: Policy) -> Iterator[Line]:
    yield Line(f"{visible(file, 200)} against {visible(against, 200)}, incidents of {visible(where, 200)}:", "quiet")
    yield Line(f"{found.summary[:1].upper()}{found.summary[1:]}.", "strong")
    if found.notices[0] != found.notices[1]:
        yield Line(f"Notices to people: {found.notices[1]} instead of {found.notices[0]}.")
    for each in found.compared:
        yield Line("")
        about = f"{each.declared_at:%Y-%m-%d %H:%M} UTC, {each.severity.said(policy.scale)}"
        named = "  ".join(part for part in (visible(each.name, 80), visible(each.title, 60), f"({about})") if part)
        yield Line(named, "strong")
        for difference in each.differences:
            worse = difference.kind in ("told", "breach") and (difference.now is None) == (difference.kind == "told")
            yield Line(f"  {visible(str(difference), 200)}", "warning" if worse else "")


def _show(line: Line, out: TextIO) -> None:
    """The line; in colour on a terminal, unless somebody wants none."""
    colour = _COLOURS.get(line.tone) if out.isatty() and not os.environ.get("NO_COLOR") else None
    print(f"\033[{colour}m{line.text}\033[0m" if colour and line.text else line.text, file=out)


def _width(out: TextIO) -> int:
    return min(max(shutil.get_terminal_size((80, 24)).columns, 60), 120) if out.isatty() else 80


def _print_json(value: object, outside: Outside) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str), file=outside.out)
