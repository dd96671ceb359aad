"""How much of a machine its host gives to others, which no clock of ours shows."""

from __future__ import annotations

import psutil


class Theft:
    """What the host of this machine gives to others from now on."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    @property
    def part(self) -> float:
        """The part of its processors, from 0 to 1; 0 where the host does not say."""
        before, after = self._before, psutil.cpu_times()
        passed = sum(after) - sum(before)
        return float(getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)) / passed if passed else 0.0
