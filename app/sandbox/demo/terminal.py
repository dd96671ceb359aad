"""Show the demo in the terminal."""

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
from app.sandbox.demo.play import START, DemoResult, StoryLine, play
from app.sandbox.demo.stage import Stage

_LINE_PAUSE_SECONDS = 0.5
"""Pause between two lines on a terminal; there is none when the output goes to a file."""


def demo(*, stay: bool, as_json: bool) -> int:
    """Play the demo and print it; return exit code 0 when it was played to its end."""
    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    if as_json:
        result = play()
        print(json.dumps(_to_json(result), ensure_ascii=False, indent=2))
        return 0
    is_terminal = console.is_terminal
    console.print(Rule("[bold]Muster: one incident, from the report to the merged postmortem"))
    console.print("Starting PostgreSQL, the app and a pretend GitHub on this machine …\n")
    started = time.monotonic()
    with Live(console=console, refresh_per_second=8, transient=True) if is_terminal else nullcontext() as live:

        def on_line(line: StoryLine, stage: Stage, number: int) -> None:
            console.print(_format_line(line), soft_wrap=not is_terminal)
            if line.actor == "jonas":
                console.print(
                    f"{'':20}in a browser: {stage.github.url}/{stage.shop.full_name}/issues/{number}", style="dim"
                )
            if live is not None:
                live.update(_board_panel(stage, number))
                time.sleep(_LINE_PAUSE_SECONDS)

        play(
            on_line,
            lambda on, played: _print_result(console, on, played, time.monotonic() - started, live, stay=stay),
            refresh=3 if stay else None,
        )
    return 0


def _format_line(line: StoryLine) -> Text:
    minutes = int((line.at - START).total_seconds() // 60)
    text = Text(f"{line.at:%H:%M} UTC  +{minutes:>2} min  ", style="dim")
    text.append(f"{line.actor or 'Muster':<7}", style="bold cyan" if line.actor else "bold magenta")
    text.append(" " + line.text)
    return text


def _board_panel(stage: Stage, number: int) -> Panel | Text:
    incident = stage.incident(number)
    return (
        Panel(_deadline_table(incident, stage.policy(), stage.clock()), title=f"{incident.id} as the board shows it")
        if incident
        else Text()
    )


def _deadline_table(incident: Incident, policy: Policy, now: datetime) -> Group:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("promise", "due", "left"):
        table.add_column(heading)
    for deadline in deadlines(incident, policy):
        outcome = "missed" if deadline.is_breached(incident) else "kept"
        time_left = outcome if deadline.met_at or deadline.due <= now else format_timedelta(deadline.due - now)
        table.add_row(f"{deadline.clock} {deadline.about}".strip(), f"{deadline.due:%H:%M} UTC", time_left)
    head = (
        f"[bold]{incident.severity}[/] · {incident.status} · {incident.commander or 'nobody has it yet'} · now "
        f"{now:%H:%M} UTC"
    )
    return Group(Text.from_markup(head), table)


def _print_result(
    console: Console, stage: Stage, result: DemoResult, seconds: float, live: Live | None, *, stay: bool
) -> None:
    if live is not None:
        live.stop()
    console.print()
    console.print(Rule("The board, as it stands on the issue"))
    _print_markdown(console, result.board)
    console.print(Rule("The postmortem, as it was merged"))
    _print_markdown(console, result.postmortem)
    console.print(Rule("The check on the pull request that changes the policy"))
    _print_markdown(console, _visible_sections(result.check))
    console.print(Rule())
    console.print(
        f"{int(result.duration.total_seconds() // 60)} minutes of a night in "
        f"{seconds:.0f} seconds · {len(result.notices)} comments beside the board"
        f" · {result.calls} API calls, {result.calls_to_board} from the report to the board"
    )
    if stay:
        console.print(
            f"The issue:      {result.issue_url}\nThe postmortem: "
            f"{result.pull_url}\nThe new policy: {result.policy_url}\n"
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


def _to_json(result: DemoResult) -> dict[str, object]:
    return {
        "incident": {
            "issue": result.number,
            "board": result.board,
            "notices": result.notices,
            "postmortem": result.postmortem,
        },
        "policy_check": {"title": result.check_title, "summary": result.check},
        "lines": [
            {"at": line.at.isoformat(), "who": line.actor or "muster", "text": line.text} for line in result.lines
        ],
        "api_calls": {"to_board": result.calls_to_board, "whole_life": result.calls},
        "minutes": int(result.duration.total_seconds() // 60),
    }
