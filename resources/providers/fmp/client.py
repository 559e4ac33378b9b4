"""Financial Modeling Prep's prices, and the members of the S&P 500.

Here: the client, and which requests make one answer, wherever the replies come from. Not here: what
answers look like (wire.py, bars.py), how a request is sent (../http.py), or how kept
replies are served again (../kept_answers.py).
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import WIRE_BARS
from marketdata.instruments import Constituent
from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.recovery.policy import REQUEST_RETRY, RequestRetry
from marketdata.rows import RejectedRow
from resources.providers.answer_text import shortened
from resources.providers.budget import RequestBudget
from resources.providers.fmp import bars as fmp_bars
from resources.providers.fmp import wire
from resources.providers.http import AnswerKeeper, Getter, HttpGetter, QueryKey
from resources.providers.provenance import Replies
from resources.telemetry import logs

BASE_URL = "https://financialmodelingprep.com/stable"
ROW_CAP = 5000
"""Rows of one history answer; beyond it FMP silently drops the OLDEST rows."""
IN_FLIGHT = 8
"""Requests under way at once: enough for 120 a minute while an answer takes up to 4 seconds."""
SHOWN = 5
"""Most refused symbols that a warning names."""

_LOG = logs.logger("providers")
_HISTORY = "historical-price-eod/full"
_MARKET_DAY = "eod-bulk"


class FmpClient:
    """Asks FMP's stable API for daily bars, constituents and profiles.

    Fulfils marketdata.ports.DailyBarProvider and DailyMarketProvider.

    Args:
        single: Sends requests for one symbol.
        bulk: Sends bulk requests, which have their own much lower limit.
    """

    name = wire.PROVIDER

    def __init__(self, single: Getter, bulk: Getter) -> None:
        self._single = single
        self._bulk = bulk

    async def daily_history(self, symbol: str, start: date, end: date) -> Answer:
        """Return the daily bars of ``symbol`` from ``start`` to ``end``: see ``history``."""
        return await history(self._single, symbol, start, end)

    async def daily_market(self, session: date) -> Answer:
        """Return the bars of all symbols in the world for ``session``: see ``market_day``."""
        return await market_day(self._bulk, session)

    async def sp500_constituents(self) -> list[Constituent]:
        """Return the present members of the S&P 500, tickers in our spelling.

        Rows whose symbol is no ticker are left out, and the log names them.

        Raises:
            ProviderError: See ``wire.classify_error`` and ``wire.constituent_list``.
        """
        operation = "sp500-constituent"
        reply = await self._single.get(operation, {}, operation=operation)
        with Replies(reply).kept():
            listed = wire.constituent_list(reply.body, operation=operation)
        if listed.refused:
            shown = ", ".join(shortened(repr(symbol)) for symbol in listed.refused[:SHOWN])
            _LOG.warning(
                "fmp %s: %d rows left out, their symbols are no tickers: %s",
                operation,
                len(listed.refused),
                shown,
            )
        return listed.members

    async def profile(self, symbol: str) -> wire.Profile:
        """Return FMP's profile of the company with ``symbol``.

        Raises:
            UnknownSymbolError: FMP does not know it.
            ProviderError: See ``wire.classify_error``.
        """
        operation = f"profile symbol={symbol}"
        reply = await self._single.get("profile", {"symbol": symbol}, operation=operation)
        with Replies(reply).kept():
            return wire.company_profile(reply.body, operation=operation)


@asynccontextmanager
async def connect(
    *,
    api_key: str,
    budget: RequestBudget,
    bulk_budget: RequestBudget,
    retry: RequestRetry = REQUEST_RETRY,
    base_url: str = BASE_URL,
    keep: AnswerKeeper | None = None,
) -> AsyncGenerator[FmpClient]:
    """Open a client outside the pipelines (theirs are opened by resources/clients.py).

    Args:
        api_key: Sent in the query, as FMP documents, and never shown.
        budget: The key's budget for all requests.
        bulk_budget: For bulk requests, charged to their own much lower limit and to the key's.
        retry: Bounds of retries of one request.
        base_url: Another address, for a simulator.
        keep: Keeps every answer before it is parsed; None keeps none.
    """

    def getter(of: RequestBudget, in_flight: int) -> HttpGetter:
        return HttpGetter(
            provider=wire.PROVIDER,
            base_url=base_url,
            key=QueryKey(name="apikey", value=api_key),
            budget=of,
            retry=retry,
            classify=partial(wire.classify_error, key=api_key),
            in_flight=in_flight,
            keep=keep,
        )

    async with getter(budget, IN_FLIGHT) as single, getter(bulk_budget, 1) as bulk:
        yield FmpClient(single, bulk)


async def history(getter: Getter, symbol: str, start: date, end: date) -> Answer:
    """Return the daily bars of ``symbol`` from ``start`` to ``end``, both included.

    Prices are adjusted for splits, so that all of them change after a split. FMP gives an empty
    list both for an unknown symbol and for days without bars: the caller has to decide which it is.

    A full answer may lack its oldest rows, so earlier days are requested too. Each further answer
    repeats one session of the previous one. If that bar differs, the history was re-based in
    between, and nothing is returned.

    Raises:
        ProviderUnavailableError: Besides the usual reasons, the series changed meanwhile.
        MalformedPayloadError: Rows are of another symbol or of days that were not requested; see
            ``fmp_bars.history_page`` for the rest. The error points to all pages so far.
        RequestRejectedError: ``symbol`` is empty or has a comma in it; nothing was sent.
        ProviderError: See ``wire.classify_error``.
        ValueError: ``start`` is after ``end`` (FMP would say: no bars).
    """
    operation = f"{_HISTORY} symbol={symbol} from={start} to={end}"
    _check_range(symbol, start, end, operation)
    pages: list[pa.Table] = []
    replies, last = Replies(), end
    left_out: list[RejectedRow] = []
    while True:
        page_operation = f"{operation} page={len(pages) + 1}" if pages else operation
        reply = await getter.get(
            _HISTORY,
            {"symbol": symbol, "from": start.isoformat(), "to": last.isoformat()},
            operation=page_operation,
        )
        replies.add(reply)
        with replies.kept():
            history_page = fmp_bars.history_page(reply.body, operation=page_operation)
            page = history_page.bars
            _check_rows(page, symbol, start, last, page_operation)
            pages.append(_without_seam(pages[-1], page, page_operation) if pages else page)
        left_out.extend(history_page.left_out)
        oldest = pc.min(page["session_date"]).as_py()
        if history_page.rows < ROW_CAP or oldest in {start, last}:
            break
        last = oldest
    return replies.answer(operation, pa.concat_tables(pages), left_out)


async def market_day(getter: Getter, session: date) -> Answer:
    """Return the bars of all symbols in the world for ``session``.

    Only FMP's largest plan has this, and a second call too soon after the first is refused. On a
    holiday it has only what trades then, such as crypto pairs.

    Raises:
        NotEntitledError: The plan does not include bulk requests.
        MalformedPayloadError: See ``fmp_bars.market_page``. The error points to the answer.
        ProviderError: See ``wire.classify_error``.
    """
    operation = f"{_MARKET_DAY} date={session}"
    reply = await getter.get(_MARKET_DAY, {"date": session.isoformat()}, operation=operation)
    replies = Replies(reply)
    with replies.kept():
        page = fmp_bars.market_page(reply.body, session, operation=operation)
    return replies.answer(operation, page.bars, page.left_out)


def _check_range(symbol: str, start: date, end: date, operation: str) -> None:
    # FMP answers both with an empty list, which would mean "no bars". A reversed range is a bug; an
    # odd symbol is data, and concerns that symbol alone.
    if start > end:
        message = f"the range of {symbol} is reversed: {start} is after {end}"
        raise ValueError(message)
    wire.check_symbol(symbol, operation)


def _check_rows(page: pa.Table, symbol: str, start: date, end: date, operation: str) -> None:
    """Refuse unrequested rows: FMP ignores unknown parameters, and the answer looks plausible."""
    symbols = [other for other in pc.unique(page["symbol"]).to_pylist() if other != symbol]
    days = page["session_date"]
    outside = page.filter(pc.or_(pc.less(days, start), pc.greater(days, end)))
    if not symbols and not outside.num_rows:
        return
    stranger = f"symbol {symbols[0]}" if symbols else f"day {outside['session_date'][0].as_py()}"
    message = f"rows that were not requested came, such as of {stranger}; the answer was not stored"
    raise errors.MalformedPayloadError(message, provider=wire.PROVIDER, operation=operation)


def _without_seam(newer: pa.Table, older: pa.Table, operation: str) -> pa.Table:
    """Return ``older`` without the session it shares with ``newer``, which must be equal."""
    seam = pc.min(newer["session_date"])
    shared = pc.equal(older["session_date"], seam)
    if _bars_at(newer, seam) != _bars_at(older, seam):
        message = f"the series changed between two requests (seen at {seam}); ask for it again"
        raise errors.ProviderUnavailableError(message, provider=wire.PROVIDER, operation=operation)
    return older.filter(pc.invert(shared))


def _bars_at(page: pa.Table, day: pa.Scalar) -> set[tuple[object, ...]]:
    rows = page.filter(pc.equal(page["session_date"], day)).to_pylist()
    return {tuple(row[name] for name in WIRE_BARS.names) for row in rows}
