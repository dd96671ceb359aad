"""Limits what bots, flickering labels and a flood of reports can make Muster post (C5)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

import structlog

from app.core.noise_limits import CommentBudget
from app.ports import IncidentKey
from app.store import comment_log
from app.store.database import Database
from app.worker.monitoring.self_audit import run_audit
from tests.figures import Figures
from tests.shell.night import POLICY, SEV1, Night, run_night
from tests.shell.sink import connect_sink, run_sink
from tests.soak import choose_size

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def list_own_comment_times(tonight: Night, number: int) -> list[datetime]:
    """Return the times at which our comments were written, the board included."""
    return [one.created_at for one in tonight.shop.issue(number).comments if one.author.kind == "Bot"]


def max_count_within(times: Iterable[datetime], span: timedelta) -> int:
    """Return the largest number of times within any span of that length."""
    all_times = list(times)
    return max(sum(start <= time < start + span for time in all_times) for start in all_times)


def test_c5_m28_whoever_answers_each_of_our_answers_is_not_answered_for_long(tonight: Night, figures: Figures) -> None:
    """A program posts through a person's account, so it looks like a person; each round has a mistyped command."""
    number = tonight.github.person("mona").opens(tonight.shop, "Slow", "### Severity\n\nSEV4\n", ["incident"])
    tonight.advance_and_settle()
    with structlog.testing.capture_logs() as logs:
        for _ in range(choose_size(40, 1000)):
            tonight.github.person("hubot").comments(tonight.shop, number, "/resolv thank you")
            tonight.clock.at += timedelta(seconds=48)
            tonight.settle()
            run_audit(tonight.application.ctx)
    times = list_own_comment_times(tonight, number)
    assert max_count_within(times, HOUR) <= 11, "ten answers, and the board"
    assert max_count_within(times, DAY) <= 31
    figures.record(
        "C5",
        size=f"{choose_size(40, 1000)} rounds, one each 48 s, simulated clock",
        measured=f"{max_count_within(times, HOUR)} an hour, {max_count_within(times, DAY)} a day",
    )
    assert "held back until" in tonight.board(number)
    assert len([row for row in logs if row["event"] == "alarm" and row["name"] == "breaker"]) == 1
    with tonight.database.transaction() as db:
        waiting = db.execute("SELECT count(*) AS n FROM outbox WHERE state IN ('pending', 'in_flight')").fetchone()
        assert waiting is not None
        assert 1 <= waiting["n"] <= 10, "a few answers wait, the many others are dropped"
    tonight.clock.at += DAY
    tonight.settle()
    tonight.clock.at += DAY
    count_before = len(list_own_comment_times(tonight, number))
    tonight.github.person("hubot").comments(tonight.shop, number, "/help")
    tonight.advance_and_settle()
    assert len(list_own_comment_times(tonight, number)) == count_before + 1
    assert "held back until" not in tonight.board(number)


def test_c5_m28_bots_get_no_answer_at_all(tonight: Night) -> None:
    number = tonight.github.person("mona").opens(tonight.shop, "Slow", "### Severity\n\nSEV4\n", ["incident"])
    tonight.advance_and_settle()
    bot = tonight.github.add_person("other-bot")
    bot.account.kind = "Bot"
    tonight.shop.permit("other-bot", "admin")
    keys_before = tonight.list_posted_keys(number)
    for _ in range(choose_size(50, 1000)):
        bot.comments(tonight.shop, number, "/resolv\n/help")
        tonight.clock.at += timedelta(seconds=48)
        tonight.settle()
    assert tonight.list_posted_keys(number) == keys_before


def test_c5_nobody_answers_a_sev1_for_hours(tonight: Night) -> None:
    """Twelve pages an hour would be too many: they are bundled, none is dropped, and managers are notified in time.

    FC-M3: they are not spaced further apart the longer the day gets.
    """
    number = tonight.github.person("mona").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    began = tonight.clock.at
    tonight.settle()
    tonight.run_for(hours=choose_size(3, 24))
    times = list_own_comment_times(tonight, number)
    with tonight.database.transaction() as db:
        urgent = comment_log.list_comments(db, IncidentKey(tonight.shop.id, number), tonight.clock.at - DAY)
    urgent_times = [each.at for each in urgent if each.budget is CommentBudget.URGENT]
    ordinary_times = [each.at for each in urgent if each.budget is not CommentBudget.URGENT]
    assert max_count_within(urgent_times, HOUR) <= 10
    assert max_count_within([*ordinary_times, began], HOUR) <= 11
    assert max_count_within([*ordinary_times, began], DAY) <= 31
    all_times = [*times, tonight.clock.at]
    assert max(later - time for time, later in pairwise(all_times)) <= timedelta(minutes=25)
    with tonight.database.transaction() as db:
        rows = db.execute("SELECT state, data->>'at' AS at, url FROM outbox WHERE kind = 'Escalate'").fetchall()
    written = {str(one.id): one.created_at for one in tonight.shop.issue(number).comments}
    assert len(rows) >= 3
    for row in rows:
        late = written[row["url"].rpartition("-")[2]] - datetime.fromisoformat(row["at"])
        assert late <= timedelta(minutes=1), "escalations are posted in time"
    paged = [body for body in tonight.notices(number) if "escalated to cto" in body]
    assert len(paged) == 1
    assert tonight.clock.at - began == timedelta(hours=choose_size(3, 24))


def test_c5_what_waited_is_said_when_the_hour_is_over(tonight: Night) -> None:
    number = tonight.github.person("mona").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.settle()
    tonight.run_for(minutes=55)
    count_before = len(list_own_comment_times(tonight, number))
    assert count_before <= 10
    with tonight.database.transaction() as db:
        limited_keys = comment_log.list_limited_incident_keys(db, tonight.clock())
        waiting = db.execute("SELECT count(*) AS n FROM outbox WHERE state = 'pending'").fetchone()
    assert [incident_key.number for incident_key in limited_keys] == [number]
    assert waiting is not None
    assert waiting["n"] >= 1
    tonight.run_for(minutes=90)
    with tonight.database.transaction() as db:
        rows = db.execute(
            "SELECT key, state FROM outbox WHERE key LIKE 'escalate/page0.%' AND state = 'done'"
        ).fetchall()
    assert len(rows) > count_before, "one comment carries several deferred pages"
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.clock.at += timedelta(minutes=100)
    tonight.settle()
    with tonight.database.transaction() as db:
        assert not db.execute("SELECT 1 FROM outbox WHERE state IN ('pending', 'in_flight')").fetchall()


def ask_with_outsiders(tonight: Night, number: int, count: int) -> None:
    """Let that many people without rights write one `/ack` each, seconds apart."""
    for nth in range(count):
        tonight.github.add_person(f"passer-by-{nth}").comments(tonight.shop, number, "/ack")
        tonight.advance_and_settle(5)


def test_fc_s2_outsiders_take_nobodys_place(tonight: Night) -> None:
    """FC-S2: nine and more outsiders with one `/ack` each do not delay a page, an escalation or an answer."""
    number = tonight.github.person("mona").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    ask_with_outsiders(tonight, number, 12)
    replies = [body for body in tonight.notices(number) if "@passer-by-" in body]
    assert len(replies) == 3, "a few are answered, the others are left alone"
    assert "held back until" not in tonight.board(number), "outsiders cannot make the board say so"
    tonight.run_for(minutes=65)
    for manager in ("@ada", "@grace"):
        assert any(manager in body for body in tonight.notices(number)), manager
    with tonight.database.transaction() as db:
        rows = db.execute("SELECT data->>'at' AS at, url FROM outbox WHERE kind = 'Escalate'").fetchall()
    written = {str(one.id): one.created_at for one in tonight.shop.issue(number).comments}
    assert rows
    for row in rows:
        late = written[row["url"].rpartition("-")[2]] - datetime.fromisoformat(row["at"])
        assert late <= timedelta(minutes=1)
    ask_with_outsiders(tonight, number, 3)
    tonight.github.person("hubot").comments(tonight.shop, number, "/severity seven")
    tonight.advance_and_settle()
    assert any("@hubot" in body and "is not a severity" in body for body in tonight.notices(number))


def test_fc_m3_answers_to_responders_wait_and_are_given(tonight: Night) -> None:
    """FC-M3: a responder whose commands are refused many times within the hour is answered later, not never."""
    number = tonight.github.person("mona").opens(tonight.shop, "Slow", "### Severity\n\nSEV4\n", ["incident"])
    tonight.advance_and_settle()
    for _ in range(14):
        tonight.github.person("hubot").comments(tonight.shop, number, "/severity seven")
        tonight.advance_and_settle(10)
    assert len([body for body in tonight.notices(number) if "is not a severity" in body]) == 10
    tonight.run_for(minutes=65)
    assert len([body for body in tonight.notices(number) if "is not a severity" in body]) == 14


def test_c5_a_rebuild_remembers_what_was_said(tonight: Night) -> None:
    number = tonight.github.person("mona").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.settle()
    tonight.run_for(minutes=55)
    tonight.lose_and_rebuild_database()
    tonight.run_for(minutes=60)
    assert max_count_within(list_own_comment_times(tonight, number), HOUR) <= 12


def test_c5_m29_a_label_is_added_and_removed_five_hundred_times_in_a_minute(tonight: Night, figures: Figures) -> None:
    number = tonight.github.person("ada").opens(tonight.shop, "Slow", "### Severity\n\nSEV3\n", ["incident"])
    tonight.advance_and_settle()
    tonight.run_for(minutes=2)
    ada = tonight.github.person("ada")
    mark = tonight.github.call_log_position()
    count_before = len(list_own_comment_times(tonight, number))
    times = choose_size(120, 500)
    for second in range(60):
        for _ in range(times * second // 60, times * (second + 1) // 60):
            ada.labels(tonight.shop, number, "sev1")
            ada.unlabels(tonight.shop, number, "sev1")
        tonight.settle()
        tonight.clock.at += timedelta(seconds=1)
    calls = tonight.github.calls_since(mark)
    assert len(calls) <= 20, [(call.method, call.path) for call in calls]
    assert len(list_own_comment_times(tonight, number)) - count_before <= 2
    figures.record(
        "C5",
        size=f"sev1 added and removed {times} times in 60 s",
        measured=f"{len(list_own_comment_times(tonight, number)) - count_before} comments, {len(calls)} API calls",
    )
    tonight.run_for(minutes=2)
    assert tonight.labels(number) == {"incident", "sev1"}
    with tonight.database.transaction() as db:
        pages = db.execute(
            "SELECT key FROM alarm WHERE number = %s AND key LIKE 'escalate/page%%'", (number,)
        ).fetchall()
    assert len(pages) == 1


def open_flood(tonight: Night, authors: int) -> list[int]:
    """Open 200 issues within ten minutes (14 at the quick size), spread over that many accounts."""
    issue_count = choose_size(14, 200)
    for nth in range(authors):
        tonight.github.add_person(f"account-{nth}")
    numbers = []
    for nth in range(issue_count):
        person = tonight.github.person(f"account-{nth % authors}")
        numbers.append(person.opens(tonight.shop, f"Checkout is down {nth}", SEV1, ["incident"]))
        tonight.settle()
        tonight.clock.at += timedelta(minutes=10) / issue_count
    return numbers


def find_paged_issues_and_digests(tonight: Night, numbers: list[int]) -> tuple[list[int], list[str]]:
    """Return the issues on which people were mentioned by name, and the digest comments."""
    paged, digests = [], []
    for number in numbers:
        for comment in tonight.shop.issue(number).comments:
            if comment.author.kind == "Bot" and comment.body.startswith("📥"):
                digests.append(comment.body)
            elif comment.author.kind == "Bot" and "@mona" in comment.body:
                paged.append(number)
    return sorted(set(paged)), digests


def test_c5_m30_a_flood_of_one_account_pages_once_and_is_told_in_one_comment(tonight: Night) -> None:
    numbers = open_flood(tonight, 1)
    called, digests = find_paged_issues_and_digests(tonight, numbers)
    assert called == numbers[:1]
    assert len(tonight.notices(numbers[0])) == 3, "its pages and the digest: the others do not hold it back (FC-M2)"
    assert len(digests) == 1
    assert f"{len(numbers) - 1} more reports by 1 person" in digests[0]
    assert f"#{numbers[1]}" in digests[0]
    assert "Nobody is paged for this yet" in tonight.board(numbers[-1])
    with tonight.database.transaction() as db:
        waiting = {row["number"] for row in db.execute("SELECT number FROM outbox WHERE state = 'pending'").fetchall()}
    assert waiting >= set(numbers[1:]), "nothing is lost"

    tonight.github.person("ada").comments(tonight.shop, numbers[7], "/severity sev1 this one is real")
    tonight.settle()
    called, _ = find_paged_issues_and_digests(tonight, numbers)
    assert numbers[7] in called, "a confirmed one pages at once"
    assert "Nobody is paged" not in tonight.board(numbers[7])


def test_c5_m30_a_flood_of_fifty_accounts_pages_three_times(tonight: Night, figures: Figures) -> None:
    numbers = open_flood(tonight, choose_size(8, 50))
    called, digests = find_paged_issues_and_digests(tonight, numbers)
    assert called == numbers[:3]
    assert not [number for number in numbers[3:] if tonight.notices(number)]
    assert len(digests) == 1
    assert f"{len(numbers) - 3} more reports" in digests[0]
    figures.record(
        "C5",
        size=f"{len(numbers)} sev1 in 10 min from {choose_size(8, 50)} accounts without rights",
        measured=f"{len(called)} pages, {len(digests)} digest",
    )
    tonight.run_for(minutes=10)
    later, digests = find_paged_issues_and_digests(tonight, numbers)
    assert len(later) - 3 <= 3
    assert len(digests) <= 2


def test_c5_m30_a_flood_pages_by_a_channel_no_more_often_than_by_a_comment(database: Database) -> None:
    policy = POLICY + (
        "first-notice: {sev1: {via: pager}}\n"
        "channels: {ops: {url: env:CHANNEL_OPS_URL, secret: env:CHANNEL_OPS_SECRET, for: [pager]}}\n"
    )
    with run_night(database, policy) as tonight, run_sink(tonight.clock) as pager:
        connect_sink(tonight, pager)
        numbers = open_flood(tonight, 12)
        assert sorted({one.payload["incident"]["number"] for one in pager.requests}) == numbers[:3]

        tonight.github.person("ada").comments(tonight.shop, numbers[7], "/severity sev1 this one is real")
        tonight.settle()
        assert numbers[7] in {one.payload["incident"]["number"] for one in pager.requests}, "confirmed, so at once"

        outage = tonight.github.faults.add("pre", times=10**6)
        tonight.clock.at += timedelta(minutes=2)
        last = tonight.github.person("account-3").opens(tonight.shop, "Down, really", SEV1, ["incident"])
        tonight.settle()
        assert last in {one.payload["incident"]["number"] for one in pager.requests}, (
            "permissions cannot be read: every report pages"
        )
        outage.times = 1
        tonight.github.faults.clear()


def test_fc_m2_a_second_report_holds_back_neither_its_own_page_nor_that_of_the_first(tonight: Night) -> None:
    """FC-M2: the second one of the same person pages after ten minutes, and the digest mentions it at once."""
    first = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    tonight.clock.at += timedelta(minutes=2)
    second = tonight.github.person("stranger").opens(tonight.shop, "Search is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    (digest,) = [body for body in tonight.notices(first) if body.startswith("📥")]
    assert f"#{second}" in digest
    assert "@mona" in digest
    tonight.run_for(minutes=4)
    assert [body for body in tonight.notices(first) if "page 2" in body]
    assert not tonight.notices(second)
    tonight.run_for(minutes=4)
    assert [body for body in tonight.notices(second) if "@mona" in body]


def test_fc_s4_an_outsider_closes_and_reopens_twenty_times(database: Database) -> None:
    """FC-S4: it rings once for the report, and once where a restart is due, by comment and by channel alike."""
    policy = POLICY + (
        "first-notice: {sev1: {via: [pager, chat]}}\nchannels: {ops: {url: env:CHANNEL_OPS, for: [pager, chat]}}\n"
    )
    with run_night(database, policy) as tonight, run_sink(tonight.clock) as pager:
        connect_sink(tonight, pager)
        stranger = tonight.github.person("stranger")
        number = stranger.opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
        tonight.advance_and_settle()
        messages, notices = len(pager.requests), len(tonight.notices(number))
        assert messages
        assert notices
        for _ in range(20):
            stranger.closes(tonight.shop, number)
            tonight.advance_and_settle(1)
            stranger.reopens(tonight.shop, number)
            tonight.advance_and_settle(1)
        assert len(pager.requests) == messages
        assert len(tonight.notices(number)) == notices
        assert tonight.incident(number).status.open


def test_fc_s4_one_channel_gets_so_many_messages_of_unconfirmed_incidents(database: Database) -> None:
    """FC-S4: a ceiling for each channel; the first notice of each incident and confirmed ones are not counted."""
    policy = POLICY + (
        "first-notice: {sev1: {via: pager}}\n"
        "channels: {ops: {url: env:CHANNEL_OPS, for: [pager]}}\n"
        "escalation: {sev1: [{after: 0m, to: on-call, until: ack, repeat: 1m, via: pager}]}\n"
    )
    with run_night(database, policy) as tonight, run_sink(tonight.clock) as pager:
        connect_sink(tonight, pager)
        number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
        tonight.settle()
        tonight.run_for(minutes=9)
        assert len(pager.requests) == 8
        tonight.github.person("ada").comments(tonight.shop, number, "/severity sev1")
        tonight.advance_and_settle(60)
        assert len(pager.requests) > 8, "a responder has confirmed it"


def test_c5_m30_people_with_rights_page_as_often_as_they_report(tonight: Night) -> None:
    numbers = [tonight.github.person("ada").opens(tonight.shop, f"Down {n}", SEV1, ["incident"]) for n in range(6)]
    tonight.settle()
    called, digests = find_paged_issues_and_digests(tonight, numbers)
    assert called == numbers
    assert digests == []


def test_c5_m30_a_post_that_fails_does_not_cost_the_page(tonight: Night) -> None:
    """A report that was admitted stays admitted when its page fails, also while other reports come in."""
    tonight.github.faults.add("status", status=502, method="POST", path="/issues/1/comments", times=1)
    first = tonight.github.person("stranger").opens(tonight.shop, "Down", SEV1, ["incident"])
    tonight.settle()
    for n in range(3):
        tonight.github.person("stranger").opens(tonight.shop, f"Down {n}", SEV1, ["incident"])
        tonight.settle()
    tonight.advance_and_settle()
    assert find_paged_issues_and_digests(tonight, [first])[0] == [first]
