"""Shows the demo in the terminal."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from app.core.clocks import deadlines
from app.core.incident import Incident
from app.core.policy import Policy
from app.render.time_format import format_timedelta
from app.sandbox.demo.play import START, Line, Played, play
from app.sandbox.demo.stage import Stage

_LINE_PAUSE_SECONDS = 0.5
"""Pause between two lines on a terminal; there is none when the output goes to a file."""


def demo(*, stay: bool, as_json: bool) -> int:
    """Play the demo and print it; return exit code 0 when it was played to its end."""
    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    if as_json:
        played = play()
        print(json.dumps(_to_json(played), ensure_ascii=False, indent=2))
        return 0
    watched = console.is_terminal
    console.print(Rule("[bold]Muster: one incident, from the report to the merged postmortem"))
    console.print("Starting PostgreSQL, the app and a pretend GitHub on this machine …\n")
    started = time.monotonic()
    with Live(console=console, refresh_per_second=8, transient=True) if watched else nullcontext() as live:

        def on_line(line: Line, on: Stage, number: int) -> None:
            console.print(_format_line(line), soft_wrap=not watched)
            if line.who == "jonas":
                console.print(f"{'':20}in a browser: {on.github.url}/{on.shop.full_name}/issues/{number}", style="dim")
            if live is not None:
                live.update(_board_panel(on, number))
                time.sleep(_LINE_PAUSE_SECONDS)

        play(
            on_line,
            lambda on, played: _print_result(console, on, played, time.monotonic() - started, live, stay=stay),
            refresh=3 if stay else None,
        )
    return 0


def _format_line(line: Line) -> Text:
    minutes = int((line.at - START).total_seconds() // 60)
    text = Text(f"{line.at:%H:%M} UTC  +{minutes:>2} min  ", style="dim")
    text.append(f"{line.who or 'Muster':<7}", style="bold cyan" if line.who else "bold magenta")
    text.append(" " + line.text)
    return text


def _board_panel(on: Stage, number: int) -> Panel | Text:
    incident = on.incident(number)
    return (
        Panel(_deadline_table(incident, on.policy(), on.clock()), title=f"{incident.id} as the board shows it")
        if incident
        else Text()
    )


def _deadline_table(incident: Incident, policy: Policy, now: datetime) -> Group:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("promise", "due", "left"):
        table.add_column(heading)
    for promise in deadlines(incident, policy):
        kept = "missed" if promise.is_breached(incident) else "kept"
        left = kept if promise.met_at or promise.due <= now else format_timedelta(promise.due - now)
        table.add_row(f"{promise.clock} {promise.about}".strip(), f"{promise.due:%H:%M} UTC", left)
    head = f"[bold]{incident.severity}[/] · {incident.status} · {incident.commander or 'nobody has it yet'} · now {now:%H:%M} UTC"
    return Group(Text.from_markup(head), table)


def _print_result(
    console: Console, on: Stage, played: Played, seconds: float, live: Live | None, *, stay: bool
) -> None:
    if live is not None:
        live.stop()
    console.print()
    console.print(Rule("The board, as it stands on the issue"))
    _print_markdown(console, played.board)
    console.print(Rule("The postmortem, as it was merged"))
    _print_markdown(console, played.postmortem)
    console.print(Rule("The check on the pull request that changes the policy"))
    _print_markdown(console, _visible_sections(played.check))
    console.print(Rule())
    console.print(
        f"{int(played.took.total_seconds() // 60)} minutes of a night in {seconds:.0f} seconds · {len(played.notices)} comments beside the board"
        f" · {played.calls} API calls, {played.calls_to_board} from the report to the board"
    )
    if stay:
        console.print(
            f"The issue:      {played.issue_url}\nThe postmortem: {played.pull_url}\nThe new policy: {played.policy_url}\n"
            "Serving until Ctrl-C …"
        )
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.print("Good night.")
    else:
        console.print("To look at the issue and the pull requests in a browser: make demo STAY=1")


def _visible_sections(summary: str) -> str:
    """Return the sections of a check that a terminal can show, without those that fold open in a browser."""
    sections = summary.split("\n### ")
    return "\n### ".join(section for section in sections if "<details>" not in section)


def _print_markdown(console: Console, text: str) -> None:
    """Print Markdown, rendered on a terminal and plain into a file, without the board's signed marker."""
    shown = "\n".join(line for line in text.splitlines() if not line.startswith("<!-- muster:"))
    if console.is_terminal:
        console.print(Markdown(shown))
    else:
        console.print(shown, markup=False, soft_wrap=True)


def _to_json(played: Played) -> dict[str, object]:
    return {
        "incident": {
            "issue": played.number,
            "board": played.board,
            "notices": played.notices,
            "postmortem": played.postmortem,
        },
        "policy_check": {"title": played.check_title, "summary": played.check},
        "lines": [{"at": line.at.isoformat(), "who": line.who or "muster", "text": line.text} for line in played.lines],
        "api_calls": {"to_board": played.calls_to_board, "whole_life": played.calls},
        "minutes": int(played.took.total_seconds() // 60),
    }
