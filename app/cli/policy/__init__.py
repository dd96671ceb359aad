"""`muster policy`: check, explain, simulate, compare and replay policies."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from app.cli.policy import arguments, commands, event_log, past_incidents
from app.cli.policy.arguments import PolicyCommandContext
from app.core.errors import FoldTooLong
from app.core.incident_report import Kind
from app.policy_file import PROFILES, PolicyFaults
from app.ports import DeliveryFailed

__all__ = ["PolicyCommandContext", "main"]


def main(words: Sequence[str], now: Callable[[], datetime], context: PolicyCommandContext | None = None) -> int:
    """Run one command; returns 0 on success, 1 for an error in the input, 2 for wrong usage."""
    context = context or PolicyCommandContext(
        sys.stdout, sys.stderr, now, lambda name: past_incidents.open_repository(name, now)
    )
    options = _build_parser().parse_args(words)
    run: Callable[[argparse.Namespace, PolicyCommandContext], int] = options.run
    try:
        return run(options, context)
    except PolicyFaults as found:
        for fault in found.errors:
            print(fault, file=context.err)
    except event_log.EventLogFaults as found:
        print(found, file=context.err)
    except (arguments.PolicyCommandError, DeliveryFailed, FoldTooLong) as fault:
        print(f"muster: {fault}", file=context.err)
    except arguments.PolicyUsageError as wrong:
        print(f"muster: {wrong}", file=context.err)
        return 2
    return 1


# The command line: help texts and parser.

_CHECK_EXAMPLES = """\
examples:
  muster policy check .github/incidents.yml
  muster policy check .github/incidents.yml --org ../.github/.github/incidents.yml
"""
_EXPLAIN_EXAMPLES = """\
examples:
  muster policy explain
  muster policy explain .github/incidents.yml --sev sev1
"""
_SIMULATE_EXAMPLES = """\
examples:
  muster policy simulate guide --sev sev1 --at 2026-03-06T16:40:00-05:00 --for 6h
  muster policy simulate .github/incidents.yml --sev sev1 \\
      --at 2026-03-28T23:30:00+01:00 --for 6h --ack 12m --resolve 3h
  muster policy simulate .github/incidents.yml --sev sev2 \\
      --at 2026-03-06T16:40:00Z --for 1d --service checkout
  muster policy simulate strict --sev sev3 --type "security breach" \\
      --at 2026-03-06T16:40:00Z --for 4h --json
"""
_DIFF_EXAMPLES = """\
examples:
  muster policy diff guide strict
  muster policy diff old.yml .github/incidents.yml --json
"""
_EVENT_KEYS = "\n".join(
    textwrap.fill(f"  {event}: {', '.join(keys) or 'nothing'}", 78, subsequent_indent="    ", break_on_hyphens=False)
    for event, keys in event_log.EVENT_KEYS.items()
)
_REPLAY_HELP = f"""\
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
{_EVENT_KEYS}

Without --against, FILE is held against the policy in force in the repository
(with --repo), or against the profile that it extends (with --events).  A
profile itself is held against the default one.

examples:
  muster policy replay .github/incidents.yml --repo octo/shop --save past.jsonl
  muster policy replay .github/incidents.yml --events past.jsonl --against strict
"""


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muster policy", description="Look at a policy file, and try it.")
    subcommands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, says: str, run: Callable[[argparse.Namespace, PolicyCommandContext], int], examples: str = ""
    ) -> argparse.ArgumentParser:
        added = subcommands.add_parser(
            name,
            help=says,
            description=says[0].upper() + says[1:] + ".",
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    check = command("check", "name every fault of a policy file, with its line", commands.check, _CHECK_EXAMPLES)
    check.add_argument("file", type=Path, metavar="FILE")
    _add_common_options(check, "a list of objects instead of lines")
    explain = command(
        "explain", "say every value of a policy, and where it comes from", commands.explain, _EXPLAIN_EXAMPLES
    )
    explain.add_argument("file", nargs="?", metavar="FILE", help=_POLICY_HELP)
    explain.add_argument("--sev", metavar="SEVERITY", help="only what holds for that severity")
    _add_common_options(explain, "a list of objects instead of a table")
    schema = command("schema", "print the JSON Schema of a policy file, for editors", commands.schema)
    schema.set_defaults(json=True)
    tried = command(
        "simulate", "imagine an incident, and say who is told what and when", commands.simulate, _SIMULATE_EXAMPLES
    )
    tried.add_argument("file", metavar="FILE", help=_POLICY_HELP)
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
    _add_common_options(tried, "a list of objects instead of a timetable")
    moved = command("diff", "say what moves from one policy to another", commands.diff, _DIFF_EXAMPLES)
    moved.add_argument("old", metavar="OLD", help=_POLICY_HELP)
    moved.add_argument("new", metavar="NEW", help=_POLICY_HELP)
    _add_common_options(moved, "a list of objects instead of lines")
    replayed = command("replay", "say what would have been different in past incidents", commands.replay, _REPLAY_HELP)
    replayed.add_argument("file", metavar="FILE", help=_POLICY_HELP)
    source = replayed.add_mutually_exclusive_group(required=True)
    source.add_argument("--events", metavar="FILE.jsonl", help="past incidents as JSON Lines; - reads them from stdin")
    source.add_argument("--repo", metavar="OWNER/NAME", help="past incidents of that repository")
    replayed.add_argument("--since", default="90d", metavar="LENGTH", help="how far back (with --repo): 90d")
    replayed.add_argument("--against", metavar="OLD", help="the policy to hold it against")
    replayed.add_argument("--save", type=Path, metavar="FILE.jsonl", help="keep the incidents that were read")
    _add_common_options(replayed, "an object instead of lines")
    return parser


_POLICY_HELP = f"a policy file, or one of {', '.join(PROFILES)}"


def _add_common_options(parser: argparse.ArgumentParser, json_help: str) -> None:
    parser.add_argument("--org", type=Path, metavar="FILE", help="the organisation's file, for extends: org")
    parser.add_argument("--json", action="store_true", help=json_help)
