"""Colours: labels that stay readable on light and dark pages, and avatars made of initials."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable
from html import escape

from app.sandbox.github.world import Account

AVATAR_COLORS = ("0969da", "1a7f37", "8250df", "bf3989", "bc4c00", "9a6700", "0a7d91", "57606a", "cf222e", "4b5bd1")


def label_css(colors: Iterable[str]) -> str:
    """Return one CSS rule for each colour, with custom properties for the light and the dark theme."""
    return "\n".join(_label_rule(color) for color in dict.fromkeys(colors)) + "\n"


def _label_rule(color: str) -> str:
    red, green, blue = (int(color[at : at + 2], 16) for at in (0, 2, 4))
    bright = (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255
    ink = "#1f2328" if bright > 0.5 else "#fff"
    hue, light, strong = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
    pale = colorsys.hls_to_rgb(hue, max(light, 0.74), strong)
    night = "#" + "".join(f"{round(part * 255):02x}" for part in pale)
    rim = "rgba(31,35,40,.15)" if bright > 0.85 else "transparent"
    return (
        f".c-{color}{{--paint:#{color};--ink:{ink};--rim:{rim};"
        f"--night-paint:rgba({red},{green},{blue},.18);--night-ink:{night};--night-rim:rgba({red},{green},{blue},.45)}}"
    )


def initials(account: Account) -> str:
    """Return one or two letters for an avatar."""
    words: list[str] = re.findall(r"\w+", account.name or account.login.removesuffix("[bot]"))
    if len(words) > 1:
        return (words[0][0] + words[-1][0]).upper()
    return (words[0][:2] if words else "?").upper()


def avatar_svg(account: Account, size: str = "m", *, standalone: bool = False) -> str:
    """Draw an avatar: a disc for a person, a rounded square for a bot or an organisation.

    `standalone` adds the namespace that an SVG file of its own needs.
    """
    color = AVATAR_COLORS[sum(map(ord, account.login)) % len(AVATAR_COLORS)]
    corner = 20 if account.kind == "User" else 9
    name = escape(account.login)
    namespace = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
    if account.kind == "Bot":
        drawing = (
            '<path d="M20 7v5" stroke="#fff" stroke-width="2.4" '
            'stroke-linecap="round"/><circle cx="20" cy="6.5" r="2.2" fill="#fff"/>'
            '<rect x="9" y="12" width="22" height="17" rx="5.5" fill="#fff"/>'
            f'<circle cx="15.7" cy="20" r="2.5" fill="#{color}"/><circle cx="24.3" cy="20" r="2.5" fill="#{color}"/>'
            f'<path d="M16 25.300h8" stroke="#{color}" stroke-width="1.8" stroke-linecap="round"/>'
            '<path d="M13.5 33h13" stroke="#fff" stroke-width="2.4" stroke-linecap="round"/>'
        )
    else:
        drawing = (
            '<text x="20" y="20.5" fill="#fff" font-size="15" font-weight="600" text-anchor="middle" '
            f'dominant-baseline="central" font-family="system-ui,sans-serif">{escape(initials(account))}</text>'
        )
    return (
        f'<svg{namespace} class="avatar {escape(size)}" viewBox="0 0 '
        f'40 40" width="40" height="40" role="img" aria-label="{name}">'
        f'<title>{name}</title><rect width="40" height="40" rx="{corner}" fill="#{color}"/>{drawing}</svg>'
    )
