"""Polygon's answers: recorded ones, and every bad cell, row and answer that is known of them."""

import json
import logging
import math
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata import minute_bars
from marketdata.actions import WIRE_DIVIDENDS, WIRE_SPLITS, validate_dividends
from marketdata.bars import WIRE_BARS, validate
from marketdata.calendars import NEW_YORK_ZONE
from marketdata.companies import WIRE_COMPANIES, validate_companies
from marketdata.recovery import errors
from resources.providers.http import HttpAnswer
from resources.providers.polygon import actions, bars, companies, wire
from tests.providers.recordings import recorded

KEY = "sesame-sesame"
DAY_MS = 1785816000000
"""2026-08-04, midnight in New York."""
ROW = {"v": 1200345.0, "vw": 102.1, "o": 101.2, "c": 102.5, "h": 103.0, "l": 100.8, "t": DAY_MS}
MINUTE = {**ROW, "t": DAY_MS + 34_200_000, "n": 89}
SPLIT = {
    "ticker": "AAA", "execution_date": "2026-08-04", "split_from": 1, "split_to": 4,
    "adjustment_type": "forward_split", "historical_adjustment_factor": 0.25, "id": "E1",
}  # fmt: skip
DIVIDEND = {
    "ticker": "AAA", "ex_dividend_date": "2026-08-04", "cash_amount": 0.25, "currency": "USD",
    "declaration_date": "2026-07-20", "record_date": "2026-08-04", "pay_date": "2026-08-20",
    "frequency": 4, "distribution_type": "recurring", "id": "E2",
}  # fmt: skip
COMPANY = {
    "ticker": "AAA", "name": "Triple A", "cik": "0000999999", "primary_exchange": "XNYS",
    "type": "CS", "active": True, "currency_name": "usd", "market_cap": 1.5e12,
    "list_date": "1980-12-12", "total_employees": 154000, "sic_description": "COMPUTERS",
    "homepage_url": "https://aaa.example", "description": "Makes things.",
}  # fmt: skip


def _rows(body: bytes, *, exact: bool = False) -> list[bars.Row]:
    return wire.page(body, operation="op", exact=exact).rows


def _days(*rows: object) -> bars.Rows:
    body = json.dumps({"results": rows}).encode()
    return bars.day_bars(_rows(body), "AAA", operation="op")


def _minutes(*rows: object) -> bars.Rows:
    body = json.dumps({"results": rows}).encode()
    return bars.minute_bars(_rows(body), "AAA", operation="op")


def _dividends(*rows: str) -> bars.Rows:
    body = f'{{"results": [{",".join(rows)}]}}'.encode()
    return actions.dividend_rows(_rows(body, exact=True), operation="op")


def _answer(status: int, body: bytes, **headers: str) -> HttpAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(
        status=status,
        headers=named,
        body=body,
        sha256=sha256(body).hexdigest(),
        fetched_at=datetime(2026, 8, 4, tzinfo=UTC),
        requests=1,
    )


def test_recorded_days_keep_every_figure() -> None:
    """Volumes are written with an exponent; midnight in New York is 05:00 UTC in January."""
    page = wire.page(recorded("polygon_aggs_day_aapl.json"), operation="op")
    assert (page.ticker, page.adjusted, page.next_url) == ("AAPL", True, None)
    rows = bars.day_bars(page.rows, "AAPL", operation="op")
    assert rows.table.schema == WIRE_BARS
    assert rows.left_out == ()
    assert rows.table.to_pylist()[0] == {
        "symbol": "AAPL",
        "session_date": date(2023, 1, 3),
        "open": 130.28,
        "high": 130.9,
        "low": 124.17,
        "close": 125.07,
        "volume": 112117471.0,
    }
    assert rows.table["session_date"].to_pylist() == [
        date(2023, 1, day) for day in (3, 4, 5, 6, 9, 10)
    ]
    assert validate(rows.table).accepted.num_rows == 6


def test_recorded_minutes_keep_every_figure() -> None:
    """Before the opening: 09:00 UTC is four in the morning in New York."""
    rows = bars.minute_bars(
        _rows(recorded("polygon_aggs_minute_aapl.json")), "AAPL", operation="op"
    )
    assert rows.table.schema == minute_bars.WIRE_MINUTE_BARS
    first, second, third = rows.table.to_pylist()
    assert first == {
        "symbol": "AAPL",
        "opened_at": datetime(2025, 2, 25, 9, 0, tzinfo=UTC),
        "open": 247.76,
        "high": 247.76,
        "low": 246.81,
        "close": 246.81,
        "volume": 2628.0,
        "vwap": 247.117,
        "trades": 89,
    }
    assert (second["opened_at"].minute, second["volume"], second["trades"]) == (1, 1188.0, 56)
    assert (third["opened_at"].minute, third["close"], third["vwap"]) == (2, 247.0, 247.0297)
    assert minute_bars.validate(rows.table).accepted.num_rows == 3


def test_a_recorded_market_day_is_of_the_session_that_ended_then() -> None:
    """Its time is four in the afternoon in New York, the session's end."""
    table = bars.market_bars(
        _rows(recorded("polygon_grouped_daily.json")), date(2020, 10, 14), operation="op"
    ).table
    assert table.to_pylist() == [
        {
            "symbol": "GIK",
            "session_date": date(2020, 10, 14),
            "open": 9.99,
            "high": 10.02,
            "low": 9.9,
            "close": 10.02,
            "volume": 895345.0,
        }
    ]


def test_recorded_splits_are_new_for_old_shares() -> None:
    """Twenty for one, one for two, four for three."""
    rows = _rows(recorded("polygon_splits.json"), exact=True)
    table = actions.split_rows(rows, operation="op").table
    assert table.schema == WIRE_SPLITS
    by_symbol = {row["symbol"]: row for row in table.to_pylist()}
    assert by_symbol["GOOGL"] == {
        "symbol": "GOOGL",
        "ex_date": date(2022, 7, 18),
        "new_shares": Decimal(20),
        "old_shares": Decimal(1),
        "kind": None,
    }
    assert (by_symbol["BRW"]["new_shares"], by_symbol["BRW"]["old_shares"]) == (1, 2)
    assert (by_symbol["CIG.C"]["new_shares"], by_symbol["CIG.C"]["old_shares"]) == (4, 3)
    assert table.num_rows == 10


def test_a_recorded_page_leads_to_the_next_one_without_host_and_key() -> None:
    """Whatever host it names: the request stays with the client's own address."""
    page = wire.page(recorded("polygon_tickers_page1.json"), operation="op")
    assert [row["ticker"] for row in page.rows] == ["A", "AA"]
    assert page.next_url is not None
    following = wire.following(page.next_url, operation="op")
    assert following.path == "v3/reference/tickers"
    assert list(following.parameters) == ["cursor"]
    assert following.parameters["cursor"].startswith("YWN0aXZlPXRydWUm")
    last = wire.page(recorded("polygon_tickers_page2_last.json"), operation="op")
    assert last.next_url is None


def test_the_recorded_error_is_about_the_plan() -> None:
    """Its text stands under ``message``."""
    body = recorded("polygon_error_not_authorized_403.json")
    error = wire.classify_error(_answer(403, body), "op", key=KEY)
    assert type(error) is errors.NotEntitledError
    assert "You are not entitled to this data" in str(error)


@pytest.mark.parametrize(
    ("status", "body", "kind", "named"),
    [
        (401, '{"status":"ERROR","error":"Unknown API Key"}', errors.KeyRefusedError, "check"),
        (403, '{"status":"NOT_AUTHORIZED","message":"m"}', errors.NotEntitledError, "403: m;"),
        (403, '{"status":"ERROR","error":"e"}', errors.NotEntitledError, "403: e;"),
        (403, "<html>blocked</html>", errors.ProviderUnavailableError, "a web page"),
        (402, "", errors.NotEntitledError, "402"),
        (404, '{"status":"NOT_FOUND","message":"Ticker not found."}', errors.UnknownSymbolError,
         "Ticker not found"),
        (404, "404 page not found", errors.RequestRejectedError, "page not found"),
        (400, '{"status":"ERROR","error":"bad date"}', errors.RequestRejectedError, "bad date"),
        (301, "", errors.RequestRejectedError, "301"),
        (429, '{"status":"ERROR","error":"You\'ve exceeded the maximum requests per minute"}',
         errors.RateLimitedError, "maximum requests"),
        (429, "", errors.RateLimitedError, "429"),
        (408, "", errors.RateLimitedError, "408"),
        (500, '{"status":"ERROR","error":"e"}', errors.ProviderUnavailableError, "e"),
        (502, "<html>bad gateway</html>", errors.ProviderUnavailableError, "a web page"),
        (503, "", errors.ProviderUnavailableError, "503"),
        (200, '{"status":"ERROR","error":"You\'ve exceeded the maximum requests per minute"}',
         errors.RateLimitedError, "maximum requests"),
        (200, '{"status":"ERROR","error":"Unknown API Key"}', errors.KeyRefusedError, "API Key"),
        (200, '{"status":"NOT_AUTHORIZED","message":"m"}', errors.NotEntitledError, "m"),
        (200, '{"status":"NOT_FOUND","message":"m"}', errors.UnknownSymbolError, "m"),
        (200, '{"status":"ERROR"}', errors.RequestRejectedError, "status ERROR"),
        (200, '{"error":"odd"}', errors.RequestRejectedError, "odd"),
    ],
)  # fmt: skip
def test_an_error_is_recognized_by_status_and_content(
    status: int, body: str, kind: type[errors.ProviderError], named: str
) -> None:
    """Under ``error`` or ``message``, with a body or without."""
    error = wire.classify_error(_answer(status, body.encode()), "op", key=KEY)
    assert type(error) is kind
    assert named in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"OK","resultsCount":0}',
        b'{"status":"DELAYED","results":[]}',
        b'{"results":{"ticker":"A"}}',
        b"not JSON",
        b"",
        b"[]",
        recorded("polygon_aggs_day_aapl.json"),
    ],
)
def test_what_may_be_parsed_is_no_error(body: bytes) -> None:
    """Nonsense too: the parser refuses it."""
    assert wire.classify_error(_answer(200, body), "op", key=KEY) is None


def test_a_retry_after_is_passed_on_and_a_key_is_not() -> None:
    """No source has seen the header, and it would be honoured."""
    body = f'{{"status":"ERROR","error":"{KEY} has exceeded the maximum requests"}}'.encode()
    error = wire.classify_error(_answer(429, body, retry_after="12"), "op", key=KEY)
    assert isinstance(error, errors.RateLimitedError)
    assert error.retry_after_s == 12
    assert KEY not in str(error)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("Service is restarting", "not JSON"),
        ('{"results": [{"t": 1', "not JSON"),
        ("<html></html>", "not JSON"),
        ("", "not JSON"),
        ("[]", "an object was promised, a list came"),
        ("null", "an object was promised, a NoneType came"),
        ('{"status": "ERROR", "results": []}', "status 'ERROR'"),
        ('{"status": null}', "status None"),
        ('{"results": {}}', "a list was promised, a dict came"),
        ('{"results": "none"}', "a list was promised, a str came"),
        ('{"results": [1]}', "something else than objects"),
        ('{"results": [null]}', "something else than objects"),
        ('{"resultsCount": 5}', "5 results were promised, none came"),
        ('{"resultsCount": 5, "results": null}', "5 results were promised, none came"),
        ('{"next_url": 5}', "field next_url holds int"),
    ],
)
def test_an_answer_of_another_shape_is_malformed(body: str, named: str) -> None:
    """The error says what came instead."""
    with pytest.raises(errors.MalformedPayloadError, match=named):
        wire.page(body.encode(), operation="op")


@pytest.mark.parametrize(
    "body",
    [
        '{"queryCount":0,"resultsCount":0,"adjusted":true,"status":"OK","count":0}',
        '{"resultsCount":0,"results":null,"status":"OK"}',
        '{"results":[],"status":"DELAYED"}',
        "{}",
    ],
)
def test_an_answer_without_rows_has_none(body: str) -> None:
    """In all the ways in which Polygon has said so."""
    assert _rows(body.encode()) == []


@pytest.mark.parametrize(
    "next_url",
    [
        "https://example.com/v2/aggs?cursor=x",
        "http://api.massive.com/v2/aggs?cursor=x",
        "https://api.massive.com.example.com/v2/aggs?cursor=x",
        "https://api.massive.com@example.com/v2/aggs?cursor=x",
        "https://api.massive.com:8443/v2/aggs?cursor=x",
        "//api.massive.com/v2/aggs",
        "/v2/aggs?cursor=x",
        "https://api.massive.com",
        "https://[api.massive.com/v2",
        "x",
    ],
)
def test_a_next_page_elsewhere_is_not_followed(next_url: str) -> None:
    """Nor one by a way that anyone could read."""
    with pytest.raises(errors.MalformedPayloadError, match="next_url"):
        wire.following(next_url, operation="op")


def test_both_names_of_the_vendor_are_followed_and_a_key_in_the_address_is_dropped() -> None:
    """The key travels in the header."""
    for host in ("api.massive.com", "api.polygon.io"):
        following = wire.following(f"https://{host}/v2/a?cursor=x&apiKey=y", operation="op")
        assert (following.path, dict(following.parameters)) == ("v2/a", {"cursor": "x"})


@pytest.mark.parametrize(
    "day", [date(2026, 3, 6), date(2026, 3, 9), date(2025, 10, 31), date(2025, 11, 3)]
)
def test_a_day_is_new_yorks_on_both_sides_of_both_clock_changes(day: date) -> None:
    """Midnight there is 05:00 UTC in winter and 04:00 UTC in summer."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=NEW_YORK_ZONE)
    at = round(midnight.timestamp() * 1000)
    assert _days(ROW | {"t": at}).table["session_date"].to_pylist() == [day]


@pytest.mark.parametrize(
    "at",
    [None, "1785816000000", True, DAY_MS + 1, DAY_MS + 3_600_000, DAY_MS // 1000, DAY_MS * 1000,
     -1, 0.5, 10**30, math.nan],
    ids=repr,
)  # fmt: skip
def test_a_day_that_cannot_be_placed_is_left_out_and_told(at: object) -> None:
    """Seconds, microseconds, another time of day; alone it makes the answer malformed."""
    odd = ROW | {"t": at}
    rows = _days(ROW, odd)
    assert rows.table["session_date"].to_pylist() == [date(2026, 8, 4)]
    assert len(rows.left_out) == 1
    assert json.loads(str(rows.left_out[0].received[0]))["c"] == 102.5
    with pytest.raises(errors.MalformedPayloadError, match="no row can be placed"):
        _days(odd)


@pytest.mark.parametrize("letter", ["o", "h", "l", "c", "v"])
@pytest.mark.parametrize(
    "cell", ["102.5", "", None, True, [1], 2**60 + 1, 10**400, math.nan, math.inf], ids=repr
)
def test_a_cell_that_is_no_number_costs_its_row_alone(letter: str, cell: object) -> None:
    """Numeric text too, since Polygon sends numbers: validation refuses the row."""
    days = _days(ROW, ROW | {letter: cell, "t": DAY_MS - 86_400_000})
    validated = validate(days.table)
    assert (validated.accepted.num_rows, len(validated.rejected)) == (1, 1)
    minutes = _minutes(MINUTE, MINUTE | {letter: cell, "t": MINUTE["t"] + 60_000})
    judged = minute_bars.validate(minutes.table)
    assert (judged.accepted.num_rows, len(judged.rejected)) == (1, 1)


@pytest.mark.parametrize("letter", ["o", "h", "l", "c", "v"])
def test_a_field_that_no_row_has_is_another_wire_format(letter: str) -> None:
    """A renamed field must not become a quarantine of every row."""
    rows = [{name: value for name, value in ROW.items() if name != letter}] * 2
    with pytest.raises(errors.MalformedPayloadError, match=f"field {letter}"):
        _days(*rows)


def test_figures_that_may_be_missing_stay_missing() -> None:
    """No weighted price and no count are null, not zero."""
    bare = {name: value for name, value in MINUTE.items() if name not in {"vw", "n"}}
    (row,) = _minutes(bare).table.to_pylist()
    assert (row["vwap"], row["trades"]) == (None, None)
    assert minute_bars.validate(_minutes(bare).table).rejected == ()


def test_counts_may_have_an_exponent_and_volumes_a_fraction() -> None:
    """JSON knows one kind of number only."""
    body = json.dumps({"results": [MINUTE]}).replace("1200345.0", "1.2003455e+06")
    body = body.replace('"n": 89', '"n": 8.9e+01')
    table = bars.minute_bars(_rows(body.encode()), "AAA", operation="op").table
    (row,) = table.to_pylist()
    assert (row["volume"], row["trades"]) == (1200345.5, 89)


def test_optional_figures_that_cannot_be_read_are_reported() -> None:
    """Null would mean that Polygon did not send them."""
    for count in ("89", 8.5, 1e300, 10**30, True, [89]):
        rows = _minutes(MINUTE, MINUTE | {"n": count})
        assert rows.table["trades"].to_pylist() == [89]
        assert [json.loads(str(rejection.received[0]))["n"] for rejection in rows.left_out] == [
            count
        ]
    judged = minute_bars.validate(_minutes(MINUTE | {"vw": "102.1"}).table)
    assert judged.rejected[0].reason == "vwap is not a finite number above zero"


def test_repeated_and_reversed_rows_are_for_validation() -> None:
    """One of two equal ones, none of two different ones; order does not matter."""
    other = MINUTE | {"t": MINUTE["t"] + 60_000}
    assert minute_bars.validate(_minutes(other, MINUTE, MINUTE).table).accepted.num_rows == 2
    judged = minute_bars.validate(_minutes(other, MINUTE, MINUTE | {"c": 102.4}).table)
    assert (judged.accepted.num_rows, len(judged.rejected)) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [{"T": None}, {"T": ""}, {"T": 5}, {"T": "A\x00"}, {"T": "\ud800"}, {"t": None},
     {"t": DAY_MS - 1}, {"t": DAY_MS // 1000}],
    ids=repr,
)  # fmt: skip
def test_a_row_of_a_market_day_that_cannot_be_placed_is_counted_in_the_log(
    change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """No symbol, or another day."""
    good = {**ROW, "T": "KIMpL", "t": DAY_MS + 57_600_000}
    rows = _rows(json.dumps({"results": [good, good | change]}).encode())
    with caplog.at_level(logging.WARNING):
        table = bars.market_bars(rows, date(2026, 8, 4), operation="op").table
    assert table["symbol"].to_pylist() == ["KIMpL"]
    assert "1 of 2 rows left out" in caplog.text
    with pytest.raises(errors.MalformedPayloadError, match="no readable row of 2026-08-04"):
        bars.market_bars(rows[1:], date(2026, 8, 4), operation="op")


def test_a_market_day_without_rows_is_empty() -> None:
    """A holiday."""
    assert bars.market_bars([], date(2026, 8, 2), operation="op").table.num_rows == 0


def test_a_split_has_its_kind_and_a_dividend_its_days() -> None:
    """Amounts are exact, dates are dates, and absent fields are null."""
    body = json.dumps({"results": [SPLIT]}).encode()
    (split,) = actions.split_rows(_rows(body, exact=True), operation="op").table.to_pylist()
    assert split == {
        "symbol": "AAA",
        "ex_date": date(2026, 8, 4),
        "new_shares": Decimal(4),
        "old_shares": Decimal(1),
        "kind": "forward_split",
    }
    bare = {name: DIVIDEND[name] for name in ("ticker", "ex_dividend_date", "cash_amount")}
    table = _dividends(json.dumps(DIVIDEND), json.dumps(bare | {"ticker": "BBB"})).table
    assert table.schema == WIRE_DIVIDENDS
    first, untold = table.to_pylist()
    assert first == {
        "symbol": "AAA",
        "ex_date": date(2026, 8, 4),
        "kind": "regular",
        "amount": Decimal("0.25"),
        "currency": "USD",
        "declaration_date": date(2026, 7, 20),
        "record_date": date(2026, 8, 4),
        "payment_date": date(2026, 8, 20),
        "frequency": "Quarterly",
    }
    assert [untold[name] for name in ("currency", "declaration_date", "frequency")] == [None] * 3


def test_a_supplemental_dividend_beside_a_special_one_is_told_apart() -> None:
    """Declared on other days, they would look like a dividend and its correction."""
    special = DIVIDEND | {"distribution_type": "special", "frequency": 0, "cash_amount": 2}
    supplemental = special | {
        "distribution_type": "supplemental",
        "cash_amount": 0.3,
        "declaration_date": "2026-07-25",
    }
    table = _dividends(json.dumps(special), json.dumps(supplemental)).table
    assert table["frequency"].to_pylist() == ["Irregular", "Supplemental"]
    judged = validate_dividends(table)
    assert judged.rejected == ()
    assert sorted(judged.accepted["amount"].to_pylist()) == [Decimal("0.3"), Decimal(2)]


@pytest.mark.parametrize(
    ("message", "frequency", "kind"),
    [
        ("recurring", 4, "regular"),
        ("recurring", 0, "regular"),
        ("special", 4, "special"),
        ("supplemental", 4, "special"),
        ("irregular", 0, "special"),
        ("unknown", 12, "regular"),
        ("unknown", 0, "special"),
        (None, None, "regular"),
    ],
)
def test_a_dividend_is_regular_or_special(
    message: str | None, frequency: int | None, kind: str
) -> None:
    """Polygon knows five kinds."""
    changed = DIVIDEND | {"distribution_type": message, "frequency": frequency}
    assert _dividends(json.dumps(changed)).table["kind"].to_pylist() == [kind]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0.1", "0.1"),
        ("2.5e-7", "0.00000025"),
        ("1E+3", "1000"),
        ("3", "3"),
        ("0.1234567890123456785", "0.123456789012345678"),
        ("0.1234567890123456775", "0.123456789012345678"),
        ("99999999999999999999.5", "99999999999999999999.5"),
        ("1e-400", "0"),
    ],
)
def test_an_amount_is_exact_to_eighteen_digits(text: str, amount: str) -> None:
    """Beyond them it is rounded, half to even."""
    row = json.dumps(DIVIDEND).replace("0.25", text)
    assert _dividends(row).table["amount"].to_pylist() == [Decimal(amount)]


@pytest.mark.parametrize("text", ["1e20", "100000000000000000000", "1e999999"])
def test_an_amount_that_does_not_fit_costs_its_row(text: str) -> None:
    """It is no amount of money that anyone paid: null, for validation to refuse."""
    rows = _dividends(json.dumps(DIVIDEND).replace("0.25", text))
    assert rows.table["amount"].to_pylist() == [None]


def test_a_currency_in_small_letters_is_the_same_currency() -> None:
    """Polygon writes both."""
    rows = _dividends(json.dumps(DIVIDEND | {"currency": "usd"}))
    assert rows.table["currency"].to_pylist() == ["USD"]
    assert validate_dividends(rows.table).rejected == ()


@pytest.mark.parametrize("text", ['"0.25"', "null", "true", "NaN", "Infinity", "[1]"])
def test_an_amount_that_is_no_number_is_null(text: str) -> None:
    """For validation to refuse the row."""
    row = json.dumps(DIVIDEND).replace("0.25", text)
    assert _dividends(row).table["amount"].to_pylist() == [None]


@pytest.mark.parametrize(
    "change",
    [{"ticker": None}, {"ticker": ""}, {"ticker": "A\x00"}, {"ex_dividend_date": ""},
     {"ex_dividend_date": None}, {"ex_dividend_date": "20260804"},
     {"ex_dividend_date": "2026-02-30"}],
    ids=repr,
)  # fmt: skip
def test_an_action_that_cannot_be_placed_is_left_out_and_told(change: dict[str, object]) -> None:
    """Its symbol or time is unknown; alone it makes the answer malformed."""
    odd = json.dumps(DIVIDEND | change)
    rows = _dividends(json.dumps(DIVIDEND), odd)
    assert (rows.table.num_rows, len(rows.left_out)) == (1, 1)
    with pytest.raises(errors.MalformedPayloadError, match="no row can be placed"):
        _dividends(odd)


@given(st.decimals(min_value=0, max_value=10**6, allow_nan=False, allow_infinity=False, places=9))
def test_no_amount_loses_a_digit(amount: Decimal) -> None:
    """Nine digits behind the point are kept, whatever a double would make of them."""
    row = json.dumps(DIVIDEND).replace("0.25", str(amount))
    assert _dividends(row).table["amount"].to_pylist() == [amount]


def _company(**change: object) -> bars.Rows:
    body = json.dumps({"status": "OK", "results": COMPANY | change}).encode()
    details = wire.detail(body, operation="op")
    return companies.company(details, "AAA", operation="op")


def test_a_company_keeps_what_lasts() -> None:
    """Its market capitalisation changes every day and is left out of the kept answer."""
    table = _company().table
    assert table.schema == WIRE_COMPANIES
    (row,) = table.to_pylist()
    answer = json.loads(row.pop("answer"))
    assert answer == {name: value for name, value in COMPANY.items() if name != "market_cap"}
    assert row == {
        "symbol": "AAA",
        "name": "Triple A",
        "cik": "0000999999",
        "isin": None,
        "cusip": None,
        "exchange": "XNYS",
        "currency": "USD",
        "sector": None,
        "industry": "COMPUTERS",
        "country": None,
        "listed_on": date(1980, 12, 12),
        "employees": 154000,
        "website": "https://aaa.example",
        "description": "Makes things.",
        "is_etf": False,
        "is_trading": True,
    }
    assert validate_companies(table).rejected == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ticker": "BBB"}, "another ticker: 'BBB'"),
        ({"ticker": None}, "another ticker"),
        ({"market_cap": math.nan}, "not JSON: NaN is no number"),
    ],
)
def test_the_answer_about_another_company_is_malformed(
    change: dict[str, object], named: str
) -> None:
    """And so is what is no JSON."""
    with pytest.raises(errors.MalformedPayloadError, match=named):
        _company(**change)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"name": 5}, "name"),
        ({"cik": 999999}, "cik"),
        ({"active": "true"}, "is_trading"),
        ({"list_date": "12/12/1980"}, "listed_on"),
        ({"list_date": "1980-02-30"}, "listed_on"),
        ({"total_employees": "154000"}, "employees"),
        ({"total_employees": 1.5}, "employees"),
        ({"total_employees": 10**30}, "employees"),
    ],
)
def test_a_cell_of_a_company_that_cannot_be_read_is_null_and_noted(
    change: dict[str, object], column: str
) -> None:
    """What is known of the company besides is kept."""
    rows = _company(**change)
    assert rows.table[column].to_pylist() == [None]
    assert rows.table["currency"].to_pylist() == ["USD"]
    (note,) = rows.notes
    assert note.startswith(f"field {next(iter(change))} cannot be read and is stored as null")


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_a_company_that_cannot_be_kept_is_refused_as_a_row(text: str) -> None:
    """The letter has it as it came."""
    rows = _company(description=text)
    assert (rows.table.num_rows, len(rows.left_out)) == (0, 1)


@pytest.mark.parametrize("body", [b'{"results": []}', b'{"status": "OK"}', b'{"results": null}'])
def test_a_company_is_an_object(body: bytes) -> None:
    """Anything else is another endpoint's answer."""
    with pytest.raises(errors.MalformedPayloadError, match="an object was promised"):
        wire.detail(body, operation="op")


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.text(max_size=5),
    st.sampled_from([DAY_MS, "2026-08-04", "AAA", "1e5"]),
    st.lists(st.none(), max_size=1),
)
_NAMES = st.sampled_from(
    ["T", "t", "o", "h", "l", "c", "v", "vw", "n", *SPLIT, *DIVIDEND, *COMPANY]
)


@given(st.lists(st.dictionaries(_NAMES, _VALUES, max_size=12), max_size=4))
def test_whatever_rows_hold_they_are_read_told_or_refused_by_name(
    rows: list[dict[str, object]],
) -> None:
    """No other error than that of a malformed answer, and no row gets lost."""
    body = json.dumps({"results": rows}).encode()
    with suppress(errors.MalformedPayloadError):
        read = bars.day_bars(_rows(body), "AAA", operation="op")
        assert read.table.num_rows + len(read.left_out) == len(rows)
    with suppress(errors.MalformedPayloadError):
        read = bars.minute_bars(_rows(body), "AAA", operation="op")
        assert read.table.num_rows + len(read.left_out) == len(rows)
    for parse in (actions.split_rows, actions.dividend_rows):
        with suppress(errors.MalformedPayloadError):
            read = parse(_rows(body, exact=True), operation="op")
            assert read.table.num_rows + len(read.left_out) == len(rows)
    with suppress(errors.MalformedPayloadError):
        bars.market_bars(_rows(body), date(2026, 8, 4), operation="op")
    for row in rows:
        with suppress(errors.MalformedPayloadError):
            _company(**row)


@given(st.binary(max_size=200))
def test_no_bytes_escape_the_errors_of_the_house(body: bytes) -> None:
    """Whatever comes, it is rows or a named error."""
    wire.classify_error(_answer(200, body), "op", key=KEY)
    with suppress(errors.MalformedPayloadError):
        bars.day_bars(_rows(body), "AAA", operation="op")
