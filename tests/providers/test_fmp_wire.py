"""FMP's answers: recorded ones, and every bad one that is known of it."""

import contextlib
import json
from datetime import UTC, date, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.instruments import Constituent
from marketdata.recovery import errors
from resources.providers.fmp import wire
from resources.providers.http import HttpAnswer
from tests.providers.recordings import recorded

HEADER = b'"symbol","date","open","low","high","close","adjClose","volume"\n'


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> HttpAnswer:
    return HttpAnswer(
        status=status,
        headers=headers or {},
        body=body,
        sha256=sha256(body).hexdigest(),
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        requests=1,
    )


def _error_body(text: str) -> bytes:
    return json.dumps({"Error Message": text}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "shown"),
    [
        (200, _error_body("Limit Reach. This is a bulk endpoint"), errors.RateLimitedError, "bulk"),
        (200, b"[" + _error_body("Limit Reach .") + b"]", errors.RateLimitedError, "Limit"),
        (200, _error_body("Bandwidth Limit Reach"), errors.RateLimitedError, "Bandwidth"),
        (200, _error_body("Invalid API KEY. Feel free"), errors.KeyRefusedError, "Invalid"),
        (200, _error_body("Something else"), errors.RequestRejectedError, "Something else"),
        (200, _error_body("You said sesame"), errors.RequestRejectedError, r"You said \*\*\*"),
        (429, _error_body("Limit Reach ."), errors.RateLimitedError, "HTTP 429: Limit"),
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
        (403, _error_body("Legacy Endpoint : Due to"), errors.NotEntitledError, "legacy endpoint"),
        (404, b"[]", errors.RequestRejectedError, "HTTP 404$"),
        (500, b"", errors.ProviderUnavailableError, "HTTP 500"),
        (502, b"<html><h1>Bad gateway", errors.ProviderUnavailableError, "web page"),
        (301, b"", errors.RequestRejectedError, "HTTP 301"),
        (400, b"x" * 5000, errors.RequestRejectedError, "x…$"),
    ],
)
def test_every_error_is_recognized_by_its_content(
    status: int, body: bytes, kind: type[errors.ProviderError], shown: str
) -> None:
    """Errors inside a 200, plain text labelled JSON, web pages; the key is blotted out."""
    error = wire.classify_error(_answer(status, body), "op", key="sesame")
    assert error is not None
    assert type(error) is kind
    assert error.operation == "op"
    with pytest.raises(kind, match=shown):
        raise error
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    "body",
    [b"[]", b"", HEADER, b'[{"symbol": "AAA"}]', b'{"Error Message" cut', b'["Error Message"]'],
)
def test_what_is_no_error_is_left_to_the_parser(body: bytes) -> None:
    """Only a field named Error Message makes a 200 an error."""
    assert wire.classify_error(_answer(200, body), "op", key="sesame") is None


def test_a_limit_in_a_429_keeps_the_providers_own_pause() -> None:
    """FMP sends no Retry-After today; should it begin to, it is honoured."""
    error = wire.classify_error(_answer(429, b"", {"retry-after": "9"}), "op", key="k")
    assert isinstance(error, errors.RateLimitedError)
    assert error.retry_after_s == 9.0


@given(st.binary(max_size=200))
def test_no_bytes_escape_as_another_error(body: bytes) -> None:
    """Whatever comes, it is read, is refused or is malformed."""
    for parse in (
        lambda: wire.constituent_list(body, operation="op"),
        lambda: wire.company_profile(body, operation="op"),
        lambda: wire.classify_error(_answer(200, body), "op", key="k"),
    ):
        with contextlib.suppress(errors.MalformedPayloadError, errors.UnknownSymbolError):
            parse()


def test_constituents_carry_our_tickers_and_ten_digit_ciks() -> None:
    """The recorded Dow Jones list has the format of the S&P 500's."""
    rows = json.loads(recorded("fmp_dowjones_constituent.json"))
    rows.append(rows[0] | {"symbol": "BRK-B", "cik": "", "sector": None})
    listed = wire.constituent_list(json.dumps(rows).encode(), operation="op")
    assert (len(listed.members), listed.refused) == (31, [])
    assert listed.members[0] == Constituent(
        ticker="NVDA", name="Nvidia", cik="0001045810", sector="Technology"
    )
    last = listed.members[-1]
    assert (last.ticker, last.cik, last.sector) == ("BRK.B", None, None)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cik": "320193"}, "cik is not ten digits"),
        ({"cik": 320193}, "field cik cannot be read"),
        ({"symbol": ""}, "symbol is empty"),
        ({"name": None}, "name is empty"),
        ({"sector": 5}, "field sector cannot be read"),
    ],
)
def test_a_constituent_that_is_not_as_promised_is_malformed(
    change: dict[str, object], named: str
) -> None:
    """An error here would rename or drop an instrument."""
    row = {"symbol": "A", "name": "A Inc.", "cik": "0000000001", "sector": "S"} | change
    with pytest.raises(errors.MalformedPayloadError, match=named):
        wire.constituent_list(json.dumps([row]).encode(), operation="op")


@pytest.mark.parametrize("symbol", ["BAD,ONE", "O'X; drop", "aapl", "A" * 16, ".A", "A\n", " A"])
def test_a_symbol_that_is_no_ticker_is_left_out_and_returned(symbol: str) -> None:
    """The others stay members, odd but possible tickers among them."""
    fits = ["A", "BRK-B", "3M", "A" * 15]
    rows = [
        {"symbol": ticker, "name": "N", "cik": None, "sector": None} for ticker in (symbol, *fits)
    ]
    listed = wire.constituent_list(json.dumps(rows).encode(), operation="op")
    assert [instrument.ticker for instrument in listed.members] == ["A", "BRK.B", "3M", "A" * 15]
    assert listed.refused == [symbol]


@pytest.mark.parametrize("body", [b"[]", b'[{"symbol": "aapl", "name": "N"}]'])
def test_an_index_without_members_is_malformed(body: bytes) -> None:
    """It would close every membership."""
    with pytest.raises(errors.MalformedPayloadError, match="without members"):
        wire.constituent_list(body, operation="op")


def test_a_recorded_profile_is_read() -> None:
    """Apple as of 2025."""
    profile = wire.company_profile(recorded("fmp_profile_aapl.json"), operation="op")
    assert profile == wire.Profile(
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
        wire.company_profile(b"[]", operation="op")
