"""Which requests make one answer of Coinbase's trades.

Here: finding the end of the requested days in a product's trades, and paging back from there. Not
here: what an answer looks like (rows.py), or how a request is sent (../http.py).

Trades are paged only by their ids: ``after=X`` gives up to 1,000 trades below X, newest first
(``before=X`` gives the newest of all trades instead of those next to X, so it is of no use). Ids
of a product are contiguous and begin at 1, so that a moment can be searched for by id. An answer
that lacks ids is requested again under another URL, past any cache. Ids that are missing twice are
reported with the day's trades, which are stored all the same. All decisions depend on the bodies,
never on headers, so that kept answers can be replayed.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.rows import RejectedRow, unread
from marketdata.trades import WIRE_TRADES
from resources.providers.coinbase import rows as coinbase_rows
from resources.providers.coinbase import wire
from resources.providers.coinbase.rows import TradePage
from resources.providers.http import Getter
from resources.providers.provenance import Replies

LIMIT = 1000
"""Trades of one answer; asking for more gives no more."""
OPENED_AT = datetime(2015, 1, 1, tzinfo=UTC)
"""Earlier than the first trade of any product; used only to start the search."""
MISSING = "trades are missing at Coinbase"
OUT_OF_ORDER = timedelta(seconds=1)
"""How far the time of a trade may lie before that of an older id."""


async def trades(getter: Getter, symbol: str, start: date, end: date) -> Answer:
    """Return the trades of a product on the UTC days ``start`` to ``end``, both included.

    For days that are not over it returns the trades so far: ``fetched_at`` is the time of the first
    answer, since pages lead backwards from there. The end of the days is searched for by id, which
    takes about eight requests among a billion trades (plain bisection would take 22). From there
    each request brings a thousand trades.

    A trade whose row cannot be placed is in ``left_out``, and so are ids that are missing in two
    answers. ``notes`` say so if a history begins with another id than 1.

    Raises:
        ProviderUnavailableError: Besides the usual reasons, two answers to one request differ in
            the missing ids. The error points to the answers so far.
        UnknownSymbolError: Coinbase has no product of this name.
        MalformedPayloadError: An answer has trades that are not below the requested id; see
            ``coinbase_rows.trade_page`` for the rest. The error points to the answer.
        RequestRejectedError: ``symbol`` cannot be a product's name; nothing was sent.
        ProviderError: See ``wire.classify_error``.
        ValueError: ``start`` is after ``end``.
    """
    operation = f"trades symbol={symbol} from={start} to={end}"
    wire.check_request(symbol, start, end, operation)
    since = datetime.combine(start, time(), UTC)
    until = datetime.combine(end, time(), UTC) + timedelta(days=1)
    pages = _Pages(getter, symbol, operation)
    page = await _page_at(pages, until)
    tables: list[pa.Table] = []
    left_out: list[RejectedRow] = []
    while page is not None:
        tables.append(_between(page.rows, since, until))
        left_out.extend(page.left_out)
        if page.oldest_at < since - OUT_OF_ORDER:
            break
        page = await pages.below(page.oldest_id)
    return pages.answer(
        rows=pa.concat_tables([WIRE_TRADES.empty_table(), *tables]), left_out=tuple(left_out)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """The trades of one answer; there is at least one."""

    rows: pa.Table
    left_out: tuple[RejectedRow, ...]
    oldest_id: int
    oldest_at: datetime
    newest_id: int
    newest_at: datetime

    @classmethod
    def of(cls, page: TradePage) -> Self:
        ids, times = pc.min_max(page.trades["trade_id"]), pc.min_max(page.trades["traded_at"])
        return cls(
            rows=page.trades,
            left_out=page.left_out,
            oldest_id=ids["min"].as_py(),
            newest_id=ids["max"].as_py(),
            oldest_at=times["min"].as_py(),
            newest_at=times["max"].as_py(),
        )


class _Pages:
    """Asks for pages one by one, and collects their provenance."""

    def __init__(self, getter: Getter, symbol: str, operation: str) -> None:
        self._getter = getter
        self._symbol = symbol
        self._operation = operation
        self._replies = Replies()
        self._notes: list[str] = []
        self._missing: list[RejectedRow] = []
        self._begins_above = 1

    async def newest(self) -> _Page | None:
        """Return the newest trades, or None if there are none."""
        return await self._fetch(below=None)

    async def below(self, trade_id: int) -> _Page | None:
        """Return the trades next below ``trade_id``, or None if there are none."""
        if trade_id <= self._begins_above:
            return None
        return await self._fetch(below=trade_id)

    def answer(self, rows: pa.Table, left_out: tuple[RejectedRow, ...]) -> Answer:
        """Return ``rows`` with the provenance of all pages."""
        notes = list(self._notes)
        if self._begins_above > 1:
            notes.append(f"Coinbase has no trade below {self._begins_above}")
        return self._replies.answer(self._operation, rows, (*left_out, *self._missing), notes=notes)

    async def _fetch(self, below: int | None) -> _Page | None:
        page = await self._fetch_once(below, LIMIT)
        if not page.trades.num_rows and below is None:
            return None
        missing = _missing_ids(page, below)
        if missing:
            page = await self._fetch_once(below, LIMIT - 1)
            self._accept_missing(missing, page, below)
        return _Page.of(page) if page.trades.num_rows else None

    async def _fetch_once(self, below: int | None, limit: int) -> TradePage:
        operation = self._operation if below is None else f"{self._operation} after={below}"
        after = {} if below is None else {"after": str(below)}
        reply = await self._getter.get(
            f"products/{self._symbol}/trades", {"limit": str(limit), **after}, operation=operation
        )
        self._replies.add(reply)
        with self._replies.kept():
            page = coinbase_rows.trade_page(reply.body, self._symbol, operation=operation)
            _refuse_newer(page, below, operation)
        self._notes.extend(page.notes)
        return page

    def _accept_missing(self, missing: set[int], again: TradePage, below: int | None) -> None:
        """Report ids that two answers lack: they never existed, or Coinbase has lost them.

        Raises:
            ProviderUnavailableError: The second answer lacks other ids.
        """
        still = _missing_ids(again, below)
        if not still:
            return
        # The second page is shorter by one trade at its old end.
        if not still <= missing:
            message = f"{len(still)} ids are missing below {below}; nothing was stored, ask again"
            with self._replies.kept():
                raise errors.ProviderUnavailableError(
                    message, provider=wire.PROVIDER, operation=self._operation
                )
        if not again.trades.num_rows:
            self._begins_above = max(self._begins_above, below or 1)
        else:
            text = f"{len(still)} trades from {min(still)} to {max(still)}"
            self._missing.append(unread(text, reason=MISSING, symbol=self._symbol, what=text))


def _refuse_newer(page: TradePage, below: int | None, operation: str) -> None:
    newest = pc.max(page.trades["trade_id"]).as_py()
    if below is not None and newest is not None and newest >= below:
        message = f"trade {newest} came, which is not below {below}"
        raise wire.malformed(message, operation)


def _missing_ids(page: TradePage, below: int | None) -> set[int]:
    """Return the ids that a page lacks between its oldest trade and the requested id.

    Rows that cannot be placed may be some of them. An empty page lacks the id next below.
    """
    ids = set(page.trades["trade_id"].to_pylist())
    if not ids:
        return {(below or 1) - 1}
    next_id = max(ids) + 1 if below is None else below
    missing = set(range(min(ids), next_id)) - ids
    return missing if len(missing) > len(page.left_out) else set()


async def _page_at(pages: _Pages, until: datetime) -> _Page | None:
    """Return the page with the last trade before ``until``; None if there is no trade.

    The search keeps one id before the moment and one after it, and interpolates between them. If
    an estimate leaves more than half of the ids, the next step bisects, so that the search ends
    soon in any history.
    """
    edge = until + OUT_OF_ORDER
    page = await pages.newest()
    if page is None or page.oldest_at < edge:
        return page
    low, low_at, halve = 0, OPENED_AT, False
    high, high_at = page.oldest_id, page.oldest_at
    while True:
        span = high - low
        # The time of the first trades is only assumed until a step has asked for them.
        half = 0.5 if low else 0.0
        share = half if halve else (until - low_at) / (high_at - low_at)
        # Half a page higher, so that the moment is in the middle of the page.
        guess = low + int(span * min(max(share, 0.0), 1.0)) + LIMIT // 2
        below = min(max(guess, low + 2), high)
        page = await pages.below(below)
        if page is None:
            if below == high:
                return None
            # The first trade has a higher id.
            low, halve = below - 1, True
            continue
        if page.oldest_at < edge <= page.newest_at:
            return page
        if page.oldest_at >= edge:
            high, high_at = page.oldest_id, page.oldest_at
        elif below == high:
            return page
        else:
            low, low_at = below - 1, page.newest_at
        halve = high - low > span / 2


def _between(rows: pa.Table, since: datetime, until: datetime) -> pa.Table:
    at = rows["traded_at"]
    return rows.filter(pc.and_(pc.greater_equal(at, since), pc.less(at, until)))
