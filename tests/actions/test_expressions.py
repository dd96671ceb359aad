"""Expressions mean the same here as on GitHub, and unknown names are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.actions.expressions import Broken, Expressions, StrictContext

EVENT = {"issue": {"number": 7.0, "labels": [{"name": "incident"}, {"name": "sev1"}], "pull_request": None}}
CONTEXTS = {
    "github": {"event": EVENT, "event_name": "issues", "ref": "refs/heads/main"},
    "inputs": StrictContext(issue="", period="week"),
    "steps": StrictContext(look={"outputs": {"python": "/usr/bin/python3"}}),
}
FUNCTIONS = {"success": lambda: True, "failure": lambda: False, "always": lambda: True, "cancelled": lambda: False}
EXPRESSIONS = Expressions(CONTEXTS, FUNCTIONS)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("'it''s'", "it's"),
        ("true && 'a' || 'b'", "a"),
        ("false && 'a' || 'b'", "b"),
        ("inputs.issue || github.event.issue.number", 7.0),
        ("inputs['period'] == 'WEEK'", True),
        ("github.event.comment.body", None),
        ("github.event.comment.body == ''", True),
        ("github.event.issue.pull_request == null", True),
        ("!github.event.issue.pull_request", True),
        ("'' == 0", True),
        ("'a' == 0", False),
        ("null == false", True),
        ("1 < 2 && 2 >= 2", True),
        ("!(true && false)", True),
        ("contains(github.event.issue.labels.*.name, 'SEV1')", True),
        ("contains('Hello', 'ell')", True),
        ("startsWith(github.ref, 'refs/heads/') && endsWith(github.ref, 'main')", True),
        ("format('{{{0}}} of {1}', 'a', 2)", "{a} of 2"),
        ("steps.look.outputs.python != ''", True),
        ("steps.look.outputs.other", None),
    ],
)
def test_value(source: str, value: Any) -> None:
    assert EXPRESSIONS.evaluate(source) == value


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("muster-${{ github.event.issue.number }}", "muster-7"),
        ("a ${{ 1 == 1 }} b ${{ null }}c", "a true b c"),
        ("${{ github.event }}", "Object"),
        ("no expression", "no expression"),
    ],
)
def test_in_a_string(template: str, text: str) -> None:
    assert EXPRESSIONS.interpolate(template) == text


@pytest.mark.parametrize(
    "source",
    [
        "nothing.here",
        "inputs.isue",
        "steps.loook.outputs.python",
        "hashFiles('requirements/*.txt')",
        "github.event.issue.number +1",
        '"double quotes"',
        "github..event",
        "contains('a', 'b'",
        "a b",
        "",
    ],
)
def test_what_nobody_knows_is_loud(source: str) -> None:
    with pytest.raises(Broken):
        EXPRESSIONS.evaluate(source)


def test_an_if_holds_only_while_all_went_well() -> None:
    after_failure = Expressions(CONTEXTS, {**FUNCTIONS, "success": lambda: False, "failure": lambda: True})
    assert EXPRESSIONS.evaluate_condition("github.event_name == 'issues'")
    assert not after_failure.evaluate_condition("github.event_name == 'issues'")
    assert after_failure.evaluate_condition("${{ failure() && github.event_name == 'issues' }}")
    assert after_failure.evaluate_condition("always()")
    with pytest.raises(Broken, match="always true"):
        EXPRESSIONS.evaluate_condition("${{ false }} || ${{ false }}")
