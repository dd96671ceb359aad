"""Generate the pages that follow from the code: `make docs` writes them, and a test fails when they are stale."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from app.core.commands import COMMANDS
from app.core.lifecycle import TABLE, Status
from app.policy_file import schema
from tools.architecture_page import architecture_page
from tools.policy_page import markdown_table, policy_page
from tools.workflows import actions_page, workflow_copies

ROOT = Path(__file__).parent.parent
_GENERATED_NOTICE = "<!-- Printed from the code by `make docs`. -->\n"


def main() -> None:
    """Write the pages that have changed and print their paths."""
    for path, text in generate_pages().items():
        file = ROOT / path
        if not file.exists() or file.read_text("utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            sys.stdout.write(f"{path}\n")


def generate_pages() -> dict[str, str]:
    """Return every generated page by its path."""
    return {
        "docs/architecture.md": _join_page(architecture_page()),
        "docs/commands.md": _join_page(_commands_page()),
        "docs/lifecycle.md": _join_page(_lifecycle_page()),
        "docs/policy.md": _join_page(policy_page()),
        "docs/policy.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        "actions/README.md": _join_page(actions_page()),
        **workflow_copies(),
    }


def _join_page(parts: Iterator[str]) -> str:
    return "\n".join((_GENERATED_NOTICE, *parts)).rstrip() + "\n"


# Commands.


def _commands_page() -> Iterator[str]:
    yield "# Commands\n"
    yield (
        "Write a command at the start of a line, in a new comment on the issue. Several may stand in one comment, each "
        "on its own line. In code, in a quote or in an edited comment it is only text.\n"
    )
    yield (
        "A command that was obeyed gets a reaction. One that "
        "was refused gets a reply that says what was found and what "
        "would have worked.\n"
    )
    rows = ((f"`{c.usage}`", c.summary, c.role.name.lower()) for c in COMMANDS.values())
    yield markdown_table(("Write", "It will", "Who may: at least"), rows)
    yield (
        "Some labels do the same: a severity label is "
        "`/severity`, `escalate` is `/escalate`, `acknowledged` is `/ack`, "
        "`mitigated` is `/status mitigated`, and `resolved` is `/resolve`.\n"
    )


# Lifecycle.


def _lifecycle_page() -> Iterator[str]:
    yield "# The way of an incident\n"
    yield (
        "Every change of status is one of these arrows, and nothing else changes a status. Acting on an incident takes "
        f"it, so work may start from `{Status.TRIGGERED}` without an acknowledgement of its own.\n"
    )
    yield "```mermaid\nstateDiagram-v2\n    [*] --> open\n    state open {"
    yield f"        [*] --> {Status.TRIGGERED}"
    inside, outside = _list_transitions()
    yield from (f"        {arrow}" for arrow in inside)
    yield "    }"
    yield from (f"    {arrow}" for arrow in outside)
    yield f"    {Status.CLOSED} --> [*]\n```\n"
    yield "Where each action leads, from each status:\n"
    rows = (
        (f"**{status}**", *(str(targets[status]) if status in targets else "–" for targets in TABLE.values()))
        for status in Status
    )
    yield markdown_table(("", *TABLE), rows)


def _list_transitions() -> tuple[list[str], list[str]]:
    """List the transitions among the open statuses, and all others, as lines of Mermaid.

    A transition that starts from every open status is drawn once, from the group.
    """
    open_statuses = [status for status in Status if status.open]
    inside, outside = [], []
    for action, targets in TABLE.items():
        from_every_open = all(start in targets and not targets[start].open for start in open_statuses)
        if from_every_open:
            outside.append(f"open --> {targets[open_statuses[0]]}: {action}")
        for start, end in targets.items():
            if start.open and end.open:
                inside.append(f"{start} --> {end}: {action}")
            elif not (from_every_open and start.open):
                outside.append(f"{start} --> {'open' if end is Status.TRIGGERED else end}: {action}")
    return inside, outside


if __name__ == "__main__":
    main()
