"""FMP's endpoints of statements, ratios, companies and index changes.

Here: which request gets which rows. Not here: keys, plans and limits (simulator.py), or the rows
themselves (../worlds/fundamentals/statements.py, ../worlds/fundamentals/reference.py). Facts: FMP's
reference of the stable API, live measurements of 2026 (jerbersoft/fmpdotnet),
tests/recordings/fmp_*.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from marketdata.calendars import NEW_YORK_ZONE
from marketdata.instruments import our_tickers, provider_spellings
from marketdata.statements import StatementKind
from sandbox.simulators.faults import FaultKind, FaultRule, Reply
from sandbox.simulators.fmp import wire
from sandbox.simulators.front import Request
from sandbox.simulators.worlds.fundamentals import reference
from sandbox.simulators.worlds.fundamentals.statements import ANNUAL, QUARTERLY, FiledStatements
from sandbox.simulators.worlds.fundamentals.world import Fundamentals
from sandbox.simulators.worlds.shares.world import World

DEFAULT_LIMIT = 5
"""Default number of rows of an answer; there is no cap."""
LATEST_ROWS, LATEST_PAGES = 250, 100
LATEST_SPAN = timedelta(days=400)

STATEMENTS: Mapping[str, StatementKind] = {
    "income-statement": StatementKind.INCOME,
    "balance-sheet-statement": StatementKind.BALANCE_SHEET,
    "cash-flow-statement": StatementKind.CASH_FLOW,
    "ratios": StatementKind.RATIOS,
}
_QUARTERS = ("Q1", "Q2", "Q3", "Q4")

Endpoint = Callable[[Request], Reply]


def endpoints(
    world: World, now: Callable[[], datetime], fundamentals: Fundamentals | None = None
) -> Mapping[str, Endpoint]:
    """Return the endpoints by their paths below ``/stable/``.

    Args:
        world: Listings and prices.
        now: Clock that returns aware UTC times; later filings are not served.
        fundamentals: Source of statements; share it with the code that restates them.
    """
    source = (fundamentals or Fundamentals(world)).statements
    return {
        **{name: _statements(source, kind, now) for name, kind in STATEMENTS.items()},
        "profile": _profile(world, now),
        "historical-sp500-constituent": _index_changes(world, now),
        "latest-financial-statements": _latest(source, now),
    }


def spoilt(rule: FaultRule, reply: Reply) -> Reply:
    """Return rows of statements, companies or index changes damaged.

    A duplicate row comes first. Malformed are the first row, which lacks its currency and name (or
    its dates, where it is of an index), and the second, whose fiscal period is none.
    """
    rows: list[dict[str, object]] = json.loads(reply.body)
    if rows and rule.kind is FaultKind.DUPLICATE_ROWS:
        rows.insert(0, dict(rows[0]))
    elif rows:
        of_index = "addedSecurity" in rows[0]
        for name in ("dateAdded", "date") if of_index else ("reportedCurrency", "companyName"):
            rows[0].pop(name, None)
        for row in rows[1:2]:
            row["period"] = "Q9"
    return replace(reply, body=json.dumps(rows).encode())


def _statements(
    filed: FiledStatements, kind: StatementKind, now: Callable[[], datetime]
) -> Endpoint:
    def answer(request: Request) -> Reply:
        symbol = request.query.get("symbol")
        if not symbol:
            return wire.missing_parameter("symbol")
        ticker = _ticker(filed.world, symbol)
        if ticker is None:
            return wire.nothing()
        asked = request.query.get("period", ANNUAL)
        # A period that FMP does not know: sources disagree, some saw the annual rows.
        period_type = QUARTERLY if asked in {"quarter", *_QUARTERS} else ANNUAL
        rows = filed.rows(kind, ticker, period_type, now())
        if asked in _QUARTERS:
            rows = [row for row in rows if row["period"] == asked]
        return wire.json_reply(rows[::-1][: _count(request, "limit", DEFAULT_LIMIT)])

    return answer


def _profile(world: World, now: Callable[[], datetime]) -> Endpoint:
    def answer(request: Request) -> Reply:
        symbol = request.query.get("symbol")
        if not symbol:
            return wire.missing_parameter("symbol")
        ticker = _ticker(world, symbol)
        if ticker is None:
            return wire.nothing()
        return wire.json_reply([reference.profile(world, ticker, now())])

    return answer


def _index_changes(world: World, now: Callable[[], datetime]) -> Endpoint:
    def answer(_: Request) -> Reply:
        return wire.json_reply(reference.index_rows(world, now()))

    return answer


def _latest(filed: FiledStatements, now: Callable[[], datetime]) -> Endpoint:
    """Serve the latest filings, newest first, in pages."""

    def answer(request: Request) -> Reply:
        page = _count(request, "page", 0)
        if page > LATEST_PAGES:
            text = f"Maxmium Query Parameter: page must not be above {LATEST_PAGES}"
            return Reply(status=400, body=text.encode())
        size = min(_count(request, "limit", LATEST_ROWS), LATEST_ROWS)
        at = now()
        latest = sorted(
            filed.filings(at - LATEST_SPAN, at),
            key=lambda row: (row[0], row[1], row[2].period),
            reverse=True,
        )
        spelt = provider_spellings("fmp")
        return wire.json_reply(
            [
                {
                    "symbol": spelt.get(ticker, ticker),
                    "calendarYear": report.fiscal_year,
                    "period": report.period,
                    "date": report.fiscal_date.isoformat(),
                    "dateAdded": f"{accepted_at.astimezone(NEW_YORK_ZONE):%Y-%m-%d %H:%M:%S}",
                }
                for accepted_at, ticker, report in latest[page * size : (page + 1) * size]
            ]
        )

    return answer


def _count(request: Request, name: str, default: int) -> int:
    """Return a whole number of the query; other text is ignored, as at FMP."""
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else default


def _ticker(world: World, symbol: str) -> str | None:
    """Return our ticker for FMP's spelling; our spelling is unknown where the two differ."""
    if symbol in provider_spellings("fmp"):
        return None
    ticker = our_tickers("fmp").get(symbol, symbol)
    return None if world.listing(ticker) is None else ticker
