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
from app.store.dead_letters import DeadDelivery, DeadOutboxItem
from app.text import make_visible

_MAX_SHOWN_BYTES = 20_000
"""How many bytes of a delivery are shown, unless all are requested."""
_MAX_REASON_CHARACTERS = 100


@dataclass(frozen=True)
class DeadLetterContext:
    """What a command may use: the database, the clock, and the output streams."""

    database: Database
    clock: Callable[[], datetime]
    out: TextIO = sys.stdout
    err: TextIO = sys.stderr


_CommandFunction = Callable[[argparse.Namespace, DeadLetterContext], int]


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Ends the process with status 2 if it is wrong, with 0 after `--help`.
    """
    return _build_parser().parse_args(arguments)


def run_command(options: argparse.Namespace, context: DeadLetterContext) -> int:
    """Run one command; return 0 for success, 1 if there is no such dead letter."""
    command: _CommandFunction = options.run
    return command(options, context)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muster", description="What was set aside for a person.")
    groups = parser.add_subparsers(metavar="COMMAND", required=True)
    inbox = groups.add_parser("inbox", help="deliveries that nobody could read")
    inboxes = inbox.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_json_option(inboxes.add_parser("list", help="say which wait, since when and why"), _inbox_list)
    show = inboxes.add_parser("show", help="print one, harmless on any terminal")
    show.add_argument("guid", metavar="GUID")
    show.add_argument(
        "--all", action="store_true", help=f"print all of it, not only the first {_MAX_SHOWN_BYTES} bytes"
    )
    _add_json_option(show, _inbox_show)
    retry = inboxes.add_parser("retry", help="put one back, to be worked off again")
    retry.add_argument("guid", metavar="GUID")
    retry.set_defaults(run=_inbox_retry)
    drop = inboxes.add_parser("drop", help="settle one: nothing is done about it")
    drop.add_argument("guid", metavar="GUID")
    drop.add_argument("--note", default="", metavar="TEXT", help="why, for those who come after you")
    drop.set_defaults(run=_inbox_drop)
    outbox = groups.add_parser("outbox", help="orders that the other side refused")
    outboxes = outbox.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_json_option(outboxes.add_parser("list", help="say which wait, since when and why"), _outbox_list)
    retry = outboxes.add_parser("retry", help="carry one out after all")
    retry.add_argument("number", type=int, metavar="NUMBER")
    retry.set_defaults(run=_outbox_retry)
    drop = outboxes.add_parser("drop", help="settle one: it is not carried out")
    drop.add_argument("number", type=int, metavar="NUMBER")
    drop.add_argument("--note", default="", metavar="TEXT", help="why, for those who come after you")
    drop.set_defaults(run=_outbox_drop)
    return parser


def _add_json_option(parser: argparse.ArgumentParser, run: _CommandFunction) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def _inbox_list(options: argparse.Namespace, context: DeadLetterContext) -> int:
    with context.database.transaction() as db:
        found = dead_letters.list_dead_deliveries(db)
    if options.json:
        return _print_json([_to_json_row(delivery) for delivery in found], context)
    for one in found:
        print(_format_delivery(one), file=context.out)
    return _print_count(len(found), "delivery waits", "deliveries wait", context)


def _inbox_show(options: argparse.Namespace, context: DeadLetterContext) -> int:
    with context.database.transaction() as db:
        found = [(one, dead_letters.load_body(db, one)) for one in dead_letters.list_dead_deliveries(db, options.guid)]
    if not found:
        return _print_unknown(f"no parked delivery is called {make_visible(options.guid)}: muster inbox list", context)
    if options.json:
        return _print_json(
            [{**_to_json_row(one), "body": body.decode("utf-8", "backslashreplace")} for one, body in found], context
        )
    for one, body in found:
        print(_format_delivery(one), file=context.out)
        print(escape_payload(body if options.all else body[:_MAX_SHOWN_BYTES]), file=context.out)
        if not options.all and len(body) > _MAX_SHOWN_BYTES:
            print(f"({len(body) - _MAX_SHOWN_BYTES} more bytes: --all)", file=context.out)
    return 0


def _inbox_retry(options: argparse.Namespace, context: DeadLetterContext) -> int:
    with context.database.transaction() as db:
        count = dead_letters.retry_delivery(db, options.guid)
    if not count:
        return _print_unknown(f"no parked delivery is called {make_visible(options.guid)}: muster inbox list", context)
    print(f"{make_visible(options.guid)} is put back: a worker takes it within a few seconds", file=context.out)
    return 0


def _inbox_drop(options: argparse.Namespace, context: DeadLetterContext) -> int:
    with context.database.transaction() as db:
        count = dead_letters.drop_delivery(db, options.guid, _drop_note(options, context))
    if not count:
        return _print_unknown(f"no parked delivery is called {make_visible(options.guid)}: muster inbox list", context)
    print(f"{make_visible(options.guid)} is settled: nothing is done about it", file=context.out)
    return 0


def _outbox_list(options: argparse.Namespace, context: DeadLetterContext) -> int:
    with context.database.transaction() as db:
        found = dead_letters.list_dead_outbox_items(db)
    if options.json:
        return _print_json([_to_json_row(letter) for letter in found], context)
    for one in found:
        where = f"{make_visible(one.repo) or 'an unknown repository'}#{one.issue}"
        tried = f"tried {one.tries} time{'' if one.tries == 1 else 's'}"
        print(
            f"{one.number}  {one.created_at:%Y-%m-%d %H:%M:%S} "
            f"UTC  {where}  {one.kind} {make_visible(one.key)}  {tried}"
            f"  {make_visible(one.why, _MAX_REASON_CHARACTERS)}",
            file=context.out,
        )
    return _print_count(len(found), "order waits", "orders wait", context)


def _outbox_retry(options: argparse.Namespace, context: DeadLetterContext) -> int:
    with context.database.transaction() as db:
        exists = dead_letters.retry_outbox_item(db, options.number, context.clock())
    if not exists:
        return _print_unknown(f"no dead letter has the number {options.number}: muster outbox list", context)
    print(f"{options.number} is put back: a worker looks whether it was done, and does it if not", file=context.out)
    return 0


def _outbox_drop(options: argparse.Namespace, context: DeadLetterContext) -> int:
    with context.database.transaction() as db:
        exists = dead_letters.drop_outbox_item(db, options.number, _drop_note(options, context))
    if not exists:
        return _print_unknown(f"no dead letter has the number {options.number}: muster outbox list", context)
    print(f"{options.number} is settled: it is not carried out", file=context.out)
    return 0


def escape_payload(body: bytes) -> str:
    """Return a payload as printable ASCII, indented if it is JSON, so that it cannot control a terminal."""
    try:
        text = json.dumps(json.loads(body, object_pairs_hook=_reject_duplicate_keys), indent=2)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "backslashreplace")
    return "".join(char if char == "\n" or " " <= char <= "~" else ascii(char)[1:-1] for char in text)


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object, or raise ValueError if a key occurs twice.

    Such a payload is shown as received, since the duplicate may be what is wrong with it.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _format_delivery(delivery: DeadDelivery) -> str:
    tried = f"tried {delivery.tries} time{'' if delivery.tries == 1 else 's'}"
    return (
        f"{make_visible(delivery.guid, 100)}  "
        f"{delivery.received_at:%Y-%m-%d %H:%M:%S} UTC  {make_visible(delivery.event)}  {delivery.bytes} bytes"
        f"  {tried}  {make_visible(delivery.why, _MAX_REASON_CHARACTERS)}"
    )


def _to_json_row(letter: DeadDelivery | DeadOutboxItem) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(letter).items()}


def _print_json(rows: Iterable[dict[str, Any]], context: DeadLetterContext) -> int:
    print(json.dumps(list(rows), indent=2), file=context.out)
    return 0


def _print_count(count: int, singular: str, plural: str, context: DeadLetterContext) -> int:
    print(f"{count or 'no'} {singular if count == 1 else plural}", file=context.err)
    return 0


def _drop_note(options: argparse.Namespace, context: DeadLetterContext) -> str:
    note = f"dropped by hand at {context.clock():%Y-%m-%d %H:%M} UTC"
    text: str = options.note.replace("\0", "")
    return f"{note}: {text}" if text else note


def _print_unknown(message: str, context: DeadLetterContext) -> int:
    print(f"muster: {message}", file=context.err)
    return 1
