"""Error reports to Sentry.

Here: one report of a failed run, with its fields, without secrets. Not here: which failures are
reported (pipelines/observation.py), or log lines (logs.py).

SENTRY_DSN names the project. Without it nothing is imported. SENTRY_ENVIRONMENT and SENTRY_RELEASE
are read by the SDK; without a release it is this package's version.
"""

import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from resources.telemetry import logs, masks

if TYPE_CHECKING:
    from sentry_sdk.transport import Transport
    from sentry_sdk.types import Event

DSN = "SENTRY_DSN"
FLUSHED_WITHIN_S = 5.0

_is_on = False


def is_wanted() -> bool:
    """Return whether the environment names a project of Sentry."""
    return bool(os.environ.get(DSN))


def begin() -> None:
    """Report from now on, if the environment names a project and the SDK is installed."""
    if _is_on or not is_wanted():
        return
    try:
        send_to(None)
    except ModuleNotFoundError:
        logs.logger("telemetry").warning(
            "no errors are reported: SENTRY_DSN is set, and Sentry's SDK is not installed: "
            "install wrdata[sentry]"
        )


def send_to(transport: "type[Transport] | None") -> None:
    """Report from now on by a transport; None is the SDK's own, over HTTP."""
    import sentry_sdk

    global _is_on  # noqa: PLW0603  # Sentry's client is the process's too
    sentry_sdk.init(
        dsn=os.environ.get(DSN),
        transport=transport,
        release=os.environ.get("SENTRY_RELEASE") or f"wrdata@{version('wrdata')}",
        before_send=_scrubbed,
        # What they add may hold secrets: local variables, log lines, arguments of the process.
        default_integrations=False,
        include_local_variables=False,
        before_breadcrumb=_none,
    )
    _is_on = True


def end() -> None:
    """Report no more."""
    import sentry_sdk

    global _is_on  # noqa: PLW0603
    flush()
    sentry_sdk.init(default_integrations=False)
    _is_on = False


def flush() -> None:
    """Send what waits."""
    if _is_on:
        import sentry_sdk

        sentry_sdk.flush(FLUSHED_WITHIN_S)


def report(
    error_class: str,
    message: str,
    *,
    tags: Mapping[str, str],
    group: tuple[str, ...],
    details: Mapping[str, object],
) -> None:
    """Report a failure.

    Args:
        error_class: Name of the exception's class, which is the report's title.
        message: What happened.
        tags: What reports are looked up by, such as ``provider`` and ``correlation_id``.
        group: Reports with the same are one issue.
        details: What else a person wants to see, such as the traceback.
    """
    if not _is_on:
        return
    import sentry_sdk

    event = {
        "level": "error",
        "exception": {"values": [{"type": error_class, "value": message}]},
        "tags": dict(tags),
        "fingerprint": list(group),
        "extra": dict(details),
    }
    sentry_sdk.capture_event(cast("Event", event))


def _none(_crumb: Mapping[str, Any], _hint: Mapping[str, Any]) -> None:
    """Keep no trail of what came before a failure; called by the SDK."""


def _scrubbed(event: "Event", _hint: Mapping[str, Any]) -> "Event":
    """Return an event without secrets; called by the SDK before it sends one."""
    return cast("Event", masks.masked_fields(event))
