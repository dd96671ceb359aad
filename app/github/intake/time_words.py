"""Rewrite times of many languages in the words and punctuation that dateutil understands."""

from __future__ import annotations

import re

from app.github.intake.wording import MONTHS, RELATIVE_DAYS

ENGLISH_MONTHS = tuple(dict.fromkeys(MONTHS.values()))
RELATIVE_TIME = re.compile(r"\bago\b|^vor |^il y a |^hace |^há |前$| geleden$| fa$| temu$| atrás$")
"""Matches a time that counts back from now."""


def normalize_words(text: str) -> str:
    """Return the text in lower case, in the words and punctuation that dateutil understands."""
    words = " ".join(
        text.replace("−", "-").replace("\u2013", "-").replace("：", ":").replace("〜", " ").split()
    ).lower()
    words = words.strip("`*_~ .")
    words = re.sub(
        r"^(?:~|≈|about|approx(?:imately)?\.?|around|circa|ca\.?|since|at|on|gegen|seit|um|vers|depuis|alrededor de"
        r"|desde|por volta de|約|约) *",
        "",
        words,
    )
    words = re.sub(r"([0-9]{4})[年] *([0-9]{1,2})[月] *([0-9]{1,2})[日号]?", r"\1-\2-\3 ", words)
    words = re.sub(r"([0-9]{1,2})[時时点] *([0-9]{1,2})分?", r"\1:\2", words)
    if not RELATIVE_TIME.search(words):
        words = re.sub(r"([0-9]) (?:uhr|hrs|hours|o'clock)\b", r"\1", words)
        words = re.sub(r"([0-9]{1,2}) ?h ?([0-9]{2})?(?= |$)", lambda m: f"{m[1]}:{m[2] or '00'}", words)
    words = re.sub(r"(?<=[0-9:])-[0-9]{1,2}:[0-9]{2}(?=$| utc| gmt)(?<![03]0)(?<!45)", "", words)
    words = re.sub(r"(?<=\d) - .*?\d{1,2}:\d\d(?::\d\d)?", "", words)
    words = re.sub(r" ?\((?:about|approx|ca|circa|estimated|ungefähr|environ)[^()]*\)$", "", words)
    words = re.sub(r"\(([a-z]{2,5}|(?:utc|gmt)? ?[-+][0-9:]+)\)", r"\1", words)
    words = re.sub(
        r"\b(?:utc|gmt) ?([+-]) ?([0-9]{1,2})(?::?([0-9]{2}))?(?![0-9])",
        lambda m: f"{m[1]}{int(m[2]):02d}:{m[3] or '00'}",
        words,
    )
    words = re.sub(r"(?<=\d)\.? (?:de|di) (?=[^\W\d])|(?<=[^\W\d]) (?:de|di) (?=\d)", " ", words)
    return re.sub(r"[^\W\d_]{3,}", lambda m: MONTHS.get(m[0], m[0]), words).strip()


def split_relative_day(words: str) -> tuple[str, int | None]:
    """Return the words without `today` or `yesterday`, and how many days back that is; None: neither occurs."""
    for days_back, row in RELATIVE_DAYS.items():
        patterns = [rf"(?<!\w){re.escape(day)}(?!\w)" if day[0].isascii() else re.escape(day) for day in row]
        if any(re.search(pattern, words) for pattern in patterns):
            for pattern in patterns:
                words = re.sub(pattern, " ", words)
            return words, days_back
    return words, None
