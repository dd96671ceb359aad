"""Generate the workflows that users copy and the page of the actions, from our own files.

The copies are our own workflows, the same jobs, with the actions of a release.  Ours name the actions of this
repository at this commit, `$/actions/...`, which github.com supports and no Enterprise Server does yet; the copies name
a repository and a commit.  Nothing else differs, and `make docs` writes them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.policy_page import markdown_table

ROOT = Path(__file__).parent.parent
OUR_WORKFLOWS = ROOT / ".github" / "workflows"
COPIES_PATH = "docs/actions"
ACTIONS = ("triage", "sweep", "postmortem", "check-policy", "report")
"""The actions, in the order in which a user meets them."""
OWNER_PLACEHOLDER = "OWNER/muster"
"""Where a copy finds Muster; docs/actions/README.md says how both placeholders are filled in."""
COMMIT_PLACEHOLDER = "0" * 40
"""No commit has this name, so a copy with unfilled pins fails instead of running something else."""
_COPY_HEADER = """\
# Copy this file to .github/workflows/.  OWNER/muster and the forty zeros become the repository and the commit of the
# release that you take: docs/actions/README.md has one command for it, and says what each permission is for.
"""
"""The header that a copy has instead of ours."""
_OUR_HEADER = re.compile(r"\A# Muster looks after its own incidents.*\n")
_OUR_ACTION = re.compile(r"uses: \$/actions/([a-z-]+)$", re.MULTILINE)


def workflow_copies() -> dict[str, str]:
    """Return each workflow to copy by its path."""
    return {
        f"{COPIES_PATH}/{path.name}": convert_workflow(path.read_text("utf-8"))
        for path in sorted(OUR_WORKFLOWS.glob("incident*.yml"))
    }


def convert_workflow(text: str) -> str:
    """Convert one of our workflows to the copy for users."""
    pinned = rf"uses: {OWNER_PLACEHOLDER}/actions/\1@{COMMIT_PLACEHOLDER} # v{release_version()}"
    return _OUR_ACTION.sub(pinned, _OUR_HEADER.sub(_COPY_HEADER, text))


def release_version() -> str:
    """Return the version of the release that is being made."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def actions_page() -> Iterator[str]:
    """Yield the page of the inputs and outputs of each action, from its `action.yml`."""
    yield "# Actions\n"
    yield (
        "Muster inside GitHub Actions, without a server: five composite actions on the same rules as the app.\n"
        "[docs/actions](../docs/actions/README.md) has the "
        "workflows to copy, and says what they need and what they cannot "
        "do.\n"
    )
    yield (
        "They run on Linux and macOS, need Python 3.11 to 3.13 or fetch one, and install the wheels that\n"
        "[requirements/actions.txt](../requirements/actions.txt) names by their hashes: once, into the cache of the "
        "repository.\n"
    )
    for name in ACTIONS:
        action = yaml.safe_load((ROOT / "actions" / name / "action.yml").read_text("utf-8"))
        yield f"## {name}\n"
        yield f"{action['description']}\n"
        yield markdown_table(("Input", "Means", "Without it"), (_input_row(*one) for one in action["inputs"].items()))
        yield markdown_table(
            ("Output", "Means"), ((f"`{key}`", one["description"]) for key, one in action["outputs"].items())
        )


def _input_row(name: str, declaration: Mapping[str, Any]) -> tuple[str, str, str]:
    default = str(declaration.get("default") or "")
    known = {"": "nothing", "${{ github.token }}": "the token of the run"}
    return f"`{name}`", str(declaration["description"]), known.get(default, f"`{default}`")
