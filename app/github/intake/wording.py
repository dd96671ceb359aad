"""Word lists of `data/wording.yml`, with which answers are recognised.

Words are in lower case; the order of the rows matters.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

import yaml

from app.core.incident_report import Exposure, Kind, Source
from app.core.severity import Severity

# The C loader gives the same result ten times as fast, and every start reads this file.
_LOADER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_TABLES: Final[dict[str, Any]] = yaml.load(
    files("app.github").joinpath("data/wording.yml").read_text("utf-8"),
    Loader=_LOADER,  # noqa: S506  both loaders are safe ones
)

HEADINGS: Final[dict[str, str]] = {
    words: name for name, rows in _TABLES["headings"].items() for row in rows.values() for words in row
}
"""Maps a heading to the report field that it asks for."""
HEADING_KEYWORDS: Final[list[str]] = _TABLES["inside_headings"]
DAY_FIRST_HEADINGS: Final = frozenset(
    words for name in ("started_at", "detected_at") for words in _TABLES["headings"][name]["others"]
)
"""Headings whose dates have the day first: 03/11 is the third of November."""

SEVERITIES: Final[dict[Severity, list[str]]] = {
    Severity[name.upper()]: row for name, row in _TABLES["severities"].items()
}
UNSURE_WORDS: Final[list[str]] = _TABLES["unsure"]
KINDS: Final[dict[Kind, list[str]]] = {Kind(name): row for name, row in _TABLES["kinds"].items()}
SOURCES: Final[dict[Source, list[str]]] = {Source(name): row for name, row in _TABLES["sources"].items()}
EXPOSURES: Final[dict[Exposure, list[str]]] = {Exposure(name): row for name, row in _TABLES["exposures"].items()}
OTHER_WORDS: Final[tuple[str, ...]] = tuple(_TABLES["other"])

MONTHS: Final[dict[str, str]] = {words: month for month, row in _TABLES["months"].items() for words in row}
"""Maps a month's name in any language to `jan`, `feb`, ..."""
NOW_WORDS: Final = frozenset(_TABLES["now"])
RELATIVE_DAYS: Final[dict[int, list[str]]] = {0: _TABLES["today"], 1: _TABLES["yesterday"]}
"""Maps a number of days back to the words for that day."""
ZONE_OFFSET_SECONDS: Final[dict[str, int]] = {
    name.lower(): int(float(hours) * 3600) for hours, names in _TABLES["zones"].items() for name in names
}
"""Maps a zone abbreviation to seconds east of UTC."""
MONTH_FIRST_ZONES: Final = frozenset(_TABLES["month_first_in"])
