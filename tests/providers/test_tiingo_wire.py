"""Tiingo's answers: recorded ones, and every bad one that is known of it."""

import contextlib
import json
import logging
from datetime import UTC, date, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata import bars
from marketdata.minute_bars import WIRE_MINUTE_BARS
from marketdata.recovery import errors
from resources.providers.http import HttpAnswer
from resources.providers.tiingo import bars as tiingo_bars
from resources.providers.tiingo import wire
from tests.providers.recordings import recorded

HOURLY = "Error: You have run over your hourly request allocation."
DAILY = "Error: You have run over your daily request allocation."
SYMBOLS = "You have run over your 500 symbol look up for this month. Please upgrade"
BANDWIDTH = "Error: You have run over your monthly bandwidth allocation."


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> HttpAnswer:
    return HttpAnswer(
        status=status,
        headers=headers or {},
        body=body,
        sha256=sha256(body).hexdigest(),
        fetched_at=datetime(2026, 11, 21, 15, 30, tzinfo=UTC),
        requests=1,
    )


def _detail(text: str) -> bytes:
    return json.dumps({"detail": text}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "shown"),
    [
        (
            429,
            recorded("tiingo_error_rate_limit_429.json"),
            errors.RateLimitedError,
            "HTTP 429: Error: You have run over your hourly request allocation",
        ),
        (200, _detail(HOURLY), errors.RateLimitedError, "hourly"),
        (200, HOURLY.encode(), errors.RateLimitedError, "hourly"),
        (429, b"", errors.RateLimitedError, "HTTP 429$"),
        (429, _detail(DAILY), errors.BudgetSpentError, "until 2026-11-22 00:00 EST: Error"),
        (200, DAILY.encode(), errors.BudgetSpentError, "daily"),
        (200, SYMBOLS.encode(), errors.BudgetSpentError, "until 2026-12-01 00:00 EST: You have"),
        (200, _detail(SYMBOLS), errors.BudgetSpentError, "500 symbol"),
        (200, json.dumps(SYMBOLS).encode(), errors.BudgetSpentError, "500 symbol"),
        (429, SYMBOLS.encode(), errors.BudgetSpentError, "500 symbol"),
        (429, _detail(BANDWIDTH), errors.BudgetSpentError, "bandwidth"),
        (401, _detail("Invalid token."), errors.KeyRefusedError, "Invalid token.; check the key"),
        (401, b"", errors.KeyRefusedError, "HTTP 401"),
        (403, b"None", errors.KeyRefusedError, "HTTP 403: None"),
        (403, _detail("Authentication credentials were not"), errors.KeyRefusedError, "403"),
        (403, _detail("You do not have permission"), errors.NotEntitledError, "its plan"),
        (404, _detail("Not found."), errors.UnknownSymbolError, "HTTP 404: Not found."),
        (404, _detail("Error: Ticker 'X' not found"), errors.UnknownSymbolError, "Ticker 'X'"),
        (200, b"Error: Ticker 'X' not found", errors.UnknownSymbolError, "Ticker 'X'"),
        (200, _detail("Error: Ticker 'X' not found"), errors.UnknownSymbolError, "Ticker 'X'"),
        (200, _detail("Something else"), errors.RequestRejectedError, "Something else"),
        (200, _detail(""), errors.RequestRejectedError, "an error without a text"),
        (200, b"Error: resampleFreq must be", errors.RequestRejectedError, "resampleFreq"),
        (400, _detail("Error: bad date"), errors.RequestRejectedError, "HTTP 400: Error: bad"),
        (301, b"", errors.RequestRejectedError, "HTTP 301$"),
        (404, b"<html>404 Not Found", errors.RequestRejectedError, "a web page instead"),
        (500, _detail(HOURLY), errors.ProviderUnavailableError, "HTTP 500"),
        (502, b"<html><h1>Bad gateway", errors.ProviderUnavailableError, "web page"),
        (503, b"x" * 5000, errors.ProviderUnavailableError, "HTTP 503$"),
        (400, b"x" * 500, errors.RequestRejectedError, "x…$"),
        (400, b"you said sesame", errors.RequestRejectedError, r"said \*\*\*$"),
    ],
)
def test_every_error_is_recognized_by_status_and_words(
    status: int, body: bytes, kind: type[errors.ProviderError], shown: str
) -> None:
    """Objects, bare text and web pages, also inside a 200; the key is blotted out."""
    error = wire.classify_error(_answer(status, body), "op", key="sesame")
    assert error is not None
    assert type(error) is kind
    assert error.operation == "op"
    with pytest.raises(kind, match=shown):
        raise error
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"",
        b"None",
        b"<html>maintenance</html>",
        b'[{"detail": "x"}]',
        b'{"detail": cut',
        b'{"ticker": "AAPL"}',
        recorded("tiingo_daily_prices_latest_googl.json"),
        recorded("tiingo_iex_prices_30min_googl.json"),
        recorded("tiingo_daily_prices_range_googl.csv"),
    ],
)
def test_what_is_no_error_is_left_to_the_parser(body: bytes) -> None:
    """Only an object with detail, or text that begins as Tiingo's errors do, refuses in a 200."""
    assert wire.classify_error(_answer(200, body), "op", key="sesame") is None


@pytest.mark.parametrize(
    ("text", "at", "until"),
    [
        (SYMBOLS, datetime(2026, 2, 28, 4, tzinfo=UTC), datetime(2026, 3, 1, 5, tzinfo=UTC)),
        (SYMBOLS, datetime(2026, 12, 31, 12, tzinfo=UTC), datetime(2027, 1, 1, 5, tzinfo=UTC)),
        (SYMBOLS, datetime(2026, 11, 1, 3, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC)),
        (DAILY, datetime(2026, 3, 8, 6, tzinfo=UTC), datetime(2026, 3, 9, 4, tzinfo=UTC)),
        (DAILY, datetime(2026, 11, 1, 12, tzinfo=UTC), datetime(2026, 11, 2, 5, tzinfo=UTC)),
    ],
)
def test_a_spent_quota_is_put_off_to_its_end_in_new_york(
    text: str, at: datetime, until: datetime
) -> None:
    """Midnight or the first of the month, through both changes of the clock."""
    answer = HttpAnswer(
        status=200, headers={}, body=text.encode(), sha256="", fetched_at=at, requests=1
    )
    error = wire.classify_error(answer, "op", key="k")
    assert isinstance(error, errors.BudgetSpentError)
    assert error.retry_after_s == (until - at).total_seconds()


@given(st.binary(max_size=200))
def test_no_bytes_escape_as_another_error(body: bytes) -> None:
    """Whatever comes, it is read, is refused or is malformed."""
    for parse in (
        lambda: tiingo_bars.history_page(body, "A", operation="op"),
        lambda: tiingo_bars.market_day(body, operation="op"),
        lambda: tiingo_bars.minute_page(body, "A", operation="op"),
        lambda: wire.classify_error(_answer(200, body), "op", key="k"),
    ):
        with contextlib.suppress(errors.MalformedPayloadError):
            parse()


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "1.5", "2026-08-04", "2026-08-04T13:30:00.000Z", "\ud800"]),
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["ticker", "date", "open", "high", "low", "close", "volume"]), CELLS
        ),
        max_size=4,
    )
)
def test_every_row_becomes_a_bar_or_is_told(rows: list[dict[str, object]]) -> None:
    """None is lost between the bars, those left out and a refusal of all."""
    body = json.dumps(rows).encode()
    for parse in (tiingo_bars.history_page, tiingo_bars.minute_page):
        with contextlib.suppress(errors.MalformedPayloadError):
            page = parse(body, "A", operation="op")
            assert page.bars.num_rows + len(page.left_out) == len(rows) == page.rows
    with contextlib.suppress(errors.MalformedPayloadError):
        tiingo_bars.market_day(body, operation="op")


def test_a_recorded_history_is_read_as_traded() -> None:
    """Six days of Apple: the raw prices, not the adjusted ones beside them."""
    body = recorded("tiingo_daily_prices_aapl_2023_01.json")
    page = tiingo_bars.history_page(body, "AAPL", operation="op")
    assert page.bars.schema == bars.WIRE_BARS
    assert (page.rows, page.left_out) == (6, ())
    first, *_, last = page.bars.to_pylist()
    assert first == {
        "symbol": "AAPL",
        "session_date": date(2023, 1, 3),
        "open": 130.28,
        "high": 130.9,
        "low": 124.17,
        "close": 125.07,
        "volume": 112117471.0,
    }
    assert (last["session_date"], last["close"]) == (date(2023, 1, 10), 130.73)
    assert bars.validate(page.bars).rejected == ()


def test_the_recorded_latest_price_has_another_form_of_date() -> None:
    """``+00:00``, and the fields by the alphabet."""
    body = recorded("tiingo_daily_prices_latest_googl.json")
    (row,) = tiingo_bars.history_page(body, "GOOGL", operation="op").bars.to_pylist()
    assert (row["session_date"], row["open"], row["close"], row["volume"]) == (
        date(2018, 4, 12),
        1031.47,
        1037.29,
        1644794.0,
    )


def test_the_recorded_intraday_answer_lacks_volume_and_is_refused() -> None:
    """Volume comes only if it is named: bars without any would all be rejected one by one."""
    body = recorded("tiingo_iex_prices_30min_googl.json")
    with pytest.raises(errors.MalformedPayloadError, match="field volume"):
        tiingo_bars.minute_page(body, "GOOGL", operation="op")


def test_the_recorded_intraday_prices_are_read_with_a_volume() -> None:
    """Thirteen half hours, without vwap and trades."""
    rows = json.loads(recorded("tiingo_iex_prices_30min_googl.json"))
    body = json.dumps([row | {"volume": 100.0} for row in rows]).encode()
    page = tiingo_bars.minute_page(body, "GOOGL", operation="op")
    assert page.bars.schema == WIRE_MINUTE_BARS
    assert page.rows == page.bars.num_rows == 13
    assert page.bars.to_pylist()[0] == {
        "symbol": "GOOGL",
        "opened_at": datetime(2018, 1, 2, 14, 30, tzinfo=UTC),
        "open": 1057.47,
        "high": 1061.91,
        "low": 1054.17,
        "close": 1061.91,
        "volume": 100.0,
        "vwap": None,
        "trades": None,
    }


def _row(**fields: object) -> dict[str, object]:
    row: dict[str, object] = {"date": "2026-08-04T00:00:00.000Z"}
    return row | {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5} | fields


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-08-04T00:00:00.000Z", date(2026, 8, 4)),
        ("2026-08-04T00:00:00+00:00", date(2026, 8, 4)),
        ("2026-08-04T00:00:00", date(2026, 8, 4)),
        ("2026-08-04", date(2026, 8, 4)),
        ("2026-08-04T20:00:00.000Z", None),
        ("2026-08-04T00:00:00-05:00", None),
        ("2026-02-30", None),
        ("20260804", None),
        ("", None),
        (None, None),
        (1785801600, None),
    ],
)
def test_a_day_is_read_in_every_form_tiingo_has_and_in_no_other(
    text: object, day: date | None
) -> None:
    """A time of day or another zone would be a guess: the row is left out and reported."""
    rows = [_row(date=text), _row(date="2026-08-03")]
    page = tiingo_bars.history_page(json.dumps(rows).encode(), "A", operation="op")
    days = page.bars["session_date"].to_pylist()
    assert days == ([day, date(2026, 8, 3)] if day else [date(2026, 8, 3)])
    assert [json.loads(str(rejection.received[0])) for rejection in page.left_out] == (
        [] if day else rows[:1]
    )


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-08-04T13:30:00.000Z", datetime(2026, 8, 4, 13, 30, tzinfo=UTC)),
        ("2026-08-04T13:30:00+00:00", datetime(2026, 8, 4, 13, 30, tzinfo=UTC)),
        ("2026-08-04T09:30:00-04:00", datetime(2026, 8, 4, 13, 30, tzinfo=UTC)),
        ("2026-08-04T13:30:00", None),
        ("2026-08-04T13:30:01.000Z", None),
        ("2026-08-04T13:30:00.500Z", None),
        ("2026-08-04T25:30:00.000Z", None),
        ("2026-08-04", None),
        (None, None),
    ],
)
def test_a_minute_is_read_with_its_zone_or_not_at_all(text: object, at: datetime | None) -> None:
    """Without a zone the moment is unknown."""
    other = datetime(2026, 8, 4, 14, tzinfo=UTC)
    rows = [_row(date=text), _row(date="2026-08-04T14:00:00.000Z")]
    page = tiingo_bars.minute_page(json.dumps(rows).encode(), "A", operation="op")
    assert page.bars["opened_at"].to_pylist() == ([at, other] if at else [other])
    assert len(page.left_out) == (0 if at else 1)


@pytest.mark.parametrize(
    ("cell", "read", "reason"),
    [
        ("11.0", None, "close is missing"),
        (None, None, "close is missing"),
        (True, None, "close is missing"),
        (10**400, None, "close is missing"),
        (2**53 + 1, None, "close is missing"),
        (-1.0, -1.0, "close is not above zero"),
        (0, 0.0, "close is not above zero"),
        (13.0, 13.0, "high is below close"),
        (1.1e1, 11.0, None),
    ],
)
def test_a_bad_cell_costs_its_row_and_no_other(
    cell: object, read: float | None, reason: str | None
) -> None:
    """Numbers as strings are no numbers here; exponents are."""
    rows = [_row(close=cell), _row(date="2026-08-03")]
    page = tiingo_bars.history_page(json.dumps(rows).encode(), "A", operation="op")
    assert page.bars["close"].to_pylist() == [read, 11.0]
    validated = bars.validate(page.bars)
    assert validated.accepted.num_rows == (1 if reason else 2)
    assert [rejection.reason.startswith(reason or "") for rejection in validated.rejected] == [
        True
    ] * (1 if reason else 0)


def test_equal_repeats_are_one_bar_and_contradictory_ones_none() -> None:
    """Whatever their order."""
    rows = [_row(), _row(), _row(date="2026-08-03"), _row(date="2026-08-03", close=10.5)]
    page = tiingo_bars.history_page(json.dumps(rows[::-1]).encode(), "A", operation="op")
    validated = bars.validate(page.bars)
    assert validated.accepted["session_date"].to_pylist() == [date(2026, 8, 4)]
    assert [row.day for row in validated.rejected] == [date(2026, 8, 3)]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"None", "not JSON"),
        (b"<html>gateway</html>", "not JSON"),
        (recorded("tiingo_daily_prices_aapl_2023_01.json")[:800], "not JSON"),
        (recorded("tiingo_daily_prices_range_googl.csv"), "not JSON"),
        (b"{}", "a list was promised, a dict came"),
        (b"null", "a NoneType came"),
        (b'"text"', "a str came"),
        (b"[1]", "something else than objects"),
        (json.dumps([_row(date="soon")]).encode(), "field date"),
        (json.dumps([_row(open="1"), _row(open=None)]).encode(), "field open"),
    ],
)
def test_an_answer_of_another_shape_is_malformed_for_every_parser(body: bytes, named: str) -> None:
    """Nothing of it is stored."""
    with pytest.raises(errors.MalformedPayloadError, match=named):
        tiingo_bars.history_page(body, "A", operation="op")
    with pytest.raises(errors.MalformedPayloadError):
        tiingo_bars.minute_page(body, "A", operation="op")
    with pytest.raises(errors.MalformedPayloadError):
        tiingo_bars.market_day(body, operation="op")


def test_an_empty_list_is_no_bars() -> None:
    """A known ticker on days without trades."""
    assert tiingo_bars.history_page(b"[]", "A", operation="op").rows == 0
    assert tiingo_bars.minute_page(b"[]", "A", operation="op").rows == 0


def test_a_market_without_rows_is_malformed() -> None:
    """There is always a latest day."""
    with pytest.raises(errors.MalformedPayloadError, match="none of 0 rows"):
        tiingo_bars.market_day(b"[]", operation="op")


def test_the_markets_day_is_the_one_most_rows_are_of(caplog: pytest.LogCaptureFixture) -> None:
    """Tickers long gone, and others a day ahead, come with days of their own."""
    rows = [
        _row(ticker="aapl", date="2026-08-04"),
        _row(ticker="Brk-b", date="2026-08-04T00:00:00+00:00"),
        _row(ticker="GONE", date="2015-03-02"),
        _row(ticker="600519", date="2026-08-05"),
        _row(ticker=None),
        _row(ticker="X", date=None),
    ]
    caplog.set_level(logging.INFO, "wrdata")
    market = tiingo_bars.market_day(json.dumps(rows).encode(), operation="op")
    assert market.day == date(2026, 8, 4)
    assert market.bars["symbol"].to_pylist() == ["AAPL", "BRK-B"]
    assert "2 rows of 2026-08-04; 2 of other days left out" in caplog.text
    assert "2 of 6 rows left out, without a readable ticker or date" in caplog.text


def test_minutes_that_are_not_over_are_taken_out() -> None:
    """The one that ends at this very moment is over."""
    rows = [_row(date=f"2026-08-04T14:0{minute}:00.000Z") for minute in range(3)]
    page = tiingo_bars.minute_page(json.dumps(rows).encode(), "A", operation="op")
    now = datetime(2026, 8, 4, 14, 2, tzinfo=UTC)
    minutes = [at.minute for at in tiingo_bars.over_by(page.bars, now)["opened_at"].to_pylist()]
    assert minutes == [0, 1]
