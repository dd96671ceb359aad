"""Faults on demand: broken connections and wrong answers; and a clean stop after each."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from app.sandbox.github import AppRegistration, SandboxGitHub
from app.sandbox.github.people import Person
from app.sandbox.github.world import Repository

from .conftest import NO_CERTIFICATES, HandClock


@pytest.mark.parametrize(
    ("kind", "more", "done"),
    [("pre", {}, 0), ("lost", {}, 1), ("trunc", {}, 1), ("hang", {"seconds": 0.05}, 0), ("late", {"seconds": 0.1}, 1)],
)
def test_a_connection_that_breaks(
    github: SandboxGitHub, shop: Repository, mona: Person, api: httpx.Client, kind: Any, more: Any, done: int
) -> None:
    number = mona.opens(shop, "down")
    where = f"/repos/octo/shop/issues/{number}/comments"
    github.faults.add(kind, method="POST", path="/comments", **more)
    with pytest.raises(httpx.TransportError):
        api.post(where, json={"body": "hi"})
    assert api.get(where).status_code == 200
    for _ in range(50):
        if len(shop.issue(number).comments) == done:
            break
        threading.Event().wait(0.02)
    assert len(shop.issue(number).comments) == done
    assert api.post(where, json={"body": "again"}).status_code == 201


def test_an_answer_that_lies(github: SandboxGitHub, shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down")
    where = f"/repos/octo/shop/issues/{number}/comments"
    github.faults.add("post5", path="/comments")
    github.faults.add("status", status=429, headers={"Retry-After": "37"}, times=2)
    assert api.post(where, json={"body": "hi"}).status_code == 502
    assert len(shop.issue(number).comments) == 1
    assert api.get(where).headers["Retry-After"] == "37"
    assert api.get("/repos/octo/shop").status_code == 429
    assert api.get(where).status_code == 200


def test_it_stops_and_leaves_nothing_behind(clock: HandClock, registration: AppRegistration) -> None:
    before = threading.active_count()
    github = SandboxGitHub(clock=clock, app=registration).start()
    idle = httpx.Client(base_url=github.api_url, trust_env=False, verify=NO_CERTIFICATES)
    assert idle.get("/meta").status_code == 200
    github.stop()
    github.stop()
    assert threading.active_count() == before
    with pytest.raises(httpx.TransportError):
        idle.get("/meta")
    idle.close()
    with github:
        assert httpx.get(f"{github.api_url}/meta", trust_env=False, verify=NO_CERTIFICATES).status_code == 200


def test_many_at_once(github: SandboxGitHub, shop: Repository, mona: Person, api: httpx.Client) -> None:
    number = mona.opens(shop, "down")
    token = api.headers["Authorization"]

    def post_comments() -> None:
        with httpx.Client(
            base_url=github.api_url, headers={"Authorization": token}, trust_env=False, verify=NO_CERTIFICATES
        ) as client:
            for _ in range(10):
                client.post(f"/repos/octo/shop/issues/{number}/comments", json={"body": "hi"}).raise_for_status()

    threads = [threading.Thread(target=post_comments) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ids = [comment.id for comment in shop.issue(number).comments]
    assert len(ids) == 60
    assert ids == sorted(ids)
