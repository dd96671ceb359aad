"""API routes for the app, its installations, tokens and deliveries."""

from __future__ import annotations

import itertools
from typing import Any

from flask import Blueprint

from app.sandbox.github.account_json import format_optional_time, format_time
from app.sandbox.github.api.gateway import PREFIX, Call, Gateway, Reply
from app.sandbox.github.auth import LEVELS
from app.sandbox.github.errors import ApiError, not_found
from app.sandbox.github.hooks import Delivery
from app.sandbox.github.world import Installation


def blueprint(gateway: Gateway) -> Blueprint:
    """Register the routes of the app and its installations."""
    part = Blueprint("app", __name__, url_prefix=PREFIX)
    gateway.route(part, "GET", "/app", app, "app")
    gateway.route(part, "GET", "/app/hook/config", hook_config, "app")
    gateway.route(part, "GET", "/app/hook/deliveries", list_deliveries, "app")
    gateway.route(part, "GET", "/app/hook/deliveries/<int:delivery_id>", get_delivery, "app")
    gateway.route(part, "POST", "/app/hook/deliveries/<int:delivery_id>/attempts", redeliver, "app")
    gateway.route(part, "GET", "/app/installations", list_installations, "app")
    gateway.route(part, "GET", "/app/installations/<int:installation_id>", get_installation, "app")
    gateway.route(part, "POST", "/app/installations/<int:installation_id>/access_tokens", create_token, "app")
    gateway.route(part, "POST", "/app-manifests/<code>/conversions", convert_manifest)
    gateway.route(part, "GET", "/installation/repositories", installation_repositories)
    gateway.route(part, "GET", "/repos/<owner>/<repo>/installation", repository_installation, "app")
    return part


def app(call: Call) -> Reply:
    """Return the app."""
    installed = [i for i in call.world.installations.values() if not i.removed]
    return Reply({**call.serializer.app(), "installations_count": len(installed)})


def hook_config(call: Call) -> Reply:
    """Return the configuration of the app's webhook."""
    url = call.changes.hooks.url
    config = {"content_type": "json", "insecure_ssl": "0", "secret": "********"}
    return Reply({**config, "url": url} if url else config)


def list_deliveries(call: Call) -> Reply:
    """List the webhook deliveries, newest first, one page at a time by cursor."""
    size = min(100, max(1, call.query_number("per_page", 30)))
    cursor = call.request.args.get("cursor")
    before = None
    if cursor:
        digits = cursor.removeprefix("v1_")
        if not (digits.isascii() and digits.isdigit()):
            raise ApiError(400, "Invalid cursor")
        before = int(digits)
    found = call.changes.hooks.deliveries(before)
    wanted = call.request.args.get("status")
    if wanted in ("success", "failure"):
        found = (delivery for delivery in found if delivery.ok == (wanted == "success"))
    page = list(itertools.islice(found, size + 1))
    headers = {}
    if len(page) > size:
        following = call.url_with_query(cursor=f"v1_{page[size - 1].id}")
        headers["Link"] = f'<{following}>; rel="next"'
    return Reply([_delivery_json(delivery) for delivery in page[:size]], headers=headers)


def get_delivery(call: Call) -> Reply:
    """Return a delivery with its request and response."""
    delivery = _find_delivery(call)
    response_headers = delivery.response_headers or None
    return Reply(
        {
            **_delivery_json(delivery),
            "url": call.changes.hooks.url or "",
            "request": {"headers": delivery.headers, "payload": delivery.payload},
            "response": {"headers": response_headers, "payload": delivery.response_body},
        }
    )


def redeliver(call: Call) -> Reply:
    """Queue a redelivery."""
    call.changes.hooks.redeliver(_find_delivery(call))
    return Reply(status=202)


def list_installations(call: Call) -> Reply:
    """List the app's installations."""
    present = [i for i in call.world.installations.values() if not i.removed]
    return call.paginate(present, call.serializer.installation)


def get_installation(call: Call) -> Reply:
    """Return an installation."""
    return Reply(call.serializer.installation(_find_installation(call)))


def create_token(call: Call) -> Reply:
    """Issue an installation token, optionally for some repositories and permissions only."""
    installation = _find_installation(call)
    if installation.suspended_at is not None:
        raise ApiError(403, "This installation has been suspended")
    repository_ids = _requested_repository_ids(call, installation)
    requested_permissions: dict[str, Any] = call.body_field("permissions", dict, {})
    for name, level in requested_permissions.items():
        if level not in LEVELS or LEVELS[level] > LEVELS.get(installation.permissions.get(name, ""), 0):
            raise ApiError(422, "The permissions requested are not granted to this installation.")
    permissions = (
        {**requested_permissions, "metadata": "read"} if requested_permissions else dict(installation.permissions)
    )
    token = call.gateway.auth.issue_token(installation, repository_ids, permissions)
    body: dict[str, Any] = {
        "token": token.token,
        "expires_at": format_time(token.expires_at),
        "permissions": permissions,
        "repository_selection": "selected",
    }
    if repository_ids is not None:
        body["repositories"] = [
            call.serializer.repository(installation.repositories[number]) for number in sorted(repository_ids)
        ]
    return Reply(body, 201)


def convert_manifest(call: Call) -> Reply:
    """Return the app's credentials; any code is valid, and there is only one app."""
    app = call.gateway.app
    secrets = {"client_secret": "0" * 40, "webhook_secret": app.webhook_secret, "pem": app.private_key_pem}
    return Reply({**call.serializer.app(), "client_id": app.client_id, **secrets}, 201)


def installation_repositories(call: Call) -> Reply:
    """List the repositories that the installation token can access."""
    installation = call.caller.installation
    if installation is None:
        raise ApiError(
            403,
            "You must authenticate with an installation access token in order to list repositories for an "
            "installation.",
        )
    covered = [repository for repository in installation.repositories.values() if call.caller.can_see(repository)]
    reply = call.paginate(covered, call.serializer.repository, "repositories")
    reply.body["repository_selection"] = "selected"
    return reply


def repository_installation(call: Call) -> Reply:
    # An app sees its own installations whatever the repository's visibility.
    """Return the installation on a repository."""
    repository = call.world.repository(call.path["owner"], call.path["repo"])
    if repository.installation is None:
        raise not_found()
    return Reply(call.serializer.installation(repository.installation))


def _find_installation(call: Call) -> Installation:
    found = call.world.installations.get(call.path["installation_id"])
    if found is None or found.removed:
        raise not_found()
    return found


def _requested_repository_ids(call: Call, installation: Installation) -> frozenset[int] | None:
    names = call.body_field("repositories", list, [])
    numbers = call.body_field("repository_ids", list, [])
    if not names and not numbers:
        return None
    by_name = {repository.name.lower(): repository.id for repository in installation.repositories.values()}
    requested = set()
    for name in names:
        requested.add(by_name.get(str(name).lower(), 0))
    requested.update(number for number in numbers if isinstance(number, int))
    if not requested <= installation.repositories.keys():
        raise ApiError(
            422, "There is at least one repository that does not exist or is not accessible to the parent installation."
        )
    return frozenset(requested)


def _find_delivery(call: Call) -> Delivery:
    delivery = call.changes.hooks.delivery(call.path["delivery_id"])
    if delivery is None:
        raise not_found()
    return delivery


def _delivery_json(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "guid": delivery.guid,
        "delivered_at": format_optional_time(delivery.delivered_at),
        "redelivery": delivery.redelivery,
        "duration": delivery.duration,
        "status": delivery.status,
        "status_code": delivery.status_code,
        "event": delivery.event,
        "action": delivery.action,
        "installation_id": delivery.installation_id,
        "repository_id": delivery.repository_id,
        "throttled_at": None,
    }
