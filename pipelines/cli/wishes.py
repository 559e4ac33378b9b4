"""What a load would ask for: the wish behind a plan, a backfill and the demo.

Here: the words in which `wrdata plan` and `wrdata backfill` are told what to load, and the way
from tickers or days to requests, bars and rows. Not here: what these take (plan.py), or running
anything (loads.py).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from assets.universe import UNIVERSE, member_tickers
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.coverage import CoverageState, holes
from marketdata.forecast import Load, count_bars
from marketdata.planning import plan_histories
from marketdata.recovery import errors
from marketdata.recovery.limits import RequestLimits, fmp_bulk_limits, fmp_limits
from resources.opening import Stores
from resources.settings import DailyBarsRoute, Settings

PROVIDER = "fmp"
NAMED = 5
"""How many unknown tickers a message names."""


class Dataset(StrEnum):
    """What can be loaded."""

    DAILY_BARS = "daily_bars"


DatasetName = Annotated[Dataset, typer.Argument(help="What to load.")]
Tickers = Annotated[
    str, typer.Option(help="Tickers separated by commas, gaps in the list cost nothing.")
]
File = Annotated[Path | None, typer.Option(help="A file with one ticker a line.", dir_okay=False)]
Every = Annotated[bool, typer.Option("--all", help="Every member of the universe.")]
Failed = Annotated[bool, typer.Option("--failed", help="Tickers with failed sessions.")]
Start = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="By day: the first trading day."),
]
End = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="By day: the last; default the latest."),
]
Refetch = Annotated[
    bool, typer.Option("--refetch", help="Ask for sessions that are complete as well.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TickerWish:
    """Histories of tickers, and the load that they are."""

    tickers: tuple[str, ...]
    load: Load
    charges: tuple[RequestLimits, ...]

    @property
    def requests(self) -> int:
        """How many requests it takes."""
        return self.load.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class DayWish:
    """Whole trading days, and the load that they are."""

    sessions: tuple[date, ...]
    load: Load
    charges: tuple[RequestLimits, ...]

    @property
    def requests(self) -> int:
        """How many requests it takes."""
        return self.load.requests


Wish = TickerWish | DayWish


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What was said on the command line.

    Raises:
        BadParameter: Not exactly one of the doors is named, or words that exclude each other.
    """

    dataset: Dataset
    tickers: str
    file: Path | None
    every: bool
    failed: bool
    start: datetime | None
    end: datetime | None
    refetch: bool

    def __post_init__(self) -> None:
        doors = {
            "--tickers": self.tickers,
            "--file": self.file,
            "--all": self.every,
            "--failed": self.failed,
        }
        chosen = [name for name, value in (doors | {"--from": self.start}).items() if value]
        if len(chosen) != 1:
            message = f"{self.dataset.value}: say which with one of {', '.join(doors)} or --from"
            raise typer.BadParameter(message)
        if (self.end and not self.start) or (self.refetch and self.start):
            message = (
                "--to goes with --from, and --refetch with tickers: days are always asked again"
            )
            raise typer.BadParameter(message)

    def wish(self, stores: Stores, settings: Settings) -> Wish:
        """Return what is wished for; see ``tickers_wish`` and ``days_wish`` for the errors."""
        if self.start:
            end = self.end.date() if self.end else None
            return days_wish(stores, settings, self.start.date(), end)
        named = _named(self.tickers, self.file) if self.tickers or self.file else None
        return tickers_wish(stores, settings, named, failed=self.failed, refetch=self.refetch)


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


def charges(settings: Settings, *, bulk: bool) -> tuple[RequestLimits, ...]:
    """Return the limits that a request is charged to."""
    key = settings.fmp_api_key.get_secret_value()
    of_key = fmp_limits(key, settings.fmp_requests_per_minute)
    return (of_key, fmp_bulk_limits(key, settings.fmp_bulk_interval_s)) if bulk else (of_key,)


def interval_s(charged: Sequence[RequestLimits]) -> float:
    """Return the seconds between two requests that are charged to all of ``charged``."""
    return max(limits.interval_s for limits in charged)


def tickers_wish(
    stores: Stores,
    settings: Settings,
    named: Sequence[str] | None,
    *,
    failed: bool = False,
    refetch: bool = False,
) -> TickerWish:
    """Plan the histories of ``named`` tickers, or of every member of the universe.

    Args:
        stores: The database.
        settings: For the key's limits.
        named: Our tickers; None means all present members.
        failed: Only those with failed sessions in the ledger.
        refetch: Ask for what is complete as well.

    Raises:
        ConfigurationError: The universe is empty, or a ticker is not in it.
    """
    members = member_tickers(stores)
    wanted = list(named) if named is not None else members
    listed, unknown = stores.instruments.resolve(PROVIDER, wanted, utc_now().date())
    if unknown:
        raise errors.ConfigurationError(_unknown(unknown, members))
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, [one.instrument_id for one in listed])
    if failed:
        listed = [one for one in listed if ledger[one.instrument_id].get(CoverageState.FAILED)]
    planned = plan_histories(calendar(), listed, ledger, now=utc_now(), only_holes=not refetch)
    counted = [
        count_bars(calendar().sessions(one.start, one.end), ledger[one.instrument.instrument_id])
        for one in planned
    ]
    charged = charges(settings, bulk=False)
    return TickerWish(
        tickers=tuple(one.instrument.ticker for one in planned),
        load=Load(
            requests=len(planned),
            interval_s=interval_s(charged),
            bars=sum(bars for bars, _ in counted),
            rows=sum(rows for _, rows in counted),
        ),
        charges=charged,
    )


def days_with_holes(stores: Stores, sessions: Sequence[date]) -> list[date]:
    """Return those of ``sessions`` that some present member lacks."""
    members = [member.instrument_id for member in stores.instruments.members(UNIVERSE)]
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, members)
    today = utc_now().date()
    wanted = {day for one in members for day in holes(sessions, ledger[one], today=today)}
    return sorted(wanted)


def days_wish(stores: Stores, settings: Settings, start: date, end: date | None) -> DayWish:
    """Plan the trading days from ``start`` to ``end``, or to the last session that has closed.

    Raises:
        ConfigurationError: There is no such trading day, or one has not closed yet.
    """
    member_tickers(stores)  # An empty universe is a mistake, not a small load.
    members = stores.instruments.members(UNIVERSE)
    last = end or calendar().last_closed(utc_now())
    if start > last:
        message = (
            f"the days are reversed: {start} is after {last}"
            if end
            else f"{start} is after {last}, the last trading day that has closed"
        )
        raise errors.ConfigurationError(message)
    sessions = calendar().sessions(start, last)
    if not sessions:
        message = f"there is no trading day from {start} to {last}; days are given as YYYY-MM-DD"
        raise errors.ConfigurationError(message)
    if sessions[0] < HISTORY_START or sessions[-1] > calendar().last_closed(utc_now()):
        message = (
            f"trading days can be loaded from {HISTORY_START} to "
            f"{calendar().last_closed(utc_now())}, the last session that has closed"
        )
        raise errors.ConfigurationError(message)
    bulk = settings.daily_bars_route is DailyBarsRoute.BULK
    charged = charges(settings, bulk=bulk)
    identifiers = [one.instrument_id for one in members]
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, identifiers)
    counted = [count_bars(sessions, ledger[one]) for one in identifiers]
    return DayWish(
        sessions=tuple(sessions),
        load=Load(
            requests=len(sessions) * (1 if bulk else len(members)),
            interval_s=interval_s(charged),
            bars=sum(bars for bars, _ in counted),
            rows=sum(rows for _, rows in counted),
            market_days=len(sessions) if bulk else 0,
        ),
        charges=charged,
    )


def _unknown(unknown: Sequence[str], members: Sequence[str]) -> str:
    """Say which tickers are unknown, with what was perhaps meant."""
    told: list[str] = []
    for ticker in unknown[:NAMED]:
        near = difflib.get_close_matches(ticker, members, n=3, cutoff=0.5)
        told.append(f"{ticker} (did you mean {', '.join(near)}?)" if near else ticker)
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    return (
        f"not in the universe: {', '.join(told)}{more}. Nothing was asked for; correct the list, "
        "or run `wrdata universe` if the ticker is new"
    )
