"""The hold after a restore, as schedules and sensors respect it.

Here: the question that each tick asks. Not here: who sets it (usecases/restoring.py), or releases
it (cli/recover.py).
"""

from contextlib import suppress

import dagster as dg

from marketdata.recovery import errors
from resources.settings import read_settings
from resources.storage.recovery import hold


def reason_to_wait() -> str | None:
    """Return why nothing may start by itself now; None if it may.

    A database that does not answer, or has no such table, holds nothing: the run itself fails then,
    and is repeated as ever.
    """
    with suppress(errors.MarketDataError):
        current = hold.current(read_settings().database_url.get_secret_value())
        if current is not None:
            return (
                f"the database was {current.reason}, as of {current.target:%Y-%m-%d %H:%M:%S} UTC: "
                "nothing starts by itself until `wrdata recover` has released it"
            )
    return None


def nothing_held(context: dg.ScheduleEvaluationContext) -> bool:
    """Return whether a schedule may start runs: its ``should_execute``."""
    reason = reason_to_wait()
    if reason is not None:
        context.log.warning(reason)
    return reason is None
