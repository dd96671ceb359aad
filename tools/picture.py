"""The picture in the README: the issue of the real demo, in a real browser, seven minutes into the night.

Needs Chromium on the PATH; `python -m tools.picture` writes docs/images/issue.png.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from app.demo import Played, play
from app.demo.play import Line
from app.demo.stage import Stage

_PICTURE = Path("docs/images/issue.png")
_MOMENT = "the paging stops"
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    " --disable-sync --hide-scrollbars"
).split()


def _take(url: str, path: Path, size: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            ["chromium", *_FLAGS, f"--user-data-dir={profile}", f"--window-size={size}", f"--screenshot={path}", url],
            check=True,
            stderr=subprocess.DEVNULL,
        )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None

    def tell(line: Line, on: Stage, number: int) -> None:
        if line.text.startswith(_MOMENT):
            _take(f"{on.github.url}/{on.shop.full_name}/issues/{number}", folder / "acked.png" if folder else _PICTURE, "1180,1500")

    def then(on: Stage, played: Played) -> None:
        if folder:
            _take(played.issue_url, folder / "issue.png", "1180,3600")
            _take(played.pull_url, folder / "pull.png", "1180,2600")
            path = f"{on.github.url}/{on.shop.full_name}/blob/main/docs/incidents/postmortems/2026/INC-2026-0314-001.md"
            _take(path, folder / "postmortem.png", "1180,3600")

    play(tell, then)


if __name__ == "__main__":
    main()
