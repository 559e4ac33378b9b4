"""Batches made by hand for the storage tests."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

import pyarrow as pa

from marketdata.bars import DAILY_BARS, Adjustment
from marketdata.coverage import CoverageMark
from marketdata.ports import Asked, Batch
from marketdata.recovery.dead_letters import DeadLetter

DATASET = "daily_bars"
PROVIDER = "fmp"
FETCHED_AT = datetime(2024, 6, 3, 21, 30, tzinfo=UTC)

NOTHING_ASKED = Asked(
    instrument_ids=(), start=date(2024, 6, 3), end=date(2024, 6, 3), whole_sessions=False
)

Row = tuple[int, date, float]
"""Instrument, session, close; the other prices follow from the close."""


def bars(rows: Iterable[Row]) -> pa.Table:
    """Return DAILY_BARS of rows, sorted; open = close - 1, low = close - 2, high = close + 1."""
    ordered = sorted(rows)
    closes = [close for _, _, close in ordered]
    columns = [
        [instrument_id for instrument_id, _, _ in ordered],
        [session for _, session, _ in ordered],
        [close - 1 for close in closes],
        [close + 1 for close in closes],
        [close - 2 for close in closes],
        closes,
        [close * 1000 for close in closes],
    ]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, DAILY_BARS, strict=True)],
        schema=DAILY_BARS,
    )


def batch(
    rows: Iterable[Row],
    *,
    coverage: Sequence[CoverageMark] = (),
    adjustment: Adjustment | None = Adjustment.SPLITS,
    fetched_at: datetime = FETCHED_AT,
    provider: str = PROVIDER,
    asked: Asked = NOTHING_ASKED,
    letters: Sequence[DeadLetter] = (),
) -> Batch:
    """Return a batch around ``bars(rows)``."""
    return Batch(
        dataset=DATASET,
        provider=provider,
        adjustment=adjustment,
        request="historical-price-eod/full AAA",
        content_sha256="0" * 64,
        fetched_at=fetched_at,
        run_id="run-1",
        raw_answers=(),
        asked=asked,
        rows=bars(rows),
        letters=tuple(letters),
        coverage=tuple(coverage),
    )
