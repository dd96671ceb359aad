"""Measure CPU steal: processor time that the host gives to other machines, which no clock of ours shows."""

from __future__ import annotations

import psutil


class CpuStealMeter:
    """A meter of CPU steal since its creation."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    @property
    def fraction(self) -> float:
        """The stolen fraction of the processor time, from 0 to 1; 0 where the host does not report it."""
        before, after = self._before, psutil.cpu_times()
        elapsed = sum(after) - sum(before)
        return float(getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)) / elapsed if elapsed else 0.0
