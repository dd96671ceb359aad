"""Wire up the command line; the only module that reads the real clock."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.settings import Settings

# Everything else is imported where it is used, to keep `muster --help` fast.


class CliError(Exception):
    """An error that the user can fix, explained in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 for success, 1 for an error the user can fix, 2 for wrong usage."""
    argv = sys.argv[1:] if arguments is None else arguments
    run: Callable[[], int]
    if argv[:1] == ["policy"]:
        run = partial(_run_policy, argv[1:])
    elif argv[:1] in (["inbox"], ["outbox"]):
        run = partial(_run_dead_letters, argv)
    else:
        options = _build_parser().parse_args(argv)
        run = partial(options.run, options)
    from app.settings import SettingsFault

    try:
        return run()
    except SettingsFault as fault:
        print(f"muster: {fault}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except (CliError, OSError) as fault:
        print(f"muster: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muster", description="GitHub Issues as an incident desk.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, says: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")
        added.set_defaults(run=run)
        return added

    command("serve", "serve everything in one process", _serve)
    command("web", "receive deliveries only", _web)
    command("worker", "work only", _worker)
    command("sandbox", "serve everything beside a pretend GitHub, whatever credentials are set", _sandbox)
    demo = command("demo", "play one incident from the report to the merged postmortem", _demo)
    demo.add_argument("--stay", action="store_true", help="keep serving the pages afterwards")
    demo.add_argument("--json", action="store_true", help="print what happened as JSON")
    parse = command("parse-form", "read the body of an issue by its form", _parse_form)
    parse.add_argument("--form", required=True, type=Path, metavar="FORM.yml")
    parse.add_argument("body", type=Path, metavar="BODY.md")
    command("policy", "check, explain, simulate, compare and replay policy files", _print_usage(parser))
    command("inbox", "look after deliveries that nobody could read", _print_usage(parser))
    command("outbox", "look after orders that were refused for good", _print_usage(parser))
    running = command("run", "one run inside GitHub Actions", _print_usage(parser))
    runs = running.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, says in _ACTIONS_COMMANDS.items():
        inside = runs.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")
        inside.set_defaults(run=_run_in_actions, name=name)
        if name == "report":
            inside.add_argument("--json", action="store_true", help="print the figures to the log as one line of JSON")
    rebuild = command("rebuild", "restore the store from GitHub", _rebuild)
    rebuild.add_argument("--repo", metavar="OWNER/NAME", help="only this repository")
    rebuild.add_argument("--issue", type=int, metavar="N", help="only this issue (with --repo)")
    compare = command("reconcile", "find missed deliveries and drift, and set them right", _reconcile)
    compare.add_argument("--repo", default="", metavar="OWNER/NAME", help="only this repository")
    compare.add_argument("--deep", action="store_true", help="all that can be compared, not only what may have changed")
    compare.add_argument("--json", action="store_true", help="print what was found as JSON")
    forget = command("forget", "erase what is stored of a repository or an issue, for good", _forget)
    forget.add_argument("--repo", required=True, metavar="OWNER/NAME", help="this repository, by its name or its id")
    forget.add_argument("--issue", type=int, metavar="N", help="only this issue")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    forget.add_argument("--json", action="store_true", help="print what was erased as JSON")
    state = command("state", "look into the store", _print_usage(parser))
    states = state.add_subparsers(title="commands", metavar="COMMAND", required=True)
    dump = states.add_parser("dump", help="print incidents, alarms and effects as JSON")
    dump.add_argument(
        "--canonical", action="store_true", help="sorted, without row ids and receive times (the default)"
    )
    dump.set_defaults(run=_state_dump)
    database = command("db", "look after the schema", _print_usage(parser))
    databases = database.add_subparsers(title="commands", metavar="COMMAND", required=True)
    migrate = databases.add_parser("migrate", help="bring the schema up to date")
    migrate.set_defaults(run=_db_migrate)
    status = databases.add_parser("status", help="say which steps the schema has had")
    status.set_defaults(run=_db_status)
    return parser


def _print_usage(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        parser.print_usage(sys.stderr)
        return 2

    return run


def _parse_form(options: argparse.Namespace) -> int:
    from app.github.issue_form import FormFault, parse_body, read_form

    try:
        form = read_form(_read_text(options.form))
    except FormFault as fault:
        raise CliError(f"{options.form}: {fault}") from None
    print(json.dumps(parse_body(form, _read_text(options.body)), ensure_ascii=False, indent=2))
    return 0


def _run_policy(arguments: Sequence[str]) -> int:
    """Run `muster policy`, whose commands have a module and a parser of their own."""
    from app.cli import policy

    return policy.main(arguments, _utc_now)


def _run_dead_letters(arguments: Sequence[str]) -> int:
    """Run `muster inbox` or `muster outbox`, whose commands have a module and a parser of their own."""
    from app import bootstrap
    from app.cli import dead_letters

    options = dead_letters.parse_arguments(arguments)
    with bootstrap.open_database(_read_settings()) as opened:
        return dead_letters.run_command(options, dead_letters.DeadLetterContext(opened, _utc_now))


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as problem:
        raise CliError(f"{path}: {problem.strerror}") from None


def _utc_now() -> datetime:
    """Return the real time: the only clock outside the tests and the demo."""
    return datetime.now(UTC)


def _serve(options: argparse.Namespace) -> int:
    return _run_services(web=True, worker=True)


def _web(options: argparse.Namespace) -> int:
    return _run_services(web=True, worker=False)


def _worker(options: argparse.Namespace) -> int:
    return _run_services(web=False, worker=True)


def _sandbox(options: argparse.Namespace) -> int:
    return _serve_sandbox(_read_logged_settings())


def _serve_sandbox(found: Settings) -> int:
    from app import bootstrap
    from app.sandbox.serve import serve_with_sandbox

    with serve_with_sandbox(found, _utc_now) as application:
        bootstrap.serve(application, web=True, worker=True)
    return 0


def _read_settings() -> Settings:
    """Read the settings, and print their warnings to stderr."""
    from app import settings

    found = settings.read_settings()
    for warning in found.warnings:
        print(f"muster: warning: {warning}", file=sys.stderr)
    return found


def _read_logged_settings() -> Settings:
    """Read the settings, configure the log, and log their warnings."""
    import structlog

    from app import bootstrap, settings

    found = settings.read_settings()
    bootstrap.configure_logging(found.log, found.log_level)
    for warning in found.warnings:
        structlog.get_logger().warning(warning)
    return found


def _run_services(*, web: bool, worker: bool) -> int:
    from app import bootstrap, settings

    found = _read_logged_settings()
    if web and worker and not found.has_credentials:
        return _serve_sandbox(found)
    settings.require_app_credentials(found)
    bootstrap.warn_if_root(found)
    with bootstrap.open_application(found, _utc_now) as application:
        bootstrap.serve(application, web=web, worker=worker)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from app.sandbox.demo.terminal import demo

    return demo(stay=options.stay, as_json=options.json)


_ACTIONS_COMMANDS = {
    "triage": "do what an event of an issue asks for: grade, label, page, show the board",
    "postmortem": "the same, and open the pull request with the postmortem where it is asked for",
    "sweep": "let the clocks of all open incidents ring that are due",
    "check-policy": "check the policy file that this run is about",
    "report": "report the incidents that were closed in a period",
}


def _run_in_actions(options: argparse.Namespace) -> int:
    import os

    from app import runner

    runs: dict[str, Callable[..., int]] = {
        "triage": runner.triage,
        "postmortem": runner.triage_with_postmortem,
        "sweep": runner.sweep,
        "check-policy": runner.check_policy,
        "report": partial(runner.report, as_lines=getattr(options, "json", False)),
    }
    try:
        return runs[options.name](runner.Workflow(os.environ, print, _utc_now))
    except runner.WorkflowError as problem:
        raise CliError(str(problem)) from None


def _rebuild(options: argparse.Namespace) -> int:
    from app import bootstrap
    from app.ports import DeliveryFailed

    if options.issue and not options.repo:
        raise CliError("--issue needs --repo: the number of an issue says nothing without its repository.")
    found = _read_logged_settings()
    try:
        with bootstrap.open_application(found, _utc_now) as application:
            for line in bootstrap.rebuild_incidents(application, options.repo, options.issue):
                print(line)
    except DeliveryFailed as failed:
        raise CliError(str(failed)) from None
    return 0


def _reconcile(options: argparse.Namespace) -> int:
    from app import bootstrap
    from app.cli.reconcile import run_reconcile
    from app.ports import DeliveryFailed

    found = _read_logged_settings()
    try:
        with bootstrap.open_application(found, _utc_now) as application:
            return run_reconcile(
                bootstrap.create_reconciler(application), options.repo, deep=options.deep, as_json=options.json
            )
    except DeliveryFailed as failed:
        raise CliError(str(failed)) from None


def _forget(options: argparse.Namespace) -> int:
    from app import bootstrap, settings
    from app.cli import forget

    found = settings.read_settings()
    bootstrap.configure_logging(found.log)
    try:
        with bootstrap.open_database(found) as opened:
            return forget.run_forget(
                bootstrap.create_offline_context(opened, _utc_now),
                options.repo,
                options.issue,
                yes=options.yes,
                as_json=options.json,
                ask=forget.ask_on_terminal(),
            )
    except forget.ConfirmationMissing as missing:
        print(f"muster: {missing}", file=sys.stderr)
        return 2
    except forget.ForgetError as fault:
        raise CliError(str(fault)) from None


def _state_dump(options: argparse.Namespace) -> int:
    from app import bootstrap
    from app.store.serialization import canonical_json
    from app.worker.monitoring.state_dump import dump_state

    with bootstrap.open_database(_read_settings()) as opened:
        print(canonical_json(dump_state(opened)))
    return 0


def _db_migrate(options: argparse.Namespace) -> int:
    from app import bootstrap
    from app.failpoints import Failpoints

    found = _read_settings()
    with bootstrap.open_database_server(found) as url:
        from app.store.database import migrate

        for step in migrate(url, Failpoints(found.failpoint).reach) or ["the schema is up to date"]:
            print(step)
    return 0


def _db_status(options: argparse.Namespace) -> int:
    from app import bootstrap

    with bootstrap.open_database_server(_read_settings()) as url:
        from app.store.database import load_migrations, read_schema_version

        done = read_schema_version(url)
        for number, name, _ in load_migrations():
            print(f"{'done   ' if number <= done else 'missing'} {name}")
    return 0
