"""The generated pages match the code, and every policy they show can be read."""

from __future__ import annotations

import re

import pytest

from app.core.policy import Policy
from app.policy_file import read_policy, schema
from app.policy_file.field_rules import key_specs
from app.policy_file.json_schema import Schema
from tools.docs import ROOT, generate_pages
from tools.policy_page import TOPICS
from tools.reliability.cases import CASES, find_case_tests, render_cases

_POLICY_EXAMPLES = re.findall(r"```yaml\n(.*?)```", generate_pages()["docs/policy.md"], re.DOTALL)
_PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("actions/*.md")]


@pytest.mark.parametrize("path", generate_pages())
def test_a_printed_page_follows_from_the_code(path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == generate_pages()[path], f"{path} is stale: run `make docs`"


@pytest.mark.parametrize("text", _POLICY_EXAMPLES, ids=lambda text: text.strip().splitlines()[0][:40])
def test_every_example_of_the_policy_page_is_a_policy(text: str) -> None:
    read_policy(text)


def test_the_page_begins_with_a_short_file_that_an_editor_understands() -> None:
    first = _POLICY_EXAMPLES[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert len(first.splitlines()) <= 20


def test_every_key_of_the_file_has_its_topic() -> None:
    keys = [key for topic in TOPICS for key in topic.keys]
    assert sorted(keys) == sorted(key_specs(Policy))
    records = {part.__name__ for topic in TOPICS for _, part in topic.record_types}
    assert records == {name for name, part in _definitions().items() if "properties" in part}


def _definitions() -> dict[str, Schema]:
    found: dict[str, Schema] = schema()["$defs"]
    return found


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in _PAGES))
def test_every_link_of_a_page_leads_to_a_file(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    targets = {target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target}
    assert {target for target in targets if not (ROOT / page).parent.joinpath(target).exists()} == set()


def test_every_case_of_the_reliability_page_names_tests_that_exist() -> None:
    named = {case for test in find_case_tests() for case in test.cases}
    known = {case for cases in CASES.values() for case in cases}
    assert named <= known, "a case without a sentence"
    assert "".join(render_cases()) in (ROOT / "docs" / "reliability.md").read_text(), "run: python -m tools.reliability"
