"""The commands of `muster policy`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from app.cli.policy import arguments, output, past_incidents
from app.cli.policy.arguments import PolicyCommandContext
from app.core.backtest import backtest
from app.core.policy_diff import diff_policies
from app.core.severity import Severity
from app.core.simulate import simulate as imagine
from app.policy_file import DEFAULT_PROFILE, PolicyFault, PolicyFaults, load_profile, read_policy
from app.render.terminal.simulation_table import TableLine, render_simulation
from app.text import make_visible

_MAX_CELL_CHARS = 60
"""Widest cell of a table; JSON output is not cut."""


def check(options: argparse.Namespace, context: PolicyCommandContext) -> int:
    """Check a policy file and print its errors; returns 1 if there are any."""
    faults: tuple[PolicyFault, ...] = ()
    try:
        read_policy(
            arguments.read_text(options.file), name=str(options.file), org=arguments.load_organisation_text(options)
        )
    except PolicyFaults as found:
        faults = found.errors
    if options.json:
        output.print_json([dataclasses.asdict(fault) for fault in faults], context)
    else:
        for fault in faults:
            print(fault, file=context.out)
    return 1 if faults else 0


def explain(options: argparse.Namespace, context: PolicyCommandContext) -> int:
    """Print every value of a policy with its origin."""
    # Reads the docs of every key, which no other command needs.
    from app.policy_file.explain import explain_policy  # noqa: PLC0415

    policy = arguments.load_policy(options.file or DEFAULT_PROFILE, options)
    severity = arguments.parse_severity(options.sev, policy) if options.sev else None
    text, name = arguments.load_source(options.file)
    rows = explain_policy(text, name=name, org=arguments.load_organisation_text(options), severity=severity)
    if options.json:
        output.print_json([dataclasses.asdict(row) for row in rows], context)
        return 0
    cells = [
        tuple(make_visible(cell, _MAX_CELL_CHARS) for cell in (row.where, row.value, row.origin, row.document))
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
    for row in cells:
        print("  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip(), file=context.out)
    return 0


def schema(options: argparse.Namespace, context: PolicyCommandContext) -> int:
    """Print the JSON Schema of a policy file."""
    from app.policy_file import schema as json_schema  # noqa: PLC0415

    output.print_json(json_schema(), context)
    return 0


def simulate(options: argparse.Namespace, context: PolicyCommandContext) -> int:
    """Simulate an incident and print who is notified when."""
    policy = arguments.load_policy(options.file, options)
    scene = arguments.build_scenario(options, policy)
    policy = arguments.add_feed_shifts(policy, Path(options.file), scene.at)
    rows = imagine(policy, scene)
    if options.json:
        output.print_json([output.row_to_json(row) for row in rows], context)
        return 0
    for line in render_simulation(rows, policy, scene, width=output.terminal_width(context.out)):
        output.print_line(line, context.out)
    return 0


def diff(options: argparse.Namespace, context: PolicyCommandContext) -> int:
    """Print the differences in effect between two policies."""
    old, new = arguments.load_policy(options.old, options), arguments.load_policy(options.new, options)
    moves = diff_policies(old, new)
    if options.json:
        output.print_json([output.change_to_json(move, new) for move in moves], context)
    elif not moves:
        print("Nothing moves: both mean the same.", file=context.out)
    else:
        for severity in (*Severity, None):
            mine = [move for move in moves if move.severity is severity]
            if mine:
                output.print_line(
                    TableLine(severity.inline_name(new.scale) if severity else "elsewhere", "strong"), context.out
                )
            for move in mine:
                tone = "good" if move.was is None else "bad" if move.now is None else ""
                output.print_line(TableLine(f"  {make_visible(str(move), 500)}", tone), context.out)
    return 0


def replay(options: argparse.Namespace, context: PolicyCommandContext) -> int:
    """Replay past incidents under two policies and print the differences."""
    new = arguments.load_policy(options.file, options)
    incidents, in_force, where = (
        past_incidents.read_from_file(options, new, context)
        if options.events
        else past_incidents.read_from_repository(options, new, context)
    )
    if options.against:
        old, against = arguments.load_policy(options.against, options), options.against
    elif in_force is not None:
        old, against = in_force, f"the policy in force in {where}"
    elif new == load_profile(new.profile):
        old, against = load_profile(DEFAULT_PROFILE), f"the profile {DEFAULT_PROFILE}, the default"
    else:
        old, against = load_profile(new.profile), f"the profile {new.profile}, which it extends"
    if options.save:
        past_incidents.save_incidents(options.save, incidents, new)
    found = backtest(past_incidents.show_progress(incidents, context.err), old, new)
    if options.json:
        output.print_json(output.backtest_to_json(found, against, new), context)
        return 0
    for line in output.format_backtest(found, against, where, options.file, new):
        output.print_line(line, context.out)
    return 0
