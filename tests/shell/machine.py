"""A state machine that puts one incident through anything that may happen (B9).

Deliveries arrive twice and in any order; there are faults, outages, crashes and jumps of time. Hypothesis picks the
steps and shrinks failing examples. Everything runs in one thread and without a network (`indoors`), so that thousands
of examples are affordable; the database is the real one.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from difflib import ndiff
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from app import ports
from app.core.effects import ShowBoard
from app.core.labels import desired_labels, own_labels
from app.core.policy import Policy
from app.core.replay import replay
from app.core.severity import Severity
from app.failpoints import Failpoints
from app.policy_file import DEFAULT_PROFILE, load_profile, read_policy
from app.ports import IncidentKey
from app.sandbox.github.world import Comment
from app.store import incidents, outbox, policies
from app.store.incidents import StoredIncident
from app.store.policies import PolicyScope
from app.worker.sync.rebuild import MAX_REPLY_AGE
from tests.shell.in_process import HostClock, Stage, open_fast_database
from tests.shell.night import POLICY, SEV1, Night

CRASH_POINTS = (
    "after_claim",
    "mid_reduce",
    "timer_fired_before_commit",
    "before_commit",
    "after_commit",
    "before_post",
    "after_post_before_mark",
    "after_mark",
)
COMMENT_TEXTS = ("/ack", "/update We look.", "/mitigate", "/resolve", "/escalate", "/help", "/sev 2", "Just a remark.")
POLICIES = {
    "as it was": POLICY,
    "in a hurry": POLICY + "severities: {sev1: {acknowledge: 4m, resolve: 2h}}\n",
    "other people": POLICY.replace("on-call: [mona, hubot]", "on-call: [ada]"),
    "a fault in it": POLICY + "severities: {sev1: {acknowledge: soon}}\n",
    "not YAML at all": "people: [\n",
    "none": None,
}
FAULTY_POLICIES = ("a fault in it", "not YAML at all")
ANSWER_KEY_PREFIXES = ("reply/", "help/", "board", "digest/")
"""Key prefixes of comments that ask for no action."""
SILENT_KEY_PREFIXES = ("react/", "assign/", "postmortem", "show/")
"""Key prefixes of effects that are carried out without a comment."""
MAX_SETTLE_ROUNDS = 60
"""How many rounds may still find something due after the faults have ended."""
THROTTLED_NOTE_PATTERN = "held back: %"
"""The note of items deferred by the comment limit: they, and new pages with them, may wait for hours."""


_EVENT_LINE = re.compile(r"^\| \[?\d\d:\d\d UTC.*", re.MULTILINE)
"""The lines of a board that record past events; its other lines may show remaining time."""


class Died(BaseException):
    """The process has crashed at a fail point."""


def raise_died() -> None:
    raise Died


class Machine(RuleBasedStateMachine):
    """A state machine around one incident.

    `stage` is reset for each example; `totals` counts examples and steps over all of them.
    """

    stage: ClassVar[Stage]
    totals: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        type(self).totals["examples"] += 1
        self.night: Night = self.stage.new_night()
        self.clock: HostClock = self.stage.clock
        self.crashes_at = ""
        self.policy_edited = self.clock_was_skewed = False
        self.seed = 0
        self.forged_bodies: dict[int, str] = {}
        self.policy_text: str | None = POLICY
        self.valid_policies: set[str | None] = {POLICY}
        """The valid policies that were in the repository at any time."""
        self.policy_was_read = False
        """True once a valid policy was read from GitHub."""
        self.reported_severity = Severity.SEV1
        """The severity in the report, as last edited."""
        self.restart()
        self.number = self.night.github.person("stranger").opens(self.night.shop, "Down", SEV1, ["incident"])

    def restart(self) -> None:
        setting, self.crashes_at = self.crashes_at, ""
        self.night.create_failpoints = lambda: Failpoints(setting, raise_died)
        self.night.restart()

    def settle_with_restarts(self) -> None:
        """Settle everything due now, restarting the process after each crash."""
        for _ in range(10):
            try:
                self.night.settle()
            except Died:
                self.restart()
            else:
                self.policy_was_read |= self.load_stored_policy_text() is not None
                return
        raise AssertionError("the process keeps crashing")

    def note_unread_policy(self) -> None:
        """Record that the built-in policy may have been used because the repository's could not be read yet."""
        self.policy_edited |= self.load_stored_policy_text() is None

    def load_stored_policy_text(self) -> str | None:
        """Return the stored policy: the last valid one that was read; None: none yet."""
        with self.night.database.transaction() as db:
            return policies.load_stored_policy(db, PolicyScope.repository(self.night.shop.id)).text

    def act_as(self, login: str) -> Any:
        """Return that person, one second later, since GitHub's timestamps have a resolution of one second."""
        self.clock.at += timedelta(seconds=1)
        return self.night.github.person(login)

    def list_own_comments(self) -> list[Comment]:
        """Return the comments that our app has written, whatever they carry."""
        own = self.night.github.bot
        return [each for each in self.night.shop.issue(self.number).comments if each.author is own and each.via_app]

    def read_marker_keys(self, comment: Comment) -> list[str]:
        """Return the keys in the marker of one of our comments."""
        shown = ports.Comment(
            comment.id, "", comment.login, True, self.night.github.app.app_id, comment.body, comment.created_at
        )
        found = self.night.application.ctx.signer.read(self.incident_key, shown) or {}
        return [self.night.normalize(key) for key in found.get("keys", ())]

    def asks_for_action(self, comment: Comment) -> bool:
        """Return True if the comment asks for action: it is no answer, board or digest."""
        return any(not key.startswith(ANSWER_KEY_PREFIXES) for key in self.read_marker_keys(comment))

    @property
    def incident_key(self) -> IncidentKey:
        return IncidentKey(self.night.shop.id, self.number)

    @invariant()
    def count_step(self) -> None:
        type(self).totals["steps"] += 1

    # Actions of people.

    @rule(who=st.sampled_from(("mona", "hubot", "stranger")), what=st.sampled_from(COMMENT_TEXTS))
    def says(self, who: str, what: str) -> None:
        self.act_as(who).comments(self.night.shop, self.number, what)

    @rule()
    def closes(self) -> None:
        self.act_as("mona").closes(self.night.shop, self.number)

    @rule()
    def reopens(self) -> None:
        self.act_as("mona").reopens(self.night.shop, self.number)

    @rule(label=st.sampled_from(("sev2", "sev3", "acknowledged")))
    def labels(self, label: str) -> None:
        self.act_as("ada").labels(self.night.shop, self.number, label)

    @rule(severity=st.sampled_from((Severity.SEV1, Severity.SEV2, Severity.SEV3)))
    def edits_the_report(self, severity: Severity) -> None:
        self.reported_severity = severity
        text = SEV1.replace("SEV1", severity.name)
        self.act_as("stranger").edits_issue(self.night.shop, self.number, body=text)

    @rule(which=st.sampled_from(sorted(POLICIES)))
    def edits_config(self, which: str) -> None:
        """Push another policy file to the default branch; a file with a fault changes nothing."""
        text = POLICIES[which]
        self.policy_edited = True
        self.act_as("ada").pushes(self.night.shop, ".github/incidents.yml", text)
        self.policy_text = text
        if which not in FAULTY_POLICIES:
            self.valid_policies.add(text)

    @rule(
        who=st.sampled_from(("mona", "stranger")), nth=st.integers(0, 5), word=st.sampled_from(("", "/ack", "/resolve"))
    )
    def forges(self, who: str, nth: int, word: str) -> None:
        """Copy one of our comments, with its hidden marker, into a comment of another person."""
        if ours := self.list_own_comments():
            theirs = self.act_as(who).comments(self.night.shop, self.number, f"{word}\n\n{ours[nth % len(ours)].body}")
            self.forged_bodies[theirs.id] = theirs.body

    @rule(nth=st.integers(0, 5))
    def defaces(self, nth: int) -> None:
        """Edit one of our comments as a person with write access and remove a word."""
        if ours := self.list_own_comments():
            comment = ours[nth % len(ours)]
            self.act_as("mona").edits_comment(self.night.shop, comment, comment.body.replace("incident", "nothing"))

    # Deliveries, time, faults and crashes.

    @rule(seed=st.integers(0, 2**16), most=st.integers(1, 12))
    def deliver(self, seed: int, most: int) -> None:
        """Deliver some of the waiting deliveries, in any order and a fifth of them twice; the rest stays late."""
        self.seed, dice, undelivered = seed, random.Random(seed), self.stage.list_undelivered()
        dice.shuffle(undelivered)
        chosen = undelivered[:most]
        chosen += [one for one in chosen if dice.random() < 0.2]
        dice.shuffle(chosen)
        self.stage.deliver(chosen)
        self.settle_with_restarts()

    @rule()
    def process(self) -> None:
        """Deliver everything that waits, in the order in which it was sent."""
        self.stage.deliver(self.stage.list_undelivered())
        self.settle_with_restarts()

    @rule(seconds=st.sampled_from((1, 20, 40, 400, 2000)))
    def tick(self, seconds: int) -> None:
        self.clock.at += timedelta(seconds=seconds)
        self.settle_with_restarts()

    @precondition(lambda self: abs(self.clock.skew) < timedelta(hours=1))
    @rule(times=st.integers(1, 3))
    def fire_next_alarms(self, times: int) -> None:
        """Move the clock to the next alarms, so that each fires in its very second.

        Not while our clock is so wrong that GitHub refuses us: days may go by, and after a day we give up
        (retry policy).
        """
        for _ in range(times):
            with self.night.database.transaction() as db:
                due = min((at for _, _, at in incidents.list_alarms(db)), default=None)
            if due is not None and due > self.clock():
                self.clock.at += due - self.clock()
                self.settle_with_restarts()

    @rule(minutes=st.sampled_from((-120, -4, 0, 4, 120)))
    def clock_jumps(self, minutes: int) -> None:
        """Set our own clock forwards or backwards, and leave it wrong; GitHub's goes on unchanged."""
        self.note_unread_policy()
        self.clock_was_skewed |= bool(minutes)
        self.clock.skew = timedelta(minutes=minutes)
        self.settle_with_restarts()

    @rule(
        kind=st.sampled_from(("lost", "pre", "post5", "trunc")),
        call=st.sampled_from((("POST", "/comments"), ("PATCH", ""), ("DELETE", ""), ("POST", ""))),
    )
    def send_with_a_fault(self, kind: Any, call: tuple[str, str]) -> None:
        self.note_unread_policy()
        method, path = call
        self.night.github.faults.add(kind, method=method, path=path)

    @rule(minutes=st.integers(1, 120))
    def outage(self, minutes: int) -> None:
        """Fail every call to GitHub for a while, then check that recovery posts no burst of comments."""
        self.note_unread_policy()
        self.settle_with_restarts()
        self.night.github.faults.clear()
        before = {one.id for one in self.list_own_comments()}
        self.night.github.faults.add("pre", times=10**9)
        for _ in range(4):
            self.clock.at += timedelta(minutes=minutes) / 4
            self.settle_with_restarts()
        self.night.github.faults.clear()
        assert {one.id for one in self.list_own_comments()} == before, "comment posted during an outage"
        self.clock.at += timedelta(seconds=61)
        self.settle_with_restarts()
        requests_for_action = [
            one for one in self.list_own_comments() if one.id not in before and self.asks_for_action(one)
        ]
        # A host whose clock is behind learns the true time from GitHub once the postmortem
        # is there: more may be due by then.
        max_comments = 2 if self.clock.skew < timedelta() else 1
        assert len(requests_for_action) <= max_comments, (
            f"burst: {len(requests_for_action)} comments after an outage of {minutes} minutes"
        )

    @rule(minutes=st.sampled_from((1, 20)))
    def suspend_installation(self, minutes: int) -> None:
        self.note_unread_policy()
        self.night.github.suspend("octo")
        self.settle_with_restarts()
        self.clock.at += timedelta(minutes=minutes)
        self.settle_with_restarts()
        self.night.github.unsuspend("octo")

    @precondition(lambda self: not self.crashes_at)
    @rule(gap=st.sampled_from(CRASH_POINTS), nth=st.integers(1, 3))
    def crash(self, gap: str, nth: int) -> None:
        """Let the process die at that fail point; the next one does not."""
        self.crashes_at = f"{gap}:{nth}"
        self.restart()

    # Checks at the end of each example.

    def teardown(self) -> None:
        try:
            self.recover_and_settle()
            self.check_outcome()
        finally:
            self.night.application.client.close()

    def recover_and_settle(self) -> None:
        """End all faults, deliver everything, and let time pass until nothing is left to do."""
        self.crashes_at, self.clock.skew = "", timedelta()
        self.restart()
        self.night.github.faults.clear()
        late = self.stage.list_undelivered()
        random.Random(self.seed).shuffle(late)
        self.stage.deliver(late)
        for _ in range(MAX_SETTLE_ROUNDS):
            self.settle_with_restarts()
            if new := self.stage.list_undelivered():
                self.stage.deliver(new)
            elif (wait := self.time_until_next_item()) is None:
                return
            else:
                self.clock.at += max(wait, timedelta(seconds=1))
        raise AssertionError("something is still due after all rounds")

    def time_until_next_item(self) -> timedelta | None:
        """Return how long until the next pending item is due; None: nothing is pending."""
        with self.night.database.transaction() as db:
            row = db.execute(
                "SELECT min(greatest(not_before, coalesce(lease_until, not_before))) AS at FROM outbox"
                " WHERE state IN ('pending', 'in_flight') AND NOT (state = 'pending' AND note LIKE %s)",
                (THROTTLED_NOTE_PATTERN,),
            ).fetchone()
            unprocessed = db.execute("SELECT 1 FROM delivery WHERE state IN ('received', 'routed')").fetchone()
        if row and row["at"]:
            return row["at"] - self.clock()
        return timedelta(minutes=1) if unprocessed else None  # permissions could not be read yet

    def check_outcome(self) -> None:
        stored = self.check_nothing_lost_or_doubled()
        policy = self.expected_policy()
        self.check_github(stored, policy)
        if not self.policy_edited:
            self.check_replay_and_rebuild(stored, policy)

    def expected_policy(self) -> Policy:
        """Return the policy in the repository; if that has a fault, the last valid one that was read."""
        text = self.policy_text
        if text not in self.valid_policies:
            text = self.load_stored_policy_text()
            assert text in self.valid_policies or not self.policy_was_read, f"an invalid policy is stored: {text}"
        return read_policy(text) if text is not None else load_profile(DEFAULT_PROFILE)

    def check_nothing_lost_or_doubled(self) -> StoredIncident:
        posted = Counter(key for one in self.list_own_comments() for key in self.read_marker_keys(one))
        doubled = {key: times for key, times in posted.items() if times > 1}
        assert not doubled, f"posted twice: {doubled}"
        with self.night.database.transaction() as db:
            undone = db.execute(
                "SELECT key, state, note FROM outbox"
                " WHERE state NOT IN ('done', 'skipped') AND NOT (state = 'pending' AND note LIKE %s)",
                (THROTTLED_NOTE_PATTERN,),
            ).fetchall()
            done = db.execute("SELECT key FROM outbox WHERE state = 'done' AND channel = ''").fetchall()
            unprocessed = db.execute(
                "SELECT guid, state FROM delivery WHERE state NOT IN ('processed', 'ignored')"
            ).fetchall()
            stored = incidents.load_incident(db, self.incident_key)
        assert not undone, f"not done: {undone}"
        assert not unprocessed, f"not processed: {unprocessed}"
        assert stored is not None, "never opened"
        lost = {
            self.night.normalize(row["key"]) for row in done if not row["key"].startswith(SILENT_KEY_PREFIXES)
        } - posted.keys()
        assert not lost, f"lost: {lost}"
        return stored

    def check_github(self, stored: StoredIncident, policy: Policy) -> None:
        night, own = self.night, own_labels(policy.labels)
        reported = stored.incident.report.severity
        assert reported is self.reported_severity, (
            f"an older report: {reported!r} instead of {self.reported_severity!r}"
        )
        carried, should = night.labels(self.number) & own, desired_labels(stored.incident, policy)
        assert carried == should, f"labels: {sorted(carried)} instead of {sorted(should)}"
        changed = [each for each, text in self.forged_bodies.items() if night.shop.comments[each][1].body != text]
        assert not changed, "another person's comment was edited as ours"
        boards = [one for one in self.list_own_comments() if "board" in self.read_marker_keys(one)]
        assert len(boards) == 1, f"{len(boards)} boards"
        shown = boards[0].body
        assert stored.incident.status.value in shown.lower(), "an older board"
        if self.policy_edited:
            return  # a policy that moves no alarm is shown on the board only with the next change
        with night.database.transaction() as db:
            outbox.add_effects(db, self.incident_key, (ShowBoard(),), night.clock())
        night.settle()
        before, now = (_EVENT_LINE.findall(text) for text in (shown, boards[0].body))
        differs = [line for line in ndiff(before, now) if line[0] in "-+"]
        assert not differs, f"an older board: {differs}"

    def check_replay_and_rebuild(self, stored: StoredIncident, policy: Policy) -> None:
        """Check that the stored incident equals the replay of its log, and the rebuild from GitHub alone."""
        with self.night.database.transaction() as db:
            log = incidents.load_log(db, self.incident_key)
        replayed = replay(log, policy, stored.replayed_until).incident
        assert replayed is not None, "its log opens no incident"
        differs = [
            f"{each.name}: {one!r} instead of {other!r}"
            for each in fields(replayed)
            if (one := getattr(stored.incident, each.name)) != (other := getattr(replayed, each.name))
        ]
        assert not differs, f"what is stored is not what its log makes of it: {'; '.join(differs)}"
        if not self.clock_was_skewed:
            # Effects depend on when each delivery arrived, so they are not compared; but none may be posted again.
            before, posted_before = self.night.dump_lines(), {one.id for one in self.list_own_comments()}
            skipped = self.list_recently_skipped_replies()
            self.night.lose_and_rebuild_database()
            self.night.expect(before, ignoring="effects")
            self.night.settle()
            posted_again = [
                keys
                for one in self.list_own_comments()
                if one.id not in posted_before and (keys := set(self.read_marker_keys(one)) - skipped)
            ]
            assert not posted_again, f"posted again after a rebuild: {posted_again}"

    def list_recently_skipped_replies(self) -> set[str]:
        """Return the keys of replies skipped so recently that a rebuild may still post them.

        The person who asked may still wait for an answer, so posting it late is no fault.
        """
        with self.night.database.transaction() as db:
            rows = db.execute(
                "SELECT key FROM outbox WHERE state = 'skipped' AND key ~ '^(reply|help)/' AND created_at > %s",
                (self.clock() - MAX_REPLY_AGE,),
            ).fetchall()
        return {self.night.normalize(row["key"]) for row in rows}


def run_machine(
    stage: Stage,
    examples: int,
    steps: int,
    *,
    totals: Counter[str] | None = None,
    shrink: bool = True,
    derandomize: bool = False,
) -> Counter[str]:
    """Run the machine for this many examples and count them.

    Raises AssertionError with what went wrong. `derandomize`: draw the same examples every time.
    """
    counter = Counter[str]() if totals is None else totals

    class StagedMachine(Machine):
        pass

    StagedMachine.stage, StagedMachine.totals = stage, counter
    run_state_machine_as_test(
        StagedMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=derandomize,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            report_multiple_bugs=False,
        ),
    )
    return counter


@contextmanager
def open_stage(url: str) -> Iterator[Stage]:
    """Open a stage on the database at this URL."""
    database = open_fast_database(url)
    stage = Stage(database)
    try:
        yield stage
    finally:
        stage.end()
        database.close()
