"""Severities, from sev1 (the worst) to sev4, and the two naming scales."""

from __future__ import annotations

from enum import Enum, IntEnum


class Severity(IntEnum):
    """A severity; sev1 is the worst.  A smaller number is a higher severity, so `min` is "the higher of"."""

    SEV1 = 1
    SEV2 = 2
    SEV3 = 3
    SEV4 = 4

    def __str__(self) -> str:
        return f"sev{self.value}"

    def display_name(self, scale: Scale) -> str:
        """Return the name on that scale for titles and labels: sev1 is `SEV1` on one and `P0` on the other."""
        return f"P{self.value - 1}" if scale is Scale.P else f"SEV{self.value}"

    def inline_name(self, scale: Scale) -> str:
        """Return the name on that scale as it stands inside a sentence: `sev1`, or `P0`."""
        return f"P{self.value - 1}" if scale is Scale.P else str(self)


class Scale(Enum):
    """The severity names a team uses.

    003's "Priority 1" is sev1 and 004's "P1" is sev2, so a name is read on one scale only.
    """

    SEV = "sev"
    P = "p"

    def parse(self, name: str) -> Severity | None:
        """Return the severity that `name` has on this scale, or None; a name of the other scale is never guessed.

        The names are an allow list, compared in ASCII lower case without any folding of look-alike characters.
        """
        return _NAMES[self].get(name.lower()) if name.isascii() else None


def _sev_names(severity: Severity) -> tuple[str, ...]:
    n = severity.value
    return (f"sev{n}", f"sev-{n}", f"sev {n}", f"severity {n}", f"s{n}")


def _p_names(severity: Severity) -> tuple[str, ...]:
    n = severity.value - 1
    return (f"p{n}", f"p-{n}", f"p {n}", f"priority {n}", f"sev{n + 1}")


_NAMES: dict[Scale, dict[str, Severity]] = {
    Scale.SEV: {name: severity for severity in Severity for name in _sev_names(severity)},
    Scale.P: {name: severity for severity in Severity for name in _p_names(severity)},
}
