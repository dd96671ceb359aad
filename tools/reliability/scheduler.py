"""Which tests run beside which, and a run of them that ends in time and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.figures import FILE
from tools.reliability.results import ROOT

ALONE = ("a1", "a2", "a7", "a8", "b1", "b8", "g1", "row8_alarms", "row12")
"""How the names of the tests begin whose figure is a time of answering: nothing else runs beside them."""
_LONG = 100.0
"""Seconds.  What takes longer comes first, or it would end alone; of the rest the short ones, so that few do not fit."""
_PATIENCE = 60.0
"""Seconds in which tests that are interrupted put away what they started."""
_UNKNOWN = 30.0
"""Seconds that a test is thought to take which has never been run at this size."""
_EACH = 1800
"""Seconds that one test may take."""


@dataclass(frozen=True)
class Lane:
    """Tests that run together, in this order, so many at a time."""

    name: str
    tests: Sequence[str]
    at_once: int = 1

    def words(self, folder: Path) -> list[str]:
        """What is typed to run them."""
        # One by one, each to the core that is free: so what is begun first is begun in this order.
        spread = [f"--numprocesses={self.at_once}", "--dist=load", "--maxschedchunk=1"] if self.at_once > 1 else []
        most = [f"--timeout={_EACH}", "--tb=short", f"--basetemp={folder / self.name}"]
        return [sys.executable, "-m", "pytest", *spread, *most, *self.tests]


def lanes(tests: Iterable[str], took: Mapping[str, float], cores: int) -> list[Lane]:
    """First each test that must be alone, then the others on every core, the longest and then the short ones first.

    `took`: seconds last time; endless for what did not fit in, so that it comes early now.  Two more than there are cores:
    many of them wait most of the time.
    """
    alone, beside = list[str](), list[str]()
    for test in tests:
        name = test.partition("::test_")[2]
        (alone if any(name.startswith(f"{begin}_") for begin in ALONE) else beside).append(test)
    beside.sort(key=lambda test: ((seconds := _expected(test, took)) <= _LONG, seconds))
    return [lane for lane in (Lane("alone", alone), Lane("beside", beside, cores + 2)) if lane.tests]


def _expected(test: str, took: Mapping[str, float]) -> float:
    """Seconds: as last time, or as the longest of those that differ from it in their parameters only."""
    like = test.partition("[")[0]
    alike = (seconds for name, seconds in took.items() if name.partition("[")[0] == like)
    return took[test] if test in took else max(alike, default=_UNKNOWN)


class Hour:
    """One run of some tests: says how it goes, and ends everything that it started.

    `longest`: seconds; None: as long as it takes.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, longest: float | None) -> None:
        """`folder`: where the tests have everything that they write."""
        self.failed = False
        self.done = 0
        self._environment = {**environment, "TMPDIR": str(folder / "tmp")}
        self._figures = Path(environment[FILE])
        self._folder = folder
        self.longest = longest
        self._began = time.monotonic()
        self._heard = len(self._figures.read_bytes()) if self._figures.exists() else 0
        # A server that runs as somebody else has to get in.
        for each in (folder, folder / "tmp"):
            each.mkdir(exist_ok=True)
            each.chmod(0o711)

    @property
    def gone(self) -> float:
        """The seconds that it has taken so far."""
        return time.monotonic() - self._began

    def run(self, lane: Lane) -> None:
        """Run them all, or as many as there is time for."""
        where = f"{lane.at_once} at a time" if lane.at_once > 1 else "one after the other"
        self._say(f"{len(lane.tests)} tests {where}")
        log = self._folder / f"{lane.name}.log"
        with (
            log.open("wb") as said,
            subprocess.Popen(
                lane.words(self._folder),
                cwd=ROOT,
                env=self._environment,
                stdout=said,
                stderr=said,
                start_new_session=True,  # who interrupts us leaves it to us to end them
            ) as tests,
        ):
            try:
                while tests.poll() is None and not self._over():
                    self._tell()
                    time.sleep(0.25)
            finally:
                try:
                    if tests.poll() is None:
                        self._say(f"ends what it has begun, in {_PATIENCE:.0f} s at most")
                        _put_away(tests, lane.at_once > 1)
                finally:
                    end_all_of(self._folder)
        self._tell()
        if tests.returncode:
            self.failed = True
            text = log.read_text(errors="replace")
            print(text[max(0, text.find("\n=")) :] if "= FAILURES =" in text else text[-4000:], file=sys.stderr)

    def _over(self) -> bool:
        over = self.longest is not None and self.gone > self.longest
        if over:
            self.failed = True
        return over

    def _tell(self) -> None:
        """Say what has ended since the last time."""
        with self._figures.open("rb") as opened:
            opened.seek(self._heard)
            lines = opened.readlines()
        for line in lines:
            if not line.endswith(b"\n"):
                return
            self._heard += len(line)
            one = json.loads(line)
            if "outcome" in one:
                self.done += 1
                name = one["test"].partition("::")[2]
                self._say(f"{', '.join(one['checks'])}: {one['outcome']} in {one['seconds']:.0f} s, {name}")

    def _say(self, what: str) -> None:
        most = f" of {self.longest:.0f}" if self.longest is not None else ""
        print(f"{self.gone:6.0f}{most} s  {what}", flush=True)


def _put_away(tests: subprocess.Popen[bytes], spread: bool) -> None:
    """Interrupt them, as one would at a keyboard; what is left of them after a while is ended."""
    with suppress(psutil.NoSuchProcess):
        itself = psutil.Process(tests.pid)
        everyone = [itself, *itself.children(recursive=True)]
        try:
            # Where they are spread, each child is a pytest of its own, and nobody hands the interruption on to it.
            for each in (*(itself.children() if spread else ()), itself):
                with suppress(psutil.NoSuchProcess):
                    each.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                tests.wait(_PATIENCE)
        finally:
            _end(everyone)
    tests.wait()


def end_all_of(folder: Path) -> None:
    """End what runs in that folder: a server that was started there belongs to nobody any more."""
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(each.cwd()).is_relative_to(folder):
                found.append(each)
    _end(found)


def _end(processes: Iterable[psutil.Process]) -> None:
    """At once; PostgreSQL is asked first, so that it gives back its shared memory."""
    left = list(processes)
    for ask in (signal.SIGQUIT, signal.SIGKILL):
        for each in left:
            with suppress(psutil.Error):
                each.send_signal(ask)
        _, left = psutil.wait_procs(left, timeout=5)


@contextmanager
def a_folder() -> Iterator[Path]:
    """A folder of our own, gone at the end."""
    found = Path(tempfile.mkdtemp(prefix="muster-soak-")).resolve()
    try:
        yield found
    finally:
        shutil.rmtree(found, ignore_errors=True)
