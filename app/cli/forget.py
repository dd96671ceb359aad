"""`muster forget`: erase at once what is stored of a repository, or of one issue."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict

from app.ports import IncidentKey
from app.store import tombstones
from app.store.tombstones import Erased
from app.text import make_visible
from app.worker.context import WorkerContext
from app.worker.monitoring.erasure import erase_issue

_MAX_NAME_CHARACTERS = 200


class ForgetError(Exception):
    """Nothing was erased; the message says why, and what would work."""


class ConfirmationMissing(ForgetError):
    """Nobody can be asked whether to erase, and `--yes` was not given."""


def run_forget(
    ctx: WorkerContext, repo: str, issue: int | None, *, yes: bool, as_json: bool, ask: Callable[[str], str] | None
) -> int:
    """Erase, print what was erased, and return 0; `ask` puts a question to the person, None: there is no terminal.

    Raises ForgetError.
    """
    repo_id, name = _find_repository(ctx, repo)
    shown = f"{name}#{issue}" if issue is not None else name
    if not yes:
        _confirm(shown, ask)
    erased, incidents = _erase_issue(ctx, repo_id, issue) if issue is not None else _erase_repository(ctx, repo_id)
    if as_json:
        print(json.dumps({"repository": name, "issue": issue, "erased": asdict(erased), "tombstones": incidents}))
    else:
        print(make_visible(_describe(shown, erased), _MAX_NAME_CHARACTERS + 400))
    return 0


def ask_on_terminal() -> Callable[[str], str] | None:
    """Return how to ask the person at the terminal; None if there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str) -> str:
        print(question, end="", file=sys.stderr, flush=True)  # stdout is for the result
        return sys.stdin.readline()

    return ask


def _find_repository(ctx: WorkerContext, repo: str) -> tuple[int, str]:
    with ctx.database.transaction() as db:
        found = tombstones.find_repositories(db, repo)
    shown = make_visible(repo, _MAX_NAME_CHARACTERS)
    if not found:
        raise ForgetError(f"{shown}: nothing is stored of a repository of that name; `muster state dump` lists them.")
    ids = {repo_id for repo_id, _ in found}
    if len(ids) > 1:
        numbers = ", ".join(str(repo_id) for repo_id in sorted(ids))
        raise ForgetError(
            f"{shown}: several repositories are known by that name: give --repo the id, one of {numbers}."
        )
    return found[0]


def _confirm(shown: str, ask: Callable[[str], str] | None) -> None:
    if ask is None:
        raise ConfirmationMissing(f"{shown}: this erases for good, and there is no terminal to ask: add --yes.")
    if ask(f"Erase all that is stored of {shown}, for good? Type 'yes': ").strip().lower() != "yes":
        raise ForgetError(f"{shown}: nothing was erased.")


def _erase_issue(ctx: WorkerContext, repo_id: int, number: int) -> tuple[Erased, int]:
    return erase_issue(ctx, IncidentKey(repo_id, number), "forgotten", ctx.clock()), 1


def _erase_repository(ctx: WorkerContext, repo_id: int) -> tuple[Erased, int]:
    """Erase the incidents, each with a tombstone, then all else; issues that were no incidents leave none."""
    with ctx.database.transaction() as db:
        incidents, others = tombstones.list_stored_numbers(db, repo_id)
    erased = Erased()
    for number in incidents:
        erased += erase_issue(ctx, IncidentKey(repo_id, number), "forgotten", ctx.clock())
    with ctx.database.transaction() as db:
        for number in others:
            erased += tombstones.delete_texts(db, IncidentKey(repo_id, number))
        erased += Erased(deliveries=tombstones.forget_repository(db, repo_id))
    return erased, len(incidents)


def _describe(shown: str, erased: Erased) -> str:
    counts = (
        (erased.incidents, "incident"),
        (erased.events, "event"),
        (erased.effects, "notice and other effect", "notices and other effects"),
        (erased.deliveries, "delivery", "deliveries"),
    )
    parts = [f"{count[0]} {count[1] if count[0] == 1 else (*count, count[1] + 's')[2]}" for count in counts]
    return (
        f"{shown} is forgotten: {', '.join(parts)} erased. What a regulation needs stays, as times and hashes."
        " What is on GitHub stays there; it is not read again."
    )
