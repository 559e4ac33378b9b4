"""FMP's bars: recorded ones, and every bad cell, row and answer that is known of them."""

import json
import logging
from datetime import date
from time import perf_counter

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from marketdata.bars import PRICES, WIRE_BARS, validate
from marketdata.recovery import errors
from resources.providers.fmp import bars
from tests.providers.recordings import recorded

DAY = date(2026, 8, 4)
HEADER = b'"symbol","date","open","low","high","close","adjClose","volume"\n'
ROW = {
    "symbol": "AAA",
    "date": "2026-08-04",
    "open": 101.2,
    "high": 103,
    "low": 100.8,
    "close": 102.5,
    "volume": 1200345,
}


def _line(
    symbol: str,
    *,
    day: str = "2026-08-04",
    encoding: str = "utf-8",
    **cells: str,
) -> bytes:
    """Return one line of a bulk day, in which everything is 1 but the volume."""
    numbers = {"open": "1", "low": "1", "high": "1", "close": "1", "adjClose": "1", "volume": "5"}
    values = (symbol, day, *(numbers | cells).values())
    return (",".join(f'"{value}"' for value in values) + "\n").encode(encoding)


def _history(body: bytes) -> pa.Table:
    return bars.history_page(body, operation="op").bars


def test_a_recorded_history_keeps_every_figure() -> None:
    """Six sessions of AAPL, all of them acceptable bars."""
    table = _history(recorded("fmp_historical_price_eod_full.json"))
    assert table.schema == WIRE_BARS
    assert table.to_pylist()[0] == {
        "symbol": "AAPL",
        "session_date": date(2023, 1, 10),
        "open": 130.26,
        "high": 131.26,
        "low": 128.12,
        "close": 130.73,
        "volume": 63896200.0,
    }
    assert validate(table).accepted.num_rows == 6


def test_the_field_vwap_is_no_volume_weighted_price() -> None:
    """It is the mean of open, high, low and close, to the last digit: so it is not stored."""
    rows = json.loads(recorded("fmp_historical_price_eod_full.json"))
    for row in rows:
        mean = sum(row[name] for name in PRICES) / 4
        assert row["vwap"] == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("name", [*PRICES, "volume"])
@pytest.mark.parametrize(
    "cell",
    ["N/A", "12.5", "", True, [1], {"a": 1}, 2**60 + 1, 10**400, float("nan"), float("inf")],
    ids=repr,
)
def test_a_cell_that_is_no_number_is_a_hole_in_its_row_alone(name: str, cell: object) -> None:
    """Numeric text too, and integers that a double cannot hold; validation refuses the row."""
    table = _history(json.dumps([ROW, ROW | {"date": "2026-08-03", name: cell}]).encode())
    first, second = table.to_pylist()
    assert None not in first.values()
    assert [column for column, value in second.items() if value is None] == [name]
    validated = validate(table)
    assert validated.accepted.num_rows == 1
    assert [rejection.reason for rejection in validated.rejected] == [
        f"{name} is missing or not a finite number"
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"symbol": None}, "symbol holds NoneType"),
        ({"symbol": 7}, "symbol holds int"),
        ({"symbol": "\ud800"}, "field symbol"),
    ],
)
def test_a_symbol_that_is_no_text_names_its_field(change: dict[str, object], named: str) -> None:
    """The row's symbol is unknown: nothing of the answer is stored."""
    with pytest.raises(errors.MalformedPayloadError, match=named):
        _history(json.dumps([ROW, ROW | change]).encode())


UNREADABLE = [
    "",
    None,
    7,
    ["2026-08-04"],
    "2026-08-04 00:00:00",
    "04/08/2026",
    "2026-02-30",
    "20260804",
    "2026-W32-2",
]


@pytest.mark.parametrize("day", UNREADABLE, ids=repr)
def test_a_row_without_a_readable_date_is_left_out_and_told(day: object) -> None:
    """It has no place in the ledger; FMP's cap counts it all the same."""
    undated = ROW | {"date": day, "close": 1}
    page = bars.history_page(json.dumps([undated, ROW, undated]).encode(), operation="op")
    assert page.bars["close"].to_pylist() == [102.5]
    assert page.rows == 3
    assert [json.loads(str(row.received[0])) for row in page.left_out] == [undated, undated]


@pytest.mark.parametrize("day", UNREADABLE, ids=repr)
@pytest.mark.parametrize("count", [1, 2])
def test_a_history_without_any_readable_date_is_malformed(day: object, count: int) -> None:
    """Dates in another format are another wire format."""
    with pytest.raises(errors.MalformedPayloadError, match="field date"):
        _history(json.dumps([ROW | {"date": day}] * count).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[1]",
        b'[{"symbol": "A"',
        b"<html></html>",
        b"\xff\xfe",
        b'"text"',
        b"[" * 10**5,
    ],
)
def test_what_is_no_list_of_objects_is_malformed(body: bytes) -> None:
    """Cut JSON, web pages, other JSON."""
    with pytest.raises(errors.MalformedPayloadError):
        _history(body)


def test_a_field_that_every_row_lacks_is_another_wire_format() -> None:
    """As when close becomes adjClose; one row without it is only a hole."""
    without = {name: value for name, value in ROW.items() if name != "close"}
    for row in (without, ROW | {"close": None}, ROW | {"close": "102.5"}, ROW | {"close": True}):
        with pytest.raises(errors.MalformedPayloadError, match="number in field close"):
            _history(json.dumps([row, row]).encode())
    for body in ([without], [ROW, without], [ROW | {"close": None}], [ROW | {"close": "N/A"}]):
        table = _history(json.dumps(body).encode())
        assert table["close"].null_count == 1


def test_an_empty_list_is_an_empty_table() -> None:
    """An unknown symbol looks like one without bars."""
    assert _history(b"[]").equals(WIRE_BARS.empty_table())


_NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 2**53)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "symbol": st.text(min_size=1),
                "date": st.dates(date(1000, 1, 1)).map(date.isoformat),
                **dict.fromkeys((*PRICES, "volume"), _NUMBERS),
            }
        )
    )
)
def test_any_history_comes_back_as_it_was_sent(rows: list[dict[str, object]]) -> None:
    """Order, repeats, exponents and integers included: nothing is lost or rounded."""
    for name in (*PRICES, "volume"):
        assume(len(rows) < 2 or any(row[name] is not None for row in rows))
    table = _history(json.dumps(rows).encode())
    back = [row | {"date": row.pop("session_date").isoformat()} for row in table.to_pylist()]
    assert back == [{name: row[name] for name in row} for row in rows]


def test_a_bulk_day_keeps_exponents_fractions_and_odd_symbols() -> None:
    """Low stands before high on the wire, a symbol may read NA, a missing price is a hole."""
    body = (
        HEADER
        + b'"AAA","2026-08-04","101.2","100.8","103","102.5","102.5","1200345"\n'
        + b'"XYZUSD","2026-08-04","1.8646e-8","1.8e-8","1.9e-8","1.87e-8","1","5120345.75"\n'
        + b'"NA","2026-08-04","1","","null","1","1","0"\n'
    )
    table = bars.market_page(body, DAY, operation="op").bars
    assert table.schema == WIRE_BARS
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("AAA", DAY, 101.2, 103.0, 100.8, 102.5, 1200345.0),
        ("XYZUSD", DAY, 1.8646e-8, 1.9e-8, 1.8e-8, 1.87e-8, 5120345.75),
        ("NA", DAY, 1.0, None, None, 1.0, 0.0),
    ]


def test_a_bulk_day_may_come_without_quotes_and_without_a_last_newline() -> None:
    """Whether values are quoted is not documented."""
    body = b"symbol,date,open,low,high,close,adjClose,volume\nA,2026-08-04,1,1,1,1,1,5"
    assert bars.market_page(body, DAY, operation="op").bars.num_rows == 1


@pytest.mark.parametrize("body", [b"[]", HEADER, HEADER.strip()])
def test_a_day_without_rows_is_an_empty_table(body: bytes) -> None:
    """The shape of an empty answer does not matter."""
    assert bars.market_page(body, DAY, operation="op").bars.equals(WIRE_BARS.empty_table())


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "promised CSV"),
        (b"<html><body>busy</body></html>", "promised CSV"),
        (b'{"symbol": "AAA"}', "promised CSV"),
        (HEADER.replace(b"close", b"last"), "close"),
        (HEADER + b"x\n<p>busy</p>\n", "no line of the CSV can be read"),
        (HEADER + b'"A","2026-08-04","1","1"\n', "no line of the CSV can be read"),
        (HEADER + _line("A", day="2026-08-03") * 2, "2026-08-03"),
        (HEADER + _line("A", day="04.08.2026"), r"dates are '04\.08\.2026'"),
        (HEADER + _line("A", day=""), "dates are ''"),
        (HEADER + _line("\xff", encoding="latin-1"), "no readable row"),
        (HEADER + _line("A", close="1,5") * 2, "number in field close"),
    ],
)
def test_a_bulk_day_that_is_not_as_promised_is_malformed(body: bytes, named: str) -> None:
    """Web pages, other columns, no row of the day: nothing of the answer is stored."""
    with pytest.raises(errors.MalformedPayloadError, match=named):
        bars.market_page(body, DAY, operation="op")


@pytest.mark.parametrize(
    "cell", ["x", "N/A", "-", "1,5", "1.2.3", "nan", "inf", "1e999", "0x1f", "+1", "1_0", "\u0661"]
)
@pytest.mark.parametrize("name", [*PRICES, "volume"])
def test_a_bulk_cell_that_is_no_number_is_a_hole_in_its_row_alone(name: str, cell: str) -> None:
    """Validation refuses the row; the others of the day are stored."""
    body = HEADER + _line("A") + _line("B", **{name: cell}) + _line("C")
    table = bars.market_page(body, DAY, operation="op").bars
    assert table["symbol"].to_pylist() == ["A", "B", "C"]
    holes = {column: table[column].null_count for column in table.column_names}
    assert holes == dict.fromkeys(table.column_names, 0) | {name: 1}
    assert [rejection.symbol for rejection in validate(table).rejected] == ["B"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("1.", 1.0), (".5", 0.5), (" 2 ", 2.0), ("-3", -3.0), ("1E+5", 1e5)],
)
def test_a_bulk_number_is_read_in_every_spelling_of_one(text: str, value: float) -> None:
    """Whatever Arrow reads as a finite double stays one."""
    table = bars.market_page(HEADER + _line("A", open=text), DAY, operation="op").bars
    assert table["open"].to_pylist() == [value]


@pytest.mark.parametrize(
    ("spoilt", "unread", "misplaced"),
    [
        (b'"B","2026-08-04","1","1"\n', 1, 0),
        (b'"B","2026-08-04","1","1","1","1","1","5","9"\n', 1, 0),
        (b'"B,"2026-08-04","1","1","1","1","1","5"\n', 1, 0),
        (b'"B","2026-08-04","1","1","1","1","1","5\n', 1, 0),
        (b"busy\n", 1, 0),
        (b'"B","2026-08-03","1","1","1","1","1","5"\n', 0, 1),
        (b'"B","","1","1","1","1","1","5"\n', 0, 1),
        (b'"B","04.08.2026","1","1","1","1","1","5"\n', 0, 1),
        (b'"","2026-08-04","1","1","1","1","1","5"\n', 0, 1),
        (b'"\xff","2026-08-04","1","1","1","1","1","5"\n', 0, 1),
    ],
)
def test_a_bulk_line_that_cannot_be_placed_is_left_out_and_counted(
    spoilt: bytes, unread: int, misplaced: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An open quote takes none of the lines around it along."""
    body = HEADER + _line("A") + spoilt + _line("C") + spoilt + _line("D")
    table = bars.market_page(body, DAY, operation="op").bars
    assert table["symbol"].to_pylist() == ["A", "C", "D"]
    assert table["volume"].to_pylist() == [5.0] * 3
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"fmp op: 2 of 5 rows left out: {2 * unread} lines that cannot be read, "
        f"{2 * misplaced} rows without a readable symbol or of another day"
    )


def test_a_bulk_day_cut_anywhere_within_its_last_line_is_malformed() -> None:
    """Skipped as a short line, it would hide that rows are missing after it."""
    whole, last = HEADER + _line("A") + _line("B"), _line("C").rstrip(b"\n")
    for cut in range(1, len(last)):
        with pytest.raises(errors.MalformedPayloadError, match="ends in the middle"):
            bars.market_page(whole + last[:cut], DAY, operation="op")
    assert bars.market_page(whole + last, DAY, operation="op").bars.num_rows == 3


def test_a_bulk_day_of_the_whole_world_is_read_quickly(caplog: pytest.LogCaptureFixture) -> None:
    """50,000 rows over several of Arrow's blocks, one in fifty spoilt in each of three ways."""
    lines = [_line(f"S{number}") for number in range(50_000)]
    lines[::50] = [_line(f"S{number}", close="N/A") for number in range(0, 50_000, 50)]
    lines[1::50] = [b'"short","2026-08-04"\n'] * 1000
    lines[2::50] = [_line("late", day="2026-08-03")] * 1000
    body = HEADER + b"".join(lines)
    started = perf_counter()
    table = bars.market_page(body, DAY, operation="op").bars
    assert perf_counter() - started < 1.0
    assert (table.num_rows, table["close"].null_count) == (48_000, 1000)
    assert "2000 of 50000 rows left out: 1000 lines" in caplog.text


@given(st.binary(max_size=200))
def test_no_bytes_escape_as_another_error(body: bytes) -> None:
    """Whatever comes, it parses or is malformed."""
    for parse in (
        lambda: _history(body),
        lambda: bars.market_page(HEADER + body, DAY, operation="op").bars,
        lambda: bars.market_page(HEADER + _line("A") + body, DAY, operation="op").bars,
        lambda: bars.market_page(body, DAY, operation="op").bars,
    ):
        try:
            result = parse()
        except errors.MalformedPayloadError:
            continue
        assert result.schema == WIRE_BARS
