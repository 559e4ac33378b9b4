"""Tiingo's end-of-day endpoints: metadata, one ticker's days, the market's latest day.

Here: which rows they have, and since when. Not here: bodies (wire.py), keys and limits
(simulator.py), or figures (../worlds/shares/actions.py).
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from http import HTTPStatus

from marketdata.calendars import NEW_YORK_ZONE, calendar
from sandbox.simulators.faults import Reply
from sandbox.simulators.front import Request
from sandbox.simulators.tiingo import requests, wire
from sandbox.simulators.tiingo.wire import Row
from sandbox.simulators.worlds.shares import elsewhere
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import SEED, World

PUBLISHED_AT = time(17, 30)
"""New York time at which a session's daily prices appear, on half days too."""
_FOREIGN = 20
"""One in this many foreign shares is in Tiingo's market, half of them long gone."""
_LONG_GONE = date(2015, 3, 2)


def last_published(now: datetime) -> date:
    """Return the latest session whose daily prices are out at ``now`` (aware)."""
    latest = calendar().last_closed(now)
    if now >= datetime.combine(latest, PUBLISHED_AT, NEW_YORK_ZONE):
        return latest
    return calendar().sessions(latest - timedelta(days=20), latest)[-2]


class DailyPrices:
    """The end-of-day endpoints; ``published`` is the latest session whose prices are out."""

    def __init__(self, world: World, now: Callable[[], datetime]) -> None:
        self._world = world
        self._actions = Actions(world)
        self._now = now

    def published(self, behind: int) -> date:
        """Return the latest session whose daily prices are out, or one ``behind`` it."""
        latest = last_published(self._now())
        return calendar().sessions(latest - timedelta(days=20), latest)[-1 - behind]

    def metadata(self, ticker: str, published: date) -> Reply:
        """Return ``/tiingo/daily/<ticker>``."""
        listing = requests.find(self._world, ticker)
        if listing is None:
            return wire.not_found()
        start = self._world.listed_on(listing.ticker)
        return wire.metadata(ticker, listing, calendar().sessions(start, published)[0], published)

    def history(self, ticker: str, published: date, request: Request) -> Reply:
        """Return ``/tiingo/daily/<ticker>/prices``: without days only the latest."""
        listing = requests.find(self._world, ticker)
        if listing is None:
            text = f"Error: Ticker '{ticker}' not found"
            if requests.wants_csv(request):
                return wire.bare_text(text)
            return wire.detail(HTTPStatus.NOT_FOUND, text)
        if request.query.get("resampleFreq", "daily").lower() != "daily":
            return wire.detail(400, "Error: this simulator knows daily prices only")
        try:
            start, end = requests.span(request.query)
        except ValueError as error:
            return wire.detail(400, f"Error: {error}")
        asked = start is not None or end is not None
        first = (start or self._world.listed_on(listing.ticker)) if asked else published
        rows = self._daily_rows(listing.ticker, first, min(end or published, published), published)
        if request.query.get("sort") == "-date":
            rows = rows[::-1]
        if requests.wants_csv(request):
            return wire.table(rows, wire.DAILY_COLUMNS)
        return wire.history(rows) if asked else wire.latest(rows)

    def _daily_rows(self, ticker: str, start: date, end: date, published: date) -> list[Row]:
        # Adjusted as of the latest price: the latest row is always adjusted for nothing.
        then = calendar().close_at(published)
        return wire.daily_rows(
            wire.Dailies(
                traded=self._actions.as_traded(ticker, start, end, then),
                adjusted=self._actions.total_return(ticker, start, end, then),
                splits=self._actions.splits(ticker, then),
                dividends=self._actions.dividends(ticker, then),
            )
        )

    def market(self, published: date, request: Request) -> Reply:
        """Return each ticker's latest day; some no longer trade, some are a day late."""
        before = calendar().sessions(published - timedelta(days=20), published)[-2]
        then = calendar().close_at(published)
        rows: list[Row] = []
        for listing in self._world.listings():
            # On the latest day nothing is adjusted yet, so both columns are equal.
            traded = self._actions.as_traded(listing.ticker, published, published, then)
            days = wire.Dailies(
                traded=traded,
                adjusted=traded,
                splits=self._actions.splits(listing.ticker, then),
                dividends=self._actions.dividends(listing.ticker, then),
            )
            ticker = requests.spelt(listing).lower()
            rows += [{"ticker": ticker, **row} for row in wire.daily_rows(days)]
        for place, share in enumerate(elsewhere.foreign_shares(SEED, before)):
            if place % _FOREIGN == 0:
                day = before if place % (2 * _FOREIGN) else _LONG_GONE
                rows.append(_foreign(share, day))
        if requests.wants_csv(request):
            return wire.table(rows, ("ticker", *wire.DAILY_COLUMNS))
        return wire.history(rows)


def _foreign(share: elsewhere.ForeignRow, day: date) -> Row:
    prices = {
        "close": float(share.close),
        "high": float(share.high),
        "low": float(share.low),
        "open": float(share.open),
        "volume": int(share.volume),
    }
    adjusted = {f"adj{name.capitalize()}": value for name, value in prices.items()}
    symbol = share.symbol.replace(".", "-").lower()
    fields: dict[str, object] = {"ticker": symbol, "date": day.isoformat(), **prices, **adjusted}
    return {**fields, "divCash": 0.0, "splitFactor": 1.0}
