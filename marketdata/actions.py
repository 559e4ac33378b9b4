"""Splits and dividends as Arrow tables, and what makes one acceptable.

Here: schemas, and rules that a row alone can break. Not here: whether prices bear a split out
(split_checks.py), what actions do to prices (price_factors.py), wire formats
(resources/providers), or SQL.
"""

from collections.abc import Mapping
from datetime import date
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.rows import AMOUNT, Validated, validate

QUOTED_SPLITS = pa.schema(
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

QUOTED_DIVIDENDS = pa.schema(
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

DIVIDEND_KEY = ("ex_date", "kind")

REGULAR, SPECIAL = "regular", "special"
_ZERO = pa.scalar(0, AMOUNT)
_CURRENCY = "^[A-Z]{3}$"


def validate_splits(quoted: pa.Table) -> Validated:
    """Split ``quoted`` (QUOTED_SPLITS) into rows that may be stored and rows that may not.

    Rules: both numbers of shares present and above zero, and not equal; of an ex-date that comes
    twice with equal values one row is kept, with different values none.
    """
    new, old = quoted["new_shares"], quoted["old_shares"]
    return validate(
        quoted,
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


def validate_dividends(quoted: pa.Table) -> Validated:
    """Split ``quoted`` (QUOTED_DIVIDENDS) into rows that may be stored and rows that may not.

    Rules: amount present and above zero; kind ``regular`` or ``special``; a currency, where it is
    told, has three capital letters; of an ex-date and kind that come twice with equal values one
    row is kept, with different values none. How the other dates lie to each other is no rule:
    they are late, early and missing in real answers, and none of them moves a price.
    """
    amount, kinds = quoted["amount"], pa.array([REGULAR, SPECIAL])
    return validate(
        quoted,
        key=DIVIDEND_KEY,
        rules=[
            ("amount is missing or no number", pc.is_null(amount)),
            ("amount is not above zero", pc.less_equal(amount, _ZERO)),
            ("kind is neither regular nor special", pc.invert(pc.is_in(quoted["kind"], kinds))),
            (
                "currency is no code of three capital letters",
                pc.invert(pc.match_substring_regex(quoted["currency"], _CURRENCY)),
            ),
        ],
        day=_ex_date,
    )


def _ex_date(row: Mapping[str, object]) -> date:
    return cast("date", row["ex_date"])
