"""Companies and index changes as Arrow tables, and the rules that a row must keep.

Here: schemas and rules. Not here: wire formats (resources/providers), SQL, or the present
members of the universe (instruments.py).
"""

from collections.abc import Mapping
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from marketdata import rows
from marketdata.calendars import utc_now

WIRE_COMPANIES = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("cik", pa.string()),
        pa.field("isin", pa.string()),
        pa.field("cusip", pa.string()),
        pa.field("exchange", pa.string()),
        pa.field("currency", pa.string()),
        pa.field("sector", pa.string()),
        pa.field("industry", pa.string()),
        pa.field("country", pa.string()),
        pa.field("listed_on", pa.date32()),
        pa.field("employees", pa.int64()),
        pa.field("website", pa.string()),
        pa.field("description", pa.string()),
        pa.field("is_etf", pa.bool_()),
        pa.field("is_trading", pa.bool_()),
        pa.field("answer", pa.string(), nullable=False),
    ]
)
"""One row for each company; missing values are null. ``currency`` is that of the price, ``cik`` has
ten digits; ``answer`` is the provider's row as JSON, without the fields that change every day, so
that a weekly refresh does not restate every company."""

COMPANY_KEY: tuple[str, ...] = ()
"""The instrument alone names a row."""

WIRE_INDEX_CHANGES = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("effective_on", pa.date32(), nullable=False),
        pa.field("ticker", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("security", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("announced_on", pa.date32()),
    ]
)
"""One row for each company that joined or left the index ``symbol``. ``effective_on`` is the first
day of the index with (``added``) or without (``removed``) ``ticker``, which is in our spelling;
``security`` is the company's name."""

INDEX_CHANGE_KEY = ("effective_on", "ticker", "action")

ACTIONS = ("added", "removed")
_CIK = r"^[0-9]{10}$"


def validate_companies(wire_rows: pa.Table) -> rows.Validated:
    """Split rows of WIRE_COMPANIES into those to store and those to refuse.

    Rules: a name; a CIK, if there is one, of ten digits; no negative number of employees. Equal
    rows count once; of rows that differ none is kept.
    """
    today = utc_now().date()
    return rows.validate(
        wire_rows,
        key=COMPANY_KEY,
        rules=(
            ("name is missing", _blank(wire_rows["name"])),
            ("cik is not ten digits", pc.invert(pc.match_substring_regex(wire_rows["cik"], _CIK))),
            ("employees is negative", pc.less(wire_rows["employees"], 0)),
        ),
        # A company's row is of today; its day of listing may be unknown.
        day=lambda _: today,
    )


def validate_index_changes(wire_rows: pa.Table) -> rows.Validated:
    """Split rows of WIRE_INDEX_CHANGES into those to store and those to refuse.

    Rules: a ticker; an action that is ``added`` or ``removed``; not announced after it took
    effect. Equal rows count once; of rows that differ none is kept.
    """
    return rows.validate(
        wire_rows,
        key=INDEX_CHANGE_KEY,
        rules=(
            ("ticker is missing", _blank(wire_rows["ticker"])),
            ("action is unknown", pc.invert(pc.is_in(wire_rows["action"], pa.array(ACTIONS)))),
            (
                "announced after it took effect",
                pc.greater(wire_rows["announced_on"], wire_rows["effective_on"]),
            ),
        ),
        day=_effective_on,
    )


def _blank(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True)


def _effective_on(row: Mapping[str, object]) -> date:
    day = row["effective_on"]
    if not isinstance(day, date):
        message = f"effective_on is no date: {day!r}"
        raise TypeError(message)
    return day
