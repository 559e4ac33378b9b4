"""FMP's splits and dividends, and prices as they were paid.

Here: which requests make one answer, wherever the replies come from. Not here: what answers look
like (actions_wire.py), how a request is sent (../http.py), prices (client.py), or whether a split
is true (marketdata/split_checks.py).
"""

from collections.abc import Callable
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.ports import Answer
from resources.providers.answer_text import shortened
from resources.providers.fmp import actions_wire, wire
from resources.providers.fmp.actions_wire import ActionPage
from resources.providers.http import Getter
from resources.providers.provenance import Replies

MOST_ACTIONS = 1000
"""``limit`` of a symbol's actions: more than sixty years of monthly dividends."""
CALENDAR_ROWS = 4000
"""Rows of one page of the dividends' calendar. Its pages overlap and lose rows, so only days with
fewer rows are complete; the fullest day measured had 876."""
SPLIT_DAYS = 31
"""Days requested of the splits' calendar at once; it goes back about 90 days."""
PRICE_DAYS = 3650
"""Days of prices requested at once: fewer sessions than FMP's cap of 5,000 rows."""

_DAY = timedelta(days=1)
_Parser = Callable[..., ActionPage]


class FmpActions:
    """Asks FMP's stable API for corporate actions; fulfils marketdata.ports.ActionProvider.

    Args:
        getter: Gives the replies; open it first.
    """

    name = wire.PROVIDER

    def __init__(self, getter: Getter) -> None:
        self._getter = getter

    async def splits(self, symbol: str) -> Answer:
        """Return all splits of ``symbol`` (WIRE_SPLITS), announced ones included.

        FMP gives an empty list both for an unknown symbol and for a share that never split: the
        caller has to decide which it is.

        Raises:
            MalformedPayloadError: See ``actions_wire.split_page``; rows are of another symbol;
                or the limit was reached, so that some may be missing. The error points to the
                answer.
            RequestRejectedError: ``symbol`` is empty or has a comma in it; nothing was sent.
            ProviderError: See ``wire.classify_error``.
        """
        return await self._all_of_symbol("splits", symbol, actions_wire.split_page)

    async def dividends(self, symbol: str) -> Answer:
        """Return all dividends of ``symbol`` (WIRE_DIVIDENDS), announced ones included.

        Raises what ``splits`` raises, and gives an empty answer where it does.
        """
        return await self._all_of_symbol("dividends", symbol, actions_wire.dividend_page)

    async def splits_between(self, start: date, end: date) -> Answer:
        """Return the splits of all symbols in the world (WIRE_SPLITS) from ``start`` to ``end``.

        A row that cannot be placed is in ``left_out``, whatever its symbol.

        Raises:
            MalformedPayloadError: See ``actions_wire.split_page``; rows are of days that were
                not requested. The error points to all pages so far.
            ProviderError: See ``wire.classify_error``.
            ValueError: ``start`` is after ``end`` (FMP would say: nothing).
        """
        parser, days = actions_wire.split_page, SPLIT_DAYS
        return await self._calendar("splits-calendar", start, end, parser, days)

    async def dividends_between(self, start: date, end: date) -> Answer:
        """Return the dividends of all symbols in the world (WIRE_DIVIDENDS), like splits.

        Each day is asked for by itself, weekends too: some exchanges trade on Sundays.

        Raises:
            MalformedPayloadError: As with ``splits_between``; or a day filled a whole page, so
                that some of its rows may be missing.
            ProviderError: See ``wire.classify_error``.
            ValueError: ``start`` is after ``end``.
        """
        parser = actions_wire.dividend_page
        return await self._calendar("dividends-calendar", start, end, parser, 1)

    async def as_traded(self, symbol: str, start: date, end: date) -> Answer:
        """Return the daily bars (WIRE_BARS) of ``symbol`` as traded.

        They are the evidence for or against a split, so a few days around an ex-date are enough. Up
        to ten years can be requested.

        Raises:
            MalformedPayloadError: See ``actions_wire.as_traded_page``; or rows came that were not
                requested. The error points to the answer.
            RequestRejectedError: ``symbol`` is empty or has a comma in it; nothing was sent.
            ProviderError: See ``wire.classify_error``.
            ValueError: ``start`` is after ``end``, or more than ten years before it.
        """
        if not timedelta(0) <= end - start <= timedelta(days=PRICE_DAYS):
            message = f"from {start} to {end} are no days or more than {PRICE_DAYS}"
            raise ValueError(message)
        path = "historical-price-eod/non-split-adjusted"
        operation = f"{path} symbol={symbol} from={start} to={end}"
        wire.check_symbol(symbol, operation)
        parameters = {"symbol": symbol, "from": start.isoformat(), "to": end.isoformat()}
        reply = await self._getter.get(path, parameters, operation=operation)
        replies = Replies(reply)
        with replies.kept():
            page = actions_wire.as_traded_page(reply.body, operation=operation)
            _refuse_strangers(page.table, "symbol", (symbol, symbol), operation)
            _refuse_strangers(page.table, "session_date", (start, end), operation)
        return replies.answer(operation, page.table, page.left_out)

    async def _all_of_symbol(self, path: str, symbol: str, parser: _Parser) -> Answer:
        operation = f"{path} symbol={symbol} limit={MOST_ACTIONS}"
        wire.check_symbol(symbol, operation)
        parameters = {"symbol": symbol, "limit": str(MOST_ACTIONS)}
        reply = await self._getter.get(path, parameters, operation=operation)
        replies = Replies(reply)
        with replies.kept():
            page = parser(reply.body, operation=operation)
            _refuse_strangers(page.table, "symbol", (symbol, symbol), operation)
            _refuse_full(page, MOST_ACTIONS, operation)
        return replies.answer(operation, page.table, page.left_out)

    async def _calendar(
        self, path: str, start: date, end: date, parser: _Parser, days: int
    ) -> Answer:
        if start > end:
            message = f"the range is reversed: {start} is after {end}"
            raise ValueError(message)
        replies = Replies()
        pages: list[ActionPage] = []
        first = start
        while first <= end:
            last = min(first + (days - 1) * _DAY, end)
            operation = f"{path} from={first} to={last}"
            parameters = {"from": first.isoformat(), "to": last.isoformat()}
            reply = await self._getter.get(path, parameters, operation=operation)
            replies.add(reply)
            with replies.kept():
                page = parser(reply.body, operation=operation)
                _refuse_strangers(page.table, "ex_date", (first, last), operation)
                _refuse_full(page, CALENDAR_ROWS, operation)
            pages.append(page)
            first = last + _DAY
        return replies.answer(
            f"{path} from={start} to={end}",
            pa.concat_tables([page.table for page in pages]),
            (row for page in pages for row in page.left_out),
        )


def _refuse_strangers(
    table: pa.Table,
    column: str,
    bounds: tuple[str, str] | tuple[date, date],
    operation: str,
) -> None:
    """Refuse rows out of bounds: FMP ignores unknown parameters, and the answer looks plausible."""
    values = table[column]
    strange = pc.or_(pc.less(values, bounds[0]), pc.greater(values, bounds[1]))
    strangers = values.filter(strange)
    if len(strangers):
        stranger = shortened(str(strangers[0].as_py()))
        raise wire.malformed(f"rows that were not requested came, such as of {stranger}", operation)


def _refuse_full(page: ActionPage, cap: int, operation: str) -> None:
    if page.rows >= cap:
        message = f"{page.rows} rows are as many as fit, so that some may be missing"
        raise wire.malformed(message, operation)
