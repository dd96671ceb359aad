"""What users read and copy of the actions follows from the files themselves.

The workflows to copy are our own: the same jobs, with the actions of a release.
Ours name the actions of this repository at this commit, `$/actions/...`, which is only known to GitHub itself and to no
Enterprise Server yet; theirs name a repository and a commit.  Nothing else differs, and `make docs` writes them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.policy_page import table

ROOT = Path(__file__).parent.parent
OURS = ROOT / ".github" / "workflows"
COPIES = "docs/actions"
ACTIONS = ("triage", "sweep", "postmortem", "check-policy", "report")
"""In the order in which one meets them."""
OWNER = "OWNER/muster"
"""Where a user's copy finds Muster; the page beside says how both names are filled in."""
COMMIT = "0" * 40
"""No commit has this name, so that a copy whose pins nobody filled in fails, instead of running something else."""
_HEAD = """\
# Copy this file to .github/workflows/.  OWNER/muster and the forty zeros become the repository and the commit of the
# release that you take: docs/actions/README.md has one command for it, and says what each permission is for.
"""
_OUR_HEAD = re.compile(r"\A# Muster looks after its own incidents.*\n")
_OURS = re.compile(r"uses: \$/actions/([a-z-]+)$", re.MULTILINE)


def copies() -> dict[str, str]:
    """Each workflow to copy, by its path."""
    return {f"{COPIES}/{path.name}": copied(path.read_text("utf-8")) for path in sorted(OURS.glob("incident*.yml"))}


def copied(text: str) -> str:
    """One of our workflows as a user has it."""
    pinned = rf"uses: {OWNER}/actions/\1@{COMMIT} # v{version()}"
    return _OURS.sub(pinned, _OUR_HEAD.sub(_HEAD, text))


def version() -> str:
    """The release that is being made."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def actions_page() -> Iterator[str]:
    """What each action takes and gives, by its own file."""
    yield "# Actions\n"
    yield (
        "Muster inside GitHub Actions, without a server: five composite actions on the same rules as the app.\n"
        "[docs/actions](../docs/actions/README.md) has the workflows to copy, and says what they need and what they cannot "
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
        yield table(("Input", "Means", "Without it"), (_input(*one) for one in action["inputs"].items()))
        yield table(("Output", "Means"), ((f"`{key}`", one["description"]) for key, one in action["outputs"].items()))


def _input(name: str, one: Mapping[str, Any]) -> tuple[str, str, str]:
    default = str(one.get("default") or "")
    known = {"": "nothing", "${{ github.token }}": "the token of the run"}
    return f"`{name}`", str(one["description"]), known.get(default, f"`{default}`")
