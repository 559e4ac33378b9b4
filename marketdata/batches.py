"""From a provider's answer to the batch that one transaction stores.

Here: instrument ids in the place of symbols, coverage marks, dead letters for refused bars, and
the batch's origin. Not here: fetching (ingest.py, market_days.py), or storing (resources/storage).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from marketdata import bars, coverage
from marketdata.calendars import SessionCalendar
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, Asked, Batch
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter, Work

DAILY_BARS_DATASET = "daily_bars"

States = Mapping[CoverageState, Sequence[date]]
"""Sessions by what an answer says of them (coverage.assess)."""


def batch_of(
    answer: Answer,
    validated: bars.ValidatedBars,
    states: Mapping[int, States],
    *,
    calendar: SessionCalendar,
    listed: Sequence[ListedInstrument],
    asked: Asked,
    provider: str,
    adjustment: bars.Adjustment,
    run_id: str,
) -> Batch:
    """Put together what one transaction stores of ``answer``.

    Args:
        answer: For the batch's origin; its bars are taken from ``validated``.
        validated: The answer's bars, every symbol one of ``listed``.
        states: What the answer says of each instrument's sessions, by instrument id.
        calendar: The exchange's sessions.
        listed: The instruments that were asked for.
        asked: What was asked for.
        provider: Short name of the provider.
        adjustment: What the provider's prices are adjusted for.
        run_id: The run that asked.
    """
    return Batch(
        dataset=DAILY_BARS_DATASET,
        provider=provider,
        adjustment=adjustment,
        request=answer.request,
        content_sha256=answer.content_sha256,
        fetched_at=answer.fetched_at,
        run_id=run_id,
        raw_answers=answer.raw_answers,
        asked=asked,
        bars=_identified(validated.accepted, {one.symbol: one.instrument_id for one in listed}),
        rejected=tuple(_letters_of_bars(answer, validated, listed, asked, provider, run_id)),
        coverage=marks_of(calendar, states),
    )


def _letters_of_bars(
    answer: Answer,
    validated: bars.ValidatedBars,
    listed: Sequence[ListedInstrument],
    asked: Asked,
    provider: str,
    run_id: str,
) -> Iterator[DeadLetter]:
    """Keep each refused bar with its reason: it is mended by a person or by a later answer."""
    by_symbol = {one.symbol: one for one in listed}
    for bar in validated.rejected:
        instrument = by_symbol[bar.symbol]
        yield _letter_of_row(
            answer,
            instrument,
            what=str(bar.session_date),
            span=(bar.session_date, bar.session_date),
            reason=bar.reason,
            received=[dict(row) for row in bar.received],
            origin=(provider, run_id),
        )
    for row in answer.left_out:
        yield _letter_of_row(
            answer,
            listed[0],
            what=f"row {hashlib.sha256(row.encode()).hexdigest()[:8]}",
            span=(asked.start, asked.end),
            reason="the row has no readable date",
            received=[row],
            origin=(provider, run_id),
        )


def _letter_of_row(
    answer: Answer,
    instrument: ListedInstrument,
    *,
    what: str,
    span: tuple[date, date],
    reason: str,
    received: list[object],
    origin: tuple[str, str],
) -> DeadLetter:
    provider, run_id = origin
    return DeadLetter(
        dataset=DAILY_BARS_DATASET,
        provider=provider,
        work=Work.RECORD,
        subject=f"{instrument.ticker} {what}",
        instrument_id=instrument.instrument_id,
        error_class=errors.RecordRejectedError.__name__,
        message=f"{instrument.ticker} {what}: {reason}",
        request=answer.request,
        run_id=run_id,
        raw_answers=answer.raw_answers,
        details={
            "start": span[0].isoformat(),
            "end": span[1].isoformat(),
            "received": received,
        },
        seen_at=answer.fetched_at,
        parked=True,
    )


def _identified(quoted: pa.Table, instrument_ids: Mapping[str, int]) -> pa.Table:
    """Replace symbols by instrument ids and sort: QUOTED_BARS becomes DAILY_BARS."""
    symbols = pa.array(list(instrument_ids), pa.string())
    ids = pa.array(list(instrument_ids.values()), pa.int64())
    column = pc.take(ids, pc.index_in(quoted["symbol"], value_set=symbols))
    table = quoted.drop_columns(["symbol"]).add_column(0, "instrument_id", column)
    order = [("instrument_id", "ascending"), ("session_date", "ascending")]
    return table.sort_by(order).cast(bars.DAILY_BARS)


def sessions_of(quoted: pa.Table) -> set[date]:
    """Return the sessions that ``quoted`` (QUOTED_BARS) holds bars of."""
    return set(quoted["session_date"].to_pylist())


def marks_of(calendar: SessionCalendar, states: Mapping[int, States]) -> tuple[CoverageMark, ...]:
    """Turn sessions by state into the ledger's instructions."""
    return tuple(
        CoverageMark(
            instrument_id=identifier, state=state, spans=coverage.spans_of(calendar, sessions)
        )
        for identifier, by_state in states.items()
        for state, sessions in by_state.items()
        if sessions
    )
