"""The workflows that users copy follow from our own: the same jobs, with the actions of a release.

Ours name the actions of this repository at this commit, `$/actions/...`, which is only known to GitHub itself and to no
Enterprise Server yet; theirs name a repository and a commit.  Nothing else differs, and `make docs` writes them.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
OURS = ROOT / ".github" / "workflows"
COPIES = "docs/actions"
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
