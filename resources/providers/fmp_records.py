"""FMP's statements, companies and index changes: python -m resources.providers.fmp_records AAPL.

Here: which requests make one answer, wherever the replies come from. Not here: what answers look
like (fmp_statements.py, fmp_records_wire.py), how a request is sent (http.py), prices (fmp.py) or
corporate actions (fmp_actions.py).
"""

import argparse
import asyncio
import hashlib
import os
import sys
from collections.abc import Sequence

import pyarrow as pa

from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.recovery.policy import REQUEST_RETRY
from marketdata.statements import LINES, PeriodType, StatementKind
from resources.providers import fmp_records_wire, fmp_statements, fmp_wire
from resources.providers.budget import PacedBudget
from resources.providers.fmp import BASE_URL, IN_FLIGHT, REQUESTS_A_MINUTE
from resources.providers.http import Getter, HttpAnswer, HttpGetter, QueryKey
from resources.providers.kept_answers import kept_as, pointers

MOST_PERIODS = 1000
TWO_YEARS = 8
"""So many quarters cannot be without a year."""
"""``limit`` of a request for statements: FMP has no cap of its own and gives 5 rows without one.
A thousand quarters are 250 years, so that an answer of so many rows is not believed."""


class FmpRecords:
    """Asks FMP's stable API for what is filed and written about companies.

    Fulfils marketdata.ports.StatementProvider, ReferenceProvider and IndexProvider.

    Args:
        getter: Gives the replies; open it first.
    """

    name = fmp_wire.PROVIDER

    def __init__(self, getter: Getter) -> None:
        self._getter = getter

    async def statements(self, kind: StatementKind, symbol: str) -> Answer:
        """Return all annual and quarterly statements of ``kind`` (QUOTED_STATEMENTS).

        Two requests make one answer. FMP gives an empty list for a symbol that it does not know
        as well as for a company without statements: the answer is empty then, and which of the
        two it was is for the caller to judge. FMP overwrites restated figures, so that this is
        always what it says now.

        Raises:
            MalformedPayloadError: See ``fmp_statements.statement_page``; or as many rows came as
                were asked for, so that some may be missing. The error points to the answer.
            ProviderUnavailableError: Years of quarters came without any annual row.
            RequestRejectedError: ``symbol`` is empty or has a comma in it; nothing was sent.
            ProviderError: See ``fmp_wire.refusal``.
        """
        endpoint = fmp_statements.ENDPOINTS[kind]
        asked = f"{endpoint} symbol={symbol}"
        _check_symbol(symbol, asked)
        replies: list[HttpAnswer] = []
        pages: list[fmp_statements.StatementPage] = []
        for period_type, period in fmp_statements.PERIOD_PARAMETERS.items():
            operation = f"{asked} period={period} limit={MOST_PERIODS}"
            parameters = {"symbol": symbol, "period": period, "limit": str(MOST_PERIODS)}
            reply = await self._getter.get(endpoint, parameters, operation=operation)
            replies.append(reply)
            with kept_as(replies):
                pages.append(_page(reply.body, kind, symbol, period_type, operation))
        annual, quarterly = (page.table.num_rows for page in pages)
        with kept_as(replies):
            _refuse_half(annual, quarterly, asked)
        periods = ",".join(fmp_statements.PERIOD_PARAMETERS.values())
        return _answer(
            f"{asked} period={periods} limit={MOST_PERIODS}",
            pa.concat_tables([page.table for page in pages]),
            replies,
            left_out=tuple(row for page in pages for row in page.left_out),
        )

    async def company(self, symbol: str) -> Answer:
        """Return what FMP says of the company behind ``symbol`` (QUOTED_COMPANIES, one row).

        The answer is empty for a symbol that FMP does not know.

        Raises:
            MalformedPayloadError: See ``fmp_records_wire.company_table``. The error points to
                the answer.
            RequestRejectedError: ``symbol`` is empty or has a comma in it; nothing was sent.
            ProviderError: See ``fmp_wire.refusal``.
        """
        operation = f"profile symbol={symbol}"
        _check_symbol(symbol, operation)
        reply = await self._getter.get("profile", {"symbol": symbol}, operation=operation)
        with kept_as([reply]):
            table = fmp_records_wire.company_table(reply.body, symbol=symbol, operation=operation)
        return _answer(operation, table, [reply])

    async def index_changes(self, index: str) -> Answer:
        """Return who joined and left ``index`` (QUOTED_INDEX_CHANGES), as far back as FMP knows.

        It is no complete ledger: some present members have no addition.

        Args:
            index: FMP's name: ``sp500``, ``nasdaq`` or ``dowjones``.

        Raises:
            UnknownSymbolError: There is no such index; nothing was sent.
            MalformedPayloadError: See ``fmp_records_wire.index_change_page``. The error points
                to the answer.
            ProviderError: See ``fmp_wire.refusal``.
        """
        endpoint = fmp_records_wire.INDEX_ENDPOINTS.get(index)
        if endpoint is None:
            known = ", ".join(fmp_records_wire.INDEX_ENDPOINTS)
            message = f"there is no index {index!r}, only {known}; nothing was sent"
            raise errors.UnknownSymbolError(
                message, provider=self.name, operation=f"index changes of {index}"
            )
        reply = await self._getter.get(endpoint, {}, operation=endpoint)
        with kept_as([reply]):
            page = fmp_records_wire.index_change_page(reply.body, index=index, operation=endpoint)
        return _answer(endpoint, page.table, [reply], left_out=page.left_out)


def _page(
    body: bytes, kind: StatementKind, symbol: str, period_type: PeriodType, operation: str
) -> fmp_statements.StatementPage:
    page = fmp_statements.statement_page(
        body, kind, symbol=symbol, period_type=period_type, operation=operation
    )
    if page.table.num_rows + len(page.left_out) >= MOST_PERIODS:
        raise fmp_wire.malformed(f"{MOST_PERIODS} rows came, more may be missing", operation)
    return page


def _answer(
    request: str, table: pa.Table, replies: Sequence[HttpAnswer], left_out: tuple[str, ...] = ()
) -> Answer:
    digest = hashlib.sha256()
    for reply in replies:
        digest.update(reply.body)
    return Answer(
        rows=table,
        request=request,
        content_sha256=digest.hexdigest(),
        fetched_at=replies[-1].fetched_at,
        requests=sum(reply.requests for reply in replies),
        raw_answers=pointers(replies),
        left_out=left_out,
    )


def _refuse_half(annual: int, quarterly: int, operation: str) -> None:
    """Refuse no annual rows beside years of quarters: the answer was ill.

    The other way round is nothing odd: some foreign companies report once a year.
    """
    if not annual and quarterly >= TWO_YEARS:
        message = f"no annual rows beside {quarterly} quarters; ask for both again"
        raise errors.ProviderUnavailableError(
            message, provider=fmp_wire.PROVIDER, operation=operation
        )


def _check_symbol(symbol: str, operation: str) -> None:
    # FMP answers both mistakes with an empty list, which reads like "nothing known".
    if not symbol.strip() or "," in symbol:
        message = f"one symbol a request, not {symbol!r}; nothing was sent"
        raise errors.RequestRejectedError(message, provider=fmp_wire.PROVIDER, operation=operation)


async def _statements(kind: StatementKind, symbol: str, key: str, base_url: str) -> Answer:
    def judge(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
        return fmp_wire.refusal(answer, operation, key=key)

    async with HttpGetter(
        provider=fmp_wire.PROVIDER,
        base_url=base_url,
        key=QueryKey(name="apikey", value=key),
        budget=PacedBudget(requests=REQUESTS_A_MINUTE),
        retry=REQUEST_RETRY,
        judge=judge,
        in_flight=IN_FLIGHT,
    ) as getter:
        return await FmpRecords(getter).statements(kind, symbol)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show a symbol's statements; key and address come from FMP_API_KEY and FMP_BASE_URL."""
    parser = argparse.ArgumentParser(prog="python -m resources.providers.fmp_records")
    parser.add_argument("symbol", help="in FMP's spelling, such as AAPL or BRK-B")
    parser.add_argument(
        "--kind", type=StatementKind, choices=list(StatementKind), default=StatementKind.INCOME
    )
    asked = parser.parse_args(arguments)
    key = os.environ.get("FMP_API_KEY", "")
    base_url = os.environ.get("FMP_BASE_URL", BASE_URL)
    try:
        if not key:
            message = "FMP_API_KEY is not set: export FMP_API_KEY=<your key>"
            raise errors.ConfigurationError(message)
        answer = asyncio.run(_statements(asked.kind, asked.symbol, key, base_url))
    except errors.MarketDataError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(_shown(asked.kind, answer))
    return 0


def _shown(kind: StatementKind, answer: Answer) -> str:
    names = ("fiscal_date", "fiscal_period", "reported_currency", *LINES[kind][:4])
    rows = answer.rows.sort_by("fiscal_date").slice(max(answer.rows.num_rows - 20, 0))
    lines = ["  ".join(f"{name:>18}" for name in names)]
    for row in rows.to_pylist():
        cells = [str(row[name]) for name in names[:3]]
        cells += ["" if row[name] is None else f"{row[name].normalize():f}" for name in names[3:]]
        lines.append("  ".join(f"{cell:>18}" for cell in cells))
    lines.append(f"{answer.rows.num_rows} rows in {answer.requests} requests")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
