"""Tiingo's IEX endpoints: quotes of many tickers, and one ticker's bars within the day.

Here: which rows they have. Not here: bodies (wire.py), keys and limits (simulator.py), or figures
(iex.py).
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from marketdata.calendars import NEW_YORK_ZONE, calendar
from sandbox.simulators.faults import Reply
from sandbox.simulators.front import Request
from sandbox.simulators.tiingo import requests, wire
from sandbox.simulators.tiingo.iex import IexBar, iex_minutes, regular, resampled
from sandbox.simulators.worlds.shares import intraday
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.intraday import Minutes
from sandbox.simulators.worlds.shares.world import Listing, World

ROW_CAP = 2_000
"""Rows of an answer; beyond it the OLDEST are dropped silently."""


class IexPrices:
    """The endpoints below ``/iex``."""

    def __init__(self, world: World, now: Callable[[], datetime]) -> None:
        self._world = world
        self._actions = Actions(world)
        self._now = now

    def prices(self, ticker: str, request: Request) -> Reply:
        """Return ``/iex/<ticker>/prices``: without days those of the latest session."""
        listing = requests.find(self._world, ticker)
        if listing is None:
            return wire.not_found()
        length = requests.length(request.query.get("resampleFreq", "5min"))
        if length is None:
            return wire.detail(400, "Error: resampleFreq must be in 'Min' or 'Hour' only")
        try:
            start, end = requests.span(request.query)
        except ValueError as error:
            return wire.detail(400, f"Error: {error}")
        now = self._now()
        today = now.astimezone(NEW_YORK_ZONE).date()
        if start is None and end is None:
            has_begun = now >= datetime.combine(today, intraday.OPENS_AT, NEW_YORK_ZONE)
            latest = today if has_begun else today - timedelta(days=1)
            start = end = calendar().sessions(today - timedelta(days=20), latest)[-1]
        listed = self._world.listed_on(listing.ticker)
        sessions = calendar().sessions(max(start or listed, listed), min(end or today, today))
        extended = request.query.get("afterHours", "").lower() == "true"
        bars: list[IexBar] = []
        while sessions and len(bars) < ROW_CAP:
            minutes = self._traded(listing, sessions.pop(), extended=extended)
            bars = [*resampled(minutes, length), *bars]
        names = request.query.get("columns", "").split(",")
        rows = wire.iex_rows(bars[-ROW_CAP:], with_volume="volume" in names)
        if requests.wants_csv(request):
            volume = ("volume",) if "volume" in names else ()
            return wire.table(rows, ("date", "open", "high", "low", "close", *volume))
        return wire.json_reply(rows)

    def _traded(self, listing: Listing, session: date, *, extended: bool) -> Minutes:
        minutes = iex_minutes(self._world, listing.ticker, session, self._now())
        return minutes if extended else regular(minutes, session)

    def quotes(self, request: Request, *, agreed: bool) -> Reply:
        """Return the quotes of the tickers asked for, or of all; unknown ones are left out.

        ``agreed``: whether the key has an agreement with IEX.
        """
        named = requests.symbols(request)
        listed = [requests.find(self._world, symbol) for symbol in named]
        listings = listed if named else self._world.listings()
        quotes = [
            self._quote(listing, agreed=agreed) for listing in listings if listing is not None
        ]
        return wire.quotes([quote for quote in quotes if quote is not None])

    def _quote(self, listing: Listing, *, agreed: bool) -> wire.Quote | None:
        """Return the quote of the latest session that has begun, so far."""
        now = self._now()
        today = now.astimezone(NEW_YORK_ZONE).date()
        sessions = calendar().sessions(today - timedelta(days=20), today)
        minutes = regular(iex_minutes(self._world, listing.ticker, sessions[-1], now), sessions[-1])
        if not len(minutes):
            sessions.pop()
            minutes = regular(
                iex_minutes(self._world, listing.ticker, sessions[-1], now), sessions[-1]
            )
        before = self._world.bars(listing.ticker, sessions[-2], sessions[-2], now)
        if not len(minutes) or not len(before.closes):
            return None
        official = self._actions.as_traded(listing.ticker, sessions[-1], sessions[-1], now)
        is_over = bool(len(official.closes))
        ended = minutes.opened_at[-1] + intraday.MINUTE
        at = calendar().close_at(sessions[-1]) if is_over else ended.item().replace(tzinfo=UTC)
        return wire.Quote(
            symbol=requests.spelt(listing),
            at=at,
            open=float(minutes.opens[0]),
            high=float(minutes.highs.max()),
            low=float(minutes.lows.min()),
            last=float(official.closes[0] if is_over else minutes.closes[-1]),
            volume=int(official.volumes[0] if is_over else minutes.volumes.sum()),
            before=float(before.closes[0]),
            is_live=agreed and not is_over,
        )
