"""What a load would ask for: the plan behind a dry run, a backfill and the demo.

Here: from tickers or days to requests and minutes. Not here: running anything (loads.py), or the
words of the command line (backfill.py).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from assets.universe import UNIVERSE, member_tickers
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.coverage import CoverageState, holes
from marketdata.planning import plan_histories
from marketdata.recovery import errors
from resources.opening import Stores
from resources.settings import DailyBarsRoute, Settings

PROVIDER = "fmp"
NAMED = 5
"""How many unknown tickers a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickerWish:
    """Histories of tickers: how many requests they take, and how long at the key's pace."""

    tickers: tuple[str, ...]
    requests: int
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DayWish:
    """Whole trading days: how many requests they take, and how long at the key's pace."""

    sessions: tuple[date, ...]
    requests: int
    minutes: float


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
        settings: For the key's pace.
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
    return TickerWish(
        tickers=tuple(one.instrument.ticker for one in planned),
        requests=len(planned),
        minutes=len(planned) / settings.fmp_requests_per_minute,
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
    members = member_tickers(stores)
    last = end or calendar().last_closed(utc_now())
    if start > last:
        message = f"the days are reversed: {start} is after {last}"
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
    if settings.daily_bars_route is DailyBarsRoute.BULK:
        requests = len(sessions)
        minutes = requests * settings.fmp_bulk_interval_s / 60
    else:
        requests = len(sessions) * len(members)
        minutes = requests / settings.fmp_requests_per_minute
    return DayWish(sessions=tuple(sessions), requests=requests, minutes=minutes)


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
