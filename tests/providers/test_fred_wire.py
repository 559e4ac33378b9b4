"""FRED's answers: recorded ones, and every bad one that is known of it."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata import macro
from marketdata.recovery import errors
from resources.providers.fred import wire
from resources.providers.http import HttpAnswer
from tests.providers.recordings import recorded

ALL_VINTAGES = "fred_series_observations_gdp_all_vintages.json"
NOT_IN_ALFRED = (
    "Bad Request.  The series does not exist in ALFRED but may exist in FRED.  Try setting "
    "realtime_start and realtime_end to today's date"
)


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> HttpAnswer:
    return HttpAnswer(
        status=status,
        headers=headers or {},
        body=body,
        sha256=sha256(body).hexdigest(),
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        requests=1,
    )


def _body(text: str, code: object = 400) -> bytes:
    return json.dumps({"error_code": code, "error_message": text}).encode()


def _xml(text: str, code: int = 400) -> bytes:
    head = '<?xml version="1.0" encoding="utf-8" ?>\n'
    return f'{head}<error code="{code}" message="{text}"/>'.encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "shown"),
    [
        (429, recorded("fred_error_rate_limit_429.json"), errors.RateLimitedError,
         "HTTP 429: Too Many Requests. Exceeded Rate Limit$"),
        (200, recorded("fred_error_rate_limit_429.json"), errors.RateLimitedError, "HTTP 429"),
        (429, b"", errors.RateLimitedError, "HTTP 429$"),
        (429, _xml("Too Many Requests.", 429), errors.RateLimitedError, "Too Many"),
        (400, _body("Bad Request.  The series does not exist."), errors.UnknownSymbolError,
         "HTTP 400: Bad Request. The series does not exist"),
        (200, _body("Bad Request.  The series does not exist."), errors.UnknownSymbolError, "400"),
        (400, _xml("Bad Request.  The series does not exist."), errors.UnknownSymbolError,
         "The series does not exist"),
        (400, _body(NOT_IN_ALFRED), errors.RequestRejectedError, "no vintages are kept"),
        (400, _body("Bad Request.  The value for variable api_key is not registered.  Read"),
         errors.KeyRefusedError, "not registered.*check the key"),
        (400, _xml("Bad Request.  The value for variable api_key is not registered."),
         errors.KeyRefusedError, "not registered"),
        (400, _body("Bad Request.  Variable api_key is not set."), errors.KeyRefusedError, "set"),
        (400, _body("Bad Request.  The value for variable api_key is not a 32 character"),
         errors.KeyRefusedError, "32 character"),
        (400, _body("Bad Request.  There are 2004 vintage dates in the specified real-time period"),
         errors.RequestRejectedError, "2004 vintage dates"),
        (400, _body("Your key is sesame"), errors.RequestRejectedError, r"is \*\*\*$"),
        (400, _body("sesame"), errors.RequestRejectedError, r"\*\*\*"),
        (400, _xml("A &quot;quoted&quot; text"), errors.RequestRejectedError, 'A "quoted" text'),
        (200, _body("", 500), errors.ProviderUnavailableError, "an error without a text"),
        (200, _body("odd", "many"), errors.RequestRejectedError, "odd"),
        (404, _body("Not Found.", 404), errors.RequestRejectedError, "HTTP 404"),
        (401, _body("Unauthorized.", 401), errors.KeyRefusedError, "401"),
        (403, b"<html>blocked", errors.ProviderUnavailableError, "web page"),
        (500, _body("Internal Server Error", 500), errors.ProviderUnavailableError, "HTTP 500"),
        (500, b"<html><h1>Internal Server Error", errors.ProviderUnavailableError, "web page"),
        (503, b"", errors.ProviderUnavailableError, "HTTP 503$"),
        (301, b"", errors.RequestRejectedError, "HTTP 301"),
        (400, b"x" * 5000, errors.RequestRejectedError, "x…$"),
    ],
)  # fmt: skip
def test_every_error_is_recognized_by_its_text(
    status: int, body: bytes, kind: type[errors.ProviderError], shown: str
) -> None:
    """In JSON, in XML, under a 200 and as a web page; the key is blotted out."""
    error = wire.classify_error(_answer(status, body), "op", key="sesame")
    assert error is not None
    assert type(error) is kind
    assert error.operation == "op"
    with pytest.raises(kind, match=shown):
        raise error
    assert "sesame" not in str(error)


def test_a_wait_that_fred_names_is_passed_on() -> None:
    """One client honours a Retry-After; whether FRED sends one is unverified."""
    body = recorded("fred_error_rate_limit_429.json")
    error = wire.classify_error(_answer(429, body, {"retry-after": "7"}), "op", key="k")
    assert isinstance(error, errors.RateLimitedError)
    assert error.retry_after_s == 7.0


@pytest.mark.parametrize(
    "name",
    [ALL_VINTAGES, "fred_vintagedates_gdp.json", "fred_series_gdp.json"],
)
def test_data_is_no_error(name: str) -> None:
    """Recorded answers with data are let through."""
    assert wire.classify_error(_answer(200, recorded(name)), "op", key="k") is None


def test_the_recorded_vintages_have_the_values_that_are_in_them() -> None:
    """Read off the recording; it was trimmed to 51 of 3,201 rows, and still says so."""
    page = wire.observation_page(recorded(ALL_VINTAGES), "GDP", operation="op")
    assert (page.count, page.received, page.rows.num_rows, page.left_out) == (3201, 51, 51, ())
    assert page.realtime == (date(1776, 7, 4), date(9999, 12, 31))
    rows = {
        (str(row["observed_on"]), str(row["realtime_start"])): (row["realtime_end"], row["value"])
        for row in page.rows.to_pylist()
    }
    assert rows["1946-01-01", "1992-12-22"] == (date(1996, 1, 18), Decimal("199.7"))
    assert rows["1946-01-01", "1996-01-19"] == (date(1997, 5, 6), None)
    assert rows["2022-01-01", "2022-04-28"] == (date(2022, 5, 25), Decimal("24382.683"))
    assert rows["2022-01-01", "2024-09-26"] == (date(9999, 12, 31), Decimal("25215.491"))
    assert rows["2024-07-01", "2024-12-19"] == (date(9999, 12, 31), Decimal("29374.914"))
    assert page.rows.schema == macro.WIRE_OBSERVATIONS
    assert set(page.rows["symbol"].to_pylist()) == {"GDP"}
    assert macro.validate(page.rows).rejected == ()


def test_the_recorded_latest_values_have_four_missing_quarters() -> None:
    """A missing value is a fact, not a bad row."""
    body = recorded("fred_series_observations_gdp.json")
    page = wire.observation_page(body, "GDP", operation="op")
    assert page.received == page.count == 315
    assert page.rows["value"].null_count == 4
    values = {row["observed_on"]: row["value"] for row in page.rows.to_pylist()}
    assert values[date(1946, 1, 1)] is None
    assert values[date(1947, 1, 1)] == Decimal("243.164")
    assert values[date(1951, 1, 1)] == Decimal(336)


def test_the_recorded_vintage_dates_are_those_of_the_recorded_rows() -> None:
    """Every span begins on a vintage's day and ends before one."""
    page = wire.vintage_page(recorded("fred_vintagedates_gdp.json"), operation="op")
    assert (page.count, page.received, len(set(page.days))) == (395, 395, 395)
    assert page.days[0] == date(1991, 12, 4)
    assert page.days[-1] == date(2024, 12, 19)
    rows = wire.observation_page(recorded(ALL_VINTAGES), "GDP", operation="op").rows
    assert set(rows["realtime_start"].to_pylist()) <= set(page.days)


def test_first_releases_are_refused_where_vintages_were_asked_for() -> None:
    """The recorded answer of output type 4 has rows of the same shape."""
    body = recorded("fred_series_observations_gdp_initial_release.json")
    with pytest.raises(errors.MalformedPayloadError, match="another output type"):
        wire.observation_page(body, "GDP", operation="op")


GOOD = {
    "realtime_start": "2026-05-28",
    "realtime_end": "9999-12-31",
    "date": "2026-01-01",
    "value": "23002.1",
}


def _page(*rows: object, **said: object) -> bytes:
    return json.dumps({"count": len(rows), "observations": list(rows), **said}).encode()


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", "not JSON"),
        (b'{"count": 1, "observations": [{"da', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"<html>502</html>", "XML or a web page"),
        (b'  <?xml version="1.0"?><observations/>', "XML or a web page"),
        (b"Too many requests", "not JSON"),
        (b"[]", "an object was promised, a list came"),
        (b"null", "NoneType came"),
        (b"{}", "no list observations"),
        (b'{"observations": {}, "count": 0}', "no list observations"),
        (b'{"observations": []}', "field count holds None"),
        (b'{"observations": [], "count": -1}', "field count holds -1"),
        (b'{"observations": [], "count": "1.5"}', r"field count holds 1\.5"),
        (_page(output_type=2), "another output type"),
        (_page(units="pch"), "another output type or unit"),
        (_page({"date": "2026-01-01", "GDP_20260429": "1"}), "no row can be read"),
        (_page({**GOOD, "value": "1" * 21}), "no row can be read"),
        (_page({**GOOD, "value": "1e20"}), "no row can be read"),
        (_page({**GOOD, "value": "1e9999"}), "no row can be read"),
        (_page("2026-01-01"), "no row can be read"),
    ],
)
def test_an_answer_of_another_structure_is_malformed(body: bytes, shown: str) -> None:
    """Whatever came, it is named and not stored."""
    with pytest.raises(errors.MalformedPayloadError, match=shown) as raised:
        wire.observation_page(body, "GDP", operation="op")
    assert "not stored" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("23002.1", "23002.1"),
        ("7616", "7616"),
        ("-0.54", "-0.54"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1.8646e-8", "0.000000018646"),
        ("2.3E+4", "23000"),
        (23002.1, "23002.1"),
        (7, "7"),
        ("0.1234567890123456785", "0.123456789012345678"),
        ("0.1234567890123456775", "0.123456789012345678"),
        ("12345678901234567890.123456789012345678", "12345678901234567890.123456789012345678"),
    ],
)
def test_numbers_are_exact_however_they_are_written(text: object, value: str) -> None:
    """As texts, as JSON numbers, with exponents; the nineteenth digit is rounded half-even."""
    page = wire.observation_page(_page({**GOOD, "value": text}), "GDP", operation="op")
    assert page.rows["value"].to_pylist() == [Decimal(value)]


@pytest.mark.parametrize(
    "row",
    [
        {**GOOD, "value": ""},
        {**GOOD, "value": "n/a"},
        {**GOOD, "value": None},
        {**GOOD, "value": "NaN"},
        {**GOOD, "value": "Infinity"},
        {**GOOD, "value": "1,234.5"},
        {**GOOD, "value": "٣"},
        {**GOOD, "value": ["1"]},
        {name: value for name, value in GOOD.items() if name != "value"},
        {name: value for name, value in GOOD.items() if name != "date"},
        {**GOOD, "date": "2026-13-01"},
        {**GOOD, "date": "20260101"},
        {**GOOD, "realtime_start": ""},
        {**GOOD, "realtime_end": 99991231},
        "a text",
        None,
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_and_told(row: object) -> None:
    """A value that is no number does not become a missing one."""
    page = wire.observation_page(_page(row, GOOD), "GDP", operation="op")
    assert page.rows.num_rows == 1
    assert page.received == 2
    assert len(page.left_out) == 1


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, max_value=10**15,
                   min_value=-(10**15)))  # fmt: skip
def test_any_figure_comes_back_as_it_was_written(figure: Decimal) -> None:
    """No float lies on the way."""
    body = _page({**GOOD, "value": f"{figure:f}"})
    page = wire.observation_page(body, "GDP", operation="op")
    assert page.rows["value"].to_pylist() == [figure]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"count": 1}', "no list vintage_dates"),
        (b'{"count": 1, "vintage_dates": ["soon"]}', "vintage_dates holds 'soon'"),
        (b'{"count": 1, "vintage_dates": [{"date": "2026-01-01"}]}', "vintage_dates holds"),
        (b"<vintage_dates/>", "XML"),
    ],
)
def test_vintages_must_all_be_read(body: bytes, shown: str) -> None:
    """One that is missing would put a border where none may be."""
    with pytest.raises(errors.MalformedPayloadError, match=shown):
        wire.vintage_page(body, operation="op")


def test_updates_carry_their_own_offset() -> None:
    """Read off the recorded description of GDP: six hours behind UTC in winter."""
    content = json.loads(recorded("fred_series_gdp.json"))
    page = wire.update_page(json.dumps({"count": 1, **content}).encode(), operation="op")
    assert page.updated_at == {"GDP": datetime(2024, 12, 19, 13, 55, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    "row",
    [
        {"id": "GDP"},
        {"id": "", "last_updated": "2024-12-19 07:55:01-06"},
        {"id": "GDP", "last_updated": "2024-12-19 07:55:01"},
        {"id": "GDP", "last_updated": "today"},
        "GDP",
    ],
)
def test_a_series_that_changed_is_never_passed_over(row: object) -> None:
    """A row of updates that cannot be read spoils the list."""
    body = json.dumps({"count": 1, "seriess": [row]}).encode()
    with pytest.raises(errors.MalformedPayloadError, match="seriess holds"):
        wire.update_page(body, operation="op")
