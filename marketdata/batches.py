"""From a provider's answer to the batch that one transaction stores.

Here: instrument ids in the place of symbols, coverage marks, dead letters for refused bars, and
the batch's origin. Not here: fetching (ingest.py, market_days.py), or storing (resources/storage).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from marketdata import bars, coverage
from marketdata.calendars import SessionCalendar
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, Asked, Batch
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter, Work, asked_details
from marketdata.rows import RejectedRow

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
        rows=identified(validated.accepted, listed, ["session_date"]).cast(bars.DAILY_BARS),
        rejected=tuple(
            letters_of_rows(
                answer,
                _rejected_rows(validated),
                listed,
                asked,
                (DAILY_BARS_DATASET, provider),
                run_id,
            )
        ),
        coverage=marks_of(calendar, states),
    )


def _rejected_rows(validated: bars.ValidatedBars) -> list[RejectedRow]:
    return [
        RejectedRow(
            symbol=bar.symbol,
            what=str(bar.session_date),
            day=bar.session_date,
            reason=bar.reason,
            received=bar.received,
        )
        for bar in validated.rejected
    ]


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
    """Yield a letter for each refused row: it is mended by a person or by a later answer.

    Args:
        answer: Whose rows.
        rejected: Rows that broke a rule; rows without a readable date are in the answer.
        listed: The instruments that were asked for.
        asked: What was asked for.
        source: Dataset and provider.
        run_id: The run that asked.
        by_day: A later answer for the row's day may mend it; otherwise only one for all that was
            asked for.
    """
    by_symbol = {one.symbol: one for one in listed}
    symbol = None if asked.whole_sessions else listed[0].symbol
    details = asked_details(symbol, asked.start, asked.end, asked.carried)
    for row in rejected:
        yield _letter_of_row(
            answer,
            by_symbol[row.symbol],
            what=row.what,
            span=(row.day, row.day) if by_day else (asked.start, asked.end),
            reason=row.reason,
            received=[dict(one) for one in row.received],
            asked=details,
            origin=(*source, run_id),
        )
    for text in answer.left_out:
        # Of a whole market's rows those of strangers are nobody's loss.
        ours = [one for one in listed if not asked.whole_sessions or _is_of(text, one)]
        if ours:
            yield _letter_of_row(
                answer,
                ours[0],
                what=f"row {hashlib.sha256(text.encode()).hexdigest()[:8]}",
                span=(asked.start, asked.end),
                reason="the row cannot be placed",
                received=[text],
                asked=details,
                origin=(*source, run_id),
            )


def _is_of(text: str, instrument: ListedInstrument) -> bool:
    """Tell whether a row as text holds a symbol of ``instrument`` as a value of its own."""
    symbols = {instrument.symbol, *(span.symbol for span in instrument.carried)}
    return any(f"'{symbol}'" in text or f'"{symbol}"' in text for symbol in symbols)


def _letter_of_row(
    answer: Answer,
    instrument: ListedInstrument,
    *,
    what: str,
    span: tuple[date, date],
    reason: str,
    received: list[object],
    asked: Mapping[str, object],
    origin: tuple[str, str, str],
) -> DeadLetter:
    dataset, provider, run_id = origin
    subject = f"{instrument.ticker} {what}".rstrip()
    return DeadLetter(
        dataset=dataset,
        provider=provider,
        work=Work.RECORD,
        subject=subject,
        instrument_id=instrument.instrument_id,
        error_class=errors.RecordRejectedError.__name__,
        message=f"{subject}: {reason}",
        request=answer.request,
        run_id=run_id,
        raw_answers=answer.raw_answers,
        details={
            "start": span[0].isoformat(),
            "end": span[1].isoformat(),
            "asked": dict(asked),
            "received": received,
        },
        seen_at=answer.fetched_at,
        parked=True,
    )


def identified(
    quoted: pa.Table, listed: Sequence[ListedInstrument], key: Sequence[str]
) -> pa.Table:
    """Put ``instrument_id`` in the place of ``symbol``, and sort by it and ``key``."""
    symbols = pa.array([one.symbol for one in listed], pa.string())
    ids = pa.array([one.instrument_id for one in listed], pa.int64())
    column = pc.take(ids, pc.index_in(quoted["symbol"], value_set=symbols))
    table = quoted.drop_columns(["symbol"]).add_column(0, "instrument_id", column)
    return table.sort_by([(name, "ascending") for name in ("instrument_id", *key)])


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
