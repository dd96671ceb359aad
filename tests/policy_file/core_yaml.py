"""Policy files as an editor sees them, checked against the schema.

In YAML 1.2, `80` is a number and `off` a text.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from app.policy_file import schema
from app.policy_file.yaml_tree import ListNode, MapNode, Node, ScalarNode, parse_yaml


def load_yaml(text: str) -> Any:
    tree, _ = parse_yaml(text)
    return _value(tree)


def _value(node: Node) -> Any:
    if isinstance(node, MapNode):
        return {key.value: _value(value) for key, value in node.pairs}
    if isinstance(node, ListNode):
        return [_value(item) for item in node.nodes]
    return _scalar(node) if node.plain else node.value


def _scalar(node: ScalarNode) -> Any:
    if node.value in ("", "~", "null", "Null", "NULL"):
        return None
    if node.value in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return node.value.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", node.value):
        return int(node.value)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", node.value):
        return float(node.value)
    return node.value


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def schema_errors(text: str) -> list[str]:
    """Return the errors of a file against the schema, each with its path."""
    return [f"{error.json_path}: {error.message}" for error in _validator().iter_errors(load_yaml(text))]


def is_valid(text: str) -> bool:
    return not schema_errors(text)
