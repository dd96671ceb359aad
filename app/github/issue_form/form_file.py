"""Parse form files of `.github/ISSUE_TEMPLATE`, tolerantly: they are often invalid, so every valid part counts."""

from __future__ import annotations

from contextlib import suppress
from typing import TypeAlias

import yaml

from app.github.issue_form.form import TRUE_WORDS, Field, FieldKind, Form

MAX_FORM_CHARS = 256 * 1024
_MAX_DEPTH = 32
_MAX_YAML_EVENTS = 60_000
_MAX_FIELDS = 200
_MAX_BRACKETS = 500

Node: TypeAlias = "str | list[Node] | dict[str, Node] | None"

_KINDS: dict[str, FieldKind] = {"input": "input", "dropdown": "dropdown", "checkboxes": "checkboxes"}


class FormFault(Exception):
    """Nothing can be read from a form file.  The message is for its author."""


def read_form(text: str) -> Form:
    """Parse a form file of `.github/ISSUE_TEMPLATE`.

    Of invalid YAML the longest valid beginning counts.  Scalars are text as written: `label: Yes` is "Yes".
    Raises FormFault if not even a name or a field can be read.
    """
    if len(text) > MAX_FORM_CHARS:
        raise FormFault(f"The form is longer than {MAX_FORM_CHARS // 1024} KiB.")
    root, trouble = _parse_yaml(text)
    if isinstance(root, list) and any(isinstance(item, dict) for item in root):
        root = {"body": root}
    if not isinstance(root, dict) or not {"name", "description", "title", "body"} & root.keys():
        wanted = "A form begins with 'name:' and has its questions in a list below 'body:'."
        raise FormFault(f"No form can be read: {trouble}. {wanted}" if trouble else f"No form can be read. {wanted}")
    fields = (_parse_field(item) for item in _list(root.get("body"))[:_MAX_FIELDS])
    labels = root.get("labels")
    return Form(
        name=_text(root.get("name")),
        title=_text(root.get("title")),
        labels=tuple(part.strip() for part in labels.split(",") if part.strip())
        if isinstance(labels, str)
        else tuple(label for label in map(_text, _list(labels)) if label),
        fields=tuple(field for field in fields if field is not None),
    )


def _parse_yaml(text: str) -> tuple[Node, str]:
    """Parse the first YAML document into text, lists and mappings; also return why parsing stopped, if it did.

    The scanner looks ahead, so an error can discard valid lines before it: those are parsed again without the rest.
    """
    text = yaml.reader.Reader.NON_PRINTABLE.sub("\ufffd", text.removeprefix("\ufeff"))
    builder = _FormTreeBuilder()
    try:
        trouble = builder.build(text)
    except yaml.MarkedYAMLError as error:
        if whole := _parse_with_libyaml(text):
            return whole, ""
        at = error.context_mark or error.problem_mark
        trouble = f"line {at.line + 1}: {error.problem}" if at else str(error.problem)
        before = _FormTreeBuilder()
        with suppress(yaml.YAMLError):
            before.build("".join(text.splitlines(keepends=True)[: at.line if at else 0]))
        builder = max(builder, before, key=_FormTreeBuilder.field_count)
    except yaml.YAMLError as error:
        trouble = str(error)
    return builder.root, trouble


def _parse_with_libyaml(text: str) -> Node:
    """Parse with libyaml; None if it fails too.

    PyYAML's own parser rejects `{label: What happened?}`, which GitHub accepts.  Only text with few brackets is passed
    on, because libyaml crashes on deep nesting.
    """
    if not yaml.__with_libyaml__ or text.count("[") + text.count("{") > _MAX_BRACKETS:
        return None
    builder = _FormTreeBuilder()
    try:
        return None if builder.build(text, yaml.CSafeLoader) else builder.root
    except yaml.YAMLError:
        return None


class _FormTreeBuilder:
    """Builds text, lists and mappings event by event, so that everything before an error is kept.

    An alias is the very node it names, never a copy: a "billion laughs" file stays as small as it is written.
    """

    def __init__(self) -> None:
        self.root: Node = None
        self._open_nodes: list[list[Node] | dict[str, Node]] = []
        self._pending_keys: list[str | None] = []  # for each open node the key whose value comes next
        self._anchors: dict[str, Node] = {}

    def field_count(self) -> int:
        """Return the number of entries in the form's body."""
        body = self.root.get("body") if isinstance(self.root, dict) else self.root
        return len(body) if isinstance(body, list) else 0

    def build(self, text: str, loader: type[yaml.SafeLoader | yaml.CSafeLoader] = yaml.SafeLoader) -> str:
        """Parse the text, and return why parsing stopped early, empty if it did not.

        Raises YAMLError; the nodes built before it are kept.
        """
        for count, event in enumerate(yaml.parse(text, Loader=loader)):
            if isinstance(event, yaml.DocumentEndEvent) and self.root:
                break
            if count > _MAX_YAML_EVENTS or len(self._open_nodes) > _MAX_DEPTH:
                return "it is nested too deeply or has too many parts"
            self._handle_event(event)
        return ""

    def _handle_event(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._add_node(_scalar_text(event), event.anchor)
            case yaml.AliasEvent():
                self._add_node(self._anchors.get(str(event.anchor)), None)
            case yaml.SequenceStartEvent():
                self._open_node([], event.anchor)
            case yaml.MappingStartEvent():
                self._open_node({}, event.anchor)
            case yaml.CollectionEndEvent():
                self._open_nodes.pop()
                self._pending_keys.pop()

    def _open_node(self, node: list[Node] | dict[str, Node], anchor: str | None) -> None:
        self._add_node(node, anchor)
        self._open_nodes.append(node)
        self._pending_keys.append(None)

    def _add_node(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if not self._open_nodes:
            self.root = node
            return
        parent, key = self._open_nodes[-1], self._pending_keys[-1]
        if isinstance(parent, list):
            parent.append(node)
        elif key is None:
            self._pending_keys[-1] = node if isinstance(node, str) else ""
        else:
            self._pending_keys[-1] = None
            if key == "<<" and isinstance(node, dict) and len(node) <= 100:
                parent.update({name: value for name, value in node.items() if name not in parent})
            else:
                parent[key] = node


def _scalar_text(event: yaml.ScalarEvent) -> str | None:
    value = str(event.value)
    return None if event.style is None and value in {"", "~", "null", "Null", "NULL"} else value


def _parse_field(item: Node) -> Field | None:
    if not isinstance(item, dict):
        return None
    kind = _text(item.get("type")).lower()
    if kind == "markdown":
        return None
    attributes = item.get("attributes")
    properties = {**item, **attributes} if isinstance(attributes, dict) else item
    validations = item.get("validations")
    field = Field(
        id=_text(item.get("id")) or None,
        label=_text(properties.get("label")),
        kind=_KINDS.get(kind, "textarea"),
        options=tuple(
            dict.fromkeys(option for option in map(_option_text, _list(properties.get("options"))) if option)
        ),
        multiple=_text(properties.get("multiple")).lower() in TRUE_WORDS,
        render=_text(properties.get("render")),
        required=isinstance(validations, dict) and _text(validations.get("required")).lower() in TRUE_WORDS,
    )
    return field if field.id or field.label else None


def _option_text(node: Node) -> str:
    if isinstance(node, dict):
        if "label" in node:
            return _text(node["label"])
        return ", ".join(f"{key}: {_text(value)}".strip() for key, value in list(node.items())[:1])
    return _text(node)


def _text(node: Node) -> str:
    return node.strip() if isinstance(node, str) else ""


def _list(node: Node) -> list[Node]:
    return node if isinstance(node, list) else []
