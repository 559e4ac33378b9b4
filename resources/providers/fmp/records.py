"""FMP's statements, companies and index changes.

Here: which requests make one answer, wherever the replies come from. Not here: what answers look
like (statements.py, records_wire.py), how a request is sent (../http.py), prices (client.py) or
corporate actions (actions.py).
"""

import pyarrow as pa

from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.statements import PeriodType, StatementKind
from resources.providers.fmp import records_wire, wire
from resources.providers.fmp import statements as fmp_statements
from resources.providers.http import Getter
from resources.providers.provenance import Replies

TWO_YEARS = 8
"""Quarters that cannot be without an annual row."""
MOST_PERIODS = 1000
"""``limit`` of a request for statements: FMP has no cap of its own and gives 5 rows without one.
A thousand quarters are 250 years, so an answer that reaches the limit is refused."""


class FmpRecords:
    """Asks FMP's stable API for statements, companies and index changes.

    Fulfils marketdata.ports.StatementProvider, ReferenceProvider and IndexProvider.

    Args:
        getter: Gives the replies; open it first.
    """

    name = wire.PROVIDER

    def __init__(self, getter: Getter) -> None:
        self._getter = getter

    async def statements(self, kind: StatementKind, symbol: str) -> Answer:
        """Return all annual and quarterly statements of ``kind`` (WIRE_STATEMENTS).

        Two requests make one answer. FMP gives an empty list both for an unknown symbol and for a
        company without statements: the caller has to decide which it is. FMP overwrites restated
        values, so these are always the latest ones.

        Raises:
            MalformedPayloadError: See ``fmp_statements.statement_page``; or the limit was
                reached, so that some rows may be missing. The error points to the answer.
            ProviderUnavailableError: Years of quarters came without any annual row.
            RequestRejectedError: ``symbol`` is empty or has a comma in it; nothing was sent.
            ProviderError: See ``wire.classify_error``.
        """
        endpoint = fmp_statements.ENDPOINTS[kind]
        request = f"{endpoint} symbol={symbol}"
        wire.check_symbol(symbol, request)
        replies = Replies()
        pages: list[fmp_statements.StatementPage] = []
        for period_type, period in fmp_statements.PERIOD_PARAMETERS.items():
            operation = f"{request} period={period} limit={MOST_PERIODS}"
            parameters = {"symbol": symbol, "period": period, "limit": str(MOST_PERIODS)}
            reply = await self._getter.get(endpoint, parameters, operation=operation)
            replies.add(reply)
            with replies.kept():
                pages.append(_page(reply.body, kind, symbol, period_type, operation))
        annual, quarterly = (page.table.num_rows for page in pages)
        with replies.kept():
            _refuse_half(annual, quarterly, request)
        periods = ",".join(fmp_statements.PERIOD_PARAMETERS.values())
        return replies.answer(
            f"{request} period={periods} limit={MOST_PERIODS}",
            pa.concat_tables([page.table for page in pages]),
            (row for page in pages for row in page.left_out),
        )

    async def company(self, symbol: str) -> Answer:
        """Return FMP's profile of the company with ``symbol`` (WIRE_COMPANIES, one row).

        The answer is empty for a symbol that FMP does not know.

        Raises:
            MalformedPayloadError: See ``records_wire.company_page``. The error points to
                the answer.
            RequestRejectedError: ``symbol`` is empty or has a comma in it; nothing was sent.
            ProviderError: See ``wire.classify_error``.
        """
        operation = f"profile symbol={symbol}"
        wire.check_symbol(symbol, operation)
        reply = await self._getter.get("profile", {"symbol": symbol}, operation=operation)
        replies = Replies(reply)
        with replies.kept():
            page = records_wire.company_page(reply.body, symbol=symbol, operation=operation)
        return replies.answer(operation, page.table, page.left_out, notes=page.notes)

    async def index_changes(self, index: str) -> Answer:
        """Return the changes of ``index`` (WIRE_INDEX_CHANGES), as far back as FMP has them.

        The list is incomplete: some present members have no addition.

        Args:
            index: FMP's name: ``sp500``, ``nasdaq`` or ``dowjones``.

        Raises:
            UnknownSymbolError: There is no such index; nothing was sent.
            MalformedPayloadError: See ``records_wire.index_change_page``. The error points
                to the answer.
            ProviderError: See ``wire.classify_error``.
        """
        endpoint = records_wire.INDEX_ENDPOINTS.get(index)
        if endpoint is None:
            known = ", ".join(records_wire.INDEX_ENDPOINTS)
            message = f"there is no index {index!r}, only {known}; nothing was sent"
            raise errors.UnknownSymbolError(
                message, provider=self.name, operation=f"index changes of {index}"
            )
        reply = await self._getter.get(endpoint, {}, operation=endpoint)
        replies = Replies(reply)
        with replies.kept():
            page = records_wire.index_change_page(reply.body, index=index, operation=endpoint)
        return replies.answer(endpoint, page.table, page.left_out)


def _page(
    body: bytes, kind: StatementKind, symbol: str, period_type: PeriodType, operation: str
) -> fmp_statements.StatementPage:
    page = fmp_statements.statement_page(
        body, kind, symbol=symbol, period_type=period_type, operation=operation
    )
    if page.table.num_rows + len(page.left_out) >= MOST_PERIODS:
        raise wire.malformed(f"{MOST_PERIODS} rows came, more may be missing", operation)
    return page


def _refuse_half(annual: int, quarterly: int, operation: str) -> None:
    """Refuse years of quarters without an annual row: the answer is incomplete.

    The reverse is normal: some foreign companies report once a year.
    """
    if not annual and quarterly >= TWO_YEARS:
        message = f"no annual rows beside {quarterly} quarters; ask for both again"
        raise errors.ProviderUnavailableError(message, provider=wire.PROVIDER, operation=operation)
