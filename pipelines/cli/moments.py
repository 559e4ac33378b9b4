"""Moments as commands take and print them: in UTC.

Here: reading and printing. Not here: days (archive_options.py, load_options.py).
"""

from datetime import UTC, datetime

import typer


def utc_moment(text: str) -> datetime:
    """Return a moment (aware UTC); one without a zone is UTC.

    Raises:
        BadParameter: It is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not written as 2026-11-30T14:05:00, in UTC"
        raise typer.BadParameter(message) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def shown(moment: datetime) -> str:
    """Return a moment (aware UTC) as it is printed, to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
