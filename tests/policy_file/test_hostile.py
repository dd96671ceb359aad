"""Hostile policy files, each read in a process of its own with little memory."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

HOSTILE_FILES = {
    "aliases of aliases": r"""'a: &a [lol,lol]\n' + ''.join(f'{c}: &{c} [{",".join(["*" + p] * 9)}]\n' for p, c in zip('abcdefgh', 'bcdefghi'))""",
    "merge keys": r"""'a: &a {x: 1}\n' + ''.join(f'b{n}: &b{n}\n  <<: [*a, *a, *a, *a]\n' for n in range(20))""",
    "open brackets": "'[' * 40000",
    "open braces": "'{' * 40000",
    "a list of lists of lists": "'- ' * 30000",
    "keys of keys": "'? ' * 20000",
    "an anchor in itself": "'a: &a [*a]'",
    "a key twice": r"'sla: 5m\nsla: 99d'",
    "a date that is none": "'a: 2026-02-30'",
    "a hundred megabytes": "'a' * 100_000_000",
    "a very long length": "'silence: ' + '9' * 60000",
    "a very long key": "'k' * 60000 + ': 1'",
    "very many keys": r"''.join(f'k{n}:\n' for n in range(8000))",
    "very many zones": r"'calendars:\n' + ''.join(f'  c{n}: {{timezone: Europ/Belrin{n}}}\n' for n in range(400))",
    "a long directive": r"'%YAML ' + '9' * 5000 + '.1\n---\na: b'",
    "quotes": "'a: ' + '\"' * 65000",
    "only dashes": "'-' * 65000",
    "pipes": "'| a ' * 16000",
    "line ends": r"'\n' * 65536",
    "percent signs": "'%' * 65000",
    "a NUL": r"'extends: guide\n\0'",
}  # fmt: skip

SLOW = {"very many keys", "very many zones"}
"""Files that give a hundred faults, each with a suggestion."""

CHILD_PROGRAM = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (256 * 2**20, 256 * 2**20))
from app.policy_file import PolicyFaults, load_profile, read_policy
load_profile("guide")
text = {text}
began = time.process_time()
try:
    read_policy(text, name="f")
except PolicyFaults as error:
    print(str(error).splitlines()[0])
spent = time.process_time() - began
assert spent < (0.5 if {quick} else 5), spent
"""


@pytest.mark.parametrize("what", HOSTILE_FILES)
def test_a_hostile_file_is_answered_at_once(what: str) -> None:
    program = CHILD_PROGRAM.replace("{text}", HOSTILE_FILES[what]).replace("{quick}", str(what not in SLOW))
    child = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=20)
    assert (child.returncode, child.stderr) == (0, "")
    assert not child.stdout or re.match(r"f:\d+:\d+: [^\n]+\n$", child.stdout)


DEPTH_PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (256 * 2**20, 256 * 2**20))
from app.policy_file.yaml_tree import PARSER, PurePythonParser, UnsupportedYaml, parse_yaml
assert PARSER is not PurePythonParser, "libyaml is installed with the wheels of PyYAML"
for parser in (PARSER, PurePythonParser):
    try:
        parse_yaml({text}, parser)
    except UnsupportedYaml as refused:
        print(refused.error.found)
"""


@pytest.mark.parametrize(
    "text", ["'[' * 40000", "'{a: ' * 13000", "'- ' * 30000", "'\\n'.join('  ' * n + '-' for n in range(200))"]
)
def test_neither_parser_goes_deeper_than_it_may(text: str) -> None:
    program = DEPTH_PROGRAM.replace("{text}", text)
    child = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=20)
    assert (child.returncode, child.stderr) == (0, "")
    assert child.stdout == "the file is nested too deeply\n" * 2
