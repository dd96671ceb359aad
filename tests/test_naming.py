"""The rules of naming find what they are for, and app/ keeps them."""

from __future__ import annotations

import pytest

from tools.naming import Module, find_problems, is_bare_participle, main, split_identifier

FILE = "app/worker/example.py"


def problems(text: str, path: str = FILE) -> list[str]:
    return [problem.removeprefix(f"{path}:") for problem in find_problems([Module(path, text)])]


@pytest.mark.parametrize("name", ["told", "held", "_spoken", "rearmed", "later", "those", "_first", "surplus"])
def test_a_participle_or_filler_is_no_name_of_a_function(name: str) -> None:
    assert is_bare_participle(name)


@pytest.mark.parametrize(
    "name", ["decide", "renew_lease", "feed", "is_open", "last_seen_at", "fire_due_alarms", "read"]
)
def test_a_verb_or_a_noun_is_a_name(name: str) -> None:
    assert not is_bare_participle(name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def told():\n    pass\n", "1: told() is a bare participle"),
        ("class A:\n    async def held(self):\n        pass\n", "2: held() is a bare participle"),
        ("def long():\n" + "    pass\n" * 60, "1: long() has 61 lines, at most 60"),
        ("def wake(lane): ...\n", "1: lane holds lane"),
        ("class DeskLamp: ...\n", "1: DeskLamp holds desk"),
        ("a = 1\nself.rung_at = 2\n", "2: rung_at holds rung"),
        ('"""Tell whoever is there."""\n', "1: 'whoever' in a docstring"),
        ("x = 1  # nobody knows\n", "1: 'nobody' in a docstring or comment"),
        ('A_FIELD = ""\n"""For somebody."""\n', "2: 'somebody' in a docstring"),
        ("_PATIENCE: float = 2 * 60\n", "1: _PATIENCE is a number without its unit"),
        ("from datetime import datetime\nnow = datetime.now()\n", "2: datetime.now() reads the clock"),
        ("import time, datetime\nat = datetime.datetime.utcnow()\n", "2: datetime.utcnow() reads the clock"),
        ("import time\nat = time.time()\n", "2: time.time() reads the clock"),
    ],
)
def test_what_breaks_a_rule_is_found_with_its_line(text: str, found: str) -> None:
    assert any(problem.startswith(found) for problem in problems(text)), problems(text)


@pytest.mark.parametrize(
    "text",
    [
        "def short():\n" + "    pass\n" * 59,
        'def reply():\n    """Reply with `nobody has it` or \'whoever leads\'."""\n    return "nobody"\n',
        "_MAX_ROWS = 10\nLEASE_SECONDS = 30.0\n_CALLS_PER_HOUR = 5_000\nNAME = 'x'\nIS_ON = True\n",
        "import time\nbegan = time.monotonic()\n",
    ],
)
def test_what_keeps_the_rules_is_not_named(text: str) -> None:
    assert problems(text) == []


def test_the_wiring_may_read_the_clock() -> None:
    assert problems("from datetime import datetime\nnow = datetime.now()\n", "app/cli/main.py") == []


def test_a_class_name_stands_for_one_thing_outside_the_sandbox() -> None:
    text = "class Page: ...\n"
    twice = [Module("app/a.py", text), Module("app/b.py", text), Module("app/sandbox/github/c.py", text)]
    assert list(find_problems(twice)) == ["app/a.py:1: class Page stands for another thing in app/b.py:1: rename one"]


def test_words_of_a_name_are_found_in_either_spelling() -> None:
    assert split_identifier("_dueIncident_keys") == ["due", "incident", "keys"]
    assert split_identifier("CalendarFile") == ["calendar", "file"]


def test_app_keeps_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0, capsys.readouterr().out
