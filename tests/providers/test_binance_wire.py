"""Binance's answers as they come over the wire: recorded ones, and every bad one we know of."""

import hashlib
import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata import minute_bars, trades
from marketdata.recovery import errors
from resources.providers.binance import files, wire
from resources.providers.binance import rows as binance_rows
from resources.providers.http import HttpAnswer
from tests.providers.recordings import recorded

OPERATION = "op"
OPENED, CLOSED = 1785801600000, 1785801659999
KLINE = [
    OPENED, "64000.01", "64010.00", "63990.10", "64005.55", "12.34500000", CLOSED,
    "790123.45000000", 1021, "6.10000000", "390400.12000000", "0",
]  # fmt: skip
NUMBER = 7
TRADE = {
    "a": NUMBER,
    "p": "1.5",
    "q": "2",
    "f": 9,
    "l": 9,
    "T": 1785801600123,
    "m": True,
    "M": True,
}

UNTIL = b'{"code":-1003,"msg":"Way too much request weight used; IP banned until 1795262430000."}'


def _answer(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> HttpAnswer:
    return HttpAnswer(
        status=status,
        headers=headers or {},
        body=body,
        sha256=hashlib.sha256(body).hexdigest(),
        fetched_at=datetime(2026, 11, 21, 12, tzinfo=UTC),
        requests=1,
    )


def _bars(body: bytes) -> binance_rows.Klines:
    rows = wire.kline_rows(body, operation=OPERATION)
    return binance_rows.minute_bars(rows, "BTCUSDT", operation=OPERATION)


def _trades(body: bytes) -> binance_rows.Rows:
    rows = wire.trade_rows(body, operation=OPERATION)
    return binance_rows.trades(rows, "BTCUSDT", operation=OPERATION)


def _klines(*changes: dict[int, object]) -> bytes:
    """Return one kline a minute, each with cells changed."""
    rows = []
    for number, change in enumerate(changes):
        row: list[object] = list(KLINE)
        row[0], row[6] = OPENED + number * 60_000, CLOSED + number * 60_000
        for place, value in change.items():
            row[place] = value
        rows.append(row)
    return json.dumps(rows).encode()


def _agg_trades(*changes: dict[str, object]) -> bytes:
    rows = [{**TRADE, "a": NUMBER + place, **change} for place, change in enumerate(changes)]
    return json.dumps(rows).encode()


def test_recorded_klines_are_read_digit_by_digit() -> None:
    """Ten minutes of 2021-10-22; the vwap is quote volume over volume."""
    bars = _bars(recorded("binance_klines_1m_btcusdt.json")).bars
    assert bars.num_rows == 10
    assert bars.slice(0, 1).to_pylist() == [
        {
            "symbol": "BTCUSDT",
            "opened_at": datetime(2021, 10, 22, 23, 3, tzinfo=UTC),
            "open": 60685.22,
            "high": 60729.84,
            "low": 60670.9,
            "close": 60719.27,
            "volume": 21.63272,
            "vwap": 1313200.0134041 / 21.63272,
            "trades": 617,
        }
    ]
    last = bars.slice(9, 1).to_pylist()[0]
    assert (last["opened_at"].minute, last["volume"], last["trades"]) == (12, 0.04734, 7)
    assert minute_bars.validate(bars).rejected == ()


def test_recorded_trades_are_read_digit_by_digit() -> None:
    """Amounts are exact, and the side is the taker's: a buyer who is the maker was sold to."""
    wire_rows = _trades(recorded("binance_agg_trades_btcusdt.json")).table
    assert wire_rows.num_rows == 10
    first, _, third = wire_rows.slice(0, 3).to_pylist()
    assert first == {
        "symbol": "BTCUSDT",
        "trade_id": 966492862,
        "traded_at": datetime(2021, 10, 22, 23, 8, 16, 633000, tzinfo=UTC),
        "price": Decimal("60759.6"),
        "size": Decimal("0.00841"),
        "taker_side": "buy",
    }
    assert (third["price"], third["taker_side"]) == (Decimal("60759.59"), "sell")
    assert trades.validate(wire_rows).rejected == ()


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "message", "retry_after_s"),
    [
        (400, recorded("binance_error_invalid_symbol_400.json"), {}, errors.UnknownSymbolError,
         "Invalid symbol.", None),
        (451, recorded("binance_error_restricted_location_451.json"), {}, errors.KeyRefusedError,
         "HTTP 451: Service unavailable from a restricted location.*every request", None),
        (400, b'{"code":-1120,"msg":"Invalid interval."}', {}, errors.RequestRejectedError,
         "HTTP 400: Invalid interval", None),
        (429, b'{"code":-1003,"msg":"Too much request weight used"}', {"retry-after": "37"},
         errors.RateLimitedError, "HTTP 429: Too much", 37.0),
        (429, b"", {}, errors.RateLimitedError, "HTTP 429", None),
        (418, b'{"code":-1003,"msg":"Way too much"}', {"retry-after": "120"},
         errors.RateLimitedError, "HTTP 418: Way too much", 120.0),
        (418, UNTIL, {}, errors.RateLimitedError, "HTTP 418", 30.0),
        (418, b"<html>teapot", {}, errors.RateLimitedError, "HTTP 418: a web page", None),
        (403, b"<html><h1>403 Forbidden", {}, errors.ProviderUnavailableError,
         "the firewall", None),
        (403, b"", {"retry-after": "600"}, errors.ProviderUnavailableError, "the firewall", 600.0),
        (418, UNTIL, {"retry-after": "0"}, errors.RateLimitedError, "HTTP 418", 30.0),
        (500, b'{"code":-1000,"msg":"An unknown error"}', {}, errors.ProviderUnavailableError,
         "HTTP 500: An unknown", None),
        (502, b"<html><h1>Bad gateway", {}, errors.ProviderUnavailableError, "a web page", None),
        (301, b"", {}, errors.RequestRejectedError, "HTTP 301", None),
        (200, b'{"code":-1003,"msg":"Too many requests."}', {}, errors.RateLimitedError,
         "Too many requests", None),
        (200, b'{"code":-1121,"msg":"Invalid symbol."}', {}, errors.UnknownSymbolError,
         "Invalid symbol", None),
        (200, b' {"code":-1102,"msg":"Mandatory"}', {}, errors.RequestRejectedError,
         "code -1102: Mandatory", None),
        (400, b'{"code":"x","msg":1}', {}, errors.RequestRejectedError, "HTTP 400", None),
        (400, b'{"code":-1100', {}, errors.RequestRejectedError, "HTTP 400", None),
        (400, b"x" * 5000, {}, errors.RequestRejectedError, "x…$", None),
    ],
)  # fmt: skip
def test_every_error_has_its_class(
    status: int,
    body: bytes,
    headers: dict[str, str],
    kind: type[errors.ProviderError],
    message: str,
    retry_after_s: float | None,
) -> None:
    """By status, by code, by text; a ban's end by its header or else by its text."""
    error = wire.classify_error(_answer(status, body, headers), OPERATION)
    assert error is not None
    assert type(error) is kind
    with pytest.raises(kind, match=message):
        raise error
    assert getattr(error, "retry_after_s", None) == retry_after_s


@pytest.mark.parametrize("body", [b"[]", b'{"serverTime":1}', b"[[1]]", b""])
def test_what_is_no_error_is_let_through(body: bytes) -> None:
    """The parser decides."""
    assert wire.classify_error(_answer(200, body), OPERATION) is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"<Error><Code>NoSuchKey</Code></Error>", None),
        (404, b"", None),
        (200, b"PK", None),
        (403, b"<Error><Code>AccessDenied</Code></Error>", errors.ProviderUnavailableError),
        (429, b"", errors.RateLimitedError),
        (503, b"<Error><Code>SlowDown</Code></Error>", errors.ProviderUnavailableError),
        (400, b"", errors.RequestRejectedError),
    ],
)
def test_a_missing_file_is_no_error_and_all_else_is(
    status: int, body: bytes, kind: type[errors.ProviderError] | None
) -> None:
    """A kept answer has lost its status, so its body is classified too."""
    answer = _answer(status, body)
    error = wire.classify_file_error(answer, OPERATION)
    assert (None if error is None else type(error)) is kind
    assert files.is_missing(answer) == (status == 404)
    assert files.is_missing(_answer(200, b"<Error><Code>NoSuchKey</Code></Error>"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"Too many requests", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (_klines({})[:-9], "not JSON"),
        (b"{}", "a dict came"),
        (b'"x"', "a str came"),
        (b"null", "a NoneType came"),
        (b"[1]", "something else than arrays"),
        (b'[{"a":1}]', "something else than arrays"),
        (b"[[1,2]]", "an array of 2 came"),
        (_klines({0: "x"}), "no row can be placed"),
        (_klines({0: None}), "no row can be placed"),
        (_klines({6: 1785805199999}), "no kline came that is one minute long"),
        (_klines({4: "x"}, {4: ""}), "field close"),
        (_klines({5: None}, {5: "1,5"}), "field volume"),
        (b'[["\\ud800",1,2,3,4,5,6,7,8,9,10,11]]', "no row can be placed"),
    ],
)
def test_klines_of_another_shape_are_refused(body: bytes, message: str) -> None:
    """As a whole, since no rows can be separated."""
    with pytest.raises(errors.MalformedPayloadError, match=message):
        _bars(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "not JSON"),
        (b"{}", "a dict came"),
        (b"[[1]]", "something else than objects"),
        (_agg_trades({"T": "x"}), "no row can be placed"),
        (_agg_trades({"a": -1}), "no row can be placed"),
        (_agg_trades({"p": "x"}, {"p": None}), "field price"),
        (_agg_trades({"m": "x"}, {"m": None}), "field taker_side"),
    ],
)
def test_trades_of_another_shape_are_refused(body: bytes, message: str) -> None:
    """As a whole, since no rows can be separated."""
    with pytest.raises(errors.MalformedPayloadError, match=message):
        _trades(body)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ({4: None}, "close is missing"),
        ({4: "x"}, "close is missing"),
        ({4: "NaN"}, "close is missing"),
        ({4: True}, "close is missing"),
        ({1: "-1"}, "open is not above zero"),
        ({2: "1"}, "high is below"),
        ({5: "-1"}, "volume is negative"),
        ({5: "1e400"}, "volume is missing"),
    ],
)
def test_one_bad_cell_costs_one_kline(cell: dict[int, object], reason: str) -> None:
    """The other one is good."""
    validated = minute_bars.validate(_bars(_klines({}, cell)).bars)
    assert validated.accepted.num_rows == 1
    assert [rejection.reason[: len(reason)] for rejection in validated.rejected] == [reason]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ({"p": None}, "price is missing"),
        ({"p": "1,5"}, "price is missing"),
        ({"p": "0"}, "price is not above zero"),
        ({"q": "-2"}, "size is not above zero"),
        ({"q": "123456789012345678901"}, "size is missing"),
        ({"p": "1e25"}, "price is missing"),
        ({"m": None}, "taker_side is neither"),
        ({"m": 1}, "taker_side is neither"),
    ],
)
def test_one_bad_cell_costs_one_trade(cell: dict[str, object], reason: str) -> None:
    """The other one is good."""
    validated = trades.validate(_trades(_agg_trades({}, cell)).table)
    assert validated.accepted.num_rows == 1
    assert [rejection.reason[: len(reason)] for rejection in validated.rejected] == [reason]


def test_a_row_that_cannot_be_placed_is_left_out_and_told() -> None:
    """Beside one that can."""
    bars, traded = _bars(_klines({}, {0: "soon"})), _trades(_agg_trades({}, {"a": None}))
    assert (bars.bars.num_rows, traded.table.num_rows) == (1, 1)
    assert str(bars.left_out[0].received[0]).startswith("soon,64000.01,64010.00")
    assert traded.left_out[0].received == (",1.5,2,9,9,1785801600123,True,True",)


FEBRUARY_2018: list[object] = [
    1518049680000, "7500.1", "7510.0", "7490.0", "7505.5", "12.5", 1518049694788, "93800.0", 40,
    "6.0", "45000.0", "0",
]  # fmt: skip


def test_klines_of_an_outage_are_told_apart_by_what_they_are_of() -> None:
    """Of February 2018: one was cut short by it, later ones open within a minute.

    The short one holds all that was traded in its minute; the others are of two minutes each.
    """
    within = [1518170374788, *FEBRUARY_2018[1:6], 1518170434787, *FEBRUARY_2018[7:]]
    good = [1518170400000, *FEBRUARY_2018[1:6], 1518170459999, *FEBRUARY_2018[7:]]
    backwards = [1518170460000, *FEBRUARY_2018[1:6], 1518170459999, *FEBRUARY_2018[7:]]
    long = [1518170520000, *FEBRUARY_2018[1:6], 1518170639999, *FEBRUARY_2018[7:]]
    read = _bars(json.dumps([FEBRUARY_2018, within, good, backwards, long]).encode())
    assert read.bars["opened_at"].to_pylist() == [
        datetime(2018, 2, 8, 0, 28, tzinfo=UTC),
        datetime(2018, 2, 9, 10, 0, tzinfo=UTC),
    ]
    assert [(row.day, row.reason) for row in read.left_out] == [
        (date(2018, 2, 9), "the kline opens within a minute"),
        (date(2018, 2, 9), "the kline ends before it begins"),
        (date(2018, 2, 9), "the kline is longer than a minute"),
    ]
    (note,) = read.notes
    assert note.startswith("1 klines end before their minute does, such as 1518049680000,")


def test_a_thirteenth_field_of_a_kline_is_noted_and_not_read() -> None:
    """By REST and in a file; a row with too few costs itself."""
    kline = [str(cell) for cell in KLINE]
    longer, short = [*kline, "new"], kline[:5]
    by_rest = _bars(json.dumps([longer, longer, short, 7]).encode())
    content = "\n".join(",".join(row) for row in (longer, longer, short)).encode()
    table = files.kline_rows(_zip(content=content), "X-1m-2026-01.zip", operation=OPERATION)
    in_file = binance_rows.minute_bars(table, "X", operation=OPERATION)
    for read, odd in ((by_rest, 2), (in_file, 1)):
        assert read.bars.num_rows == 2
        assert read.notes == ("klines have 13 fields, 12 are known",)
        assert {row.reason for row in read.left_out} == {"the row has too few fields"}
        assert len(read.left_out) == odd


def test_a_new_field_of_a_trade_is_noted() -> None:
    """It is not read."""
    read = _trades(_agg_trades({"z": 1}))
    assert (read.table.num_rows, read.notes) == (
        1,
        ("aggTrades have fields that were not known: 'z'",),
    )


def test_a_minute_without_a_trade_is_no_bar() -> None:
    """A running venue writes one; paging still knows when it was."""
    quiet: dict[int, object] = {5: "0.00000000", 7: "0.00000000", 8: 0}
    read = _bars(_klines({}, quiet))
    assert read.bars.num_rows == 1
    assert read.quiet.to_pylist() == [datetime(2026, 8, 4, 0, 1, tzinfo=UTC)]
    assert read.left_out == ()
    assert read.last_at == datetime(2026, 8, 4, 0, 1, tzinfo=UTC)


def test_empty_lists_are_empty_answers() -> None:
    """A valid symbol without rows in the span."""
    assert (_bars(b"[]").bars.num_rows, _trades(b"[]").table.num_rows) == (0, 0)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("1.5", "1.5"),
        (1.5, "1.5"),
        ("1e-5", "0.00001"),
        ("12E2", "1200"),
        ("0.1234567890123456785", "0.123456789012345678"),
        ("0.1234567890123456775", "0.123456789012345678"),
        ("0.0000000000000000005", "0"),
        ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"),
    ],
)
def test_amounts_keep_every_digit_that_fits(sent: object, read: str) -> None:
    """With or without quotation marks; beyond eighteen digits they are rounded half to even."""
    wire_rows = _trades(_agg_trades({"q": sent})).table
    assert wire_rows["size"][0].as_py() == Decimal(read)


@given(st.decimals("0.00000001", "99999999", places=8), st.booleans())
def test_every_amount_of_eight_places_survives(amount: Decimal, as_number: bool) -> None:
    """As text and as a JSON number."""
    text = f"{amount:f}"
    body = _agg_trades({"p": "PRICE"}).replace(b'"PRICE"', text.encode()) if as_number else (
        _agg_trades({"p": text})
    )  # fmt: skip
    assert _trades(body).table["price"][0].as_py() == amount


@given(st.integers(1_000_000_000_000, 4_000_000_000_000), st.integers(0, 999))
def test_milliseconds_and_microseconds_give_the_same_time(milliseconds: int, more: int) -> None:
    """Cut to whole milliseconds, so that both doors give a trade the same key."""
    both = [
        _trades(_agg_trades({"T": value})).table["traded_at"][0]
        for value in (milliseconds * 1000 + more, milliseconds)
    ]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert [moment.as_py() for moment in both] == [epoch + timedelta(milliseconds=milliseconds)] * 2


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b'{"serverTime":1795262400123}', datetime(2026, 11, 21, 12, 0, 0, 123000, tzinfo=UTC)),
        (b'{"serverTime":1795262400123456}', datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)),
        (b'{"serverTime":null}', None),
        (b'{"serverTime":"soon"}', None),
        (b'{"serverTime":99999999999999}', None),
        (b"{}", None),
        (b"[]", None),
        (b"<html>", None),
    ],
)
def test_the_servers_time_is_a_time_or_nothing(body: bytes, at: datetime | None) -> None:
    """The whole answer depends on it."""
    if at is None:
        with pytest.raises(errors.MalformedPayloadError):
            wire.server_time(body, operation=OPERATION)
    else:
        assert wire.server_time(body, operation=OPERATION) == at


def _zip(name: str = "X-1m-2026-01.csv", content: bytes = b"", names: int = 1) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(names):
            archive.writestr(name if number == 0 else f"{number}-{name}", content)
    return buffer.getvalue()


def _damaged(body: bytes) -> bytes:
    """Change one byte behind the header and the name."""
    place = 30 + len("X-1m-2026-01.csv") + 5
    return body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]


LINE = ",".join(map(str, KLINE)).encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the zip cannot be read"),
        (b"<html>", "the zip cannot be read"),
        (_zip(content=LINE)[:-30], "the zip cannot be read"),
        (_damaged(_zip(content=LINE * 99)), "the zip cannot be read"),
        (_zip("other.csv", LINE), "holds other.csv"),
        (_zip("../X-1m-2026-01.csv", LINE), "should hold X-1m-2026-01.csv"),
        (_zip(content=LINE, names=2), "should hold"),
        (_zip(content=LINE, names=0), "should hold"),
        (_zip(content=b"0" * 20_000_001), "unpacks to more than 20000000 bytes"),
        (_zip(content=b"1,2,3\n" * 3), "not the promised CSV: 3 columns came of 12"),
        (_zip(content=b"1\xff" + LINE), "not the promised CSV"),
    ],
)
def test_files_of_another_shape_are_refused(body: bytes, message: str) -> None:
    """Among them one that unpacks to a thousand times its size."""
    with pytest.raises(errors.MalformedPayloadError, match=message):
        files.kline_rows(body, "data/X-1m-2026-01.zip", operation=OPERATION, limit=20_000_000)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"", 0),
        (b"\n", 0),
        (b"open_time,open,high,low,close,volume,close_time,quote,count,a,b,ignore\n", 0),
        (b"open_time,open,high,low,close,volume,close_time,quote,count,a,b,ignore\n" + LINE, 1),
        (LINE, 1),
        (LINE + b"\n" + LINE + b"\n", 2),
        (LINE + b"\r\n" + LINE + b"\r\n", 2),
    ],
)
def test_files_are_read_with_and_without_a_header(content: bytes, rows: int) -> None:
    """And with nothing in them."""
    read = files.kline_rows(_zip(content=content), "X-1m-2026-01.zip", operation=OPERATION)
    assert (read.table.num_rows, read.table.column_names) == (rows, list(wire.KLINE_FIELDS))
    assert set(read.table.schema.types) == {pa.string()}
    assert binance_rows.minute_bars(read, "X", operation=OPERATION).bars.num_rows == rows


SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "body",
    [
        f"{SHA}  X-1m-2026-02.zip\n".encode(),
        f"{SHA[:-1]}  X-1m-2026-01.zip\n".encode(),
        SHA.encode(),
        b"<html>",
        b"",
        b"\xff" * 9,
    ],
)
def test_a_checksum_of_something_else_is_none(body: bytes) -> None:
    """Of another file, or no checksum at all."""
    assert files.checksum(body, "data/X-1m-2026-01.zip") is None


def test_a_checksum_is_read_in_both_of_sha256sums_forms() -> None:
    """Text mode and binary mode, capitals too."""
    for line in (f"{SHA}  X-1m-2026-01.zip\n", f"{SHA.upper()} *X-1m-2026-01.zip"):
        read = files.checksum(line.encode(), "a/X-1m-2026-01.zip")
        assert read == SHA


@pytest.mark.parametrize(
    ("month", "published"),
    [
        (date(2026, 10, 1), date(2026, 11, 2)),
        (date(2026, 5, 31), date(2026, 6, 1)),
        (date(2025, 12, 7), date(2026, 1, 5)),
        (date(2024, 1, 31), date(2024, 2, 5)),
    ],
)
def test_a_month_is_published_on_the_next_ones_first_monday(month: date, published: date) -> None:
    """Over the turn of the year, too."""
    assert files.month_published_on(month) == published
