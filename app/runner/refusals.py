"""Say what GitHub refused about the postmortem, and what would work."""

from __future__ import annotations

from collections.abc import Callable

RefusalHint = Callable[[str], str]
"""Returns a sentence that says what would work, for the text of a refusal."""

_MAX_REASON_CHARACTERS = 110
_ACTIONS_MAY_NOT_OPEN = "not permitted to create or approve pull requests"


def find_hint(refusal: str) -> str:
    """Return what would work after GitHub refused the postmortem's branch, file or pull request."""
    if _ACTIONS_MAY_NOT_OPEN in refusal:
        return (
            "Tick Settings → Actions → General → Workflow permissions →"
            ' "Allow GitHub Actions to create and approve pull requests".'
        )
    return "The rules of the repository have to allow this branch, its file and its pull request."


def describe_refusal(refusal: str, hint: RefusalHint) -> str:
    """Say that the pull request was refused, why, and what would work, briefly enough for the board."""
    _, _, reason = refusal.rpartition("GitHub answered ")
    if len(reason) > _MAX_REASON_CHARACTERS:
        reason = f"{reason[: _MAX_REASON_CHARACTERS - 1]}…"
    return (
        f"The postmortem's pull request was refused: {reason.rstrip('.')}. {hint(refusal)} The next sweep tries again."
    )
