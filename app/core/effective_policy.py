"""Derive the effective policy of one incident: the team's policy, changed by its affected services and its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.core.incident import Incident
from app.core.incident_report import IncidentReport, Kind
from app.core.policy import BUSINESS, ON_CALL, OWNER, TEAM, Override, Policy, Regulation, Service, Target, Targets


def policy_for(policy: Policy, incident: Incident) -> Policy:
    """Return the effective policy of the incident.  Applied to an effective policy, it changes nothing."""
    if not (policy.services or policy.overrides):
        return policy
    return policy_for_report(policy, incident.report)


def policy_for_report(policy: Policy, report: IncidentReport) -> Policy:
    """Return the effective policy of an incident with that report."""
    scope = (tuple(name.casefold() for name in report.services), report.kind)
    return policy.compute_once(("effective_policy", scope), lambda: _build_effective_policy(policy, scope))


def active_regulations(policy: Policy, report: IncidentReport) -> dict[str, Regulation]:
    """Return the regulations whose clocks run for an incident with that report, by their names (G2)."""
    return {name: law for name, law in policy.regulations.items() if _regulation_applies(law, report)}


def _regulation_applies(law: Regulation, report: IncidentReport) -> bool:
    if not (law.kinds or law.personal_data):
        return True
    return report.kind in law.kinds or report.personal_data in law.personal_data


def affected_services(policy: Policy, report: IncidentReport) -> dict[str, Service]:
    """Return the services that a report names, by their names in the policy, in the order of the report."""
    return _match_services(policy, tuple(name.casefold() for name in report.services))


def _match_services(policy: Policy, reported_names: tuple[str, ...]) -> dict[str, Service]:
    service_by_name = {
        name.casefold(): service for service, known in policy.services.items() for name in (*known.aliases, service)
    }
    return {
        service_by_name[name]: policy.services[service_by_name[name]]
        for name in reported_names
        if name in service_by_name
    }


def _build_effective_policy(policy: Policy, scope: tuple[tuple[str, ...], Kind | None]) -> Policy:
    """Build the effective policy and cache it as its own effective policy, so that applying it again is free."""
    effective = _apply_overrides(policy, *scope)
    return effective.compute_once(("effective_policy", scope), lambda: effective)


def _apply_overrides(policy: Policy, reported_names: tuple[str, ...], kind: Kind | None) -> Policy:
    services = _match_services(policy, reported_names)
    effective = _with_owning_team(replace(policy, overrides=()), services)
    for override in policy.overrides:
        if _override_matches(override, services, kind):
            effective = _apply_override(effective, override)
    return effective


def _with_owning_team(policy: Policy, services: Mapping[str, Service]) -> Policy:
    """Apply the team that owns the first affected service.

    The policy gets that team, its hours, and the rotation that is paged for the service.
    """
    teams = [policy.teams[service.owner] for service in services.values() if service.owner]
    pagers = [pager for service in services.values() if (pager := _on_call_rotation(policy, service))]
    if pagers:
        policy = replace(policy, rotations={**policy.rotations, ON_CALL: policy.rotations[pagers[0]]})
    if not teams:
        return policy
    hours = policy.calendars[teams[0].calendar or BUSINESS]
    return replace(policy, teams={**policy.teams, OWNER: teams[0]}, calendars={**policy.calendars, TEAM: hours})


def _on_call_rotation(policy: Policy, service: Service) -> str | None:
    return service.on_call or (policy.teams[service.owner].on_call if service.owner else None)


def _override_matches(override: Override, services: Mapping[str, Service], kind: Kind | None) -> bool:
    return (not override.services or any(name in services for name in override.services)) and (
        not override.kinds or kind in override.kinds
    )


def _apply_override(policy: Policy, override: Override) -> Policy:
    targets = dict(policy.targets)
    for severity, clocks in override.targets.items():
        targets[severity] = _merge_targets(targets.get(severity, Targets()), clocks)
    return replace(
        policy,
        targets=targets,
        # The contacts of an override win over a rotation or a role of the same name.
        rotations={name: rotation for name, rotation in policy.rotations.items() if name not in override.contacts},
        roles={name: holders for name, holders in policy.roles.items() if name not in override.contacts},
        ladders={**policy.ladders, **override.ladders},
        first_notice={**policy.first_notice, **override.first_notice},
        contacts={**policy.contacts, **override.contacts},
    )


def _merge_targets(targets: Targets, overrides: Mapping[str, Target | None]) -> Targets:
    return replace(targets, **overrides)
