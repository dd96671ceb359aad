"""Fail points: places at which a test may kill the process.

`FAILPOINT=after_commit:2` ends it when it reaches that place for the second time.  Without the setting a fail point
costs one dictionary lookup.
"""

from __future__ import annotations

import os
from collections.abc import Callable


class Failpoints:
    """The fail point `name:nth` of the environment; `on_reach` is called there, and ends the process by default."""

    def __init__(self, setting: str = "", on_reach: Callable[[], None] = lambda: os._exit(137)) -> None:
        name, _, nth = setting.partition(":")
        self._remaining_passes = {name: int(nth or "1")} if name else {}
        self._on_reach = on_reach

    def reach(self, name: str) -> None:
        """Count a pass of this fail point, and end the process at the configured one."""
        if name not in self._remaining_passes:
            return
        self._remaining_passes[name] -= 1
        if self._remaining_passes[name] <= 0:
            self._on_reach()
