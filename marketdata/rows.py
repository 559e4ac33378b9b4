"""Rows of any dataset: which of them are stored, and why others are refused.

Here: the accepted and refused rows of an answer, and how rules and repeated keys are applied. Not
here: parsing cells (resources/providers), the rules of a dataset (the module of its domain), or
the dead letters of refused rows (batches.py).
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

AMOUNT = pa.decimal128(38, 18)
"""Exact money, share counts and ratios: 20 digits before the point and 18 after it."""

INSTANT = pa.timestamp("us", tz="UTC")
"""A time in UTC."""

Received = Mapping[str, str | float | bool | None]
"""A row as it came, in a form that JSON can hold."""

Rule = tuple[str, pa.ChunkedArray | pa.Array]
"""What is wrong, in words, and for each row whether it is (null counts as no)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """One row that a client could not read, or that broke a rule.

    Attributes:
        symbol: The provider's spelling; empty where the row has none.
        what: The row's key within the symbol, in words, such as ``2026-06-27 Q3``.
        day: The row's day; None where it has none.
        reason: What is wrong, without values, so that it is equal for all rows of this kind.
        received: The row as it came; more than one if the answer contradicts itself.
    """

    symbol: str
    what: str
    day: date | None
    reason: str
    received: tuple[Received | str, ...]


UNPLACED = "the row cannot be placed"


def unread(
    text: str,
    *,
    reason: str = UNPLACED,
    symbol: str = "",
    day: date | None = None,
    what: str | None = None,
) -> RejectedRow:
    """Return the rejected row of an unreadable ``text``; without ``what`` a digest names it."""
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    return RejectedRow(
        symbol=symbol,
        what=f"row {digest[:8]}" if what is None else what,
        day=day,
        reason=reason,
        received=(text,),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """Accepted and rejected rows of an answer; ``accepted`` has columns that complete the key."""

    accepted: pa.Table
    rejected: tuple[RejectedRow, ...]


def validate(
    wire_rows: pa.Table,
    *,
    key: Sequence[str],
    rules: Sequence[Rule],
    day: Callable[[Mapping[str, object]], date],
    complete_key: Callable[[pa.Table], pa.Table] | None = None,
) -> Validated:
    """Split ``wire_rows`` into rows to store and rows to refuse.

    If a key comes twice with equal values, one row is kept; with different values, none, since
    neither is known to be right.

    Args:
        wire_rows: Rows with a column ``symbol`` and those of ``key``.
        key: Columns that name a row of a symbol.
        rules: The first rule that a row breaks is its reason.
        day: Returns the day of a row (values by column name).
        complete_key: Adds key columns that answers lack to rows that break no rule.
    """
    reasons = pa.nulls(wire_rows.num_rows, pa.string())
    for text, broken in reversed(rules):
        reasons = pc.if_else(pc.fill_null(broken, False), text, reasons)
    good = pc.is_null(reasons)
    bad = wire_rows.append_column("reason", reasons).filter(pc.invert(good))
    rejected = [
        _rejected([{name: row[name] for name in wire_rows.column_names}], key, day, row["reason"])
        for row in bad.to_pylist()
    ]
    whole = wire_rows.filter(good)
    accepted, contradictory = _without_repeats(complete_key(whole) if complete_key else whole, key)
    reason = "the answer holds this row more than once, with different values"
    rejected += [_rejected(rows, key, day, reason) for rows in contradictory]
    return Validated(accepted=accepted, rejected=tuple(rejected))


def _without_repeats(
    rows: pa.Table, key: Sequence[str]
) -> tuple[pa.Table, list[list[Mapping[str, object]]]]:
    """Return rows with distinct keys, and the differing rows of each repeated key."""
    names = ["symbol", *key]
    placed = rows.select(names).append_column("place", pa.array(range(rows.num_rows), pa.int64()))
    grouped = placed.group_by(names, use_threads=False).aggregate(
        [("place", "list"), ("place", "count")]
    )
    if grouped.num_rows == rows.num_rows:
        return rows, []
    # Only the few rows with repeated keys are compared one by one.
    repeated = grouped.filter(pc.greater(grouped["place_count"], 1))["place_list"].to_pylist()
    dropped: set[int] = set()
    differing: list[list[Mapping[str, object]]] = []
    for places in repeated:
        versions: list[Mapping[str, object]] = []
        for row in rows.take(pa.array(places, pa.int64())).to_pylist():
            if all(row != other for other in versions):
                versions.append(row)
        dropped.update(places if len(versions) > 1 else places[1:])
        if len(versions) > 1:
            differing.append(versions)
    kept = [place for place in range(rows.num_rows) if place not in dropped]
    return rows.take(pa.array(kept, pa.int64())), differing


def _rejected(
    rows: Sequence[Mapping[str, object]],
    key: Sequence[str],
    day: Callable[[Mapping[str, object]], date],
    reason: str,
) -> RejectedRow:
    first = rows[0]
    return RejectedRow(
        symbol=str(first["symbol"]),
        what=" ".join(str(first[name]) for name in key if name in first),
        day=day(first),
        reason=reason,
        received=tuple({name: _plain(value) for name, value in row.items()} for row in rows),
    )


def _plain(value: object) -> str | float | bool | None:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
