"""Issue forms: real form files, and the bodies that GitHub makes of them."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.github.intake import shipped_form
from app.github.issue_form import Field, Form, FormFault, FormValue, matches_form, parse_body, read_form, split_blocks
from app.sandbox.github.form_body import fill_form

ROOT = Path(__file__).parents[2]
FORMS_FOLDER = Path(os.environ.get("MUSTER_SHARED_DATA", ROOT.parent / "shared" / "data")) / "issue-forms"
FORM_FILES = sorted(path for path in FORMS_FOLDER.glob("*.y*ml")) if FORMS_FOLDER.is_dir() else []
real_forms = pytest.mark.skipif(not FORM_FILES, reason="the folder with real issue forms is not here")

TWO_FIELDS = read_form("""
name: Two
body:
  - {type: textarea, id: what, attributes: {label: What happened}}
  - {type: dropdown, id: sev, attributes: {label: Severity, options: [SEV1, SEV4]}, validations: {required: true}}
""")
THREE_FIELDS = Form(fields=(Field("a", "A"), Field("b", "B"), Field("c", "C")))


# --- the form file


def test_scalars_come_out_as_they_are_written() -> None:
    form = read_form(
        "name: 2026\nbody:\n- type: dropdown\n  id: 7\n  attributes:\n    label: Yes\n    options: [on, 1.10, 2026-01-02, 0x1F]"
    )
    assert form.name == "2026"
    assert form.fields == (Field("7", "Yes", "dropdown", ("on", "1.10", "2026-01-02", "0x1F")),)


@pytest.mark.parametrize("written", ["on", "true", "True"])
def test_a_choice_is_known_as_it_is_written_and_as_yaml_reads_it(written: str) -> None:
    form = read_form("body: [{type: dropdown, id: x, attributes: {label: X, multiple: true, options: [on, off]}}]")
    assert parse_body(form, f"### X\n\n{written}, off") == {"x": [written, "off"]}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("body:\n- {type: input, id: a}\n- {type: input, id: b}\n<!-- more\n\n### x -->", ["a", "b"]),
        ("body:\n- {type: input, id: a}\n- {type: input, id: b\n", ["a", "b"]),
        ('body:\n- {type: input, id: a}\n- type: input\n  id: "b', ["a"]),
        ("body:\n- {type: input, id: a}\n\t- tab", ["a"]),
        ("body: [{id: &a x}, {id: *a}]", ["x", "x (2)"]),
        ("body:\n- {id: same, attributes: {label: One}}\n- {id: same, attributes: {label: One}}", ["same", "same (2)"]),
        ("body: [{attributes: {label: Same}}, {attributes: {label: Same}}]", ["Same", "Same (2)"]),
        ("body: [{type: markdown, attributes: {value: hi}}, 7, null, [], {type: input, id: a}]", ["a"]),
        ("name: nothing else", []),
        ("- {type: input, id: a}", ["a"]),
    ],
)
def test_a_bad_form_is_read_as_far_as_it_goes(text: str, names: list[str]) -> None:
    assert list(read_form(text).keys()) == names


@pytest.mark.parametrize("text", ["", "just text", "[", "a: b", "\x00", "{{{", "- ", "x" * 300_000])
def test_where_nothing_can_be_read_the_message_says_so(text: str) -> None:
    with pytest.raises(FormFault, match=r"\.$"):
        read_form(text)


@pytest.mark.parametrize(
    "text",
    [
        "body: " + "[" * 60_000,
        "name: x\na: &a [x]\n" + "".join(f"b{n}: &b{n} [{', '.join(['*b' + str(n - 1)] * 9)}]\n" for n in range(1, 30)),
        "name: x\nbody: &a [*a, *a]",
        "name: x\nbody: &a {<<: *a, b: *a}",
        "name: x\n" + "? " * 20_000,
    ],
)
def test_bombs_stay_small(text: str) -> None:
    started = time.perf_counter()
    assert read_form(text).fields == ()
    assert time.perf_counter() - started < 5


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>\"'\n \t#?,%@`~"), max_size=60))
def test_no_text_breaks_the_reading(text: str) -> None:
    with contextlib.suppress(FormFault):
        read_form("name: x\n" + text)


# --- the body


@pytest.mark.parametrize(
    ("kind", "value", "answer"),
    [
        ({"kind": "input"}, "_No response_", None),
        ({"kind": "input"}, "None", "None"),
        ({"kind": "textarea"}, "None", "None"),
        ({"kind": "textarea"}, "one\r\n\r\ntwo", "one\n\ntwo"),
        ({"kind": "textarea"}, "    indented\n  x  ", "    indented\n  x"),
        ({"kind": "textarea", "render": "shell"}, "```shell\n\n```", None),
        ({"kind": "textarea", "render": "shell"}, "```shell\n```", None),
        ({"kind": "textarea", "render": "shell"}, "```shell\n$ x\n```\nmore\n```\n```", "$ x\n```\nmore\n```"),
        ({"kind": "textarea", "render": "shell"}, "````shell\n```\n````", "```"),
        ({"kind": "textarea", "render": "shell"}, "no fence", "no fence"),
        ({"kind": "textarea"}, "```\n```", "```\n```"),
        ({"kind": "dropdown", "options": ("a",)}, "None", None),
        ({"kind": "dropdown", "options": ("a",), "required": True}, "None", "None"),
        ({"kind": "dropdown", "options": ("a",)}, "b, c", "b, c"),
        ({"kind": "dropdown", "options": ("a", "a, b", "b, c", "c"), "multiple": True}, "a, b, c", ["a, b", "c"]),
        ({"kind": "dropdown", "options": ("a", "a, b", "b, c"), "multiple": True}, "a, b, c", ["a", "b, c"]),
        ({"kind": "dropdown", "options": ("a", "b"), "multiple": True}, "a, old, older, b", ["a", "old, older", "b"]),
        ({"kind": "dropdown", "options": ("a", "b"), "multiple": True}, "None", None),
        (
            {"kind": "checkboxes", "options": ("x", "**y**", "z")},
            "- [x] x\n- [X] **y**\n- [ ] z\n- [] w",
            [
                {"label": "x", "checked": True},
                {"label": "**y**", "checked": True},
                {"label": "z", "checked": False},
                {"label": "w", "checked": False},
            ],
        ),
    ],
)
def test_one_answer(kind: dict[str, object], value: str, answer: FormValue) -> None:
    form = Form(fields=(Field("q", "Q", **kind), Field("end", "End")))  # type: ignore[arg-type]
    body = f"### Q\n\n{value}\n\n### End\n\nx"
    assert parse_body(form, body) == {"q": answer, "end": "x"}
    assert parse_body(form, body.replace("\r\n", "\n").replace("\n", "\r\n")) == {"q": answer, "end": "x"}


@pytest.mark.parametrize(
    ("answers"),
    [
        ("### B", "b", "c"),  # a heading of the next field
        ("### C\n\nx", "b", "c"),
        ("a", "### A\n\nx\n\n### C", "c"),
        ("a", "b", "### A\n\n### B\n\nx"),
        ("```\n### B\n\nx\n\n### C\n```", "b", "c"),
        ("```", "b\n```\nb", "c"),  # a fence that is never closed
        ("<!-- ### B -->\n\n### b", "### D\n\n#### B", "### Ccc"),
        ("a", "<!--\n\n### C\n\n-->", "c"),
        ("### A\n\n### A", "b", "c"),
        ("# B", "**B**", "> ### C"),
    ],
)
def test_a_heading_in_an_answer_is_text(answers: tuple[str, str, str]) -> None:
    given = dict(zip("abc", answers, strict=True))
    body = fill_form(THREE_FIELDS, given)
    assert parse_body(THREE_FIELDS, body) == given
    assert matches_form(THREE_FIELDS, body)


def test_a_choice_tells_the_real_heading_from_the_typed_one() -> None:
    body = "### What happened\n\n### Severity\n\nSEV1\n\n### Severity\n\nSEV4"
    assert parse_body(TWO_FIELDS, body) == {"what": "### Severity\n\nSEV1", "sev": "SEV4"}
    assert matches_form(TWO_FIELDS, body)


def test_a_body_that_no_form_writes_does_not_fit() -> None:
    body = "### What happened\n\n### Severity\n\nSEV1\n\n### Severity\n\nSEV4\n\n### What happened\n\nx"
    assert not matches_form(TWO_FIELDS, body)


def test_the_form_has_changed_since() -> None:
    body = "Hello\n\n### severity:\nSEV1\n### Room\n\nfour\n"
    assert parse_body(TWO_FIELDS, body) == {"what": None, "sev": "SEV1", "Room": "four"}


def test_a_heading_in_a_fence_is_no_field_that_the_body_lacks() -> None:
    body = "### A\n\n```\n### C\n```\n\n### B\n\nb"
    assert parse_body(THREE_FIELDS, body) == {"a": "```\n### C\n```", "b": "b", "c": None}


def test_equal_labels_are_taken_in_order() -> None:
    form = Form(fields=(Field("x", "Same"), Field("y", "Same"), Field(None, ""), Field("z", "")))
    body = fill_form(form, {"x": "1", "y": "2", "z": "4"})
    assert parse_body(form, body) == {"x": "1", "y": "2", "field 3": None, "z": "4"}


# --- real forms


def answer_lines(form: Form) -> st.SearchStrategy[str]:
    """Return a strategy for lines as people write them, in many languages, with all that resembles structure."""
    headings = [f"### {field.label}" for field in form.fields if field.label]
    return st.sampled_from(
        [
            *headings, "### Something else", "# Title", "```", "```python\nx = 1\n```", "a, b, c", "🔥 checkout is down 👩‍👩‍👧",
            "止血が最優先。L4 基本設計", "Dégradation à 14 h 05", "Não há indisponibilidade", "- [ ] todo", "| a | b |", "", "None",
            "    code", "<!-- note -->", "x" * 300, "@hubot #1", "_No response_!", "~~~", "a ``` b", "\ttab", "--- ", "***",
        ]
    )  # fmt: skip


def text_answer(form: Form, field: Field, next_field: Field | None) -> st.SearchStrategy[FormValue]:
    """Return a strategy for answers of any lines.

    The heading of the next field is left out where that is a text too: the two could not be told apart.
    """
    ambiguous = {f"### {field.label}"} | ({f"### {next_field.label}"} if next_field else set())
    lines = st.lists(answer_lines(form).filter(lambda line: line not in ambiguous), min_size=1, max_size=6).map(
        "\n".join
    )
    clean = lines.map(lambda text: text.strip("\n").rstrip()).filter(lambda text: bool(text.strip()))
    return st.none() | clean.filter(lambda text: text != "_No response_")


def checkbox_answer(field: Field, ticked: list[bool]) -> FormValue:
    ticks: list[dict[str, str | bool]] = [
        {"label": label, "checked": checked} for label, checked in zip(field.options, ticked, strict=True)
    ]
    return ticks


def answer_to(form: Form, field: Field, next_field: Field | None) -> st.SearchStrategy[FormValue]:
    match field.kind:
        case "input":
            line = answer_lines(form).filter(lambda text: "\n" not in text and bool(text.strip()))
            return st.none() | line.map(str.strip)
        case "dropdown" if field.multiple:
            return st.none() | st.lists(st.sampled_from(field.options), unique=True, min_size=1)
        case "dropdown":
            return st.sampled_from(field.options) if field.required else st.none() | st.sampled_from(field.options)
        case "checkboxes":
            ticks = st.lists(st.booleans(), min_size=len(field.options), max_size=len(field.options))
            return ticks.map(lambda row: checkbox_answer(field, row))
        case _:
            return text_answer(form, field, next_field)


@st.composite
def answers_to_form(draw: st.DrawFn, form: Form) -> dict[str, FormValue]:
    nexts = (*form.fields[1:], None)
    keyed_fields = zip(form.keys(), form.fields, nexts, strict=True)
    return {key: draw(answer_to(form, field, next_field)) for key, field, next_field in keyed_fields}


@real_forms
@pytest.mark.parametrize("path", FORM_FILES, ids=lambda path: path.name.split("__")[0])
def test_every_real_form_comes_back_without_loss(path: Path) -> None:
    form = read_form(path.read_text("utf-8"))
    assert form.fields

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.data(), st.booleans())
    def check_round_trip(data: st.DataObject, crlf: bool) -> None:
        answers = data.draw(answers_to_form(form))
        body = fill_form(form, answers)
        assert parse_body(form, body.replace("\n", "\r\n") if crlf else body) == answers
        json.dumps(answers)

    check_round_trip()


@settings(max_examples=60, deadline=None)
@given(answers_to_form(shipped_form()))
def test_the_shipped_form_comes_back_without_loss(answers: dict[str, FormValue]) -> None:
    assert parse_body(shipped_form(), fill_form(shipped_form(), answers)) == answers


@real_forms
def test_the_form_with_text_after_its_yaml_keeps_its_eight_fields() -> None:
    [path] = [path for path in FORM_FILES if path.name.startswith("portefaix")]
    keys = read_form(path.read_text("utf-8")).keys()
    assert keys == ("date", "authors", "status", "summary", "impact", "rootcause", "trigger", "resolution")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("#`~<!->\n\r abAB*[]x_:|\u2028\ud800\x00"), max_size=200))
def test_no_body_breaks_the_reading(body: str) -> None:
    parse_body(THREE_FIELDS, body)
    split_blocks(body)


# --- unknown forms


def test_blocks_cut_at_any_heading() -> None:
    body = (
        "hi\n\n# One ##\n1\n**Two**\n2\n- **Three:** 3\n```\n# no\n```\n<!--\n# no\n-->\n__Four__:\n4\n#no\n####### no"
    )
    assert [(block.heading, block.text) for block in split_blocks(body)] == [
        ("", "hi"),
        ("One", "1"),
        ("Two", "2"),
        ("Three", "3\n```\n# no\n```\n<!--\n# no\n-->"),
        ("Four", "4\n#no\n####### no"),
    ]


# --- time


def repeat_to_length(text: str, size: int) -> str:
    return (text * (size // len(text) + 1))[:size]


HOSTILE_PARTS = [
    "### ", "\n", "1m", "[", "| a ", "### A\n\n", "### A\n", "### A\n\n```\n", "```\n", "<!--\n", "-->\n", "**a**\n", "- [x] a\n",
    "### x\n\n", "### A\n\nNone\n\n### B\n\nNone\n\n", "**a", "`", " ", "\t\n", "~~~ `\n", "_No response_\n\n", "a, ",
]  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE_PARTS)
def test_twice_the_text_takes_about_twice_the_time(part: str) -> None:
    forms = [
        THREE_FIELDS,
        TWO_FIELDS,
        read_form("body: [{type: dropdown, id: x, attributes: {label: A, multiple: true, options: [a, b]}}]"),
    ]

    def best_seconds(size: int) -> float:
        body = repeat_to_length(part, size)
        best = 1e9
        for _ in range(2):
            started = time.process_time()
            for form in forms:
                parse_body(form, body)
            split_blocks(body)
            best = min(best, time.process_time() - started)
        return best

    assert best_seconds(65_536) < 5 * best_seconds(32_768) + 0.1


def test_a_question_mark_in_a_flow_mapping_is_part_of_the_label() -> None:
    form = read_form(
        "name: Incident\nbody:\n- {type: textarea, id: what, attributes: {label: What happened?}}\n- {type: input, attributes: {label: Who?}}\n"
    )
    assert [(field.id, field.label) for field in form.fields] == [("what", "What happened?"), (None, "Who?")]


def test_many_brackets_are_not_shown_to_the_parser_that_dies_of_them() -> None:
    with pytest.raises(FormFault):
        read_form("[" * 40_000)
