"""Splits and dividends as Arrow tables, and the rules that a row must keep.

Here: schemas, and rules about a single row. Not here: whether prices bear a split out
(split_checks.py), how actions adjust prices (price_factors.py), wire formats
(resources/providers), or SQL.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.rows import AMOUNT, Validated, validate

WIRE_SPLITS = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("ex_date", pa.date32(), nullable=False),
        pa.field("new_shares", AMOUNT),
        pa.field("old_shares", AMOUNT),
        pa.field("kind", pa.string()),
    ]
)
"""One row for each split: ``old_shares`` became ``new_shares`` before the session ``ex_date``, so
a 4-for-1 split is (4, 1). ``kind`` is the provider's word, such as ``stock-split``, or null."""

SPLIT_KEY = ("ex_date",)

WIRE_DIVIDENDS = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("ex_date", pa.date32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("amount", AMOUNT),
        pa.field("currency", pa.string()),
        pa.field("declaration_date", pa.date32()),
        pa.field("record_date", pa.date32()),
        pa.field("payment_date", pa.date32()),
        pa.field("frequency", pa.string()),
    ]
)
"""One row for each dividend: ``amount`` as paid on a share of that day, not adjusted for later
splits. ``kind`` is ``regular`` or ``special``; a date that the provider omits is null."""

NUMBERED_DIVIDENDS = WIRE_DIVIDENDS.append(pa.field("ordinal", pa.int32(), nullable=False))
"""``ordinal`` counts the dividends of one share, ex-date and kind from 1; providers have none."""

DIVIDEND_KEY = ("ex_date", "kind", "ordinal")

REGULAR, SPECIAL = "regular", "special"
_ZERO = pa.scalar(0, AMOUNT)
_CURRENCY = "^[A-Z]{3}$"
_SAME_DIVIDEND = ("currency", "record_date", "payment_date", "frequency")
"""Fields, beside ex-date and kind, in which a correction equals the dividend that it corrects."""
_FIELDS = ("amount", "declaration_date", *_SAME_DIVIDEND)


def validate_splits(wire_rows: pa.Table) -> Validated:
    """Split rows of WIRE_SPLITS into those to store and those to refuse.

    Rules: both numbers of shares are present, above zero and not equal. If an ex-date comes twice
    with equal values, one row is kept; with different values, none.
    """
    new, old = wire_rows["new_shares"], wire_rows["old_shares"]
    return validate(
        wire_rows,
        key=SPLIT_KEY,
        rules=[
            ("new_shares is missing or no number", pc.is_null(new)),
            ("old_shares is missing or no number", pc.is_null(old)),
            ("new_shares is not above zero", pc.less_equal(new, _ZERO)),
            ("old_shares is not above zero", pc.less_equal(old, _ZERO)),
            ("as many new shares as old ones are no split", pc.equal(new, old)),
        ],
        day=_ex_date,
    )


def validate_dividends(wire_rows: pa.Table) -> Validated:
    """Split rows of WIRE_DIVIDENDS into NUMBERED_DIVIDENDS and those to refuse.

    Rules: amount present and above zero; kind ``regular`` or ``special``; a currency, if present,
    has three capital letters. A share may pay several dividends of one kind on one day: they are
    numbered. Rows that do not contradict each other are one dividend; the fuller row is kept. Rows
    that differ only in amount and declaration date are one dividend too: the later declaration
    corrects the earlier. The order of the other dates is no rule: real answers have them late,
    early and missing, and none of them moves a price.
    """
    amount, kinds = wire_rows["amount"], pa.array([REGULAR, SPECIAL])
    return validate(
        wire_rows,
        key=DIVIDEND_KEY,
        rules=[
            ("amount is missing or no number", pc.is_null(amount)),
            ("amount is not above zero", pc.less_equal(amount, _ZERO)),
            ("kind is neither regular nor special", pc.invert(pc.is_in(wire_rows["kind"], kinds))),
            (
                "currency is no code of three capital letters",
                pc.invert(pc.match_substring_regex(wire_rows["currency"], _CURRENCY)),
            ),
        ],
        day=_ex_date,
        complete_key=numbered,
    )


def numbered(dividends: pa.Table) -> pa.Table:
    """Return the distinct rows of ``dividends`` (WIRE_DIVIDENDS) as NUMBERED_DIVIDENDS.

    The order of the rows of an answer does not matter.
    """
    names = ["symbol", "ex_date", "kind"]
    placed = dividends.select(names).append_column(
        "place", pa.array(range(dividends.num_rows), pa.int64())
    )
    groups = placed.group_by(names, use_threads=False).aggregate([("place", "list")])
    ordinals: dict[int, int] = {}
    for places in groups["place_list"].to_pylist():
        if len(places) == 1:
            ordinals[places[0]] = 1
            continue
        rows = dividends.take(pa.array(places, pa.int64())).to_pylist()
        distinct = _declared_last(_fullest(list(zip(places, rows, strict=True))))
        for ordinal, (place, _) in enumerate(sorted(distinct, key=_order), start=1):
            ordinals[place] = ordinal
    kept_places = sorted(ordinals)
    column = pa.array([ordinals[place] for place in kept_places], pa.int32())
    rows_kept = dividends.take(pa.array(kept_places, pa.int64()))
    return rows_kept.append_column("ordinal", column).cast(NUMBERED_DIVIDENDS)


_Placed = tuple[int, Mapping[str, object]]
"""A row, and its place in the answer."""


def _fullest(rows: Sequence[_Placed]) -> list[_Placed]:
    """Of rows that do not contradict each other, return only the one with the most values."""
    fullest: list[_Placed] = []
    for placed in sorted(rows, key=lambda row: (-_filled_fields(row[1]), _order(row))):
        if not any(_agree(placed[1], other, _FIELDS) for _, other in fullest):
            fullest.append(placed)
    return fullest


def _declared_last(rows: Sequence[_Placed]) -> list[_Placed]:
    """Return the rows without a correction, which is declared on a later day."""
    return [
        (place, row)
        for place, row in rows
        if not any(
            _agree(row, other, _SAME_DIVIDEND)
            and _day_of(row, "declaration_date") < _day_of(other, "declaration_date")
            for _, other in rows
            if row["declaration_date"] is not None and other["declaration_date"] is not None
        )
    ]


def _agree(row: Mapping[str, object], other: Mapping[str, object], names: Sequence[str]) -> bool:
    """Return whether two rows agree in all of the fields; a missing value agrees with any."""
    return all(row[name] == other[name] or None in (row[name], other[name]) for name in names)


def _filled_fields(row: Mapping[str, object]) -> int:
    return sum(value is not None for value in row.values())


def _order(placed: _Placed) -> tuple[object, ...]:
    """Return a sort key whose last parts are those that get corrected: numbers stay the same."""
    _, row = placed
    dates = (_day_of(row, name) for name in ("payment_date", "record_date", "declaration_date"))
    texts = (str(row[name] or "") for name in ("frequency", "currency"))
    return (*dates, *texts, row["amount"])


def _day_of(row: Mapping[str, object], name: str) -> date:
    day = row[name]
    return day if isinstance(day, date) else date.min


def _ex_date(row: Mapping[str, object]) -> date:
    return cast("date", row["ex_date"])
