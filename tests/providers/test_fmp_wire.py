"""FMP's answers: recorded ones, and every bad one that is known of it."""

import json
from datetime import UTC, date, datetime
from hashlib import sha256

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.bars import PRICES, QUOTED_BARS, validate
from marketdata.instruments import Constituent
from marketdata.recovery import errors
from resources.providers import fmp_wire
from resources.providers.http import HttpAnswer
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


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> HttpAnswer:
    return HttpAnswer(
        status=status,
        headers=headers or {},
        body=body,
        sha256=sha256(body).hexdigest(),
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        requests=1,
    )


def _told(text: str) -> bytes:
    return json.dumps({"Error Message": text}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "shown"),
    [
        (200, _told("Limit Reach. This is a bulk endpoint"), errors.RateLimitedError, "bulk"),
        (200, b"[" + _told("Limit Reach .") + b"]", errors.RateLimitedError, "Limit"),
        (200, _told("Bandwidth Limit Reach"), errors.RateLimitedError, "Bandwidth"),
        (200, _told("Invalid API KEY. Feel free"), errors.KeyRefusedError, "Invalid"),
        (200, _told("Something else"), errors.RequestRejectedError, "Something else"),
        (200, _told("You said sesame"), errors.RequestRejectedError, r"You said \*\*\*"),
        (429, _told("Limit Reach ."), errors.RateLimitedError, "HTTP 429: Limit"),
        (429, b"", errors.RateLimitedError, "HTTP 429"),
        (
            400,
            b"Query Error: Invalid or missing query parameter - symbol",
            errors.RequestRejectedError,
            "missing query parameter - symbol",
        ),
        (
            401,
            recorded("fmp_error_invalid_key_401.json"),
            errors.KeyRefusedError,
            "Invalid API KEY.*check the key",
        ),
        (
            402,
            recorded("fmp_error_premium_symbol_402.txt"),
            errors.NotEntitledError,
            "Premium Query Parameter.*the plan",
        ),
        (403, _told("Legacy Endpoint : Due to"), errors.NotEntitledError, "legacy endpoint"),
        (404, b"[]", errors.RequestRejectedError, "HTTP 404$"),
        (500, b"", errors.ProviderUnavailableError, "HTTP 500"),
        (502, b"<html><h1>Bad gateway", errors.ProviderUnavailableError, "web page"),
        (301, b"", errors.RequestRejectedError, "HTTP 301"),
        (400, b"x" * 5000, errors.RequestRejectedError, "x…$"),
    ],
)
def test_every_refusal_is_told_by_its_content(
    status: int, body: bytes, kind: type[errors.ProviderError], shown: str
) -> None:
    """Errors inside a 200, plain text labelled JSON, web pages; the key is blotted out."""
    error = fmp_wire.refusal(_answer(status, body), "op", key="sesame")
    assert type(error) is kind
    assert error.operation == "op"
    with pytest.raises(kind, match=shown):
        raise error
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    "body",
    [b"[]", b"", HEADER, b'[{"symbol": "AAA"}]', b'{"Error Message" cut', b'["Error Message"]'],
)
def test_what_is_no_refusal_is_left_to_the_parser(body: bytes) -> None:
    """Only a field named Error Message makes a 200 an error."""
    assert fmp_wire.refusal(_answer(200, body), "op", key="sesame") is None


def test_a_limit_in_a_429_keeps_the_providers_own_pause() -> None:
    """FMP sends no Retry-After today; should it begin to, it is honoured."""
    error = fmp_wire.refusal(_answer(429, b"", {"retry-after": "9"}), "op", key="k")
    assert isinstance(error, errors.RateLimitedError)
    assert error.retry_after_s == 9.0


def test_a_recorded_history_keeps_every_figure() -> None:
    """Six sessions of AAPL, all of them acceptable bars."""
    table = fmp_wire.history_table(recorded("fmp_historical_price_eod_full.json"), operation="op")
    assert table.schema == QUOTED_BARS
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


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"close": "102.5"}, "close holds str"),
        ({"close": True}, "close holds bool"),
        ({"close": [1]}, "close holds list"),
        ({"volume": {"a": 1}}, "volume holds dict"),
        ({"volume": 2**60 + 1}, "field volume"),
        ({"symbol": None}, "symbol holds NoneType"),
        ({"symbol": 7}, "symbol holds int"),
        ({"date": ""}, "field date"),
        ({"date": None}, "date holds NoneType"),
        ({"date": "2026-08-04 00:00:00"}, "field date"),
        ({"date": "04/08/2026"}, "field date"),
        ({"date": "2026-02-30"}, "field date"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_field(change: dict[str, object], named: str) -> None:
    """A type that flips means another wire format: nothing of the answer is stored."""
    body = json.dumps([ROW, ROW | change]).encode()
    with pytest.raises(errors.MalformedPayloadError, match=named):
        fmp_wire.history_table(body, operation="op")


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
        fmp_wire.history_table(body, operation="op")


def test_a_field_that_every_row_lacks_is_another_wire_format() -> None:
    """As when close becomes adjClose; one row without it is only a hole."""
    without = {name: value for name, value in ROW.items() if name != "close"}
    with pytest.raises(errors.MalformedPayloadError, match="no row has the field close"):
        fmp_wire.history_table(json.dumps([without, without]).encode(), operation="op")
    for body in ([without], [ROW, without], [ROW | {"close": None}]):
        table = fmp_wire.history_table(json.dumps(body).encode(), operation="op")
        assert table["close"].null_count == 1


def test_an_empty_list_is_an_empty_table() -> None:
    """Nobody knows here whether the symbol is unknown or had no bars."""
    assert fmp_wire.history_table(b"[]", operation="op").equals(QUOTED_BARS.empty_table())


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
    table = fmp_wire.history_table(json.dumps(rows).encode(), operation="op")
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
    table = fmp_wire.market_table(body, DAY, operation="op")
    assert table.schema == QUOTED_BARS
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("AAA", DAY, 101.2, 103.0, 100.8, 102.5, 1200345.0),
        ("XYZUSD", DAY, 1.8646e-8, 1.9e-8, 1.8e-8, 1.87e-8, 5120345.75),
        ("NA", DAY, 1.0, None, None, 1.0, 0.0),
    ]


def test_a_bulk_day_may_come_without_quotes_and_without_a_last_newline() -> None:
    """Whether values are quoted is not documented."""
    body = b"symbol,date,open,low,high,close,adjClose,volume\nA,2026-08-04,1,1,1,1,1,5"
    assert fmp_wire.market_table(body, DAY, operation="op").num_rows == 1


@pytest.mark.parametrize("body", [b"[]", HEADER, HEADER.strip()])
def test_a_day_without_rows_is_an_empty_table(body: bytes) -> None:
    """The shape of an empty answer does not matter."""
    assert fmp_wire.market_table(body, DAY, operation="op").equals(QUOTED_BARS.empty_table())


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "promised CSV"),
        (b"<html><body>busy</body></html>", "promised CSV"),
        (b'{"symbol": "AAA"}', "promised CSV"),
        (HEADER.replace(b"close", b"last"), "close"),
        (HEADER + b'"A","2026-08-04","x","1","1","1","1","5"\n', "field open"),
        (HEADER + b'"A","04.08.2026","1","1","1","1","1","5"\n', "field date"),
        (HEADER + b'"A","2026-08-04","1","1"\n', "Expected 8 columns"),
        (HEADER + b'"A","2026-08-03","1","1","1","1","1","5"\n', "another day.*2026-08-03"),
        (HEADER + b'"A","","1","1","1","1","1","5"\n', "another day.*None"),
        (HEADER + b'"\xff","2026-08-04","1","1","1","1","1","5"\n', "field symbol"),
    ],
)
def test_a_bulk_day_that_is_not_as_promised_is_malformed(body: bytes, named: str) -> None:
    """Web pages, other columns, cut rows, other days: nothing of the answer is stored."""
    with pytest.raises(errors.MalformedPayloadError, match=named):
        fmp_wire.market_table(body, DAY, operation="op")


@given(st.binary(max_size=200))
def test_no_bytes_escape_as_another_error(body: bytes) -> None:
    """Whatever comes, it parses, is refused or is malformed."""
    for parse in (
        lambda: fmp_wire.history_table(body, operation="op"),
        lambda: fmp_wire.market_table(HEADER + body, DAY, operation="op"),
        lambda: fmp_wire.market_table(body, DAY, operation="op"),
        lambda: fmp_wire.refusal(_answer(200, body), "op", key="k"),
    ):
        try:
            result = parse()
        except errors.MalformedPayloadError:
            continue
        assert result is None or isinstance(result, pa.Table | errors.ProviderError)


def test_constituents_carry_our_tickers_and_ten_digit_ciks() -> None:
    """The recorded Dow Jones list has the format of the S&P 500's."""
    rows = json.loads(recorded("fmp_dowjones_constituent.json"))
    rows.append(rows[0] | {"symbol": "BRK-B", "cik": "", "sector": None})
    listed = fmp_wire.constituent_list(json.dumps(rows).encode(), operation="op")
    assert len(listed) == 31
    assert listed[0] == Constituent(
        ticker="NVDA", name="Nvidia", cik="0001045810", sector="Technology"
    )
    assert (listed[-1].ticker, listed[-1].cik, listed[-1].sector) == ("BRK.B", None, None)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cik": "320193"}, "cik is not ten digits"),
        ({"cik": 320193}, "cik holds int"),
        ({"symbol": ""}, "symbol is empty"),
        ({"name": None}, "name is empty"),
        ({"sector": 5}, "sector holds int"),
    ],
)
def test_a_constituent_that_is_not_as_promised_is_malformed(
    change: dict[str, object], named: str
) -> None:
    """A slip here would rename or drop an instrument."""
    row = {"symbol": "A", "name": "A Inc.", "cik": "0000000001", "sector": "S"} | change
    with pytest.raises(errors.MalformedPayloadError, match=named):
        fmp_wire.constituent_list(json.dumps([row]).encode(), operation="op")


def test_an_index_without_members_is_malformed() -> None:
    """It would close every membership."""
    with pytest.raises(errors.MalformedPayloadError, match="without members"):
        fmp_wire.constituent_list(b"[]", operation="op")


def test_a_recorded_profile_is_read() -> None:
    """Apple as of 2025."""
    profile = fmp_wire.company_profile(recorded("fmp_profile_aapl.json"), operation="op")
    assert profile == fmp_wire.Profile(
        symbol="AAPL",
        name="Apple Inc.",
        cik="0000320193",
        exchange="NASDAQ",
        currency="USD",
        sector="Technology",
        listed_on=date(1980, 12, 12),
        is_trading=True,
    )


def test_a_profile_of_nobody_is_an_unknown_symbol() -> None:
    """FMP says so with an empty list."""
    with pytest.raises(errors.UnknownSymbolError, match="BRK-B"):
        fmp_wire.company_profile(b"[]", operation="op")
