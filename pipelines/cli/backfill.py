"""wrdata backfill: load a dataset for a list of tickers, or for a span of trading days.

Here: from words on the command line to one Dagster run, with a plan before and a verdict after.
Not here: how a run is executed (runs.py), or what an asset does.
"""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from marketdata.recovery import errors
from pipelines.cli import console, environment, loads, wishes
from pipelines.cli.runs import RunReport
from resources import opening
from resources.settings import read_settings


class Dataset(StrEnum):
    """What can be backfilled."""

    DAILY_BARS = "daily_bars"


def backfill(
    dataset: Annotated[Dataset, typer.Argument(help="What to load.")],
    tickers: Annotated[
        str, typer.Option(help="Tickers separated by commas, gaps in the list cost nothing.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option(help="A file with one ticker a line.", dir_okay=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every member of the universe.")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Tickers with failed sessions in the ledger.")
    ] = False,
    start: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="By day: the first trading day."),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="By day: the last; default the latest."),
    ] = None,
    refetch: Annotated[
        bool, typer.Option("--refetch", help="Ask for sessions that are complete as well.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked, and stop.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> int:
    """Load DATASET, for tickers (all their history) or for trading days (the whole universe).

    Asks only for what the coverage ledger does not know, unless --refetch. Exits with 1 if
    anything could not be loaded; what could is kept.
    """
    doors = {"--tickers": tickers, "--file": file, "--all": every, "--failed": failed}
    chosen = [name for name, value in (doors | {"--from": start}).items() if value]
    if len(chosen) != 1:
        message = f"{dataset.value}: say which with one of {', '.join(doors)} or --from"
        raise typer.BadParameter(message)
    if (end and not start) or (refetch and start):
        message = "--to goes with --from, and --refetch with tickers: days are always asked again"
        raise typer.BadParameter(message)
    around = environment.surroundings()
    environment.enter(around, start=True, report=console.say)
    environment.require_schema(around)
    settings = read_settings()
    with opening.stores(settings) as stores:
        if start:
            wish = wishes.days_wish(stores, settings, start.date(), end.date() if end else None)
        else:
            named = _named(tickers, file) if tickers or file else None
            wish = wishes.tickers_wish(stores, settings, named, failed=failed, refetch=refetch)
        if dry_run or not wish.requests:
            return _tell_plan(wish, json=json)
        if isinstance(wish, wishes.DayWish):
            report = loads.load_days(stores, wish.sessions)
        else:
            report = loads.load_histories(
                stores, wish.tickers, expected=wish.requests, only_holes=not refetch
            )
    return _tell_outcome(report, json=json)


def _named(tickers: str, file: Path | None) -> list[str]:
    """Return the tickers of the command line or of the file, each once, in their order."""
    if file is not None:
        try:
            words = file.read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            message = f"{file} cannot be read: {error}; it holds one ticker a line"
            raise errors.ConfigurationError(message) from error
    else:
        words = tickers.replace(",", " ").split()
    if not words:
        message = (
            f"{file or '--tickers'} names no ticker; one or more are needed, such as AAPL,MSFT"
        )
        raise errors.ConfigurationError(message)
    return list(dict.fromkeys(word.upper() for word in words))


def _tell_plan(wish: wishes.TickerWish | wishes.DayWish, *, json: bool) -> int:
    units = len(wish.sessions) if isinstance(wish, wishes.DayWish) else len(wish.tickers)
    unit = "trading_days" if isinstance(wish, wishes.DayWish) else "tickers"
    if json:
        console.print_json({unit: units, "requests": wish.requests, "minutes": wish.minutes})
    elif not wish.requests:
        console.say("nothing to load: every session asked for is complete in the ledger")
    else:
        console.say(
            f"{units} {unit.replace('_', ' ')}: {wish.requests} requests, "
            f"{wish.minutes:.1f} minutes at the key's pace"
        )
    return 0


def _tell_outcome(report: RunReport, *, json: bool) -> int:
    """Print what a run came to; return 1 if any of it failed."""
    outcome = loads.outcome(report)
    if json:
        console.print_json(outcome)
    else:
        console.print_table("", [{k: v for k, v in outcome.items() if k != "failures"}])
        for key, reason in outcome["failures"].items():
            console.fail(f"{key}: {reason}")
    return 0 if report.success and not outcome["failures"] else 1
