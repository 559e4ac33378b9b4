"""FMP's answers about splits, dividends, and the prices that they change.

Here: paths below ``/stable/`` that list or apply corporate actions, and FMP's quirks in them. Not
here: keys, plans and limits (simulator.py), or the actions themselves
(../worlds/shares/actions.py).

Facts: FMP's reference of /stable, live measurements of August 2026 (jerbersoft/fmpdotnet),
tests/recordings/fmp_dividends_aapl.json.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import cast

import numpy as np

from marketdata.calendars import NEW_YORK_ZONE
from marketdata.instruments import our_tickers, provider_spellings
from sandbox.simulators.faults import Reply
from sandbox.simulators.fmp import wire
from sandbox.simulators.front import Request
from sandbox.simulators.worlds.shares import elsewhere, market
from sandbox.simulators.worlds.shares.actions import Actions, Dividend
from sandbox.simulators.worlds.shares.market import Split
from sandbox.simulators.worlds.shares.world import SEED, Bars, Listing, World

Endpoint = Callable[[Request], Reply]
Row = dict[str, object]

ROW_CAP = 5000
"""Prices of one answer; beyond it the OLDEST are dropped silently."""
PAGE_ROWS = 4000
"""Dividends of one page of the calendar."""
SPLIT_DAYS = 90
"""Reach of the calendar of splits, back from the last requested day."""
_DEFAULT_SPAN = timedelta(days=5 * 365 + 1)
_CALENDAR_SPAN = timedelta(days=90)
_DAY = timedelta(days=1)
_FOREIGN_PAYERS = 8
"""One in this many foreign shares pays on a day."""
_ADJUSTED = ("adjOpen", "adjHigh", "adjLow", "adjClose")


def endpoints(world: World, now: Callable[[], datetime]) -> Mapping[str, Endpoint]:
    """Return answers by path below ``/stable/``.

    Args:
        world: Source of actions and prices.
        now: Clock that returns aware UTC times.
    """
    served = _Served(world, now)
    return {
        "splits": served.splits,
        "dividends": served.dividends,
        "splits-calendar": served.splits_calendar,
        "dividends-calendar": served.dividends_calendar,
        "historical-price-eod/light": served.light,
        "historical-price-eod/dividend-adjusted": served.dividend_adjusted,
        "historical-price-eod/non-split-adjusted": served.as_traded,
    }


def quirks(world: World, now: Callable[[], datetime]) -> Mapping[str, Endpoint]:
    """Return what FMP does wrong with splits, by name of the quirk; for ``splits`` alone.

    ``split_twice``: the newest row comes twice. ``split_two_days``: the newest split comes on a
    second day too, three days earlier. ``split_inverse``: numerator and denominator of the
    newest split are exchanged. ``split_unreal``: a split that never happened comes as well.
    """
    served = _Served(world, now)

    def spoilt(spoil: Callable[[list[Row]], list[Row]], request: Request) -> Reply:
        reply = served.splits(request)
        rows: object = json.loads(reply.body) if reply.status == wire.nothing().status else []
        spoilt_rows = spoil(cast("list[Row]", rows)) if isinstance(rows, list) and rows else None
        return reply if spoilt_rows is None else wire.json_reply(spoilt_rows)

    spoilers: dict[str, Callable[[list[Row]], list[Row]]] = {
        "split_twice": lambda rows: [dict(rows[0]), *rows],
        "split_two_days": lambda rows: [rows[0], _moved(rows[0], -3 * _DAY), *rows[1:]],
        "split_inverse": lambda rows: [_inverse(rows[0]), *rows[1:]],
        "split_unreal": lambda rows: [_moved(rows[0], 140 * _DAY), *rows],
    }
    return {name: functools.partial(spoilt, spoil) for name, spoil in spoilers.items()}


def spoilt(reply: Reply) -> Reply:
    """Damage a list of splits or dividends: the first row lacks its figure, the next its date."""
    rows: list[Row] = json.loads(reply.body)
    for row in rows[:1]:
        for name in ("numerator", "dividend", "adjClose", "price"):
            row.pop(name, None)
    for row in rows[1:2]:
        row["date"] = ""
    return replace(reply, body=json.dumps(rows).encode())


class _Served:
    """The endpoints of one world."""

    def __init__(self, world: World, now: Callable[[], datetime]) -> None:
        self._world = world
        self._actions = Actions(world)
        self._now = now

    def splits(self, request: Request) -> Reply:
        return self._of_symbol(request, self._split_rows)

    def dividends(self, request: Request) -> Reply:
        return self._of_symbol(request, self._dividend_rows)

    def splits_calendar(self, request: Request) -> Reply:
        span = _span(request.query, self._today(), _CALENDAR_SPAN)
        if isinstance(span, Reply):
            return span
        first, last = max(span[0], span[1] - SPLIT_DAYS * _DAY), span[1]
        rows = [
            row
            for listing in self._world.listings()
            for row in self._split_rows(listing)
            if first.isoformat() <= str(row["date"]) <= last.isoformat()
        ]
        rows.sort(key=lambda row: (row["date"], row["symbol"]), reverse=True)
        return wire.json_reply(rows)

    def dividends_calendar(self, request: Request) -> Reply:
        """Newest first; the order within a day differs from page to page, so seams lose rows."""
        span = _span(request.query, self._today(), _CALENDAR_SPAN)
        if isinstance(span, Reply):
            return span
        page = request.query.get("page", "0")
        if not page.isdigit():
            return wire.missing_parameter("page")
        first = int(page) * PAGE_ROWS
        rows: list[Row] = []
        for of_day in self._calendar_days(*span):
            turned = int(page) * 7 % max(len(of_day), 1)
            rows += of_day[turned:] + of_day[:turned]
            if len(rows) >= first + PAGE_ROWS:
                break
        return wire.json_reply(rows[first : first + PAGE_ROWS])

    def light(self, request: Request) -> Reply:
        def rows(symbol: str, bars: Bars) -> list[Row]:
            columns = (_days(bars), _numbers(bars.closes), bars.volumes.tolist())
            names = ("symbol", "date", "price", "volume")
            return [
                dict(zip(names, (symbol, *row), strict=True)) for row in zip(*columns, strict=True)
            ]

        return self._prices(request, self._world.bars, rows)

    def dividend_adjusted(self, request: Request) -> Reply:
        return self._prices(request, self._actions.total_return, _adjusted_rows)

    def as_traded(self, request: Request) -> Reply:
        return self._prices(request, self._actions.as_traded, _adjusted_rows)

    def _of_symbol(self, request: Request, rows: Callable[[Listing], list[Row]]) -> Reply:
        """Return all rows of a symbol, newest first; ``from`` and ``to`` are ignored."""
        symbol, limit = request.query.get("symbol"), request.query.get("limit", "")
        if not symbol:
            return wire.missing_parameter("symbol")
        listing = self._find(symbol)
        if listing is None:
            return wire.nothing()
        all_rows = rows(listing)
        return wire.json_reply(all_rows[: int(limit)] if limit.isdigit() else all_rows)

    def _prices(
        self,
        request: Request,
        bars: Callable[[str, date, date, datetime], Bars],
        rows: Callable[[str, Bars], list[Row]],
    ) -> Reply:
        symbol = request.query.get("symbol")
        if not symbol:
            return wire.missing_parameter("symbol")
        span = _span(request.query, self._today(), _DEFAULT_SPAN)
        if isinstance(span, Reply):
            return span
        listing = self._find(symbol)
        if listing is None or span[0] > span[1]:
            return wire.nothing()
        prices = bars(listing.ticker, *span, self._now()).newest(ROW_CAP)
        return wire.json_reply(rows(symbol, prices)[::-1])

    def _split_rows(self, listing: Listing) -> list[Row]:
        symbol = _spelt(listing)
        splits = self._actions.splits(listing.ticker, self._now())
        return [_split_row(symbol, split) for split in reversed(splits)]

    def _dividend_rows(self, listing: Listing) -> list[Row]:
        dividends = self._actions.dividends(listing.ticker, self._now())
        return [self._dividend_row(listing, dividend) for dividend in reversed(dividends)]

    def _dividend_row(self, listing: Listing, dividend: Dividend) -> Row:
        """Return a row; ``adjDividend`` is for the shares of today."""
        today = self._today()
        later = [
            Fraction(split.new_shares, split.old_shares)
            for split in self._world.splits(listing.ticker)
            if dividend.ex_date < split.ex_date <= today
        ]
        adjusted = functools.reduce(lambda amount, ratio: amount / float(ratio), later, 1.0)
        price = self._world.close_unscaled(listing.ticker, dividend.ex_date)
        paid_price = price * self._world.scale_on(listing.ticker, dividend.ex_date)
        return {
            "symbol": _spelt(listing),
            "date": dividend.ex_date.isoformat(),
            "recordDate": _text(dividend.record_date),
            "paymentDate": _text(dividend.payment_date),
            "declarationDate": _text(dividend.declaration_date),
            "adjDividend": round(float(dividend.amount) * adjusted, 6),
            "dividend": float(dividend.amount),
            "yield": float(dividend.amount) * 400.0 / paid_price,
            "frequency": dividend.frequency,
        }

    def _calendar_days(self, first: date, last: date) -> Iterator[list[Row]]:
        """Yield the rows of each day with dividends, the newest day first."""
        ours: dict[str, list[Row]] = {}
        for listing in self._world.listings():
            for dividend in self._actions.dividends(listing.ticker, self._now()):
                if first <= dividend.ex_date <= last:
                    row = self._dividend_row(listing, dividend)
                    ours.setdefault(dividend.ex_date.isoformat(), []).append(row)
        day = min(last, self._today() + 25 * _DAY)
        while day >= first:
            yield [*ours.get(day.isoformat(), []), *_foreign_rows(day)]
            day -= _DAY

    def _find(self, symbol: str) -> Listing | None:
        """Return the listing in FMP's spelling; ours is unknown where the two differ."""
        if symbol in provider_spellings("fmp"):
            return None
        return self._world.listing(our_tickers("fmp").get(symbol, symbol))

    def _today(self) -> date:
        return self._now().astimezone(NEW_YORK_ZONE).date()


def _spelt(listing: Listing) -> str:
    return provider_spellings("fmp").get(listing.ticker, listing.ticker)


def _span(query: Mapping[str, str], today: date, default: timedelta) -> tuple[date, date] | Reply:
    """Return the first and last requested day, or the refusal of an unreadable date."""
    days: dict[str, date] = {}
    for name in ("from", "to"):
        try:
            if query.get(name):
                days[name] = date.fromisoformat(query[name])
        except ValueError:
            return wire.missing_parameter(name)
    last = days.get("to", today)
    return days.get("from", last - default), last


def _split_row(symbol: str, split: Split) -> Row:
    return {
        "symbol": symbol,
        "date": split.ex_date.isoformat(),
        "numerator": split.new_shares,
        "denominator": split.old_shares,
        "splitType": split.kind,
    }


def _inverse(row: Row) -> Row:
    return {**row, "numerator": row["denominator"], "denominator": row["numerator"]}


def _moved(row: Row, by: timedelta) -> Row:
    return {**row, "date": (date.fromisoformat(str(row["date"])) + by).isoformat()}


def _text(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _days(bars: Bars) -> list[str]:
    return np.datetime_as_string(bars.dates, unit="D").tolist()


def _numbers(values: market.Floats) -> list[float | int]:
    """Return numbers as JavaScript prints them: a whole one has no decimal point."""
    return [int(value) if value.is_integer() else value for value in values.tolist()]


def _adjusted_rows(symbol: str, bars: Bars) -> list[Row]:
    prices = (bars.opens, bars.highs, bars.lows, bars.closes)
    columns = (_days(bars), *(_numbers(price) for price in prices), bars.volumes.tolist())
    names = ("symbol", "date", *_ADJUSTED, "volume")
    return [dict(zip(names, (symbol, *row), strict=True)) for row in zip(*columns, strict=True)]


@functools.cache
def _foreign_symbols() -> Sequence[str]:
    return [
        foreign_share.symbol for foreign_share in elsewhere.foreign_shares(SEED, market.FIRST_DAY)
    ]


@functools.lru_cache(maxsize=64)
def _foreign_rows(day: date) -> list[Row]:
    """Return dividends of foreign shares on a day, without declaration dates."""
    symbols = _foreign_symbols()
    draws = market.uniforms(f"{SEED}/foreign-dividends/{day}", len(symbols), 2).tolist()
    rows: list[Row] = []
    for symbol, (chance, size) in zip(symbols, draws, strict=True):
        if chance * _FOREIGN_PAYERS >= 1.0:
            continue
        amount = round(0.01 + 2.0 * size, 5)
        rows.append(
            {
                "symbol": symbol,
                "date": day.isoformat(),
                "recordDate": (day + _DAY).isoformat(),
                "paymentDate": "",
                "declarationDate": "",
                "adjDividend": amount,
                "dividend": amount,
                "yield": 2.5,
                "frequency": "Semi-Annual",
            }
        )
    return rows
