"""Issue forms: the fields a form file describes, and the answers in the body that GitHub makes of them.

A body carries labels, never ids, and an answer may hold any text, also a line that looks like a heading.  So headings
are not looked up one by one.  All lines that could be headings are weighed together, and the reading wins in which
every field of the form is present, in order, with an answer its kind can have: that is how GitHub writes.  Only when
there is no such reading (the form has changed, somebody edited the body) are the rules loose.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

import yaml

FORM_LIMIT = 256 * 1024
_DEEPEST = 32
_MOST_EVENTS = 60_000
_MOST_FIELDS = 200
_MOST_PLACES = 120
_MOST_EXTRA = 20
_NO_RESPONSE = "_No response_"

FieldKind: TypeAlias = Literal["input", "textarea", "dropdown", "checkboxes"]
Answer: TypeAlias = "str | list[str] | list[dict[str, str | bool]] | None"
Node: TypeAlias = "str | list[Node] | dict[str, Node] | None"

_KINDS: dict[str, FieldKind] = {"input": "input", "dropdown": "dropdown", "checkboxes": "checkboxes"}
_BOX = re.compile(r"[-*+] +\[([ xX]?)\](?:[ \t]+(.*))?", re.DOTALL)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)
_TRUE = frozenset({"yes", "on", "true"})
_FALSE = frozenset({"no", "off", "false"})
_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(?:\.[0-9]{1,15})?")


class FormFault(Exception):
    """Nothing at all can be read from a form file.  The message is for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Field:
    """One question.  `label` is empty where the file has none; `render` is the language of its fence, or empty."""

    id: str | None
    label: str
    kind: FieldKind = "textarea"
    options: tuple[str, ...] = ()
    multiple: bool = False
    render: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """What GitHub asks, in order.  `markdown` blocks are left out, as they are in the body."""

    name: str = ""
    title: str = ""
    labels: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()

    def keys(self) -> tuple[str, ...]:
        """A distinct name for each field: its id, else its label; a second one of the same name is `name (2)`."""
        taken: list[str] = []
        for number, asked in enumerate(self.fields, 1):
            taken.append(_free(asked.id or asked.label or f"field {number}", taken))
        return tuple(taken)


@dataclass(frozen=True, slots=True)
class Block:
    """A heading and the text below it.  `line` is the heading as written; both are empty for text before the first."""

    heading: str
    text: str
    line: str = ""


# --- the form file


def read_form(text: str) -> Form:
    """The form in a file of `.github/ISSUE_TEMPLATE`.

    Of invalid YAML the longest valid beginning counts.  Scalars are text as written: `label: Yes` is "Yes".
    Raises FormFault if not even a name or a field can be read.
    """
    if len(text) > FORM_LIMIT:
        raise FormFault(f"The form is longer than {FORM_LIMIT // 1024} KiB.")
    root, trouble = _tree(text)
    if isinstance(root, list) and any(isinstance(item, dict) for item in root):
        root = {"body": root}
    if not isinstance(root, dict) or not {"name", "description", "title", "body"} & root.keys():
        wanted = "A form begins with 'name:' and has its questions in a list below 'body:'."
        raise FormFault(f"No form can be read: {trouble}. {wanted}" if trouble else f"No form can be read. {wanted}")
    fields = (_field(item) for item in _list(root.get("body"))[:_MOST_FIELDS])
    labels = root.get("labels")
    return Form(
        name=_text(root.get("name")),
        title=_text(root.get("title")),
        labels=tuple(part.strip() for part in labels.split(",") if part.strip())
        if isinstance(labels, str)
        else tuple(label for label in map(_text, _list(labels)) if label),
        fields=tuple(asked for asked in fields if asked is not None),
    )


def _tree(text: str) -> tuple[Node, str]:
    """The first document as plain lists and mappings of text, and what stopped the reading, if anything did.

    The scanner looks ahead, so a fault can take sound lines before it along: the lines before the fault are read anew.
    """
    text = yaml.reader.Reader.NON_PRINTABLE.sub("\ufffd", text.removeprefix("\ufeff"))
    tree = _Tree()
    try:
        trouble = tree.grow(text)
    except yaml.MarkedYAMLError as error:
        at = error.context_mark or error.problem_mark
        trouble = f"line {at.line + 1}: {error.problem}" if at else str(error.problem)
        before = _Tree()
        with suppress(yaml.YAMLError):
            before.grow("".join(text.splitlines(keepends=True)[: at.line if at else 0]))
        tree = max(tree, before, key=_Tree.size)
    except yaml.YAMLError as error:
        trouble = str(error)
    return tree.root, trouble


class _Tree:
    """Lists and mappings of text, grown event by event, so that what came before a fault is there.

    An alias is the very node it names, never a copy of it: a "billion laughs" stays as small as it is written.
    """

    def __init__(self) -> None:
        self.root: Node = None
        self._open: list[list[Node] | dict[str, Node]] = []
        self._keys: list[str | None] = []  # for each open node the key that waits for its value
        self._anchors: dict[str, Node] = {}

    def size(self) -> int:
        """How many questions there are."""
        body = self.root.get("body") if isinstance(self.root, dict) else self.root
        return len(body) if isinstance(body, list) else 0

    def grow(self, text: str) -> str:
        """What stopped it short of the end, or nothing.  Raises YAMLError; what came before is kept."""
        for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            if isinstance(event, yaml.DocumentEndEvent) and self.root:
                break
            if count > _MOST_EVENTS or len(self._open) > _DEEPEST:
                return "it is nested too deeply or has too many parts"
            self._take(event)
        return ""

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._put(_scalar(event), event.anchor)
            case yaml.AliasEvent():
                self._put(self._anchors.get(str(event.anchor)), None)
            case yaml.SequenceStartEvent():
                self._enter([], event.anchor)
            case yaml.MappingStartEvent():
                self._enter({}, event.anchor)
            case yaml.CollectionEndEvent():
                self._open.pop()
                self._keys.pop()

    def _enter(self, node: list[Node] | dict[str, Node], anchor: str | None) -> None:
        self._put(node, anchor)
        self._open.append(node)
        self._keys.append(None)

    def _put(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        place, key = self._open[-1], self._keys[-1]
        if isinstance(place, list):
            place.append(node)
        elif key is None:
            self._keys[-1] = node if isinstance(node, str) else ""
        else:
            self._keys[-1] = None
            if key == "<<" and isinstance(node, dict) and len(node) <= 100:
                place.update({name: value for name, value in node.items() if name not in place})
            else:
                place[key] = node


def _scalar(event: yaml.ScalarEvent) -> str | None:
    value = str(event.value)
    return None if event.style is None and value in {"", "~", "null", "Null", "NULL"} else value


def _field(item: Node) -> Field | None:
    if not isinstance(item, dict):
        return None
    kind = _text(item.get("type")).lower()
    if kind == "markdown":
        return None
    attributes = item.get("attributes")
    says = {**item, **attributes} if isinstance(attributes, dict) else item
    validations = item.get("validations")
    asked = Field(
        id=_text(item.get("id")) or None,
        label=_text(says.get("label")),
        kind=_KINDS.get(kind, "textarea"),
        options=tuple(dict.fromkeys(option for option in map(_option, _list(says.get("options"))) if option)),
        multiple=_text(says.get("multiple")).lower() in _TRUE,
        render=_text(says.get("render")),
        required=isinstance(validations, dict) and _text(validations.get("required")).lower() in _TRUE,
    )
    return asked if asked.id or asked.label else None


def _option(node: Node) -> str:
    if isinstance(node, dict):
        if "label" in node:
            return _text(node["label"])
        return ", ".join(f"{key}: {_text(value)}".strip() for key, value in list(node.items())[:1])
    return _text(node)


def _text(node: Node) -> str:
    return node.strip() if isinstance(node, str) else ""


def _list(node: Node) -> list[Node]:
    return node if isinstance(node, list) else []


# --- the body


def parse_body(form: Form, body: str) -> dict[str, Answer]:
    """The answer to each field, under `form.keys()`; None where there is none.

    Headings that the form does not know, after a field that can hold only a choice or one line, are kept under their
    own words.
    """
    return _read(form, body)[0]


def fits(form: Form, body: str) -> bool:
    """Whether the body is just what GitHub writes for this form: every field, in order, with an answer of its kind."""
    return _read(form, body)[1]


def blocks(body: str, known: Callable[[str], bool] | None = None) -> tuple[Block, ...]:
    """The body cut at its headings, for a form nobody knows: `#` to `######`, and lines that are `**bold**` as a whole.

    Headings in fences and HTML comments are text.  `**Severity:** SEV1` is a heading and its text in one line.
    People also write bold for other reasons: with `known`, bold words count only where it says so.
    """
    lines = _lines(body)
    hidden = _hidden(_markers(lines))
    found: list[tuple[int, str, str]] = []
    for number, line in enumerate(lines):
        if not line or line[0] not in _HEADS or (heading := _heading(line)) is None or _within(hidden, number):
            continue
        if known is None or line.lstrip(" ").startswith("#") or known(heading[0]):
            found.append((number, *heading))
    marks = [(-1, "", ""), *found]
    ends = [number for number, _, _ in found] + [len(lines)]
    cut = (
        Block(
            heading,
            _trimmed([rest, *lines[at + 1 : end]] if rest else lines[at + 1 : end]),
            lines[at] if at >= 0 else "",
        )
        for (at, heading, rest), end in zip(marks, ends, strict=True)
    )
    return tuple(block for block in cut if block.line or block.text)


_HEADS = frozenset("# *-_+")


def _heading(line: str) -> tuple[str, str] | None:
    """Its words and what follows in the same line, if the line is a heading."""
    line = line.strip(" \t")
    if line[:1] == "#":
        words = line.lstrip("#")
        if len(line) - len(words) > 6 or words[:1] not in {"", " ", "\t"}:
            return None
        words = words.strip(" \t")
        closed = words.rstrip("#")
        return (closed.rstrip(" \t") if not closed or closed[-1] in " \t" else words), ""
    if line[:2] in {"- ", "* ", "+ "}:
        line = line[2:].lstrip(" ")
    for mark in ("**", "__"):
        if line.startswith(mark):
            words, closed, rest = line[2:].partition(mark)
            rest = rest.lstrip(" \t")
            if not closed or not words.strip() or len(words) > 200:
                return None
            if words.rstrip().endswith((":", "：")) or rest[:1] in {":", "："}:
                return words.strip(" \t:：*"), rest.lstrip(":： \t")
            return None if rest else (words.strip(" \t*"), "")
    return None


@dataclass(frozen=True, slots=True)
class _Place:
    """A line that could be the heading of a field.  `below` is the line after it, `sure` if GitHub may have written it."""

    line: int
    below: int
    field: int
    sure: bool


def _read(form: Form, body: str) -> tuple[dict[str, Answer], bool]:
    page = _Page(form, _lines(body))
    strict = _assign(page, [place for place in page.places if place.sure], strict=True)
    needed = {number for number, asked in enumerate(form.fields) if asked.label}
    whole = needed <= {place.field for place in strict} if needed else False
    taken = strict if whole else _assign(page, page.loose(), strict=False)
    exact = whole and all(page.suits(place.field, place.below, end) for place, end in _spans(taken, page))
    keys = form.keys()
    answers: dict[str, Answer] = dict.fromkeys(keys)
    kept: list[tuple[str, str]] = []
    for place, end in _spans(taken, page):
        stop = end if whole else page.own(place.field, place.below, end)
        answers[keys[place.field]] = _answer(form.fields[place.field], page.lines[place.below : stop])
        kept.extend((block.heading, block.text) for block in blocks("\n".join(page.lines[stop:end])))
    if len(kept) > _MOST_EXTRA:
        rest = "\n\n".join(f"### {heading}\n\n{text}" for heading, text in kept[_MOST_EXTRA:])
        kept = [*kept[:_MOST_EXTRA], ("text", rest)]
    for heading, text in kept:
        answers[_free(heading or "text", list(answers))] = text
    return answers, exact


class _Page:
    """The lines of a body with what is asked about them again and again: which are blank, hidden, a tick box."""

    def __init__(self, form: Form, lines: list[str]) -> None:
        self.fields = form.fields
        self.lines = lines
        self.solid = [number for number, line in enumerate(lines) if line and not line.isspace()]
        self.boxes = [number for number in self.solid if _BOX.match(lines[number])]
        self.markers = _markers(lines)
        self.places = self._places()
        self._hidden: dict[int, list[tuple[int, int]]] = {}

    def _places(self) -> list[_Place]:
        exact: dict[str, list[int]] = {}
        alike: dict[str, list[int]] = {}
        for number, asked in enumerate(self.fields):
            first, *_ = asked.label.split("\n")
            exact.setdefault(first.strip(), []).append(number)
            for name in {_alike(first)} if first else {"", "none", "null", _alike(asked.id or "")}:
                alike.setdefault(name, []).append(number)
        fields_of: dict[str, list[int]] = {}
        found: list[_Place] = []
        for line in self.solid:
            heading = self.lines[line]
            if not heading.startswith("###") or heading[3:4] not in {"", " ", "\t"}:
                continue
            words = heading[3:].strip()
            if len(words) > 4000:
                continue
            if words not in fields_of:
                fields_of[words] = alike.get(_alike(words), [])
            for number in fields_of[words]:
                more = [part.strip() for part in self.fields[number].label.split("\n")[1:]]
                below = line + 1 + len(more)
                if more and [part.strip() for part in self.lines[line + 1 : below]] != more:
                    continue
                sure = number in exact.get(words, ()) and self._alone(line, below)
                found.append(_Place(line, below, number, sure))
        return self._fewer(found)

    def _alone(self, line: int, below: int) -> bool:
        """Whether it stands between blank lines, as GitHub writes a heading."""
        before = line == 0 or not self.lines[line - 1].strip() or bisect_left(self.solid, line) == 0
        return before and (below >= len(self.lines) or not self.lines[below].strip())

    def _fewer(self, places: list[_Place]) -> list[_Place]:
        """Of a body stuffed with headings the first and last few of each field, so that weighing them stays cheap."""
        if len(places) <= _MOST_PLACES:
            return places
        keep = max(1, _MOST_PLACES // (2 * len(self.fields)))
        each: dict[int, list[_Place]] = {}
        for place in places:
            each.setdefault(place.field, []).append(place)
        some = {place for found in each.values() for place in (*found[:keep], *found[-keep:])}
        return sorted(some, key=lambda place: (place.line, place.field))

    def loose(self) -> list[_Place]:
        """Where a heading may stand if the body is not as GitHub writes it: outside of fences and comments."""
        hidden = [span for span in _hidden(self.markers) if span[1] < len(self.lines)]  # one never closed hides nothing
        return [place for place in self.places if not _within(hidden, place.line)]

    def hidden_from(self, start: int, line: int) -> bool:
        """Whether `line` is in a fence or comment that begins at `start` or later: an answer cannot see further up."""
        if not self.markers:
            return False
        if len(self.markers) * len(self.places) > 40_000:
            start = 0
        if start not in self._hidden:
            first = bisect_left(self.markers, start, key=lambda marker: marker[0])
            self._hidden[start] = _hidden(self.markers[first:])
        return _within(self._hidden[start], line)

    def own(self, field: int, start: int, end: int) -> int:
        """Where the answer ends if it cannot hold a heading: at the first one below it."""
        asked = self.fields[field]
        if asked.kind == "textarea":
            return end
        first = bisect_left(self.solid, start)
        for number in self.solid[first : first + 200]:
            if number >= end:
                break
            if self.lines[number].startswith("### "):
                return number
        return end

    def suits(self, field: int, start: int, end: int) -> bool:
        """Whether the lines from `start` to before `end` can be what GitHub writes for an answer to that field."""
        asked = self.fields[field]
        first, last = bisect_left(self.solid, start), bisect_left(self.solid, end)
        count = last - first
        if count == 0:
            return asked.kind == "checkboxes" and not asked.options
        head, foot = self.lines[self.solid[first]], self.lines[self.solid[last - 1]]
        if count == 1 and head.strip() == _NO_RESPONSE:
            return True
        match asked.kind:
            case "input":
                return count == 1
            case "dropdown":
                return count == 1 and _chosen(asked, head.strip()) is not False
            case "checkboxes":
                boxes = bisect_left(self.boxes, end) - bisect_left(self.boxes, start)
                return boxes == count or (boxes > 0 and any("\n" in option for option in asked.options))
            case _:
                return not asked.render or (count >= 2 and _wraps(head, foot))


def _assign(page: _Page, places: Sequence[_Place], *, strict: bool) -> list[_Place]:
    """The places to take as headings, at most one a field and in the form's order, that make the best sense together.

    What counts, in this order: fields present, answers that suit their field, headings outside of the fences of the
    answer before, headings just as GitHub writes them, answers without a heading of their own field.
    """
    if strict and page.solid:
        top = page.lines[page.solid[0]]
        places = places if top.startswith("###") else []
    lines_of: dict[int, list[int]] = {}
    for place in places:
        lines_of.setdefault(place.field, []).append(place.line)

    def worth(place: _Place, end: int, ended_by: _Place | None) -> int:
        stop = end if strict else page.own(place.field, place.below, end)
        again = bisect_left(lines_of[place.field], end) - bisect_left(lines_of[place.field], place.below)
        seen = ended_by is None or _closes(page, place, end) or not page.hidden_from(place.below, end)
        sure = ended_by is not None and ended_by.sure
        suits = page.suits(place.field, place.below, stop)
        return 10**15 + suits * 10**12 + seen * 10**9 + sure * 10**6 - again

    best: list[tuple[int, int]] = []  # for each place the worth of the best reading up to it, and the place before
    for number, place in enumerate(places):
        top_worth, before = place.sure * 10**6 + (page.solid[0] == place.line) * 10**12, -1
        for earlier in range(number):
            other = places[earlier]
            if other.field < place.field and other.below <= place.line:
                value = best[earlier][0] + worth(other, place.line, place)
                if value > top_worth:
                    top_worth, before = value, earlier
        best.append((top_worth, before))
    if not best:
        return []
    end = len(page.lines)
    last = max(range(len(best)), key=lambda number: (best[number][0] + worth(places[number], end, None), -number))
    taken: list[_Place] = []
    while last >= 0:
        taken.append(places[last])
        last = best[last][1]
    return taken[::-1]


def _closes(page: _Page, place: _Place, end: int) -> bool:
    """Whether the answer is a rendered field's fence as a whole, whatever fences it holds itself."""
    return bool(page.fields[place.field].render) and page.suits(place.field, place.below, end)


def _spans(taken: Sequence[_Place], page: _Page) -> Iterator[tuple[_Place, int]]:
    ends = [place.line for place in taken[1:]] + [len(page.lines)]
    return zip(taken, ends, strict=False)


def _lines(body: str) -> list[str]:
    return body.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _markers(lines: Sequence[str]) -> list[tuple[int, str]]:
    """The lines that may open or close a fence or an HTML comment."""
    return [
        (number, line)
        for number, line in enumerate(lines)
        if "```" in line or "~~~" in line or "<!--" in line or "-->" in line
    ]


def _hidden(markers: Sequence[tuple[int, str]]) -> list[tuple[int, int]]:
    """The spans of lines within fences and HTML comments, first and last included; the last may be open to the end."""
    spans: list[tuple[int, int]] = []
    start, fence = -1, ""
    for number, line in markers:
        if start < 0:
            found = _FENCE.match(line)
            if found and not (found[1][0] == "`" and "`" in found[2]):
                start, fence = number, found[1]
            elif (
                (at := line.find("<!--")) >= 0
                and line[:at].strip(" ") == ""
                and at <= 3
                and "-->" not in line[at + 2 :]
            ):
                start, fence = number, ""
        elif fence:
            found = _FENCE.match(line)
            if found and found[1].startswith(fence) and not found[2].strip():
                spans.append((start, number))
                start = -1
        elif "-->" in line:
            spans.append((start, number))
            start = -1
    if start >= 0:
        spans.append((start, 1 << 60))
    return spans


def _within(spans: Sequence[tuple[int, int]], line: int) -> bool:
    at = bisect_left(spans, (line + 1,)) - 1
    return at >= 0 and spans[at][0] <= line <= spans[at][1]


def _wraps(head: str, foot: str) -> bool:
    opened, closed = _FENCE.fullmatch(head), _FENCE.fullmatch(foot)
    if not opened or not closed or (opened[1][0] == "`" and "`" in opened[2]):
        return False
    return closed[1].startswith(opened[1]) and not closed[2].strip()


def _answer(asked: Field, lines: list[str]) -> Answer:
    text = _trimmed(lines)
    if not text.strip() or text == _NO_RESPONSE:
        return None
    match asked.kind:
        case "checkboxes":
            return _ticks(text) or text
        case "dropdown":
            return _choice(asked, text.strip(" "))
        case "input":
            return text.strip()
        case _:
            return _unwrapped(text) if asked.render else text


def _choice(asked: Field, text: str) -> Answer:
    if text == "None" and not asked.required:
        return None
    if not asked.multiple:
        return text
    chosen = _chosen(asked, text)
    return chosen if isinstance(chosen, list) else _pieces(asked, text)


def _trimmed(lines: Sequence[str]) -> str:
    """Without the blank lines around it and the spaces behind it; an indented first line keeps its indent."""
    text = "\n".join(lines).rstrip(" \n")  # and nothing else: a no-break space can be meant to deceive
    first = len(text) - len(text.lstrip(" \n"))
    return text[text.rfind("\n", 0, first) + 1 :]


def _unwrapped(text: str) -> str | None:
    head, _, rest = text.partition("\n")
    content, _, foot = rest.rpartition("\n")
    if not _wraps(head, foot):
        return text
    return _trimmed(content.split("\n")) or None


def _ticks(text: str) -> list[dict[str, str | bool]]:
    ticks: list[tuple[bool, list[str]]] = []
    for line in text.split("\n"):
        found = _BOX.fullmatch(line.rstrip())
        if found:
            ticks.append((found[1] in ("x", "X"), [found[2] or ""]))
        elif ticks:
            ticks[-1][1].append(line)
        else:
            return []
    return [{"label": "\n".join(words).strip(), "checked": checked} for checked, words in ticks]


def _chosen(asked: Field, text: str) -> str | list[str] | Literal[False]:
    """What was chosen, False if that text is no choice of the field."""
    if text == "None":
        return not asked.required and "None"
    if not asked.options:
        return [text] if asked.multiple else text
    names = _names(asked.options)
    if not asked.multiple:
        return text in names and text
    return _split(text, names) or False


def _names(options: Sequence[str]) -> dict[str, str]:
    """The ways an option may be written in a body.  YAML reads `yes`, `1.10` as values: GitHub may show what it read."""
    names = {option: option for option in options}
    for option in options:
        if option.lower() in _TRUE | _FALSE:
            names.setdefault(str(option.lower() in _TRUE).lower(), option)
            names.setdefault(str(option.lower() in _TRUE), option)
        elif _NUMBER.fullmatch(option):
            names.setdefault(str(float(option) if "." in option else int(option)), option)
    return names


def _split(text: str, names: dict[str, str]) -> list[str]:
    """The options that, joined by `, `, are the text; the longest first where there is a choice; empty if there are none.

    Goes from the back and remembers from where the end can be reached, so nothing is tried twice.
    """
    sizes = sorted({len(name) for name in names}, reverse=True)
    if len(text) > 2 * sum(len(name) + 2 for name in names):
        return []
    next_at: dict[int, int] = {len(text) + 2: -1}
    for at in range(len(text) - 1, -1, -1):
        if at and text[at - 2 : at] != ", ":
            continue
        for size in sizes:
            end = at + size
            if end + 2 in next_at and (end == len(text) or text[end : end + 2] == ", ") and text[at:end] in names:
                next_at[at] = end + 2
                break
    chosen, at = [], 0
    while 0 <= at < len(text):
        if at not in next_at:
            return []
        chosen.append(text[at : next_at[at] - 2])
        at = next_at[at]
    return chosen


def _pieces(asked: Field, text: str) -> list[str]:
    """The known options in a text that also holds others; what lies between them stays in one piece, commas and all."""
    names = sorted(_names(asked.options), key=len, reverse=True)
    chosen: list[str] = []
    unknown = 0
    at = 0
    steps = 0
    while at < len(text) and steps < 2000:
        steps += 1
        name = next(
            (n for n in names if text.startswith(n, at) and text[at + len(n) : at + len(n) + 2] in ("", ", ")), None
        )
        if name is not None:
            if unknown < at:
                chosen.append(text[unknown : at - 2])
            chosen.append(name)
            at = unknown = at + len(name) + 2
        else:
            comma = text.find(", ", at)
            if comma < 0:
                break
            at = comma + 2
    if unknown < len(text):
        chosen.append(text[unknown:])
    return chosen


def _alike(label: str) -> str:
    """A label as people would compare it: without case, spare spaces and a closing colon."""
    return " ".join(label.casefold().split()).rstrip(" :：*?.").lstrip("*")


def _free(name: str, taken: Sequence[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free
