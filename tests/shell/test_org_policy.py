"""The organisation's policy file: for repositories without their own file, and for those that extend it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from app.core.on_call import people_of
from app.policy_file import PolicyFaults, read_policy
from app.policy_source.active_policy import ActivePolicy
from app.ports import DeliveryFailed, Repository
from app.sandbox.github import world
from app.store.database import Database, load_migrations, migrate
from app.store.policies import PolicyScope, load_stored_policy
from tests.shell.night import POLICY, SEV1, Night, run_night

FILE = ".github/incidents.yml"
ORG = """\
extends: strict
timezone: America/New_York
contacts:
  on-call: [grace]
  it-manager: [ada]
"""
EXTENDING = "extends: org\ncontacts: {on-call: [mona]}\n"
FAULTY_ORG = ORG.replace("America/New_York", "Mars/Base")


@pytest.fixture
def bare(database: Database) -> Iterator[Night]:
    """Yield a night in a repository without a policy file."""
    with run_night(database, policy=None) as found:
        yield found


def add_organisation_policy(tonight: Night, text: str | None = ORG, *, install: bool = True) -> world.Repository:
    """Add the organisation's repository `.github`, with its policy file."""
    files = {"README.md": "# octo\n"} | ({FILE: text} if text is not None else {})
    found = tonight.github.add_repository("octo/.github", files=files, install=install, private=not install)
    found.permit("ada", "write")
    tonight.github.hooks.settle()
    return found


def open_incident(tonight: Night) -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    return number


def push_policy(tonight: Night, repository: world.Repository, text: str | None) -> None:
    tonight.github.person("ada").pushes(repository, FILE, text)
    tonight.advance_and_settle()


def load_active_policy(tonight: Night, name: str = "octo/shop") -> ActivePolicy:
    found = tonight.github.repository(name)
    ctx, repository = tonight.application.ctx, Repository(found.id, name, tonight.installation)
    return ctx.policies.load(ctx.database, ctx.tracker(repository), repository, tonight.clock())


def list_on_call(tonight: Night) -> tuple[str, ...]:
    return people_of(("on-call",), load_active_policy(tonight).policy, tonight.clock())


def list_fault_notices(tonight: Night) -> list[str]:
    return [body for issue in tonight.shop.issues for body in tonight.notices(issue) if "last good" in body]


def test_a_repository_without_a_file_has_the_organisation_s(bare: Night) -> None:
    add_organisation_policy(bare)
    number = open_incident(bare)
    assert "@grace" in bare.notices(number)[0]
    found = load_active_policy(bare)
    assert (found.policy.profile, found.policy.zone, found.problems) == ("strict", "America/New_York", ())


def test_a_repository_with_a_file_of_its_own_does_not_ask_for_the_organisation_s(tonight: Night) -> None:
    add_organisation_policy(tonight)
    mark = tonight.github.call_log_position()
    number = open_incident(tonight)
    assert "@mona" in tonight.notices(number)[0]
    assert not [call for call in tonight.github.calls_since(mark) if "/octo/.github/contents" in call.path]


def test_a_file_that_extends_the_organisation_s_builds_on_it(bare: Night) -> None:
    add_organisation_policy(bare)
    push_policy(bare, bare.shop, EXTENDING)
    number = open_incident(bare)
    assert "@mona" in bare.notices(number)[0]
    found = load_active_policy(bare)
    assert (found.policy.profile, found.policy.zone, found.problems) == ("strict", "America/New_York", ())
    assert people_of(("it-manager",), found.policy, bare.clock()) == ("ada",)


@pytest.mark.parametrize("own", [None, EXTENDING])
def test_a_push_to_the_organisation_s_repository_holds_everywhere_at_once(bare: Night, own: str | None) -> None:
    above = add_organisation_policy(bare)
    if own is not None:
        push_policy(bare, bare.shop, own)
    number = open_incident(bare)
    before = bare.board(number)
    push_policy(bare, above, ORG.replace("America/New_York", "Asia/Tokyo"))
    assert load_active_policy(bare).policy.zone == "Asia/Tokyo"
    assert re.findall(r"[\d:]+ UTC", bare.board(number)) == re.findall(r"[\d:]+ UTC", before), (
        "a zone moves no deadline"
    )
    push_policy(bare, above, ORG + "severities: {sev1: {resolve: 2h}}\n")
    assert bare.board(number) != before, "an open incident follows without being touched"


def test_a_file_that_the_organisation_adds_or_takes_away(bare: Night) -> None:
    above = add_organisation_policy(bare, None)
    open_incident(bare)
    assert load_active_policy(bare).policy.profile == "guide"
    push_policy(bare, above, ORG)
    assert load_active_policy(bare).policy.profile == "strict"
    push_policy(bare, above, None)
    assert load_active_policy(bare).policy.profile == "guide"


def test_without_such_a_repository_the_guide_holds(bare: Night) -> None:
    open_incident(bare)
    assert (load_active_policy(bare).policy.profile, load_active_policy(bare).problems) == ("guide", ())


@pytest.mark.parametrize("status", [404, 403, 451])
def test_one_that_we_may_not_read_is_none(bare: Night, status: int) -> None:
    add_organisation_policy(bare)
    bare.github.faults.add("status", status=status, path="/octo/.github/contents/", times=9)
    open_incident(bare)
    assert (load_active_policy(bare).policy.profile, load_active_policy(bare).problems) == ("guide", ())


def test_one_in_which_the_app_is_not_installed_is_none(bare: Night) -> None:
    add_organisation_policy(bare, install=False)
    open_incident(bare)
    assert (load_active_policy(bare).policy.profile, load_active_policy(bare).problems) == ("guide", ())


def test_a_faulty_one_changes_nothing_and_is_told_once(bare: Night) -> None:
    above = add_organisation_policy(bare)
    number = open_incident(bare)
    push_policy(bare, above, FAULTY_ORG)
    assert list_on_call(bare) == ("grace",)
    (found,) = list_fault_notices(bare)
    assert f"octo/.github: {FILE}:2:11: timezone" in found
    bare.run_for(minutes=12)
    open_incident(bare)
    assert len(list_fault_notices(bare)) == 1
    assert any("page0.3" in key for key in bare.list_posted_keys(number)), "the clocks run on"
    bare.lose_and_rebuild_database()
    bare.advance_and_settle()
    assert len(list_fault_notices(bare)) == 1, "also after a rebuild"
    push_policy(bare, above, ORG.replace("grace", "hubot"))
    assert list_on_call(bare) == ("hubot",)


def test_a_faulty_one_is_told_once_in_the_whole_organisation(bare: Night) -> None:
    above = add_organisation_policy(bare)
    other = bare.github.add_repository("octo/other", files={"README.md": "# other\n"})
    push_policy(bare, above, FAULTY_ORG)
    open_incident(bare)
    bare.github.person("stranger").opens(other, "Other is down", SEV1, ["incident"])
    bare.advance_and_settle()
    bodies = [comment.body for issue in other.issues.values() for comment in issue.comments]
    assert bodies, "the other repository is looked after too"
    assert len(list_fault_notices(bare)) + sum("last good" in body for body in bodies) == 1


def test_a_file_that_stood_on_what_the_organisation_took_away_stays_in_force_with_it(bare: Night) -> None:
    above = add_organisation_policy(bare, ORG + "teams: {shop: {members: [hubot]}}\n")
    push_policy(bare, bare.shop, EXTENDING + "services: {checkout: {owner: shop}}\n")
    open_incident(bare)
    assert load_active_policy(bare).policy.services["checkout"].owner == "shop"
    push_policy(bare, above, ORG)
    found = load_active_policy(bare)
    assert found.policy.services["checkout"].owner == "shop", "both as they were when they were good together"
    assert found.policy.teams["shop"].members == ("hubot",)
    (problem,) = found.problems
    assert "services.checkout.owner" in problem.faults[0]
    assert len(list_fault_notices(bare)) == 1
    push_policy(bare, above, ORG + "teams: {shop: {members: [mona]}}\n")
    assert load_active_policy(bare).policy.teams["shop"].members == ("mona",)
    assert load_active_policy(bare).problems == ()


def test_extending_an_organisation_that_has_no_file_is_a_fault(tonight: Night) -> None:
    open_incident(tonight)
    push_policy(tonight, tonight.shop, EXTENDING)
    assert list_on_call(tonight) == ("mona", "hubot"), "the last good one"
    assert len(list_fault_notices(tonight)) == 1
    add_organisation_policy(tonight)
    tonight.clock.at += timedelta(minutes=121)
    assert (load_active_policy(tonight).policy.profile, list_on_call(tonight)) == ("strict", ("mona",))


def test_the_organisation_s_own_repository_does_not_stand_on_itself(bare: Night) -> None:
    above = add_organisation_policy(bare)
    assert load_active_policy(bare, "octo/.github").policy.profile == "strict"
    push_policy(bare, above, EXTENDING)
    found = load_active_policy(bare, "octo/.github")
    assert (found.policy.profile, "extends" in found.faults[0]) == ("strict", True)


def test_while_github_is_away_what_is_known_holds(bare: Night) -> None:
    above = add_organisation_policy(bare)
    bare.github.faults.add("status", status=503, path="/octo/.github/contents/", times=99)
    assert load_active_policy(bare).policy.profile == "guide", "the organisation's file is not known yet"
    bare.github.faults.clear()
    assert load_active_policy(bare).policy.profile == "strict", "so it is asked again at once"
    bare.github.faults.add("status", status=503, path="/octo/.github/contents/", times=99)
    push_policy(bare, above, ORG.replace("strict", "procedure"))
    assert load_active_policy(bare).policy.profile == "strict"
    bare.github.faults.clear()
    assert load_active_policy(bare).policy.profile == "procedure"


def test_a_limit_is_no_missing_file(bare: Night) -> None:
    add_organisation_policy(bare)
    load_active_policy(bare)
    bare.clock.at += timedelta(minutes=121)
    bare.github.faults.add("status", status=429, path="/octo/.github/contents/", times=9)
    assert load_active_policy(bare).policy.profile == "strict"


def test_unchanged_files_cost_nothing(bare: Night) -> None:
    add_organisation_policy(bare)
    push_policy(bare, bare.shop, EXTENDING)
    load_active_policy(bare)
    for _ in range(2):
        bare.clock.at += timedelta(minutes=121)
        mark = bare.github.call_log_position()
        for _ in range(3):
            load_active_policy(bare)
        assert [call.status for call in bare.github.calls_since(mark) if "contents" in call.path] == [304, 304]


def test_a_proposed_file_is_read_on_the_organisation_s(bare: Night) -> None:
    add_organisation_policy(bare)
    ctx, repository = bare.application.ctx, Repository(bare.shop.id, "octo/shop", bare.installation)

    def read_profile(text: str | None) -> str:
        tracker = ctx.tracker(repository)
        base = ctx.policies.load_base_text(ctx.database, tracker, repository, text, bare.clock())
        return read_policy(base or "" if text is None else text, org=base).profile

    assert (read_profile(None), read_profile(EXTENDING), read_profile("extends: procedure\n")) == (
        "strict",
        "strict",
        "procedure",
    )
    with bare.database.transaction() as db:
        db.execute("DELETE FROM policy")
    bare.github.faults.add("status", status=503, path="/octo/.github/contents/", times=9)
    with pytest.raises(DeliveryFailed, match="not known now"):
        read_profile(EXTENDING)
    bare.github.faults.clear()
    with pytest.raises(PolicyFaults):
        read_profile(EXTENDING + "timezone: Mars/Base\n")


def test_rows_from_before_keep_their_policy(postgres: str) -> None:
    """The database of an earlier release is migrated together with its rows."""
    with psycopg.connect(postgres.format("postgres"), autocommit=True) as server:
        server.execute("CREATE DATABASE before_organisations")
    url = postgres.format("before_organisations")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE schema_step (number integer PRIMARY KEY, name text NOT NULL)")
        for number, name, sql in load_migrations()[:2]:
            connection.execute(sql.encode())
            connection.execute("INSERT INTO schema_step VALUES (%s, %s)", (number, name))
        connection.execute(
            "INSERT INTO policy (repo_id, text, etag, fault, fault_text, told, checked_at)"
            " VALUES (7, %s, 'e', 'bad', 'extends: nothing', 'v1', now())",
            (POLICY,),
        )
    assert migrate(url)[0] == load_migrations()[2][1]
    opened = Database(url).open()
    try:
        with opened.transaction() as db:
            found = load_stored_policy(db, PolicyScope.repository(7))
            fault_row = db.execute("SELECT reported_faults FROM policy").fetchone()
        assert (found.text, found.newest_text, found.fault, found.etag) == (POLICY, "extends: nothing", "bad", "e")
        assert fault_row == {"reported_faults": "v1"}
    finally:
        opened.close()
