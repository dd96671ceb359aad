"""Check runs: listed, updated, refused and shown as on GitHub; and pull requests from a fork."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.sandbox.github import SandboxGitHub
from app.sandbox.github.people import Person
from app.sandbox.github.world import Repository

from .conftest import NO_CERTIFICATES, WebhookReceiver, with_token
from .test_pages import HARMLESS_ELEMENTS, HOSTILE_TEXTS, ElementParser

CHECK_RUNS_PATH = "/repos/octo/shop/check-runs"
ANNOTATION = {
    "path": ".github/incidents.yml",
    "start_line": 1,
    "end_line": 1,
    "annotation_level": "failure",
    "message": "no",
}
OUTPUT = {"title": "bad", "summary": "**all** bad"}


@pytest.fixture
def sha(shop: Repository) -> str:
    return shop.git.refs["refs/heads/main"]


def create_check_run(api: httpx.Client, sha: str, expected_status: int = 201, **fields: Any) -> Any:
    """Create a check run on that commit and return GitHub's JSON."""
    answer = api.post(CHECK_RUNS_PATH, json={"name": "policy", "head_sha": sha, **fields})
    assert answer.status_code == expected_status, answer.text
    return answer.json()


def test_they_are_listed_by_commit_name_app_and_status(
    github: SandboxGitHub, api: httpx.Client, sha: str, shop: Repository
) -> None:
    first = create_check_run(api, sha, conclusion="failure")
    again, other = create_check_run(api, sha), create_check_run(api, sha, name="other")

    def list_check_runs(**params: Any) -> list[int]:
        answer = api.get(f"/repos/octo/shop/commits/{sha}/check-runs", params=params).json()
        found = [run["id"] for run in answer["check_runs"]]
        assert answer["total_count"] == len(found)
        return found

    assert list_check_runs() == [again["id"], other["id"]], "the newest of each name"
    assert list_check_runs(filter="all") == [first["id"], again["id"], other["id"]]
    assert list_check_runs(filter="all", check_name="policy") == [first["id"], again["id"]]
    assert list_check_runs(filter="all", status="completed") == [first["id"]]
    assert list_check_runs(app_id=github.app.app_id) == [again["id"], other["id"]]
    assert list_check_runs(app_id=github.app.app_id + 1) == []
    assert api.get("/repos/octo/shop/commits/main/check-runs").json()["total_count"] == 2
    assert api.get(f"/repos/octo/shop/commits/{'0' * 40}/check-runs").status_code == 422


def test_each_update_adds_its_annotations(api: httpx.Client, sha: str) -> None:
    run = create_check_run(api, sha, status="in_progress", output={**OUTPUT, "annotations": [ANNOTATION] * 50})
    assert run["output"]["annotations_count"] == 50
    update = {"conclusion": "failure", "output": {**OUTPUT, "annotations": [ANNOTATION] * 7}}
    updated = api.patch(f"{CHECK_RUNS_PATH}/{run['id']}", json=update).json()
    assert (updated["status"], updated["output"]["annotations_count"]) == ("completed", 57)


@pytest.mark.parametrize(
    "wrong",
    [
        [ANNOTATION] * 51,
        [{**ANNOTATION, "message": ""}],
        [{**ANNOTATION, "annotation_level": "error"}],
        [{**ANNOTATION, "start_line": 0}],
        [{**ANNOTATION, "end_line": 2, "start_column": 3}],
        [{**ANNOTATION, "title": "x" * 256}],
        [{name: value for name, value in ANNOTATION.items() if name != "path"}],
        ["text"],
        "text",
    ],
    ids=["51", "no message", "level", "line", "columns", "title", "no path", "text", "no list"],
)
def test_annotations_that_github_refuses(api: httpx.Client, sha: str, shop: Repository, wrong: Any) -> None:
    create_check_run(api, sha, expected_status=422, output={**OUTPUT, "annotations": wrong})
    assert shop.check_runs == {}


def test_only_an_app_that_may_writes_checks(
    github: SandboxGitHub, shop: Repository, mona: Person, sha: str, api: httpx.Client
) -> None:
    with with_token(github, github.token_for("mona")) as person:
        create_check_run(person, sha, expected_status=403)
    create_check_run(api, "0" * 40, expected_status=422)


def test_a_pull_request_shows_its_checks(
    github: SandboxGitHub, shop: Repository, mona: Person, api: httpx.Client
) -> None:
    sha = mona.pushes(shop, ".github/incidents.yml", "extends: <nothing>\n", branch="other")
    pull = mona.opens_pull(shop, "other", "Another policy")
    create_check_run(api, sha, conclusion="success", output={"title": "an older one", "summary": "fine"})
    annotation = {
        **ANNOTATION,
        "title": "<b>extends</b>",
        "message": "'<nothing>' is none",
        "start_column": 10,
        "end_column": 10,
    }
    run = create_check_run(api, sha, conclusion="failure", output={**OUTPUT, "annotations": [annotation]})
    page = httpx.get(f"{github.url}/octo/shop/pull/{pull}", trust_env=False, verify=NO_CERTIFICATES).text
    assert "an older one" not in page
    assert "<strong>all</strong> bad" in page
    assert "<strong>&lt;b&gt;extends&lt;/b&gt;</strong><p>&#39;&lt;nothing&gt;&#39; is none</p>" in page
    line = f"/octo/shop/blob/{sha}/.github/incidents.yml#L1"
    assert f'href="{line}"' in page
    assert '<tr id="L1">' in httpx.get(github.url + line, trust_env=False, verify=NO_CERTIFICATES).text
    own = httpx.get(run["html_url"], trust_env=False, verify=NO_CERTIFICATES)
    assert (own.status_code, f"/octo/shop/pull/{pull}" in own.text) == (200, True)
    assert httpx.get(f"{github.url}/octo/shop/runs/1", trust_env=False, verify=NO_CERTIFICATES).status_code == 404


def test_what_a_check_says_stays_text(github: SandboxGitHub, shop: Repository, api: httpx.Client, sha: str) -> None:
    for text in HOSTILE_TEXTS:
        annotation = {**ANNOTATION, "title": text[:200], "message": text, "path": text}
        run = create_check_run(
            api, sha, conclusion="failure", output={"title": text, "summary": text, "annotations": [annotation]}
        )
        page = httpx.get(run["html_url"], trust_env=False, verify=NO_CERTIFICATES).text
        tags = {tag for tag, _ in ElementParser(page).elements}
        assert not tags & {"script", "iframe", "img", "form", "style", "object"}
        assert tags <= HARMLESS_ELEMENTS | {"html", "head", "meta", "title", "link", "body", "header", "nav", "main", "div"} | {
            "svg", "path", "circle", "g", "b", "i", "span", "section", "code"
        }  # fmt: skip


def test_a_fork_asks_by_a_pull_request(
    github: SandboxGitHub, shop: Repository, ear: WebhookReceiver, api: httpx.Client
) -> None:
    stranger = github.add_person("stranger")
    fork = stranger.forks(shop)
    stranger.pushes(fork, "README.md", "# better\n", branch="better")
    number = stranger.opens_pull(shop, "stranger:better", "Better")
    stranger.pushes(fork, "README.md", "# best\n", branch="better")
    github.hooks.settle()
    assert ear.event_names == ["pull_request.opened", "pull_request.synchronize"], "the fork has no webhook"
    head = ear.payload("pull_request.synchronize")["pull_request"]["head"]
    assert (head["label"], head["repo"]["full_name"]) == ("stranger:better", "stranger/shop")
    readme = api.get("/repos/octo/shop/contents/README.md", params={"ref": head["sha"]})
    assert readme.json()["size"] == len("# best\n"), "GitHub keeps a repository and its forks together"
    files = api.get(f"/repos/octo/shop/pulls/{number}/files").json()
    assert [file["filename"] for file in files] == ["README.md"]

    def list_pulls(head: str) -> list[int]:
        found = api.get("/repos/octo/shop/pulls", params={"head": head, "state": "all"}).json()
        return [pull["number"] for pull in found]

    assert list_pulls("stranger:better") == [number]
    assert list_pulls("octo:better") == []
    shop.permit("stranger", "write")
    stranger.merges(shop, number)
    assert shop.file("README.md") == "# best\n"
    assert fork.file("README.md") == "# shop\n"
