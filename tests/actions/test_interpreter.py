"""The interpreter runs steps as the runner of GitHub Actions does, and raises where that would be silent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from tests.actions.expressions import Broken
from tests.actions.interpreter import Machine, RunResult, annotations, parse_settings, run_action, run_workflow


def greet(machine: Machine, inputs: Mapping[str, str]) -> Mapping[str, str]:
    return {"greeting": f"Hello {inputs.get('name', '')}"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    github = {"event_name": "issues", "event": {"action": "opened", "issue": {"number": 7}}, "token": "ghs_1"}
    environment = {"PATH": os.environ["PATH"]}
    return Machine(tmp_path / "m", {"some/greeter": greet}, github=github, environment=environment)


def run(machine: Machine, steps: str, *, header: str = "", **inputs: str) -> RunResult:
    """Run an action with these steps; `header` are further keys of its file."""
    folder = machine.folder / "action"
    folder.mkdir(parents=True, exist_ok=True)
    text = f"name: x\ndescription: x\n{dedent(header)}\nruns:\n  using: composite\n  steps:\n"
    (folder / "action.yml").write_text(text + "".join(f"    {line}\n" for line in dedent(steps).splitlines()))
    return run_action(machine, folder, inputs)


def test_what_a_step_writes_into_its_files_is_there_for_later_ones(machine: Machine) -> None:
    done = run(
        machine,
        """
        - id: one
          shell: bash
          run: |
            echo "plain=a=b" >>"$GITHUB_OUTPUT"
            printf 'long<<END\\nfirst\\n\\nlast\\nEND\\n' >>"$GITHUB_OUTPUT"
            echo "KEPT=still here" >>"$GITHUB_ENV"
            mkdir tool && printf '#!/bin/sh\\necho a tool' >tool/ours && chmod +x tool/ours
            echo "$PWD/tool" >>"$GITHUB_PATH"
            echo "# Summary" >>"$GITHUB_STEP_SUMMARY"
        - shell: bash
          env: {GIVEN: "${{ steps.one.outputs.long }}"}
          run: |
            echo "$KEPT, $GIVEN" | tail -1
            ours
            echo "more" >>"$GITHUB_STEP_SUMMARY"
        """,
        header="outputs: {plain: {description: x, value: '${{ steps.one.outputs.plain }}'}}",
    )
    assert done.ok, done.log
    assert done.outputs == {"plain": "a=b"}
    assert done.log == ["last", "a tool"]
    assert done.summary == "# Summary\nmore\n"


def test_a_failure_leaves_out_what_follows_but_not_what_waits_for_it(machine: Machine) -> None:
    done = run(
        machine,
        """
        - {name: forgiven, id: forgiven, shell: bash, run: exit 3, continue-on-error: true}
        - {name: after, shell: bash, run: "true"}
        - {name: pipe, shell: bash, run: "false | true"}
        - {name: left out, shell: bash, run: echo no}
        - {name: told, if: failure(), shell: bash, run: echo told}
        - {name: always, if: "always() && steps.forgiven.outcome == 'failure'", shell: bash, run: echo always}
        """,
    )
    assert not done.ok
    assert list(done.steps.values()) == ["failure", "success", "failure", "skipped", "success", "success"]
    assert done.log == ["told", "always"]


def test_a_step_sees_what_the_runner_gives_and_nothing_of_ours(machine: Machine) -> None:
    assert "PYTEST_CURRENT_TEST" in os.environ
    done = run(machine, "- {shell: bash, run: env}", header="inputs: {name: {description: x, default: y}}")
    names = {line.partition("=")[0] for line in done.log}
    assert {"GITHUB_EVENT_PATH", "GITHUB_EVENT_NAME", "RUNNER_TEMP", "GITHUB_ACTION_PATH", "CI"} <= names
    assert not {"PYTEST_CURRENT_TEST", "GITHUB_TOKEN", "GITHUB_EVENT", "INPUT_NAME"} & names


def test_an_action_within_an_action(machine: Machine) -> None:
    inner = machine.workspace / "inner"
    inner.mkdir()
    (inner / "action.yml").write_text(
        "name: i\ndescription: i\ninputs: {how: {description: x, required: true}}\n"
        "outputs: {said: {description: x, value: '${{ steps.s.outputs.said }}'}}\nruns:\n  using: composite\n"
        "  steps:\n    - {id: s, shell: bash, env: {HOW: '${{ inputs.how }}'},"
        ' run: \'echo "said=$HOW" >>"$GITHUB_OUTPUT"\'}\n'
    )
    done = run(
        machine,
        """
        - {id: hello, uses: some/greeter@0123, with: {name: "issue ${{ github.event.issue.number }}"}}
        - {id: in, uses: ./inner, with: {how: "${{ steps.hello.outputs.greeting }}"}}
        """,
        header="outputs: {said: {description: x, value: '${{ steps.in.outputs.said }}'}}",
    )
    assert done.outputs == {"said": "Hello issue 7"}
    with pytest.raises(Broken, match="needs the input how"):
        run(machine, "- {uses: ./inner}")
    with pytest.raises(Broken, match="has no input other"):
        run(machine, "- {uses: ./inner, with: {how: a, other: b}}")


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("- {shell: bash, run: 'echo ${{ github.event.issue.title }}'}", "an expression inside run"),
        ("- {run: echo no shell}", "no such shell"),
        ("- {shell: fish, run: echo}", "no such shell"),
        ("- {uses: some/body@v1}", "no stand-in for some/body@v1"),
        ("- {shell: bash, run: echo, timeout: 3}", "unknown keys timeout"),
        ("- {shell: bash, run: 'echo ::set-output name=a::b'}", "no workflow command"),
        ("- {shell: bash, run: 'echo GITHUB_SHA=1 >>\"$GITHUB_ENV\"'}", "may not set GITHUB_SHA"),
        ("- {shell: bash, run: 'echo words >>\"$GITHUB_OUTPUT\"'}", "neither name=value nor"),
        ("- {shell: bash, if: steps.never.outputs.x, run: echo}", "no 'never'"),
        ("- {shell: bash, run: echo, env: {A: '${{ inputs.none }}'}}", "no 'none'"),
        ("- {shell: bash, run: echo, env: {A: '${{ secrets.KEY }}'}}", "no context secrets"),
    ],
)
def test_what_github_would_pass_over_is_loud(machine: Machine, steps: str, says: str) -> None:
    with pytest.raises(Broken, match=says):
        run(machine, steps)


def test_commands_of_a_log() -> None:
    (found,) = annotations("::error file=a.yml,line=3,title=x%2C y::100%25 wrong:%0Aall of it")
    assert (found.kind, found.message) == ("error", "100% wrong:\nall of it")
    assert found.properties == {"file": "a.yml", "line": "3", "title": "x, y"}
    assert [one.kind for one in annotations("::endgroup::")] == ["endgroup"]
    assert list(annotations("no command ::error::x")) == []


def test_a_setting_without_its_end_is_loud() -> None:
    assert parse_settings("a=\nb<<E\n=\nE\n") == {"a": "", "b": "="}
    with pytest.raises(Broken, match="b has no end E"):
        parse_settings("b<<E\nx\n")


JOBS = """\
name: w
on:
  issues: {types: [opened]}
  schedule: [{cron: "1 2 * * *"}]
  workflow_dispatch: {inputs: {issue: {type: string, default: none}}}
permissions: {}
concurrency: {group: "w-${{ github.event.issue.number || inputs.issue }}"}
jobs:
  first:
    runs-on: ubuntu-24.04
    permissions: {issues: write}
    outputs: {said: "${{ steps.s.outputs.said }}"}
    steps:
      - {id: s, shell: bash, env: {T: "${{ github.token }}"}, run: 'echo "said=$T" >>"$GITHUB_OUTPUT"'}
  second:
    needs: first
    if: needs.first.outputs.said == 'token of issues' && github.event_name != 'schedule'
    runs-on: ubuntu-24.04
    steps:
      - {shell: bash, run: exit 1}
  third:
    needs: [first, second]
    runs-on: ubuntu-24.04
    steps:
      - {shell: bash, run: echo never}
"""


@pytest.mark.parametrize(
    ("event", "payload", "group", "results"),
    [
        ("issues", {"action": "opened", "issue": {"number": 7}}, "w-7", ["success", "failure", "skipped"]),
        ("workflow_dispatch", {"inputs": {}}, "w-none", ["success", "failure", "skipped"]),
        ("workflow_dispatch", {"inputs": {"issue": "9"}}, "w-9", ["success", "failure", "skipped"]),
        ("schedule", {"schedule": "1 2 * * *"}, "w-", ["success", "skipped", "skipped"]),
        ("schedule", {"schedule": "another"}, None, []),
        ("issues", {"action": "closed"}, None, []),
        ("push", {}, None, []),
    ],
)
def test_jobs(
    machine: Machine, tmp_path: Path, event: str, payload: dict[str, object], group: str | None, results: list[str]
) -> None:
    path = tmp_path / "w.yml"
    path.write_text(JOBS)
    machine.github.update(event_name=event, event=payload)
    jobs = run_workflow(path, machine, lambda rights: "token of " + ", ".join(rights))
    assert [job.result for job in jobs.values()] == results
    assert machine.github.get("concurrency") == group
