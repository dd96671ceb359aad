"""Take the picture for the README: the demo's issue in a real browser, seven minutes into the incident.

Needs Chromium on the PATH; `python -m tools.picture` writes docs/images/issue.png.  With a folder as argument it writes
pictures of the acknowledged and the final issue, the pull request and the postmortem there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from app.sandbox.demo import DemoResult, play
from app.sandbox.demo.play import StoryLine
from app.sandbox.demo.stage import Stage

_PICTURE_PATH = Path("docs/images/issue.png")
_WIDTH_PX, _TOP_PX, _HEIGHT_PX, _CROP_WIDTH_PX = 1180, 1504, 1120, 900
"""Width of the page, where the report ends, and height and width of the part that is shown."""
_TRIGGER_TEXT = "the paging stops"
"""The picture is taken at the line of the demo that begins with this text."""
_CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def _take_screenshot(url: str, path: Path, size: str) -> None:
    """Take a screenshot of a page; `size` is width and height in pixels, separated by a comma."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                "chromium",
                *_CHROMIUM_FLAGS,
                f"--user-data-dir={profile}",
                f"--window-size={size}",
                f"--screenshot={path}",
                url,
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )


def _take_cropped_screenshot(url: str, path: Path) -> None:
    """Take a screenshot of the part of the page below the report.

    Chromium cannot crop: the whole page is taken first, then a page that shows a part of that picture.
    """
    with tempfile.TemporaryDirectory() as name:
        whole, frame = Path(name) / "whole.png", Path(name) / "frame.html"
        _take_screenshot(url, whole, f"{_WIDTH_PX},{_TOP_PX + _HEIGHT_PX}")
        style = f"margin:0;width:{_WIDTH_PX}px;height:{_HEIGHT_PX}px;background:url(whole.png) 0 -{_TOP_PX}px"
        frame.write_text(f'<body style="{style}"></body>')
        _take_screenshot(frame.as_uri(), path, f"{_CROP_WIDTH_PX},{_HEIGHT_PX}")


def main() -> None:
    """Play the demo and take the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None

    def capture_acknowledged(line: StoryLine, stage: Stage, number: int) -> None:
        if line.text.startswith(_TRIGGER_TEXT):
            issue = f"{stage.github.url}/{stage.shop.full_name}/issues/{number}"
            _take_cropped_screenshot(issue, folder / "acked.png" if folder else _PICTURE_PATH)

    def capture_results(stage: Stage, result: DemoResult) -> None:
        if folder:
            _take_screenshot(result.issue_url, folder / "issue.png", "1180,3600")
            _take_screenshot(result.pull_url, folder / "pull.png", "1180,2600")
            files = f"{stage.github.url}/{stage.shop.full_name}/blob/main"
            path = f"{files}/docs/incidents/postmortems/2026/INC-2026-0314-001.md"
            _take_screenshot(path, folder / "postmortem.png", "1180,3600")

    play(capture_acknowledged, capture_results)


if __name__ == "__main__":
    main()
