"""Polygon's bars: days of one symbol, days of the whole market and minutes, into Arrow tables.

Here: which cells and rows can be read, and which day or minute a row is of. One bad cell becomes
null and is left to validation; a row that cannot be placed is left out and reported. Not here:
envelopes (wire.py), or which requests make one answer (client.py).

Wire facts: ``t`` is in milliseconds since the epoch, UTC. For one symbol it is the first moment
of the bar, that of a day being midnight in New York (04:00 or 05:00 UTC); for the whole market
it is the END of the session. ``v`` and ``n`` may come with an exponent, ``vw`` and ``n`` may be
absent. Minutes and days without a trade are absent.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import WIRE_BARS
from marketdata.calendars import NEW_YORK_ZONE
from marketdata.minute_bars import WIRE_MINUTE_BARS
from marketdata.rows import RejectedRow, unread
from resources.providers.answer_json import number_of
from resources.providers.answer_text import shortened
from resources.providers.polygon.wire import malformed
from resources.telemetry import logs

_LOG = logs.logger("providers")
_LETTERS = ("o", "h", "l", "c", "v")
"""Fields, in the order of the schemas' columns."""
_LATEST_MS = 4_102_444_800_000
"""The year 2100: a later time is in another unit."""

_MOST_TRADES = 2**53
_USUAL = frozenset({int, float, type(None)})

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a page.

    Attributes:
        table: In the wire schema.
        left_out: Rows that cannot be placed.
        notes: See Answer.
    """

    table: pa.Table
    left_out: tuple[RejectedRow, ...] = ()
    notes: tuple[str, ...] = ()


def day_bars(rows: Sequence[Row], symbol: str, *, operation: str) -> Rows:
    """Read the days of ``symbol`` into WIRE_BARS.

    A row whose ``t`` is not midnight in New York cannot be placed.

    Raises:
        MalformedPayloadError: No row can be placed, or none of several rows has a number
            in some field.
    """
    sessions = [_session(row.get("t")) for row in rows]
    _refuse_unplaced(rows, sessions, operation)
    placed = [row for row, session in zip(rows, sessions, strict=True) if session is not None]
    table = pa.table(
        [
            pa.array([symbol] * len(placed), pa.string()),
            pa.array([session for session in sessions if session is not None], pa.date32()),
            *_numbers(placed, operation),
        ],
        schema=WIRE_BARS,
    )
    return Rows(table=table, left_out=_unplaced(rows, sessions, symbol))


def market_bars(rows: Sequence[Row], session: date, *, operation: str) -> Rows:
    """Read the whole market's bars of ``session`` into WIRE_BARS.

    Left out are rows without a readable symbol and those of another day; the log says how many.

    Raises:
        MalformedPayloadError: Rows came, but none of ``session``; none of several rows has
            a number in some field.
    """
    symbols = [_symbol(row.get("T")) for row in rows]
    places = [
        place
        for place, row in enumerate(rows)
        if symbols[place] is not None and _day(row.get("t")) == session
    ]
    if rows and not places:
        first = shortened(repr({name: rows[0].get(name) for name in ("T", "t")}))
        raise malformed(f"no readable row of {session} came, the first is {first}", operation)
    if len(places) < len(rows):
        _LOG.warning(
            "polygon %s: %d of %d rows left out, without a readable symbol or of another day",
            operation,
            len(rows) - len(places),
            len(rows),
        )
    table = pa.table(
        [
            pa.array([symbols[place] for place in places], pa.string()),
            pa.array([session] * len(places), pa.date32()),
            *_numbers([rows[place] for place in places], operation),
        ],
        schema=WIRE_BARS,
    )
    unplaced = sorted(set(range(len(rows))) - set(places))
    return Rows(
        table=table,
        left_out=tuple(
            unread(
                json.dumps(rows[place]),
                reason="the row is of another day, or of none",
                symbol=symbols[place] or "",
                day=session,
            )
            for place in unplaced
        ),
    )


def minute_bars(rows: Sequence[Row], symbol: str, *, operation: str) -> Rows:
    """Read the minutes of ``symbol`` into WIRE_MINUTE_BARS.

    An unreadable ``vw`` becomes NaN, which validation refuses. A row with an unreadable ``n`` is
    left out, since null would mean that it was not sent.

    Raises:
        MalformedPayloadError: No row can be placed, or none of several rows has a number
            in some field.
    """
    counts = [_count(row.get("n")) for row in rows]
    times = [
        None if count is None and row.get("n") is not None else _milliseconds(row.get("t"))
        for row, count in zip(rows, counts, strict=True)
    ]
    _refuse_unplaced(rows, times, operation)
    placed = [row for row, at in zip(rows, times, strict=True) if at is not None]
    opened_at = pa.array([at for at in times if at is not None], pa.timestamp("ms", tz="UTC"))
    table = pa.table(
        [
            pa.array([symbol] * len(placed), pa.string()),
            opened_at.cast(WIRE_MINUTE_BARS.field("opened_at").type),
            *_numbers(placed, operation),
            pa.array([_weighted_price(row.get("vw")) for row in placed], pa.float64()),
            pa.array(
                [count for count, at in zip(counts, times, strict=True) if at is not None],
                pa.int64(),
            ),
        ],
        schema=WIRE_MINUTE_BARS,
    )
    return Rows(table=table, left_out=_unplaced(rows, times, symbol))


def _numbers(rows: Sequence[Row], operation: str) -> list[pa.Array]:
    columns = [_floats([row.get(letter) for row in rows]) for letter in _LETTERS]
    # One row without a number is a gap; a field without any number is another wire format.
    for letter, column in zip(_LETTERS, columns, strict=True):
        if len(rows) > 1 and column.null_count == len(rows):
            raise malformed(f"no row has a usable number in field {letter}", operation)
    return columns


def _floats(values: Sequence[object]) -> pa.Array:
    """Read numbers as ``number_of`` does, a whole column at once if its types allow that."""
    # Arrow silently reads a bool as 1.0, and refuses integers that a double cannot hold.
    if set(map(type, values)) <= _USUAL:
        try:
            column = pa.array(values, pa.float64())
        except (pa.ArrowInvalid, OverflowError):
            pass
        else:
            return pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64()))
    return pa.array([number_of(value) for value in values], pa.float64())


def _refuse_unplaced(rows: Sequence[Row], keys: Sequence[object], operation: str) -> None:
    if rows and all(key is None for key in keys):
        first = shortened(json.dumps(rows[0]))
        raise malformed(f"no row can be placed, the first is {first}", operation)


def _unplaced(rows: Sequence[Row], keys: Sequence[object], symbol: str) -> tuple[RejectedRow, ...]:
    return tuple(
        unread(json.dumps(row), symbol=symbol)
        for row, key in zip(rows, keys, strict=True)
        if key is None
    )


def _milliseconds(value: object) -> int | None:
    number = number_of(value)
    if number is None or not number.is_integer() or not 0 <= number < _LATEST_MS:
        return None
    return int(number)


def _in_new_york(value: object) -> datetime | None:
    at = _milliseconds(value)
    return None if at is None else datetime.fromtimestamp(at / 1000, NEW_YORK_ZONE)


def _day(value: object) -> date | None:
    at = _in_new_york(value)
    return None if at is None else at.date()


def _session(value: object) -> date | None:
    # Any other time of day means that the unit or meaning has changed, so the day is unknown.
    at = _in_new_york(value)
    return at.date() if at is not None and at.time() == time() else None


def _symbol(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() and value.strip() else None


def _weighted_price(value: object) -> float | None:
    number = number_of(value)
    return math.nan if number is None and value is not None else number


def _count(value: object) -> int | None:
    number = number_of(value)
    if number is None or not number.is_integer() or abs(number) > _MOST_TRADES:
        return None
    return int(number)
