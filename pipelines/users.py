"""Who acts: the name that runs and operations carry, and when a name is believed.

Here: the tag, the proxy's headers, and the user of this process. Not here: tagging runs that
Dagster queues (run_coordinator.py), or what is done in the UI (webserver.py).

A name comes from the proxy, which has asked for a password, or from the operating system. It never
comes from a client, and from no variable that a person sets for himself.
"""

import hmac
import os
import pwd
from collections.abc import Callable

USER_TAG = "wrdata/user"
"""Tag that names who started a run: a user, ``schedule:<name>``, ``sensor:<name>``, or UNKNOWN."""
UNKNOWN = "unknown"
"""The user of a request that did not come through the proxy."""
PROXY_VARIABLE = "WRDATA_PROXY_SECRET"
"""Variable with the secret that the proxy and the web servers behind it share."""
PROXY_HEADER = "X-Wrdata-Proxy"
"""Header by which the proxy proves that a request came through it."""
USER_HEADER = "X-Forwarded-User"
ADDRESS_HEADER = "X-Real-IP"

Headers = Callable[[str], str | None]
"""Returns a header of a request, or None; the case of its name does not matter."""


def of_this_process() -> str:
    """Return the operating system's user of this process.

    By its number: LOGNAME and USER are what anybody sets them to.
    """
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # in a container without an entry for it
        return f"uid {number}"


def came_through_proxy(header: Headers) -> bool:
    """Return whether a request carries the secret of the proxy; without a secret, none does."""
    secret = os.environ.get(PROXY_VARIABLE, "")
    shown = header(PROXY_HEADER) or ""
    return bool(secret) and hmac.compare_digest(shown.encode(), secret.encode())


def of_request(header: Headers) -> str:
    """Return the user whom the proxy let in, or UNKNOWN if it did not come through the proxy."""
    return (header(USER_HEADER) if came_through_proxy(header) else None) or UNKNOWN


def address_of(header: Headers) -> str | None:
    """Return the client's address as the proxy saw it, or None without the proxy."""
    return header(ADDRESS_HEADER) if came_through_proxy(header) else None
