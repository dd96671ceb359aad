"""`muster inbox` and `muster outbox`: list dead letters, retry or drop them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TextIO

from app.store import dead_letters
from app.store.database import Database
from app.store.dead_letters import Dead, Parked
from app.text import visible

_MAX_SHOWN_BYTES = 20_000
"""How many bytes of a delivery are shown, unless all are requested."""
_MAX_REASON_CHARACTERS = 100


@dataclass(frozen=True)
class Outside:
    """What a command may use: the database, the clock, and the output streams."""

    database: Database
    now: Callable[[], datetime]
    out: TextIO = sys.stdout
    err: TextIO = sys.stderr


_CommandFunction = Callable[[argparse.Namespace, Outside], int]


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Ends the process with status 2 if it is wrong, with 0 after `--help`.
    """
    return _parser().parse_args(words)


def run(options: argparse.Namespace, outside: Outside) -> int:
    """Run one command; return 0 for success, 1 if there is no such dead letter."""
    chosen: _CommandFunction = options.run
    return chosen(options, outside)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muster", description="What was set aside for a person.")
    rooms = parser.add_subparsers(metavar="COMMAND", required=True)
    inbox = rooms.add_parser("inbox", help="deliveries that nobody could read")
    inboxes = inbox.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _listing(inboxes.add_parser("list", help="say which wait, since when and why"), _inbox_list)
    show = inboxes.add_parser("show", help="print one, harmless on any terminal")
    show.add_argument("guid", metavar="GUID")
    show.add_argument(
        "--all", action="store_true", help=f"print all of it, not only the first {_MAX_SHOWN_BYTES} bytes"
    )
    _listing(show, _inbox_show)
    retry = inboxes.add_parser("retry", help="put one back, to be worked off again")
    retry.add_argument("guid", metavar="GUID")
    retry.set_defaults(run=_inbox_retry)
    drop = inboxes.add_parser("drop", help="settle one: nothing is done about it")
    drop.add_argument("guid", metavar="GUID")
    drop.add_argument("--note", default="", metavar="TEXT", help="why, for those who come after you")
    drop.set_defaults(run=_inbox_drop)
    outbox = rooms.add_parser("outbox", help="orders that the other side refused")
    outboxes = outbox.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _listing(outboxes.add_parser("list", help="say which wait, since when and why"), _outbox_list)
    retry = outboxes.add_parser("retry", help="carry one out after all")
    retry.add_argument("number", type=int, metavar="NUMBER")
    retry.set_defaults(run=_outbox_retry)
    drop = outboxes.add_parser("drop", help="settle one: it is not carried out")
    drop.add_argument("number", type=int, metavar="NUMBER")
    drop.add_argument("--note", default="", metavar="TEXT", help="why, for those who come after you")
    drop.set_defaults(run=_outbox_drop)
    return parser


def _listing(parser: argparse.ArgumentParser, run: _CommandFunction) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def _inbox_list(options: argparse.Namespace, outside: Outside) -> int:
    with outside.database.transaction() as db:
        found = dead_letters.parked(db)
    if options.json:
        return _json([_plain(one) for one in found], outside)
    for one in found:
        print(_line(one), file=outside.out)
    return _summed(len(found), "delivery waits", "deliveries wait", outside)


def _inbox_show(options: argparse.Namespace, outside: Outside) -> int:
    with outside.database.transaction() as db:
        found = [(one, dead_letters.body(db, one)) for one in dead_letters.parked(db, options.guid)]
    if not found:
        return _unknown(f"no parked delivery is called {visible(options.guid)}: muster inbox list", outside)
    if options.json:
        return _json(
            [{**_plain(one), "body": body.decode("utf-8", "backslashreplace")} for one, body in found], outside
        )
    for one, body in found:
        print(_line(one), file=outside.out)
        print(harmless(body if options.all else body[:_MAX_SHOWN_BYTES]), file=outside.out)
        if not options.all and len(body) > _MAX_SHOWN_BYTES:
            print(f"({len(body) - _MAX_SHOWN_BYTES} more bytes: --all)", file=outside.out)
    return 0


def _inbox_retry(options: argparse.Namespace, outside: Outside) -> int:
    with outside.database.transaction() as db:
        count = dead_letters.put_back(db, options.guid)
    if not count:
        return _unknown(f"no parked delivery is called {visible(options.guid)}: muster inbox list", outside)
    print(f"{visible(options.guid)} is put back: a worker takes it within a few seconds", file=outside.out)
    return 0


def _inbox_drop(options: argparse.Namespace, outside: Outside) -> int:
    with outside.database.transaction() as db:
        count = dead_letters.drop(db, options.guid, _note(options, outside))
    if not count:
        return _unknown(f"no parked delivery is called {visible(options.guid)}: muster inbox list", outside)
    print(f"{visible(options.guid)} is settled: nothing is done about it", file=outside.out)
    return 0


def _outbox_list(options: argparse.Namespace, outside: Outside) -> int:
    with outside.database.transaction() as db:
        found = dead_letters.dead(db)
    if options.json:
        return _json([_plain(one) for one in found], outside)
    for one in found:
        where = f"{visible(one.repo) or 'an unknown repository'}#{one.issue}"
        tried = f"tried {one.tries} time{'' if one.tries == 1 else 's'}"
        print(
            f"{one.number}  {one.created_at:%Y-%m-%d %H:%M:%S} UTC  {where}  {one.kind} {visible(one.key)}  {tried}"
            f"  {visible(one.why, _MAX_REASON_CHARACTERS)}",
            file=outside.out,
        )
    return _summed(len(found), "order waits", "orders wait", outside)


def _outbox_retry(options: argparse.Namespace, outside: Outside) -> int:
    with outside.database.transaction() as db:
        there = dead_letters.try_again(db, options.number, outside.now())
    if not there:
        return _unknown(f"no dead letter has the number {options.number}: muster outbox list", outside)
    print(f"{options.number} is put back: a worker looks whether it was done, and does it if not", file=outside.out)
    return 0


def _outbox_drop(options: argparse.Namespace, outside: Outside) -> int:
    with outside.database.transaction() as db:
        there = dead_letters.leave(db, options.number, _note(options, outside))
    if not there:
        return _unknown(f"no dead letter has the number {options.number}: muster outbox list", outside)
    print(f"{options.number} is settled: it is not carried out", file=outside.out)
    return 0


def harmless(body: bytes) -> str:
    """Return a payload as printable ASCII, indented if it is JSON, so that it cannot control a terminal."""
    try:
        text = json.dumps(json.loads(body, object_pairs_hook=_each_key_once), indent=2)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "backslashreplace")
    return "".join(char if char == "\n" or " " <= char <= "~" else ascii(char)[1:-1] for char in text)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object, or raise ValueError if a key occurs twice.

    Such a payload is shown as received, since the duplicate may be what is wrong with it.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _line(one: Parked) -> str:
    tried = f"tried {one.tries} time{'' if one.tries == 1 else 's'}"
    return (
        f"{visible(one.guid, 100)}  {one.received_at:%Y-%m-%d %H:%M:%S} UTC  {visible(one.event)}  {one.bytes} bytes"
        f"  {tried}  {visible(one.why, _MAX_REASON_CHARACTERS)}"
    )


def _plain(one: Parked | Dead) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(one).items()}


def _json(rows: Iterable[dict[str, Any]], outside: Outside) -> int:
    print(json.dumps(list(rows), indent=2), file=outside.out)
    return 0


def _summed(count: int, one: str, many: str, outside: Outside) -> int:
    print(f"{count or 'no'} {one if count == 1 else many}", file=outside.err)
    return 0


def _note(options: argparse.Namespace, outside: Outside) -> str:
    note = f"dropped by hand at {outside.now():%Y-%m-%d %H:%M} UTC"
    text: str = options.note.replace("\0", "")
    return f"{note}: {text}" if text else note


def _unknown(says: str, outside: Outside) -> int:
    print(f"muster: {says}", file=outside.err)
    return 1
