"""Options that several commands of wrdata archive share.

Here: their types and error messages. Not here: the commands (archive.py, archive_upkeep.py,
archive_restore.py), or which datasets there are (marketdata/archiving.py).
"""

import calendar
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Annotated

import typer

from pipelines.cli.load_options import known_dataset


def _known_datasets(names: list[str] | None) -> list[str] | None:
    for name in names or ():
        known_dataset(name)
    return names


Names = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="Only this one; may be repeated.", callback=_known_datasets),
]
Name = Annotated[
    str, typer.Option("--dataset", help="Name of the dataset.", callback=known_dataset)
]


def _first_day(text: str) -> date:
    """Return a day, or the first one of a month.

    Raises:
        BadParameter: The text is neither.
    """
    for form in ("%Y-%m-%d", "%Y-%m"):
        try:
            return datetime.strptime(text, form).date()  # noqa: DTZ007 a day has no zone
        except ValueError:
            continue
    form, unit = ("YYYY-MM-DD", "day") if text.count("-") > 1 else ("YYYY-MM", "month")
    message = f"{text!r} is not written as {form}, or no such {unit}"
    raise typer.BadParameter(message)


def _last_day(text: str) -> date:
    """Return a day, or the last one of a month; raises what ``_first_day`` raises."""
    first = _first_day(text)
    is_month = text.count("-") == 1
    days = calendar.monthrange(first.year, first.month)[1]
    return first + timedelta(days=days - 1) if is_month else first


_START = typer.Option(parser=_first_day, metavar="YYYY-MM[-DD]", help="First day, or month.")
_END = typer.Option(parser=_last_day, metavar="YYYY-MM[-DD]", help="Last day, or month.")
Start = Annotated[date, _START]
MaybeStart = Annotated[date | None, _START]
End = Annotated[date, _END]
MaybeEnd = Annotated[date | None, _END]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def nothing_archived(names: Sequence[str] | None) -> str:
    """Return the message for an archive that holds nothing of the requested datasets."""
    return f"nothing of {', '.join(names)} is archived yet" if names else "nothing is archived yet"
