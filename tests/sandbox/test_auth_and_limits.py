"""Tokens, rights, rate limits and conditional requests, with a clock that the test moves."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import pytest

from app.sandbox.github import AppRegistration, Limits, SandboxGitHub
from app.sandbox.github.people import Person
from app.sandbox.github.world import Repository

from .conftest import NO_CERTIFICATES, HandClock, app_jwt, as_app, new_token, with_token

NOW = int(datetime(2026, 3, 14, 9, 0, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 200),
        ({"iat": NOW, "exp": NOW + 600}, 200),
        ({"exp": NOW + 601}, 401),
        ({"iat": NOW + 1}, 401),
        ({"exp": NOW}, 401),
        ({"iss": "9"}, 401),
        ({"exp": None}, 401),
        ({"iat": None}, 401),
    ],
)
def test_an_app_jwt_is_checked_by_the_given_clock(github: SandboxGitHub, claims: dict[str, Any], status: int) -> None:
    with as_app(github, **claims) as client:
        assert client.get("/app").status_code == status


def test_a_jwt_of_another_key_is_refused(github: SandboxGitHub) -> None:
    stranger = AppRegistration.generate()
    text = jwt.encode({"iat": NOW, "exp": NOW + 60, "iss": "1001"}, stranger.private_key_pem, "RS256")
    answer = httpx.get(
        f"{github.api_url}/app", headers={"Authorization": f"Bearer {text}"}, trust_env=False, verify=NO_CERTIFICATES
    )
    assert answer.status_code == 401


def test_a_jwt_is_refused_as_a_plain_token(github: SandboxGitHub) -> None:
    """An installation token, in contrast, is accepted in either form."""
    answer = httpx.get(
        f"{github.api_url}/app",
        headers={"Authorization": f"token {app_jwt(github)}"},
        trust_env=False,
        verify=NO_CERTIFICATES,
    )
    assert answer.status_code == 401


def test_a_token_lives_an_hour(github: SandboxGitHub, shop: Repository, api: httpx.Client, clock: HandClock) -> None:
    clock.move(minutes=59, seconds=59)
    assert api.get("/repos/octo/shop").status_code == 200
    clock.move(seconds=1)
    answer = api.get("/repos/octo/shop")
    assert (answer.status_code, answer.json()["message"]) == (401, "Bad credentials")


def test_a_token_reaches_its_repositories_only(github: SandboxGitHub, shop: Repository) -> None:
    blog = github.add_repository("octo/blog", private=True)
    github.add_repository("acme/site")
    github.add_repository("octo/closed", private=True, install=False)
    with with_token(github, new_token(github, shop, repositories=["shop"])) as narrow:
        seen = {name: narrow.get(f"/repos/{name}").status_code for name in ("octo/shop", "octo/blog", "acme/site")}
    assert seen == {"octo/shop": 200, "octo/blog": 404, "acme/site": 404}
    with with_token(github, new_token(github, shop, repository_ids=[blog.id])) as narrow:
        assert [r["full_name"] for r in narrow.get("/installation/repositories").json()["repositories"]] == [
            "octo/blog"
        ]
    with with_token(github, new_token(github, shop)) as wide:
        assert wide.get("/repos/octo/closed").status_code == 404


def test_a_token_may_what_it_was_narrowed_to(github: SandboxGitHub, shop: Repository, mona: Person) -> None:
    number = mona.opens(shop, "down")
    with with_token(github, new_token(github, shop, permissions={"issues": "read"})) as reader:
        assert reader.get(f"/repos/octo/shop/issues/{number}").status_code == 200
        for answer in (
            reader.post(f"/repos/octo/shop/issues/{number}/comments", json={"body": "hi"}),
            reader.get("/repos/octo/shop/contents/README.md"),
        ):
            assert (answer.status_code, answer.json()["message"]) == (403, "Resource not accessible by integration")
    with as_app(github) as app:
        assert shop.installation is not None
        where = f"/app/installations/{shop.installation.id}/access_tokens"
        assert app.post(where, json={"permissions": {"administration": "write"}}).status_code == 422
        assert app.post(where, json={"repositories": ["nowhere"]}).status_code == 422
        assert app.post("/app/installations/5/access_tokens").status_code == 404


def test_suspension_and_removal_end_tokens(github: SandboxGitHub, shop: Repository, api: httpx.Client) -> None:
    github.suspend("octo")
    assert api.get("/repos/octo/shop").status_code == 403
    github.unsuspend("octo")
    assert api.get("/repos/octo/shop").status_code == 200
    github.uninstall("octo")
    assert api.get("/repos/octo/shop").status_code == 401


def test_a_person_has_a_token_too(github: SandboxGitHub, shop: Repository, mona: Person) -> None:
    github.add_person("eve")
    with with_token(github, github.token_for("eve")) as eve:
        opened = eve.post("/repos/octo/shop/issues", json={"title": "hm", "labels": ["sev1"]})
        # GitHub silently drops the labels of a person without rights.
        assert (opened.status_code, opened.json()["labels"]) == (201, [])
        assert eve.post("/repos/octo/shop/issues/1/labels", json=["sev1"]).status_code == 403
        assert eve.post("/repos/octo/shop/issues/1/comments", json={"body": "hi"}).status_code == 201
        assert eve.get("/user").json()["login"] == "eve"


@pytest.mark.parametrize(
    ("role", "permission", "role_name"),
    [
        ("none", "read", "read"),
        ("read", "read", "read"),
        ("triage", "read", "triage"),
        ("write", "write", "write"),
        ("maintain", "write", "maintain"),
        ("admin", "admin", "admin"),
    ],
)
def test_permission_of_a_collaborator(
    github: SandboxGitHub, shop: Repository, api: httpx.Client, role: Any, permission: str, role_name: str
) -> None:
    github.add_person("ada")
    shop.permit("ada", role)
    answer = api.get("/repos/octo/shop/collaborators/ada/permission").json()
    assert (answer["permission"], answer["role_name"], answer["user"]["login"]) == (permission, role_name, "ada")


def test_permission_of_strangers(github: SandboxGitHub, api: httpx.Client) -> None:
    secret = github.add_repository("octo/secret", private=True)
    github.add_person("eve")
    assert secret.installation is not None
    where = "/repos/octo/secret/collaborators"
    with with_token(github, new_token(github, secret)) as client:
        assert client.get(f"{where}/eve/permission").json()["permission"] == "none"
        assert client.get(f"{where}/nobody/permission").status_code == 404
        assert client.get(f"{where}/muster[bot]/permission").status_code == 404


def test_the_hourly_limit(clock: HandClock, registration: AppRegistration) -> None:
    with SandboxGitHub(clock=clock, app=registration, limits=Limits(per_hour=3)) as github:
        shop = github.add_repository("octo/shop")
        with with_token(github, new_token(github, shop)) as client:
            remaining = [client.get("/repos/octo/shop").headers["X-RateLimit-Remaining"] for _ in range(3)]
            refused = client.get("/repos/octo/shop")
            assert client.get("/rate_limit").json()["rate"]["remaining"] == 0
            clock.move(minutes=59)
            still_refused = client.get("/repos/octo/shop")
            assert remaining == ["2", "1", "0"]
            assert (refused.status_code, still_refused.status_code) == (403, 403)
            assert int(refused.headers["X-RateLimit-Reset"]) == NOW + 3600
            assert "rate limit exceeded" in refused.json()["message"]
        clock.move(minutes=1)
        with with_token(github, new_token(github, shop)) as client:
            assert client.get("/repos/octo/shop").status_code == 200


def test_the_secondary_limit(clock: HandClock, registration: AppRegistration) -> None:
    with SandboxGitHub(clock=clock, app=registration, limits=Limits.strict()) as github:
        shop = github.add_repository("octo/shop")
        with with_token(github, new_token(github, shop)) as client:
            answers = [client.post("/repos/octo/shop/issues", json={"title": "x"}) for _ in range(81)]
            assert [answer.status_code for answer in answers] == [201] * 80 + [403]
            assert answers[-1].headers["Retry-After"] == "60"
            assert "secondary rate limit" in answers[-1].json()["message"]
            clock.move(seconds=60)
            assert client.post("/repos/octo/shop/issues", json={"title": "x"}).status_code == 201


def test_the_limit_of_tokens_in_an_hour(clock: HandClock, registration: AppRegistration) -> None:
    with SandboxGitHub(clock=clock, app=registration, limits=Limits(tokens_per_hour=2)) as github:
        shop = github.add_repository("octo/shop")
        assert shop.installation is not None
        where = f"/app/installations/{shop.installation.id}/access_tokens"

        def request_token() -> httpx.Response:
            with as_app(github) as app:
                return app.post(where)

        first = request_token()
        clock.move(minutes=20)
        assert (first.status_code, request_token().status_code) == (201, 201)
        refused = request_token()
        assert (refused.status_code, refused.headers["Retry-After"]) == (403, "2400")
        with as_app(github) as app:
            assert app.get("/app").status_code == 200, "only tokens are refused"
        clock.move(minutes=40)
        assert request_token().status_code == 201


def test_the_limit_of_requests_at_once(clock: HandClock, registration: AppRegistration) -> None:
    with SandboxGitHub(clock=clock, app=registration, limits=Limits(concurrent_requests=3)) as github:
        shop = github.add_repository("octo/shop")
        with with_token(github, new_token(github, shop)) as client:
            github.faults.add("hang", path="/issues", times=3, seconds=1.5)
            with ThreadPoolExecutor(3) as pool:
                hanging = [pool.submit(client.get, "/repos/octo/shop/issues") for _ in range(3)]
                time.sleep(0.5)
                refused = client.get("/repos/octo/shop")
                others = httpx.get(f"{github.api_url}/repos/octo/shop", trust_env=False, verify=NO_CERTIFICATES)
            assert refused.status_code == 403
            assert "secondary rate limit" in refused.json()["message"]
            assert others.status_code == 200, "each caller has its own hundred"
            assert all(isinstance(one.exception(), httpx.HTTPError) for one in hanging)
            assert client.get("/repos/octo/shop").status_code == 200


def test_strict_is_all_that_github_publishes() -> None:
    assert Limits.strict() == Limits(5000, 900, 80, 500, concurrent_requests=100, tokens_per_hour=2000)


def test_what_did_not_change_is_free(shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down")
    where = f"/repos/octo/shop/issues/{number}"
    first = api.get(where)
    again = api.get(where, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["X-RateLimit-Remaining"] == first.headers["X-RateLimit-Remaining"]
    mona.comments(shop, number, "news")
    assert api.get(where, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_calls_are_written_down(github: SandboxGitHub, shop: Repository, api: httpx.Client, clock: HandClock) -> None:
    mark = github.call_log_position()
    api.get("/repos/octo/shop")
    api.get("/repos/octo/nowhere")
    calls = github.calls_since(mark)
    assert [(call.method, call.path, call.status) for call in calls] == [
        ("GET", "/api/v3/repos/octo/shop", 200),
        ("GET", "/api/v3/repos/octo/nowhere", 404),
    ]
    assert shop.installation is not None
    assert {(call.caller, call.at) for call in calls} == {(f"installation {shop.installation.id}", clock.now)}
