"""A machine that lives through anything: deliveries twice and in any order, faults, outages, crashes, jumps of time (B9).

Hypothesis picks the steps, and shortens what went wrong.  `broken` puts a faulty part in, to prove that it is found.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from app.core.labels import managed, wanted
from app.failpoint import Failpoints
from app.policy_file import read
from app.ports import Lane
from app.store import incidents
from app.store.database import Database
from app.worker.desk import Desk
from tests.shell.night import POLICY, SEV1, TABLES, Night, night

GAPS = (
    "after_claim",
    "mid_reduce",
    "before_commit",
    "after_commit",
    "before_post",
    "after_post_before_mark",
    "after_mark",
)
WORDS = ("/ack", "/update We look.", "/mitigate", "/resolve", "/escalate", "/help", "/sev 2", "Just a remark.")


class Died(BaseException):
    """The process is gone."""


def die() -> None:
    raise Died


class Machine(RuleBasedStateMachine):
    """One incident.  `database` is emptied for each example."""

    database: ClassVar[Database]
    broken: ClassVar[Callable[[Desk], Desk]] = staticmethod(lambda desk: desk)

    def __init__(self) -> None:
        super().__init__()
        with self.database.transaction() as db:
            db.execute(f"TRUNCATE {', '.join(TABLES)}")
        self.stack = ExitStack()
        self.night: Night = self.stack.enter_context(night(self.database))
        self.crashes_at = ""
        self.move_in()
        self.number = self.night.github.person("stranger").opens(self.night.shop, "Down", SEV1, ["incident"])
        self.night.github.hooks.hold()

    def move_in(self) -> None:
        setting, self.crashes_at = self.crashes_at, ""
        self.night.ends_at = lambda: Failpoints(setting, die)
        self.night.move_in()
        self.night.built = replace(self.night.built, desk=type(self).broken(self.night.built.desk))

    def lives(self) -> None:
        """Everything due happens; whoever dies is replaced."""
        for _ in range(10):
            try:
                self.night.settle()
            except Died:
                self.move_in()
            else:
                return
        raise AssertionError("it dies again and again")

    @rule(who=st.sampled_from(("mona", "hubot", "stranger")), what=st.sampled_from(WORDS))
    def says(self, who: str, what: str) -> None:
        self.night.github.person(who).comments(self.night.shop, self.number, what)

    @rule()
    def closes(self) -> None:
        self.night.github.person("mona").closes(self.night.shop, self.number)

    @rule()
    def reopens(self) -> None:
        self.night.github.person("mona").reopens(self.night.shop, self.number)

    @rule(label=st.sampled_from(("sev2", "sev3", "acknowledged")))
    def labels(self, label: str) -> None:
        self.night.github.person("ada").labels(self.night.shop, self.number, label)

    @rule(seed=st.integers(0, 2**16))
    def deliver(self, seed: int) -> None:
        """What is held back arrives, in any order, some of it twice."""
        dice, hooks = random.Random(seed), self.night.github.hooks
        held = hooks.held
        again = [one for one in held if dice.random() < 0.2]
        order = [*held, *again]
        dice.shuffle(order)
        hooks.release(order)
        self.lives()
        hooks.hold()

    @rule()
    def process(self) -> None:
        self.lives()

    @rule(seconds=st.sampled_from((1, 20, 40, 400, 2000)))
    def tick(self, seconds: int) -> None:
        self.night.clock.at += timedelta(seconds=seconds)
        self.lives()

    @rule(
        kind=st.sampled_from(("lost", "pre", "post5", "trunc")),
        call=st.sampled_from((("POST", "/comments"), ("PATCH", ""), ("DELETE", ""), ("POST", ""))),
    )
    def send_with_a_fault(self, kind: Any, call: tuple[str, str]) -> None:
        method, path = call
        self.night.github.faults.add(kind, method=method, path=path)

    @rule(minutes=st.integers(1, 90))
    def outage(self, minutes: int) -> None:
        fault = self.night.github.faults.add("pre", times=10**6)
        for _ in range(3):
            self.night.clock.at += timedelta(minutes=minutes) / 3
            self.lives()
        fault.times = 1
        self.night.github.faults.clear()

    @precondition(lambda self: not self.crashes_at)
    @rule(gap=st.sampled_from(GAPS), nth=st.integers(1, 3))
    def crash(self, gap: str, nth: int) -> None:
        self.crashes_at = f"{gap}:{nth}"
        self.move_in()

    def teardown(self) -> None:
        """All is well again: what must be true in the end."""
        try:
            self.crashes_at = ""
            self.move_in()
            self.night.github.faults.clear()
            self.night.github.hooks.release()
            for _ in range(4):
                self.lives()
                self.night.clock.at += timedelta(seconds=61)
            self.lives()
            self.judge()
        finally:
            self.night.built.client.close()
            self.stack.close()

    def judge(self) -> None:
        night = self.night
        night.move_in()  # whoever judges has no broken part
        twice = [key for key, times in Counter(night.said(self.number)).items() if times > 1]
        assert not twice, f"said twice: {twice}"
        with night.database.transaction() as db:
            undone = db.execute("SELECT key, state FROM outbox WHERE state NOT IN ('done', 'moot')").fetchall()
            done = db.execute("SELECT key FROM outbox WHERE state = 'done'").fetchall()
            waits = db.execute("SELECT guid FROM delivery WHERE state IN ('new', 'sorted')").fetchall()
            stored = incidents.load(db, Lane(night.shop.id, self.number))
        assert not undone, f"not done: {undone}"
        assert not waits, "not taken"
        assert stored is not None, "never opened"
        silent = ("react", "assign", "postmortem", "show")
        keys = {night._plain(row["key"]) for row in done if row["key"].partition("/")[0] not in silent}
        assert keys <= set(night.said(self.number)), f"lost: {keys - set(night.said(self.number))}"
        policy = read(POLICY)
        should = wanted(stored.incident, policy)
        assert night.labels(self.number) & managed(policy.labels) == should & managed(policy.labels), "labels"
        assert stored.incident.status.value in night.board(self.number).lower(), "an older board"
