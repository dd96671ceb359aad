"""Print every required figure beside the one measured on this machine: `make bench`.

Times on a shared machine are noisy: these are figures to look at, not tests.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.sandbox.demo import play
from bench import core, policies, runner, shell

_PAGE = Path("docs/figures.md")
"""The page that `--write` replaces."""


def main() -> None:
    """Measure every figure, print the table and, with `--write`, write docs/figures.md.

    `--quick` sends deliveries for 5 seconds instead of 30.
    """
    console = Console(highlight=False)
    rows: list[tuple[str, str, str]] = []
    table = Table("figure", "asked", "measured", title="Muster, measured")
    quick = "--quick" in sys.argv

    def add_row(figure: str, required: str, measured: str) -> None:
        console.print(f"  {figure}: {measured} (asked: {required})")
        table.add_row(figure, required, measured)
        rows.append((figure, required, measured))

    console.print("the core …")
    add_row("decide, one core", "at least 20,000 events/s", f"{core.decide_rate():,.0f} events/s")
    add_row("replay of a 500-event incident", "at most 50 ms", f"{core.replay_ms():.1f} ms")
    add_row("simulate 48 h of a sev1", "at most 100 ms", f"{policies.simulate_ms():.0f} ms")
    add_row(
        "replay of 1,000 past incidents through two policies", "at most 10 s", f"{policies.backtest_seconds():.1f} s"
    )
    add_row("reading the largest sensible policy (64 KiB)", "at most 100 ms", f"{policies.read_ms():.0f} ms")
    add_row("muster --help", "at most 300 ms", f"{_help_ms():.0f} ms")
    console.print("the life of the demo's sev1 …")
    demo = play()
    add_row("API calls from the report to the board", "at most 6", str(demo.calls_to_board))
    add_row("API calls of the whole life", "at most 35", str(demo.calls))
    console.print("runs of GitHub Actions …")
    runner.measure_runs(add_row)
    seconds = 5 if quick else 30
    console.print(f"{shell.DELIVERIES_PER_SECOND} deliveries a second for {seconds} s, with a worker at work …")
    load = shell.measure_load(seconds)
    add_row("time from a delivery to the label, at rest, p50", "at most 300 ms", f"{load.to_label_ms:.0f} ms")
    add_row("webhook p50", "at most 20 ms", f"{load.p50_ms:.1f} ms")
    add_row("webhook p99", "at most 250 ms", f"{load.p99_ms:.1f} ms")
    if load.cpu_steal:
        add_row("taken by the host of this machine meanwhile", "-", f"{100 * load.cpu_steal:.0f} % of its processors")
    add_row("webhook slowest", "-", f"{load.max_ms:.0f} ms")
    add_row("deliveries lost", "none", f"{load.sent - load.stored} of {load.sent} ({load.accepted} answered 202)")
    add_row("worked off after the last one", "-", f"{load.drain_seconds:.0f} s")
    add_row("memory of the web process", "at most 150 MB", f"{load.web_memory_mb:.0f} MB")
    add_row("memory of the worker process", "at most 150 MB", f"{load.worker_memory_mb:.0f} MB")
    console.print(table)
    if "--write" in sys.argv:
        _PAGE.write_text(_render_page(rows))


def _render_page(rows: list[tuple[str, str, str]]) -> str:
    lines = "\n".join(f"| {what} | {asked} | {measured} |" for what, asked, measured in rows)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"""\
# Figures

What was asked for, and what `make bench` measured on a shared machine ({machine}); its speed
varies by a factor of two from one second to the next. `python -m bench --write` prints this page.

| Figure | Asked | Measured |
|:---|:---|:---|
{lines}

How it is measured: [bench/](../bench). The core is timed alone; the webhook with separate processes for web, worker,
load and the sandbox GitHub, over real HTTP, every delivery timed from the moment it was due to be sent. Deliveries tell
of incidents that are graded, answered, updated and resolved, so the worker is at work all the time.
"""


def _help_ms() -> float:
    """Return the median time of `muster --help` in milliseconds."""
    times = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "app", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times)[len(times) // 2]


if __name__ == "__main__":
    main()
