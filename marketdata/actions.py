"""Splits and dividends as Arrow tables, and what makes one acceptable.

Here: schemas, and rules that a row alone can break. Not here: whether prices bear a split out
(split_checks.py), what actions do to prices (price_factors.py), wire formats
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
"""One row a split: ``old_shares`` became ``new_shares`` before the session ``ex_date``, so a
4-for-1 split is (4, 1). ``kind`` is the provider's word, such as ``stock-split``, or null."""

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
"""One row a dividend: ``amount`` as paid on a share of that day, not adjusted for later splits.
``kind`` is ``regular`` or ``special``; a date that the provider does not tell is null."""

NUMBERED_DIVIDENDS = WIRE_DIVIDENDS.append(pa.field("ordinal", pa.int32(), nullable=False))
"""``ordinal`` counts the dividends of one share, ex-date and kind from 1; no provider tells it."""

DIVIDEND_KEY = ("ex_date", "kind", "ordinal")

REGULAR, SPECIAL = "regular", "special"
_ZERO = pa.scalar(0, AMOUNT)
_CURRENCY = "^[A-Z]{3}$"
_SAME_DIVIDEND = ("currency", "record_date", "payment_date", "frequency")
"""Fields in which a correction agrees with what it corrects, beside ex-date and kind."""
_FIELDS = ("amount", "declaration_date", *_SAME_DIVIDEND)


def validate_splits(wire_rows: pa.Table) -> Validated:
    """Split rows of WIRE_SPLITS into those to store and those to refuse.

    Rules: both numbers of shares present and above zero, and not equal; of an ex-date that comes
    twice with equal values one row is kept, with different values none.
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

    Rules: amount present and above zero; kind ``regular`` or ``special``; a currency, where it is
    told, has three capital letters. A share may pay several dividends of one kind on one day: they
    are numbered. Rows that do not contradict each other are one dividend, of which the fuller row
    is kept, and so are rows that differ in nothing but amount and declaration date: what was
    declared later corrects the earlier. How the other dates lie to each other is no rule: they are
    late, early and missing in real answers, and none of them moves a price.
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
        told_apart=numbered,
    )


def numbered(dividends: pa.Table) -> pa.Table:
    """Return the distinct ones of ``dividends`` (WIRE_DIVIDENDS) as NUMBERED_DIVIDENDS.

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
    kept = sorted(ordinals)
    column = pa.array([ordinals[place] for place in kept], pa.int32())
    taken = dividends.take(pa.array(kept, pa.int64()))
    return taken.append_column("ordinal", column).cast(NUMBERED_DIVIDENDS)


_Placed = tuple[int, Mapping[str, object]]
"""A row, and its place in the answer."""


def _fullest(rows: Sequence[_Placed]) -> list[_Placed]:
    """Return one of those rows that contradict each other in nothing: the one that tells most."""
    kept: list[_Placed] = []
    for placed in sorted(rows, key=lambda one: (-_told(one[1]), _order(one))):
        if not any(_agree(placed[1], other, _FIELDS) for _, other in kept):
            kept.append(placed)
    return kept


def _declared_last(rows: Sequence[_Placed]) -> list[_Placed]:
    """Return the rows that no other one corrects, by a later day of declaration."""
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
    """Tell whether two rows contradict each other in none of the fields."""
    return all(row[name] == other[name] or None in (row[name], other[name]) for name in names)


def _told(row: Mapping[str, object]) -> int:
    return sum(value is not None for value in row.values())


def _order(placed: _Placed) -> tuple[object, ...]:
    """Sort by what is told first and corrected last, so that a correction keeps its number."""
    _, row = placed
    dates = (_day_of(row, name) for name in ("payment_date", "record_date", "declaration_date"))
    texts = (str(row[name] or "") for name in ("frequency", "currency"))
    return (*dates, *texts, row["amount"])


def _day_of(row: Mapping[str, object], name: str) -> date:
    day = row[name]
    return day if isinstance(day, date) else date.min


def _ex_date(row: Mapping[str, object]) -> date:
    return cast("date", row["ex_date"])
