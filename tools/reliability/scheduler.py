"""Plan which reliability tests run together, and run them within a time limit without leaving processes behind."""

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

from tests.figures import FIGURES_FILE_VARIABLE
from tools.reliability.results import ROOT

EXCLUSIVE_TEST_PREFIXES = ("a1", "a2", "a7", "a8", "b1", "b8", "g1", "h1", "h2", "row8_alarms", "row12")
"""Prefixes of the tests that measure response times: no other test runs at the same time."""
_LONG_TEST_SECONDS = 100.0
"""A test that takes longer starts first, or it would end alone.

Of the rest the short ones start first, so that few do not fit into the time limit.
"""
_INTERRUPT_TIMEOUT_SECONDS = 60.0
"""How long interrupted tests have to clean up."""
_DEFAULT_TEST_SECONDS = 30.0
"""Assumed duration of a test that has never run at this size."""
_TEST_TIMEOUT_SECONDS = 1800
"""Time limit of a single test."""


@dataclass(frozen=True)
class Batch:
    """Tests of one pytest run, in their order; `processes` of them run at a time."""

    name: str
    tests: Sequence[str]
    processes: int = 1

    def pytest_command(self, folder: Path) -> list[str]:
        """Return the command that runs the tests; they write below `folder`."""
        # Hand out one test at a time to the next free process, so that tests start in this order.
        parallel = (
            [f"--numprocesses={self.processes}", "--dist=load", "--maxschedchunk=1"] if self.processes > 1 else []
        )
        limits = [f"--timeout={_TEST_TIMEOUT_SECONDS}", "--tb=short", f"--basetemp={folder / self.name}"]
        return [sys.executable, "-m", "pytest", *parallel, *limits, *self.tests]


def plan_batches(tests: Iterable[str], last_seconds: Mapping[str, float], cores: int) -> list[Batch]:
    """Plan one batch of the tests that must run alone, and one of all others on every core.

    The long tests come first, then the short ones.  `last_seconds`: duration of each test in its last run; infinite for
    a test that did not fit, so that it comes early now.  There are two processes more than cores, because many tests
    wait most of the time.
    """
    exclusive, concurrent = list[str](), list[str]()
    for test in tests:
        name = test.partition("::test_")[2]
        (exclusive if any(name.startswith(f"{begin}_") for begin in EXCLUSIVE_TEST_PREFIXES) else concurrent).append(
            test
        )
    concurrent.sort(
        key=lambda test: ((seconds := _expected_seconds(test, last_seconds)) <= _LONG_TEST_SECONDS, seconds)
    )
    return [batch for batch in (Batch("alone", exclusive), Batch("beside", concurrent, cores + 2)) if batch.tests]


def _expected_seconds(test: str, last_seconds: Mapping[str, float]) -> float:
    """Return the expected duration of a test in seconds.

    That of its last run, or else the longest of the same test function with other parameters.
    """
    function = test.partition("[")[0]
    similar_seconds = (seconds for name, seconds in last_seconds.items() if name.partition("[")[0] == function)
    return last_seconds[test] if test in last_seconds else max(similar_seconds, default=_DEFAULT_TEST_SECONDS)


class SoakRun:
    """A run of some tests that prints its progress and ends every process that it started.

    `max_seconds` None: no time limit.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, max_seconds: float | None) -> None:
        """Prepare a run whose tests write only below `folder`."""
        self.failed = False
        self.finished_tests = 0
        self._environment = {**environment, "TMPDIR": str(folder / "tmp")}
        self._figures_file = Path(environment[FIGURES_FILE_VARIABLE])
        self._folder = folder
        self.max_seconds = max_seconds
        self._began = time.monotonic()
        self._offset = len(self._figures_file.read_bytes()) if self._figures_file.exists() else 0
        # A PostgreSQL server that runs as another user has to reach the files in these folders.
        for each in (folder, folder / "tmp"):
            each.mkdir(exist_ok=True)
            each.chmod(0o711)

    @property
    def elapsed_seconds(self) -> float:
        """The seconds since the run began."""
        return time.monotonic() - self._began

    def run(self, batch: Batch) -> None:
        """Run the tests of a batch, or as many as there is time for."""
        mode = f"{batch.processes} at a time" if batch.processes > 1 else "one after the other"
        self._print_progress(f"{len(batch.tests)} tests {mode}")
        log = self._folder / f"{batch.name}.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                batch.pytest_command(self._folder),
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,  # an interrupt of ours does not reach them: we end them
            ) as tests,
        ):
            try:
                while tests.poll() is None and not self._check_time_limit():
                    self._print_finished_tests()
                    time.sleep(0.25)
            finally:
                try:
                    if tests.poll() is None:
                        self._print_progress(f"ends what it has begun, in {_INTERRUPT_TIMEOUT_SECONDS:.0f} s at most")
                        _interrupt_tests(tests, batch.processes > 1)
                finally:
                    kill_processes_in(self._folder)
        self._print_finished_tests()
        if tests.returncode:
            self.failed = True
            text = log.read_text(errors="replace")
            print(text[max(0, text.find("\n=")) :] if "= FAILURES =" in text else text[-4000:], file=sys.stderr)

    def _check_time_limit(self) -> bool:
        """Return True when the time limit is exceeded, and mark the run as failed then."""
        exceeded = self.max_seconds is not None and self.elapsed_seconds > self.max_seconds
        if exceeded:
            self.failed = True
        return exceeded

    def _print_finished_tests(self) -> None:
        """Print the tests that have ended since the last call."""
        with self._figures_file.open("rb") as file:
            file.seek(self._offset)
            lines = file.readlines()
        for line in lines:
            if not line.endswith(b"\n"):
                return
            self._offset += len(line)
            record = json.loads(line)
            if "outcome" in record:
                self.finished_tests += 1
                name = record["test"].partition("::")[2]
                self._print_progress(
                    f"{', '.join(record['checks'])}: {record['outcome']} in {record['seconds']:.0f} s, {name}"
                )

    def _print_progress(self, message: str) -> None:
        limit = f" of {self.max_seconds:.0f}" if self.max_seconds is not None else ""
        print(f"{self.elapsed_seconds:6.0f}{limit} s  {message}", flush=True)


def _interrupt_tests(tests: subprocess.Popen[bytes], parallel: bool) -> None:
    """Interrupt the tests as Ctrl-C would; kill what is left of them after the timeout.

    `parallel`: pytest has spread them over several processes.
    """
    with suppress(psutil.NoSuchProcess):
        pytest = psutil.Process(tests.pid)
        processes = [pytest, *pytest.children(recursive=True)]
        try:
            # With several processes each child is a pytest, to which the parent does not forward the interrupt.
            for each in (*(pytest.children() if parallel else ()), pytest):
                with suppress(psutil.NoSuchProcess):
                    each.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                tests.wait(_INTERRUPT_TIMEOUT_SECONDS)
        finally:
            _kill_processes(processes)
    tests.wait()


def kill_processes_in(folder: Path) -> None:
    """Kill every process whose working directory is in that folder.

    A server that a test started has a session of its own, so it cannot be found as a child of the tests.
    """
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(each.cwd()).is_relative_to(folder):
                found.append(each)
    _kill_processes(found)


def _kill_processes(processes: Iterable[psutil.Process]) -> None:
    """Kill these processes; SIGQUIT comes first, so that PostgreSQL releases its shared memory."""
    left = list(processes)
    for ask in (signal.SIGQUIT, signal.SIGKILL):
        for each in left:
            with suppress(psutil.Error):
                each.send_signal(ask)
        _, left = psutil.wait_procs(left, timeout=5)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a temporary folder and delete it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="muster-soak-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
