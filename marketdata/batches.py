"""Parts of the batch that one transaction stores.

Here: replacing symbols by instrument ids, coverage marks, and dead letters for refused rows.
Not here: what an answer means (dataset_ingest.py), or storing it (resources/storage).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from marketdata import coverage
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.day_calendars import DayCalendar
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, Asked
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter, Work, asked_details
from marketdata.rows import Received, RejectedRow

DAILY_BARS_DATASET = "daily_bars"

SAMPLES = 5
"""Most refused rows that a letter shows; all of them are in the answer that it points to."""

States = Mapping[CoverageState, Sequence[date]]
"""Days by the state that an answer puts them in (coverage.assess)."""


def letters_of_rows(
    answer: Answer,
    rejected: Iterable[RejectedRow],
    listed: Sequence[ListedInstrument],
    asked: Asked,
    source: tuple[str, str],
    run_id: str,
    *,
    by_day: bool = True,
) -> Iterator[DeadLetter]:
    """Yield one letter for all rows of an instrument that were refused for one reason.

    A person resolves it, or a later answer does.

    Args:
        answer: Holds the rows; rows that it left out are refused as well.
        rejected: Rows that broke a rule.
        listed: The instruments that were asked for.
        asked: What was asked for.
        source: Dataset and provider.
        run_id: The run that asked.
        by_day: A later answer for the rows' days resolves the letter; otherwise only an answer for
            all that was asked for does.
    """
    # An instrument's present symbol goes before another's past use of it.
    carried = {span.symbol: instrument for instrument in listed for span in instrument.carried}
    by_symbol = carried | {instrument.symbol: instrument for instrument in listed}
    symbol = None if asked.whole_sessions else listed[0].symbol
    refused: dict[tuple[int, str], list[RejectedRow]] = {}
    for row in (*rejected, *answer.left_out):
        # Rows of instruments that are not listed are skipped.
        instrument = by_symbol.get(row.symbol) if asked.whole_sessions else listed[0]
        if instrument is not None:
            refused.setdefault((instrument.instrument_id, row.reason), []).append(row)
    by_id = {instrument.instrument_id: instrument for instrument in listed}
    for (identifier, _), rows in refused.items():
        days = [row.day for row in rows if row.day is not None]
        is_placed = by_day and len(days) == len(rows)
        yield _letter_of_rows(
            answer,
            by_id[identifier],
            rows,
            span=(min(days), max(days)) if is_placed else (asked.start, asked.end),
            asked=asked_details(symbol, asked.start, asked.end, asked.carried),
            origin=(*source, run_id),
        )


def _letter_of_rows(
    answer: Answer,
    instrument: ListedInstrument,
    rows: Sequence[RejectedRow],
    *,
    span: tuple[date, date],
    asked: Mapping[str, object],
    origin: tuple[str, str, str],
) -> DeadLetter:
    dataset, provider, run_id = origin
    first, reason = rows[0], rows[0].reason
    if len(rows) == 1:
        # The subject names the row, not the reason: the work is the same for any reason.
        subject = f"{instrument.ticker} {first.what}".rstrip()
        message = f"{subject}: {reason}"
    else:
        days = sorted({row.day for row in rows if row.day is not None})
        named = " to ".join(day.isoformat() for day in (days[0], days[-1])) if days else "rows"
        subject = f"{instrument.ticker} {named}: {reason}"
        message = f"{instrument.ticker}: {len(rows)} rows, the first {first.what}: {reason}"
    samples = [_storable(row) for rejected in rows[:SAMPLES] for row in rejected.received]
    return DeadLetter(
        dataset=dataset,
        provider=provider,
        work=Work.RECORD,
        subject=subject,
        instrument_id=instrument.instrument_id,
        error_class=errors.RecordRejectedError.__name__,
        message=message,
        request=answer.request,
        run_id=run_id,
        raw_answers=answer.raw_answers,
        details={
            "start": span[0].isoformat(),
            "end": span[1].isoformat(),
            "asked": dict(asked),
            "rows": len(rows),
            "received": samples,
        },
        seen_at=answer.fetched_at,
        parked=True,
    )


def _storable(row: Received | str) -> object:
    """Return a row in a form that the database accepts: it refuses some texts of JSON."""
    if not isinstance(row, str):
        return {
            name: _storable(cell) if isinstance(cell, str) else cell for name, cell in row.items()
        }
    return row.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")


def identified(
    wire_rows: pa.Table, listed: Sequence[ListedInstrument], key: Sequence[str]
) -> pa.Table:
    """Replace ``symbol`` by ``instrument_id``, and sort by it and ``key``."""
    symbols = pa.array([instrument.symbol for instrument in listed], pa.string())
    ids = pa.array([instrument.instrument_id for instrument in listed], pa.int64())
    column = pc.take(ids, pc.index_in(wire_rows["symbol"], value_set=symbols))
    table = wire_rows.drop_columns(["symbol"]).add_column(0, "instrument_id", column)
    return table.sort_by([(name, "ascending") for name in ("instrument_id", *key)])


def marks_of(days: DayCalendar, states: Mapping[int, States]) -> tuple[CoverageMark, ...]:
    """Return the coverage marks of days by instrument id and state."""
    return tuple(
        CoverageMark(
            instrument_id=instrument_id, state=state, spans=coverage.spans_of(days, chosen)
        )
        for instrument_id, by_state in states.items()
        for state, chosen in by_state.items()
        if chosen
    )
