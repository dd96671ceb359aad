"""Places at which a test may kill the process: `FAILPOINT=after_commit:2` ends it at the second time it passes there.

Without the setting a failpoint costs one look at a dictionary.
"""

from __future__ import annotations

import os
from collections.abc import Callable


class Failpoints:
    """`name:nth` from the environment; `end` is what happens there."""

    def __init__(self, setting: str = "", end: Callable[[], None] = lambda: os._exit(137)) -> None:
        name, _, nth = setting.partition(":")
        self._left = {name: int(nth or "1")} if name else {}
        self._end = end

    def reach(self, name: str) -> None:
        """Pass this place; the last time that was allowed, the process ends here."""
        if name not in self._left:
            return
        self._left[name] -= 1
        if self._left[name] <= 0:
            self._end()
