"""From a provider's answer to the batch that one transaction stores.

Here: instrument ids in the place of symbols, coverage marks, and the batch's origin. Not here:
fetching (ingest.py, market_days.py), or storing (resources/storage).
"""

from collections.abc import Mapping, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from marketdata import bars, coverage
from marketdata.calendars import SessionCalendar
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.ports import Answer, Batch

DAILY_BARS_DATASET = "daily_bars"

States = Mapping[CoverageState, Sequence[date]]
"""Sessions by what an answer says of them (coverage.assess)."""


def batch_of(
    answer: Answer,
    validated: bars.ValidatedBars,
    states: Mapping[int, States],
    *,
    calendar: SessionCalendar,
    instrument_ids: Mapping[str, int],
    provider: str,
    adjustment: bars.Adjustment,
    run_id: str,
) -> Batch:
    """Put together what one transaction stores of ``answer``.

    Args:
        answer: For the batch's origin; its bars are taken from ``validated``.
        validated: The answer's bars, every accepted symbol a key of ``instrument_ids``.
        states: What the answer says of each instrument's sessions, by instrument id.
        calendar: The exchange's sessions.
        instrument_ids: By the provider's symbol.
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
        bars=_identified(validated.accepted, instrument_ids),
        rejected=len(validated.rejected),
        coverage=marks_of(calendar, states),
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
