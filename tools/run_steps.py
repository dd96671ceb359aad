"""Check every `run:` script of workflows and composite actions with shellcheck, as its shell would read it.

An expression inside a script is an error: GitHub inserts text that users control before the shell reads the script, so
the text could become commands (script injection).  Such values belong in `env:`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_SHELLCHECK_DIALECTS = {"bash": "bash", "sh": "sh"}
"""The names that shellcheck has for the shells it supports."""
_UNCHECKED_SHELLS = ("python", "pwsh", "powershell", "cmd")
"""Shells whose scripts are not checked."""
_SCRIPT_PREAMBLES = {"bash": "#!/usr/bin/env bash\nset -eo pipefail\n", "sh": "#!/bin/sh\nset -e\n"}
"""The lines that stand for the options with which the Actions runner starts each shell."""


@dataclass(frozen=True, slots=True)
class RunScript:
    """A `run:` script and where it is; `line` counts from 1."""

    path: Path
    line: int
    shell: str
    text: str


def main(arguments: Sequence[str]) -> int:
    """Check these files and every YAML file below these folders; return 1 when there is a finding."""
    all_scripts = [script for path in find_yaml_files(arguments) for script in load_scripts(path)]
    problems = [problem for script in all_scripts for problem in find_problems(script)]
    for problem in problems:
        print(problem)
    print(f"{len(all_scripts)} scripts in workflows and actions, {len(problems)} findings")
    return 1 if problems else 0


def find_yaml_files(arguments: Sequence[str]) -> list[Path]:
    """Return the given files and the YAML files below the given folders."""
    paths = [Path(argument) for argument in arguments]
    below = [path for one in paths if one.is_dir() for path in sorted(one.rglob("*.yml")) + sorted(one.rglob("*.yaml"))]
    return [one for one in paths if one.is_file()] + below


def load_scripts(path: Path) -> list[RunScript]:
    """Load the scripts of one file in their order."""
    root = yaml.compose(path.read_text("utf-8"), yaml.SafeLoader)
    return list(_walk_scripts(path, root, "")) if root is not None else []


def _walk_scripts(path: Path, node: yaml.Node, shell: str) -> Iterator[RunScript]:
    """Yield the scripts below a node; `shell` is the default that the workflow or job sets for its steps."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _walk_scripts(path, item, shell)
    if not isinstance(node, yaml.MappingNode):
        return
    keys = {key.value: value for key, value in node.value}
    shell = _mapping_value(_mapping_value(keys.get("defaults"), "run"), "shell", shell)
    script = keys.get("run")
    if isinstance(script, yaml.ScalarNode):
        yield RunScript(path, script.start_mark.line + 1, _mapping_value(node, "shell", shell), script.value)
    for key, value in node.value:
        if key.value != "defaults":
            yield from _walk_scripts(path, value, shell)


def _mapping_value(node: Any, key: str, default: Any = None) -> Any:
    """Return the value of a key of a mapping node, as text where it is a scalar."""
    if not isinstance(node, yaml.MappingNode):
        return default
    found = next((value for name, value in node.value if name.value == key), None)
    return default if found is None else found.value if isinstance(found, yaml.ScalarNode) else found


def find_problems(script: RunScript) -> Iterator[str]:
    """Yield the problems of a script, one line each."""
    location = f"{script.path}:{script.line}"
    if "${{" in script.text:
        yield f"{location}: an expression inside run: it becomes part of the script; give it through env:"
        return
    # A workflow step without `shell:` runs in bash on our runners, though without pipefail.
    shell = (script.shell or "bash").split()[0]
    if shell in _UNCHECKED_SHELLS:
        return
    if shell not in _SHELLCHECK_DIALECTS:
        yield f"{location}: nobody here checks a script for {shell}"
        return
    source = _SCRIPT_PREAMBLES[shell] + script.text
    result = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", "--shell", _SHELLCHECK_DIALECTS[shell], "--format", "gcc", "-"],
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode and not result.stdout:
        raise RuntimeError(result.stderr)
    preamble_lines = _SCRIPT_PREAMBLES[shell].count("\n")
    for line in result.stdout.splitlines():
        _, number, _, message = line.split(":", 3)
        yield f"{location}: line {int(number) - preamble_lines} of it:{message}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
