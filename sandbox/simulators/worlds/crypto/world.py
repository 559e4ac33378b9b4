"""The simulated crypto market: every trade of every pair, around the clock, since 2019.

Here: the world that venues show, the hours in which one stood still, and what a correct database
equals. Not here: how trades are made (trades.py), any wire format, or what a venue has published by
now (../../binance/simulator.py, ../../coinbase/simulator.py).

Both venues see the same trades of a pair, under the same numbers; only a venue that stood still for
an hour has that day's trades spread over the other 23.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa

from marketdata.crypto_pairs import crypto_pairs
from marketdata.minute_bars import WIRE_MINUTE_BARS
from marketdata.rows import AMOUNT, INSTANT
from marketdata.trades import WIRE_TRADES
from sandbox.simulators.worlds.crypto.trades import (
    FIRST_DAY,
    MINUTES_A_DAY,
    TRADES_A_DAY,
    PairMinutes,
    Trades,
    day_of_trades,
    joined,
    minutes_of,
)
from sandbox.simulators.worlds.shares import intraday
from sandbox.simulators.worlds.shares.intraday import Minutes
from sandbox.simulators.worlds.shares.world import SEED

Window = tuple[datetime, datetime]
"""From a moment to another, which does not belong to it."""

_OUTAGES: dict[str, tuple[Window, ...]] = {
    # Binance stood still at this hour on 2020-11-30; here it does so each year.
    "binance": tuple(
        (datetime(year, 11, 30, 6, tzinfo=UTC), datetime(year, 11, 30, 7, tzinfo=UTC))
        for year in range(FIRST_DAY.year, FIRST_DAY.year + 30)
    )
}


class CryptoWorld:
    """Trades and minutes of the pairs in marketdata/data/crypto_pairs.csv, under our names."""

    def __init__(self, seed: str = SEED) -> None:
        self._seed = seed

    def outage(self, venue: str) -> Sequence[Window]:
        """Return the times at which ``venue`` stood still: no trade, and no bar of any kind."""
        return _OUTAGES.get(venue, ())

    def trades(
        self, pair: str, start: datetime, end: datetime, *, venue: str | None = None
    ) -> Trades:
        """Return the trades from ``start`` on and before ``end``, both aware.

        They may lie in the future. ``venue`` leaves out its outages.
        """
        first = max(start.astimezone(UTC).date(), FIRST_DAY)
        days = (end.astimezone(UTC).date() - first).days + 1
        parts = [self._day(pair, first + timedelta(days=offset), venue) for offset in range(days)]
        traded = joined(parts)
        at = traded.traded_at
        return traded.where((at >= _instant(start)) & (at < _instant(end)))

    def trades_by_id(
        self, pair: str, first_id: int, last_id: int, *, venue: str | None = None
    ) -> Trades:
        """Return the trades numbered from ``first_id`` to ``last_id``, both included."""
        first = (max(first_id, 1) - 1) // TRADES_A_DAY
        last = (last_id - 1) // TRADES_A_DAY
        days = [FIRST_DAY + timedelta(days=number) for number in range(first, last + 1)]
        traded = joined([self._day(pair, day, venue) for day in days])
        return traded.where((traded.trade_id >= first_id) & (traded.trade_id <= last_id))

    def trade(self, pair: str, trade_id: int, *, venue: str | None = None) -> Trades:
        """Return one trade, or none if ``trade_id`` is below 1."""
        return self.trades_by_id(pair, trade_id, trade_id, venue=venue)

    def last_id(self, pair: str, now: datetime, *, venue: str | None = None) -> int:
        """Return the number of the last trade before ``now``, 0 if there is none yet."""
        day = now.astimezone(UTC).date()
        if day < FIRST_DAY:
            return 0
        today = self._day(pair, day, venue)
        before = int(np.searchsorted(today.traded_at, _instant(now), side="left"))
        return (day - FIRST_DAY).days * TRADES_A_DAY + before

    def minutes(
        self, pair: str, start: datetime, end: datetime, *, venue: str | None = None
    ) -> Minutes:
        """Return the minutes that open from ``start`` on and before ``end``.

        They are whole, whether they are over or not, and add up the trades; a minute without
        trades is absent.
        """
        return self.pair_minutes(pair, start, end, venue=venue).as_minutes()

    def pair_minutes(
        self, pair: str, start: datetime, end: datetime, *, venue: str | None = None
    ) -> PairMinutes:
        """Return the same minutes with all figures that a venue serves, in whole units."""
        first, last = _next_minute(start), _next_minute(end)
        return minutes_of(self.trades(pair, first, last, venue=venue))

    def bar_truth(
        self, venue: str, pairs: Sequence[str], start: date, end: date, now: datetime
    ) -> pa.Table:
        """Return WIRE_MINUTE_BARS of the UTC days from ``start`` to ``end``, both included.

        Only minutes that are over by ``now`` are in it. Coinbase serves neither ``vwap`` nor
        ``trades``: they are null there.

        Raises:
            ValueError: ``venue`` does not offer one of ``pairs``.
        """
        first, last = _span(start, end)
        parts = [
            intraday.as_table(pair, self.minutes(pair, first, last, venue=venue).over_by(now))
            for pair in _offered(venue, pairs)
        ]
        table = pa.concat_tables([WIRE_MINUTE_BARS.empty_table(), *parts])
        absent = ("vwap", "trades") if venue == "coinbase" else ()
        for name in absent:
            place, of_type = table.schema.get_field_index(name), table.schema.field(name)
            table = table.set_column(place, of_type, pa.nulls(table.num_rows, of_type.type))
        return table

    def trade_truth(
        self, venue: str, pairs: Sequence[str], start: date, end: date, now: datetime
    ) -> pa.Table:
        """Return WIRE_TRADES of the UTC days from ``start`` to ``end``, up to ``now``.

        Binance's times are whole milliseconds, as its REST answers and its files before 2025
        tell them.

        Raises:
            ValueError: ``venue`` does not offer one of ``pairs``.
        """
        first, last = _span(start, end)
        parts = [WIRE_TRADES.empty_table()]
        for pair in _offered(venue, pairs):
            of_pair = self.trades(pair, first, last, venue=venue)
            at, until = of_pair.traded_at, _instant(now)
            if venue == "binance":
                at, until = at.astype("datetime64[ms]"), until.astype("datetime64[ms]")
            happened = at < until
            parts.append(_trade_table(pair, of_pair.where(happened), at[happened]))
        return pa.concat_tables(parts)

    def _day(self, pair: str, day: date, venue: str | None) -> Trades:
        outages = () if venue is None else _minutes_out(self.outage(venue), day)
        return day_of_trades(self._seed, pair, (day - FIRST_DAY).days, outages)


def _minutes_out(windows: Sequence[Window], day: date) -> tuple[tuple[int, int], ...]:
    midnight = datetime.combine(day, time(), UTC)
    minute = timedelta(minutes=1)
    return tuple(
        (max((start - midnight) // minute, 0), min((end - midnight) // minute, MINUTES_A_DAY))
        for start, end in windows
        if start < midnight + timedelta(days=1) and end > midnight
    )


def _trade_table(pair: str, trades: Trades, at: intraday.Times) -> pa.Table:
    columns = [
        pa.array([pair] * len(trades), pa.string()),
        pa.array(trades.trade_id),
        pa.array(at.astype("datetime64[us]"), pa.timestamp("us")).cast(INSTANT),
        pa.array(trades.price, pa.string()).cast(AMOUNT),
        pa.array(trades.size, pa.string()).cast(AMOUNT),
        pa.array(trades.taker_side, pa.string()),
    ]
    return pa.table(columns, schema=WIRE_TRADES)


def _offered(venue: str, pairs: Sequence[str]) -> Sequence[str]:
    known = {listed.pair for listed in crypto_pairs() if venue in listed.spellings}
    strange = [pair for pair in pairs if pair not in known]
    if strange:
        message = f"{venue} does not offer {', '.join(strange)}; it offers {sorted(known)}"
        raise ValueError(message)
    return pairs


def _span(start: date, end: date) -> Window:
    return (
        datetime.combine(start, time(), UTC),
        datetime.combine(end + timedelta(days=1), time(), UTC),
    )


def _next_minute(moment: datetime) -> datetime:
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + timedelta(minutes=1)


def _instant(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
