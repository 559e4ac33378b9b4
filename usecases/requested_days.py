"""The days of a load request as text: from the launchpad, a schedule or the command line.

Here: parsing dates, and the message for a mistake. Not here: which days a load asks for.
"""

from datetime import date

from marketdata.recovery import errors


def requested_days(start: str, end: str) -> tuple[date | None, date | None]:
    """Return the first and the last day of a request; None where the text is empty.

    Raises:
        ArgumentError: A text is no ISO date, or the days are reversed.
    """
    first, last = _day("start", start), _day("end", end)
    if first and last and first > last:
        message = f"the days are reversed: start {first} is after end {last}"
        raise errors.ArgumentError(message)
    return first, last


def _day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        message = f"{name} is {text!r}, which is no day: write it like 2024-03-31"
        raise errors.ArgumentError(message) from None
