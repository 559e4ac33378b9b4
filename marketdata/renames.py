"""Answers about a renamed instrument: asked for under each ticker, and joined.

Here: from one request to an answer for each symbol and to the joined one, and the instruments of a
market's rows. Not here: which tickers an instrument carried (instruments.py), or how a provider
keeps past days (datasets.py, ``past_symbols``).

The joined answer is one answer: ledger, letters and withdrawn rows see no parts.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, FetchRequest
from marketdata.recovery import errors


async def ask_by_symbol(
    request: FetchRequest,
    ask: Callable[[FetchRequest], Awaitable[Answer]],
    *,
    provider: str,
    day: str | None = None,
) -> Answer:
    """Ask for each symbol's days in turn, and return one answer under the present symbol.

    Args:
        request: The request.
        ask: Asks for the days of a request under its instrument's one symbol.
        provider: Short name of the provider.
        day: The column with a row's day, if ``ask`` returns all days regardless of the request:
            days on which another instrument carried the symbol are left out.

    Raises:
        UnknownSymbolError: The instrument carried no ticker on any of the days.
        ProviderError: One of the requests failed; the error points to all pages so far.
    """
    answers: list[Answer] = []
    spans = request.symbols
    if day is not None:
        spans = tuple({span.symbol: span for span in spans}.values())
    for span in spans:
        instrument = replace(request.instrument, symbol=span.symbol, carried=())
        part = replace(request, instrument=instrument)
        if day is None:
            part = replace(part, start=span.start, end=span.end)
        try:
            answer = await ask(part)
        except errors.ProviderError as error:
            if error.raw_answers:
                earlier_pointers = [pointer for answer in answers for pointer in answer.raw_answers]
                error.raw_answers = (*earlier_pointers, *error.raw_answers)
            raise
        if day is not None:
            answer = replace(answer, rows=rows_of(answer.rows, [request.instrument], day))
        answers.append(answer)
    if not answers:
        raise errors.UnknownSymbolError(
            f"{request.instrument.ticker} carried no ticker from {request.start} to {request.end}",
            provider=provider,
            operation=f"{request.subject} from {request.start} to {request.end}",
        )
    return _joined(answers, request.instrument.symbol)


def rows_of(rows: pa.Table, listed: Sequence[ListedInstrument], day: str) -> pa.Table:
    """Return the rows of ``listed`` instruments, each under its instrument's present symbol.

    Args:
        rows: With a column ``symbol``, in the spelling of each row's day.
        listed: The instruments.
        day: The column (date) with a row's day.
    """
    always = pa.array(
        [instrument.symbol for instrument in listed if not instrument.carried], pa.string()
    )
    tables = [rows.filter(pc.is_in(rows["symbol"], value_set=always))]
    for instrument in listed:
        for span in instrument.carried:
            named = rows.filter(pc.equal(rows["symbol"], span.symbol))
            days = named[day]
            within = pc.and_(
                pc.greater_equal(days, pa.scalar(span.start)),
                pc.less_equal(days, pa.scalar(span.end)),
            )
            tables.append(_under(named.filter(within), instrument.symbol))
    return pa.concat_tables(tables)


def listed_on(listed: Sequence[ListedInstrument], day: date) -> list[ListedInstrument]:
    """Return the instruments under their symbols of one day, without those that have none."""
    return [
        on_day for on_day in (instrument.on(day) for instrument in listed) if on_day is not None
    ]


def _joined(answers: Sequence[Answer], symbol: str) -> Answer:
    if len(answers) == 1:
        return replace(answers[0], rows=_under(answers[0].rows, symbol))
    digests = "".join(answer.content_sha256 for answer in answers)
    return Answer(
        rows=pa.concat_tables([_under(answer.rows, symbol) for answer in answers]),
        request="; ".join(answer.request for answer in answers),
        content_sha256=hashlib.sha256(digests.encode()).hexdigest(),
        fetched_at=min(answer.fetched_at for answer in answers),
        requests=sum(answer.requests for answer in answers),
        raw_answers=tuple(pointer for answer in answers for pointer in answer.raw_answers),
        left_out=tuple(row for answer in answers for row in answer.left_out),
        notes=tuple(note for answer in answers for note in answer.notes),
        untold=frozenset(day for answer in answers for day in answer.untold),
    )


def _under(rows: pa.Table, symbol: str) -> pa.Table:
    place = rows.schema.get_field_index("symbol")
    column = pa.array([symbol] * rows.num_rows, pa.string())
    return rows.set_column(place, rows.schema.field(place), column)
