"""Who acts: the name that runs and operations carry, and when a name is believed.

Here: the tag, and the proxy's headers. Not here: the user of a command (machine/person.py), tagging
runs that Dagster queues (run_coordinator.py), or what is done in the UI (webserver.py).

A name comes from the proxy, which has asked for a password, or from the operating system. It never
comes from a client, and from no variable that a person sets for himself.
"""

import hmac
import os
from collections.abc import Callable, Mapping

USER_TAG = "wrdata/user"
"""Tag that names who started a run: a user, ``schedule:<name>``, ``sensor:<name>``, or UNKNOWN."""
CLIENT_TAG = "wrdata/client_address"
"""Tag of a run: where its user's browser was, by the proxy."""
UNKNOWN = "unknown"
"""The user of a request that did not come through the proxy."""
PROXY_VARIABLE = "WRDATA_PROXY_SECRET"
"""Variable with the secret that the proxy and the web servers behind it share."""
PROXY_HEADER = "X-Wrdata-Proxy"
"""Header by which the proxy proves that a request came through it."""
USER_HEADER = "X-Forwarded-User"
ADDRESS_HEADER = "X-Real-IP"

_STARTERS = {"dagster/schedule_name": "schedule", "dagster/sensor_name": "sensor"}
"""Tags that the daemon gives to runs of a schedule or a sensor."""

Headers = Callable[[str], str | None]
"""Returns a header of a request, or None; the case of its name does not matter."""


def came_through_proxy(header: Headers) -> bool:
    """Return whether a request carries the secret of the proxy; without a secret, none does."""
    secret = os.environ.get(PROXY_VARIABLE, "")
    shown = header(PROXY_HEADER) or ""
    return bool(secret) and hmac.compare_digest(shown.encode(), secret.encode())


def of_the_proxy() -> dict[str, str]:
    """Return the header by which a process of ours gets into the web servers behind the proxy.

    Empty where no secret is shared: then nothing stands in the way.
    """
    secret = os.environ.get(PROXY_VARIABLE)
    return {PROXY_HEADER: secret} if secret else {}


def of_request(header: Headers) -> str:
    """Return the user whom the proxy let in, or UNKNOWN if it did not come through the proxy."""
    return (header(USER_HEADER) if came_through_proxy(header) else None) or UNKNOWN


def address_of(header: Headers) -> str | None:
    """Return the client's address as the proxy saw it, or None without the proxy."""
    return header(ADDRESS_HEADER) if came_through_proxy(header) else None


def starter_of(tags: Mapping[str, str]) -> str | None:
    """Return ``schedule:<name>`` or ``sensor:<name>`` of a run's tags; None if neither began it."""
    return next((f"{kind}:{tags[tag]}" for tag, kind in _STARTERS.items() if tag in tags), None)
