"""Coinbase's answers: recorded ones, and every bad one that is known of it."""

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata.minute_bars import WIRE_MINUTE_BARS
from marketdata.recovery import errors
from marketdata.trades import WIRE_TRADES
from resources.providers.coinbase import rows as coinbase_rows
from resources.providers.coinbase import wire
from resources.providers.http import HttpAnswer
from tests.providers.recordings import recorded

WIDEST = "12345678901234567890.123456789012345678"
TRADE = {
    "trade_id": 7,
    "side": "sell",
    "size": "0.5",
    "price": "64005.55",
    "time": "2026-08-04T00:01:02.123456Z",
}


def _answer(status: int, body: bytes) -> HttpAnswer:
    return HttpAnswer(
        status=status,
        headers={},
        body=body,
        sha256=sha256(body).hexdigest(),
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        requests=1,
    )


def _error_body(text: str) -> bytes:
    return json.dumps({"message": text}).encode()


def _candles(rows: object) -> coinbase_rows.CandlePage:
    return coinbase_rows.candle_page(json.dumps(rows).encode(), "BTC-USD", operation="op")


def _trades(*rows: object) -> coinbase_rows.TradePage:
    return coinbase_rows.trade_page(json.dumps(rows).encode(), "BTC-USD", operation="op")


@pytest.mark.parametrize(
    ("status", "body", "kind", "shown"),
    [
        (404, _error_body("NotFound"), errors.UnknownSymbolError, "no product of this name"),
        (200, _error_body("NotFound"), errors.UnknownSymbolError, "no product of this name"),
        (
            404,
            _error_body("Route not found"),
            errors.RequestRejectedError,
            "HTTP 404: Route not found",
        ),
        (404, b"<html>nginx", errors.RequestRejectedError, "HTTP 404: a web page"),
        (
            400,
            recorded("coinbase_error_granularity_400.json"),
            errors.RequestRejectedError,
            "HTTP 400: granularity too small.*exceeds 300$",
        ),
        (400, _error_body("Unsupported granularity"), errors.RequestRejectedError, "Unsupported"),
        (400, _error_body("NotFound"), errors.RequestRejectedError, "HTTP 400: NotFound"),
        (
            429,
            _error_body("Public rate limit exceeded"),
            errors.RateLimitedError,
            "HTTP 429: Public",
        ),
        (429, b"", errors.RateLimitedError, "HTTP 429$"),
        (
            200,
            _error_body("Public rate limit exceeded"),
            errors.RateLimitedError,
            ": Public rate limit",
        ),
        (200, _error_body("Slow down"), errors.RequestRejectedError, "Slow down"),
        (200, _error_body(""), errors.RequestRejectedError, "without a text"),
        (401, _error_body("CB-ACCESS-KEY header is required"), errors.KeyRefusedError, "HTTP 401"),
        (403, b"error code: 1020", errors.ProviderUnavailableError, "HTTP 403: error code: 1020"),
        (301, b"", errors.RequestRejectedError, "HTTP 301"),
        (500, _error_body("Internal server error"), errors.ProviderUnavailableError, "HTTP 500"),
        (502, b"<html><h1>Bad gateway", errors.ProviderUnavailableError, "web page"),
        (503, b"", errors.ProviderUnavailableError, "HTTP 503"),
        (400, b"x" * 5000, errors.RequestRejectedError, "x…$"),
    ],
)
def test_every_error_is_recognized_by_status_and_message(
    status: int, body: bytes, kind: type[errors.ProviderError], shown: str
) -> None:
    """Messages under status 200 are errors too; web pages are not quoted."""
    error = wire.classify_error(_answer(status, body), "op")
    assert error is not None
    assert type(error) is kind
    assert (error.provider, error.operation) == ("coinbase", "op")
    with pytest.raises(kind, match=shown):
        raise error
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"",
        b"[[1]]",
        b'{"message" cut',
        b'["message"]',
        b"{}",
        b"<html>",
        b'{"message":null}',
    ],
)
def test_what_is_no_error_is_left_to_the_parser(body: bytes) -> None:
    """Only an object with a message makes a 200 an error."""
    assert wire.classify_error(_answer(200, body), "op") is None


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"<html><body>Bad gateway", "not JSON"),
        (b"[[1584316800, 5236.01, 53", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{}", "a list was promised, a dict came"),
        (b"null", "a NoneType came"),
        (b"[1]", "something else than a"),
        (b'["row"]', "something else than a"),
    ],
)
@pytest.mark.parametrize("parse", [coinbase_rows.candle_page, coinbase_rows.trade_page])
def test_an_answer_of_another_shape_is_malformed(
    parse: Callable[..., object], body: bytes, named: str
) -> None:
    """A page of a gateway, a cut body, an object."""
    with pytest.raises(errors.MalformedPayloadError, match=named):
        parse(body, "BTC-USD", operation="op")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_escape_as_another_error(body: bytes) -> None:
    """Whatever comes, it is read, is refused or is malformed."""
    wire.classify_error(_answer(200, body), "op")
    for parse in (coinbase_rows.candle_page, coinbase_rows.trade_page):
        with contextlib.suppress(errors.MalformedPayloadError):
            parse(body, "BTC-USD", operation="op")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(st.lists(_JSON, min_size=6, max_size=6), max_size=4))
def test_candles_of_any_cells_are_read_or_malformed(rows: list[list[object]]) -> None:
    """No cell raises another error, and no row is lost silently."""
    with contextlib.suppress(errors.MalformedPayloadError):
        page = _candles(rows)
        assert page.bars.num_rows + len(page.left_out) == len(rows)


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(TRADE, _JSON)), max_size=4))
def test_trades_of_any_cells_are_read_or_malformed(rows: list[dict[str, object]]) -> None:
    """The same for trades."""
    with contextlib.suppress(errors.MalformedPayloadError):
        page = _trades(*rows)
        assert page.trades.num_rows + len(page.left_out) == len(rows)


def test_recorded_candles_are_read_with_low_and_high_before_open_and_close() -> None:
    """169 hours of March 2020; whole prices come without a decimal point."""
    body = recorded("coinbase_candles_1h_btcusd.json")
    page = coinbase_rows.candle_page(body, "BTC-USD", operation="op")
    assert page.bars.schema == WIRE_MINUTE_BARS
    assert (page.bars.num_rows, page.left_out) == (169, ())
    rows = page.bars.to_pylist()
    assert rows[0] == {
        "symbol": "BTC-USD",
        "opened_at": datetime(2020, 3, 16, tzinfo=UTC),
        "open": 5346.03,
        "high": 5346.05,
        "low": 5236.01,
        "close": 5245.17,
        "volume": 3728.67857634,
        "vwap": None,
        "trades": None,
    }
    assert (rows[-1]["opened_at"], rows[-1]["open"]) == (datetime(2020, 3, 9, tzinfo=UTC), 8024.86)
    by_time = {row["opened_at"]: row for row in rows}
    assert by_time[datetime(2020, 3, 15, 17, tzinfo=UTC)]["open"] == 5270.0


def test_recorded_matches_are_trades_whose_taker_did_the_opposite() -> None:
    """Frames of the websocket have the fields of a trade, and the side is the maker's there too."""
    page = coinbase_rows.trade_page(
        recorded("coinbase_ws_matches_frames.json"), "X", operation="op"
    )
    assert page.trades.schema == WIRE_TRADES
    assert (page.trades.num_rows, page.left_out) == (13, ())
    assert page.trades.to_pylist()[:2] == [
        {
            "symbol": "X",
            "trade_id": 881613,
            "traded_at": datetime(2021, 4, 17, 16, 43, 30, 244075, tzinfo=UTC),
            "price": Decimal("14.7775"),
            "size": Decimal("0.04"),
            "taker_side": "buy",
        },
        {
            "symbol": "X",
            "trade_id": 82007,
            "traded_at": datetime(2021, 4, 17, 16, 43, 29, 571587, tzinfo=UTC),
            "price": Decimal("0.5752"),
            "size": Decimal("1008.2"),
            "taker_side": "sell",
        },
    ]
    assert page.trades["price"][3].as_py() == Decimal("0.00001305")


def test_no_rows_are_an_empty_table_of_the_same_schema() -> None:
    """Before a listing Coinbase sends an empty list."""
    assert _candles([]).bars.equals(WIRE_MINUTE_BARS.empty_table())
    assert _trades().trades.equals(WIRE_TRADES.empty_table())


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        (5, 5.0),
        (0.00001234, 0.00001234),
        (None, None),
        ("5.0", None),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
        ([5], None),
    ],
)
def test_a_cell_that_is_no_number_is_null(cell: object, read: float | None) -> None:
    """Coinbase sends candles in numbers; one bad cell costs one row, which validation refuses."""
    page = _candles([[60, 1, 2, 1, cell, 5], [120, 1, 2, 1, 2, 5]])
    assert page.bars["close"].to_pylist() == [read, 2.0]


@pytest.mark.parametrize(("text", "read"), [("2e-05", 2e-05), ("1.5E3", 1500.0), ("1e400", None)])
def test_exponents_are_read(text: str, read: float | None) -> None:
    """A figure that no double holds is null."""
    body = f"[[60, 1, 2, 1, 2, {text}], [120, 1, 2, 1, 2, 5]]".encode()
    page = coinbase_rows.candle_page(body, "BTC-USD", operation="op")
    assert page.bars["volume"].to_pylist() == [read, 5.0]


@pytest.mark.parametrize(
    "row",
    [
        [60, 1, 2, 1, 2],
        [],
        ["60", 1, 2, 1, 2, 5],
        [None, 1, 2, 1, 2, 5],
        [True, 1, 2, 1, 2, 5],
        [60.5, 1, 2, 1, 2, 5],
        [61, 1, 2, 1, 2, 5],
        [-60, 1, 2, 1, 2, 5],
        [10**30, 1, 2, 1, 2, 5],
    ],
)
def test_a_candle_that_cannot_be_placed_is_left_out_and_told(row: list[object]) -> None:
    """Another length, or a time that is no minute's; if there is no other, all is refused."""
    page = _candles([row, [120, 1, 2, 1, 2, 5]])
    assert page.bars["opened_at"].to_pylist() == [datetime(1970, 1, 1, 0, 2, tzinfo=UTC)]
    assert [json.loads(str(rejection.received[0])) for rejection in page.left_out] in (
        [row],
        [["60.5", *row[1:]]],
    )
    with pytest.raises(errors.MalformedPayloadError, match="no candle can be placed"):
        _candles([row])


@pytest.mark.parametrize("place", range(1, 6))
def test_a_column_without_numbers_is_another_wire_format(place: int) -> None:
    """Such as text in all rows."""
    name = ("time", "low", "high", "open", "close", "volume")[place]
    rows: list[list[object]] = [[60, 1, 2, 1, 2, 5], [120, 1, 2, 1, 2, 5]]
    for row in rows:
        row[place] = "1.5"
    with pytest.raises(errors.MalformedPayloadError, match=f"usable value in field {name}"):
        _candles(rows)


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        ("64005.55", Decimal("64005.55")),
        ("0.000000000000000001", Decimal("1e-18")),
        ("0.0000000000000000005", Decimal(0)),
        ("0.0000000000000000015", Decimal("2e-18")),
        (WIDEST, Decimal(WIDEST)),
        ("1e-8", Decimal("0.00000001")),
        (64005.55, Decimal("64005.55")),
        (5, Decimal(5)),
        ("NaN", None),
        ("Infinity", None),
        ("1_0", None),
        ("٣", None),
        (" 1", None),
        ("", None),
        (None, None),
        (True, None),
        (float("nan"), None),
    ],
)  # fmt: skip
def test_amounts_are_exact_or_null(cell: object, read: Decimal | None) -> None:
    """Beyond 18 digits behind the point they are rounded half to even."""
    page = _trades(TRADE | {"price": cell}, TRADE | {"trade_id": 6})
    assert page.trades["price"][0].as_py() == read


@pytest.mark.parametrize("name", ["price", "size"])
@pytest.mark.parametrize("figure", ["1" + "0" * 20, "1e30", "9" * 39, 10**25])
def test_an_amount_that_does_not_fit_costs_its_trade(name: str, figure: object) -> None:
    """It is not cut to fit: null, for validation to refuse."""
    page = _trades(TRADE | {name: figure}, TRADE | {"trade_id": 6})
    assert page.trades[name].to_pylist() == [None, Decimal(TRADE[name])]


def test_a_further_column_or_field_is_noted_and_not_read() -> None:
    """What is known keeps its place."""
    page = _candles([[60, 1, 2, 1, 2, 5, 6], [120, 1, 2, 1, 2, 5, 6]])
    assert page.bars["volume"].to_pylist() == [5.0, 5.0]
    assert page.notes == ("candles have 7 fields, 6 are known",)
    assert _trades(TRADE | {"venue": "x"}).notes == (
        "trades have fields that were not known: 'venue'",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"trade_id": "7"},
        {"trade_id": None},
        {"trade_id": 0},
        {"trade_id": -1},
        {"trade_id": True},
        {"trade_id": 7.0},
        {"trade_id": 2**63},
        {"time": None},
        {"time": 1785801662},
        {"time": "2026-08-04"},
        {"time": "2026-08-04T00:01:02"},
        {"time": "2026-08-04T00:01:02+00:00"},
        {"time": "2026-02-30T00:01:02Z"},
        {"time": "2026-08-04T00:01:02.Z"},
    ],
)
def test_a_trade_that_cannot_be_placed_is_left_out_and_told(change: dict[str, object]) -> None:
    """Without a readable number or time."""
    page = _trades(TRADE | change, TRADE | {"trade_id": 6})
    assert page.trades["trade_id"].to_pylist() == [6]
    assert len(page.left_out) == 1
    assert '"64005.55"' in str(page.left_out[0].received[0])
    with pytest.raises(errors.MalformedPayloadError, match="no trade can be placed"):
        _trades(TRADE | change)


@pytest.mark.parametrize(
    ("side", "taker"),
    [("buy", "sell"), ("sell", "buy"), ("BUY", None), ("", None), (None, None), (["buy"], None)],
)
def test_the_taker_did_the_opposite_of_the_makers_side(side: object, taker: str | None) -> None:
    """Another side than the two is null, for validation to refuse."""
    page = _trades(TRADE | {"side": side}, TRADE)
    assert page.trades["taker_side"][0].as_py() == taker


@pytest.mark.parametrize("name", ["price", "size", "side"])
def test_a_field_that_no_trade_has_is_another_wire_format(name: str) -> None:
    """As if it had been renamed."""
    row = {key: value for key, value in TRADE.items() if key != name}
    with pytest.raises(errors.MalformedPayloadError, match="no row has a usable value"):
        _trades(row, row | {"trade_id": 6})


@pytest.mark.parametrize(
    ("fraction", "us"),
    [("", 0), (".1", 100_000), (".123", 123_000), (".123456", 123_456), (".123456789", 123_456)],
)
def test_times_are_read_to_the_microsecond(fraction: str, us: int) -> None:
    """Whole seconds come without a point; digits beyond the sixth are cut."""
    page = _trades(TRADE | {"time": f"2026-08-04T00:01:02{fraction}Z"})
    assert page.trades["traded_at"][0].as_py() == datetime(2026, 8, 4, 0, 1, 2, us, tzinfo=UTC)


def test_repeated_and_reversed_rows_are_left_to_validation() -> None:
    """They come as they came."""
    rows = [[120, 1, 2, 1, 2, 5], [120, 1, 2, 1, 2, 5], [60, 1, 2, 1, 2, 6]]
    assert _candles(rows[::-1]).bars["volume"].to_pylist() == [6.0, 5.0, 5.0]
    assert _trades(TRADE, TRADE).trades["trade_id"].to_pylist() == [7, 7]


@pytest.mark.parametrize(
    "symbol",
    ["", "BTC", "BTC-", "-USD", "BTC/USD", "BTC-USD/trades", "BTC-USD?a=b", "../time", " "],
)
def test_a_symbol_that_would_be_another_path_is_refused(symbol: str) -> None:
    """Before anything is sent."""
    day = date(2026, 8, 4)
    with pytest.raises(errors.RequestRejectedError, match="nothing was sent"):
        wire.check_request(symbol, day, day, "op")
    wire.check_request("1INCH-USDT", day, day, "op")


def test_candle_columns_are_of_the_promised_types() -> None:
    """Also where no row has a figure in a single row."""
    bars = _candles([[60, None, None, None, None, None]]).bars
    assert bars.schema == WIRE_MINUTE_BARS
    assert bars["open"].type == pa.float64()
