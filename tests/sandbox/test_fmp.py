"""The simulator's answers are those of FMP's reference, measurements and recordings."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from machine.processes import NO_AUTHORITIES
from sandbox.simulators import serving
from sandbox.simulators.fmp import FmpLimits, Plan, create_front
from tests.sandbox.clock import Clock

KEYS = {plan: f"{plan:x<32}" for plan in Plan}
RECORDINGS = Path(__file__).parents[1] / "recordings"
HISTORY = "/stable/historical-price-eod/full"


STATEMENTS = ("income-statement", "balance-sheet-statement", "cash-flow-statement", "ratios")


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock: Wednesday before the opening."""
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The simulator's folder."""
    return tmp_path / "fmp"


@pytest.fixture
def fmp(clock: Clock, root: Path) -> Iterator[httpx.Client]:
    """A client of a simulator with the limits of this project's key."""
    front = create_front(
        root,
        keys={key: plan for plan, key in KEYS.items()},
        limits=FmpLimits(per_minute=120, bulk_interval_s=10),
        now=clock,
    )
    with (
        serving.serve(front) as origin,
        httpx.Client(
            timeout=120,
            base_url=origin,
            params={"apikey": KEYS[Plan.ULTIMATE]},
            trust_env=False,
            verify=NO_AUTHORITIES,
        ) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("path", "parameters", "status", "kind", "opening"),
    [
        (HISTORY, {"apikey": ""}, 401, "application/json", '{"Error Message": "Invalid API KEY.'),
        (HISTORY, {"apikey": "x"}, 401, "application/json", '{"Error Message": "Invalid API KEY.'),
        ("/api/v3/quote/A", {}, 403, "application/json", '{"Error Message": "Legacy Endpoint :'),
        ("/stable/historical-price-eod", {}, 404, "application/json", "[]"),
        ("/stable/no-such-thing", {}, 404, "application/json", "[]"),
        ("/profile", {"symbol": "AAPL"}, 404, "application/json", "[]"),
        (HISTORY, {}, 400, "application/json", "Query Error: Invalid or missing"),
        (HISTORY, {"symbol": "A", "from": "x"}, 400, "application/json", "Query Error: Invalid"),
        ("/stable/profile", {}, 400, "application/json", "Query Error: Invalid or missing"),
        ("/stable/eod-bulk", {}, 400, "application/json", "Query Error: Invalid or missing"),
        ("/stable/eod-bulk", {"date": "x"}, 400, "application/json", "Query Error: Invalid"),
        (HISTORY, {"symbol": "NOSUCH"}, 200, "application/json", "[]"),
        (HISTORY, {"symbol": "BRK.B"}, 200, "application/json", "[]"),
        (HISTORY, {"symbol": "AAPL,MSFT"}, 200, "application/json", "[]"),
        (HISTORY, {"symbol": "AAPL", "from": "2026-02-01", "to": "2026-01-01"}, 200,
         "application/json", "[]"),
        ("/stable/profile", {"symbol": "NOSUCH"}, 200, "application/json", "[]"),
        ("/stable/eod-bulk", {"date": "2026-08-04", "apikey": KEYS[Plan.PREMIUM]}, 402,
         "text/plain", "Restricted Endpoint:"),
        ("/stable/sp500-constituent", {"apikey": KEYS[Plan.STARTER]}, 402, "text/plain",
         "Restricted Endpoint:"),
        (HISTORY, {"symbol": "MMM", "apikey": KEYS[Plan.FREE]}, 402, "text/plain",
         "Premium Query Parameter: 'Special Endpoint"),
        *((f"/stable/{name}", {"symbol": "AAPL", "limit": "6", "apikey": KEYS[Plan.FREE]}, 402,
           "text/plain", "Premium Query Parameter: 'Special Parameters : The values for 'limit'")
          for name in STATEMENTS),
        ("/stable/historical-sp500-constituent", {"apikey": KEYS[Plan.STARTER]}, 402,
         "text/plain", "Restricted Endpoint:"),
        ("/stable/latest-financial-statements", {"apikey": KEYS[Plan.PREMIUM]}, 402,
         "text/plain", "Restricted Endpoint:"),
    ],
)  # fmt: skip
def test_refusals_and_empty_answers(
    fmp: httpx.Client, path: str, parameters: dict[str, str], status: int, kind: str, opening: str
) -> None:
    """Status, content type and opening words, as measured."""
    answer = fmp.get(path, params=parameters)
    assert (answer.status_code, answer.headers["content-type"]) == (status, kind)
    assert answer.text.startswith(opening)


@pytest.mark.parametrize(
    ("recording", "path"),
    [("fmp_error_invalid_key_401.json", "/stable/profile")],
)
def test_errors_are_those_of_the_recording(fmp: httpx.Client, recording: str, path: str) -> None:
    """The refusal of a key is word for word the recorded one."""
    recorded = json.loads((RECORDINGS / recording).read_text())
    assert fmp.get(path, params={"apikey": "wrong"}).json() == recorded


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_free_plan_sees_five_statements(fmp: httpx.Client, name: str) -> None:
    """Asked for, or by default; a paid plan sees them all."""
    free = {"symbol": "AAPL", "apikey": KEYS[Plan.FREE]}
    assert len(fmp.get(f"/stable/{name}", params=free).json()) == 5
    assert len(fmp.get(f"/stable/{name}", params={**free, "limit": "5"}).json()) == 5
    assert len(fmp.get(f"/stable/{name}", params={"symbol": "AAPL", "limit": "1000"}).json()) > 15


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        (HISTORY, {"symbol": "AAPL"}),
        ("/stable/historical-price-eod/dividend-adjusted", {"symbol": "AAPL"}),
        ("/stable/eod-bulk", {"date": "2026-08-02"}),
        ("/stable/income-statement", {"symbol": "AAPL"}),
        ("/stable/ratios", {"symbol": "AAPL"}),
        ("/stable/splits", {"symbol": "AAPL"}),
        ("/stable/dividends", {"symbol": "AAPL"}),
        ("/stable/profile", {"symbol": "AAPL"}),
        ("/stable/sp500-constituent", {}),
        ("/stable/historical-sp500-constituent", {}),
        ("/stable/profile", {"symbol": "NOSUCH"}),
        ("/stable/profile", {}),
    ],
)
@pytest.mark.parametrize("kind", ["malformed_rows", "duplicate_rows"])
def test_rows_of_every_kind_can_be_spoilt(
    fmp: httpx.Client, clock: Clock, path: str, parameters: dict[str, str], kind: str
) -> None:
    """Each in its own way; an answer without rows is left alone."""
    right = fmp.get(path, params=parameters)
    clock.advance(60)
    fmp.post("/_sandbox/faults", json={"kind": kind, "count": 1})
    spoilt = fmp.get(path, params=parameters)
    has_rows = right.status_code == 200 and right.text != "[]"
    assert spoilt.status_code == right.status_code
    assert (spoilt.text != right.text) is has_rows


def test_a_quirk_of_fmp_is_asked_for_by_name(fmp: httpx.Client) -> None:
    """A split with inverse ratio."""
    asked = {"symbol": "AAPL"}
    right = fmp.get("/stable/splits", params=asked).json()[0]
    fmp.post("/_sandbox/faults", json={"kind": "quirk", "quirk": "split_inverse", "count": 1})
    inverse = fmp.get("/stable/splits", params=asked).json()[0]
    assert (inverse["numerator"], inverse["denominator"]) == (
        right["denominator"],
        right["numerator"],
    )


def test_the_key_may_come_in_a_header(fmp: httpx.Client) -> None:
    """A header named apikey is as good as the parameter."""
    without = {"apikey": "", "symbol": "AAPL"}
    headers = {"apikey": KEYS[Plan.ULTIMATE]}
    assert fmp.get("/stable/profile", params=without).status_code == 401
    assert fmp.get("/stable/profile", params=without, headers=headers).status_code == 200


def test_a_history_has_the_recorded_fields_and_arithmetic(fmp: httpx.Client) -> None:
    """Fields in the recorded order, newest first, and vwap the mean of the four prices."""
    recorded = json.loads((RECORDINGS / "fmp_historical_price_eod_full.json").read_text())
    asked = {"symbol": "AAPL", "from": "2026-07-01", "to": "2026-07-31"}
    rows = fmp.get(HISTORY, params=asked).json()
    assert list(rows[0]) == list(recorded[0])
    assert [row["date"] for row in rows] == sorted((row["date"] for row in rows), reverse=True)
    assert (rows[-1]["date"], rows[0]["date"]) == ("2026-07-01", "2026-07-31")
    for row in rows:
        mean = sum(row[name] for name in ("open", "high", "low", "close")) / 4
        assert row["vwap"] == pytest.approx(mean, abs=1e-6)
        assert row["change"] == pytest.approx(row["close"] - row["open"], abs=1e-4)
        assert isinstance(row["volume"], int)


def test_without_dates_a_history_covers_five_years(fmp: httpx.Client) -> None:
    """About 1,253 rows."""
    rows = fmp.get(HISTORY, params={"symbol": "AAPL"}).json()
    assert 1250 <= len(rows) <= 1260
    assert rows[0]["date"] == "2026-08-04"


def test_a_long_history_loses_its_oldest_rows(fmp: httpx.Client) -> None:
    """5,000 rows and no word about those that are missing."""
    rows = fmp.get(HISTORY, params={"symbol": "AAPL", "from": "2006-01-01"}).json()
    assert len(rows) == 5000
    assert rows[0]["date"] == "2026-08-04"
    assert rows[-1]["date"] > "2006-01-03"


def test_unknown_parameters_are_ignored(fmp: httpx.Client) -> None:
    """A typo gives a plausible answer."""
    plain = fmp.get(HISTORY, params={"symbol": "AAPL"})
    assert fmp.get(HISTORY, params={"symbol": "AAPL", "form": "2026-08-01"}).text == plain.text


def test_todays_bar_comes_after_the_close(fmp: httpx.Client, clock: Clock) -> None:
    """Half past three New York there is none, at four there is."""
    asked = {"symbol": "AAPL", "from": "2026-08-05"}
    clock.moment = datetime(2026, 8, 5, 19, 59, tzinfo=UTC)
    assert fmp.get(HISTORY, params=asked).json() == []
    clock.moment = datetime(2026, 8, 5, 20, 0, tzinfo=UTC)
    assert [row["date"] for row in fmp.get(HISTORY, params=asked).json()] == ["2026-08-05"]


def test_yesterdays_bars_are_the_same_tomorrow(fmp: httpx.Client, clock: Clock) -> None:
    """A later clock adds bars and changes none."""
    asked = {"symbol": "AAPL", "from": "2026-07-01"}
    today = fmp.get(HISTORY, params=asked).json()
    clock.advance(30 * 86400)
    later = fmp.get(HISTORY, params=asked).json()
    assert later[-len(today) :] == today
    assert len(later) > len(today)


def test_constituents_have_the_recorded_fields(fmp: httpx.Client) -> None:
    """Eight text fields, class shares with a hyphen, CIKs of ten digits."""
    recorded = json.loads((RECORDINGS / "fmp_dowjones_constituent.json").read_text())
    rows = fmp.get("/stable/sp500-constituent").json()
    assert list(rows[0]) == list(recorded[0])
    assert len(rows) == 503
    assert {"BRK-B", "BF-B"} < {row["symbol"] for row in rows}
    assert all(len(row["cik"]) == 10 for row in rows)


def test_a_profile_has_the_recorded_fields(fmp: httpx.Client) -> None:
    """36 fields in the recorded order and of the recorded types."""
    recorded = json.loads((RECORDINGS / "fmp_profile_aapl.json").read_text())[0]
    (row,) = fmp.get("/stable/profile", params={"symbol": "BRK-B"}).json()
    assert list(row) == list(recorded)
    numbers = {name for name, value in recorded.items() if isinstance(value, int | float)}
    assert numbers == {name for name, value in row.items() if isinstance(value, int | float)}


def _bulk(fmp: httpx.Client, day: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(fmp.get("/stable/eod-bulk", params={"date": day}).text)))


def test_the_bulk_file_holds_the_worlds_bars_and_much_more(fmp: httpx.Client) -> None:
    """A constituent's row equals its history; foreign shares and crypto pairs surround it."""
    rows = {row["symbol"]: row for row in _bulk(fmp, "2026-08-04")}
    asked = {"symbol": "BRK-B", "from": "2026-08-04"}
    (bar,) = fmp.get(HISTORY, params=asked).json()
    row = rows["BRK-B"]
    assert {name: float(row[name]) for name in ("open", "low", "high", "close", "volume")} == {
        name: bar[name] for name in ("open", "low", "high", "close", "volume")
    }
    assert row["adjClose"] == row["close"]
    assert len(rows) > 3000
    assert any("e-" in cells["open"] for cells in rows.values())
    assert any("." in cells["volume"] for cells in rows.values())


def test_the_bulk_file_is_quoted_and_has_low_before_high(fmp: httpx.Client) -> None:
    """The header as measured; values are quoted too."""
    lines = fmp.get("/stable/eod-bulk", params={"date": "2026-08-04"}).text.splitlines()
    assert lines[0] == '"symbol","date","open","low","high","close","adjClose","volume"'
    assert all(line.startswith('"') and line.endswith('"') for line in lines)


@pytest.mark.parametrize("day", ["2026-07-03", "2026-08-02", "2026-08-05"])
def test_without_a_closed_session_the_bulk_file_holds_only_crypto(
    fmp: httpx.Client, day: str
) -> None:
    """A holiday, a Sunday, and a day whose session is still to come."""
    rows = _bulk(fmp, day)
    assert rows
    assert {row["symbol"][-3:] for row in rows} == {"USD"}
    assert {row["date"] for row in rows} == {day}


def test_every_bulk_row_is_in_order(fmp: httpx.Client) -> None:
    """Low, open, close and high keep their order through rounding and exponents."""
    for row in _bulk(fmp, "2026-08-04"):
        low, high = float(row["low"]), float(row["high"])
        assert 0 < low <= min(float(row["open"]), float(row["close"]))
        assert high >= max(float(row["open"]), float(row["close"]))


def test_a_second_bulk_request_too_soon_is_refused_with_200(
    fmp: httpx.Client, clock: Clock
) -> None:
    """The bulk endpoints' own throttle speaks inside a 200; ten seconds later it is over."""
    asked = {"date": "2026-08-02"}
    assert fmp.get("/stable/eod-bulk", params=asked).headers["content-type"].startswith("text/csv")
    clock.advance(9.9)
    refused = fmp.get("/stable/eod-bulk", params=asked)
    assert refused.status_code == 200
    assert refused.json()["Error Message"].startswith("Limit Reach. This is a bulk endpoint")
    clock.advance(0.1)
    assert fmp.get("/stable/eod-bulk", params=asked).headers["content-type"].startswith("text/csv")


def test_the_121st_request_within_a_minute_is_refused(fmp: httpx.Client, clock: Clock) -> None:
    """429 with JSON and without Retry-After; the window slides, it does not begin anew."""
    asked = {"symbol": "NOSUCH"}
    statuses = []
    for _ in range(121):
        statuses.append(fmp.get(HISTORY, params=asked).status_code)
        clock.advance(0.25)
    assert statuses == [200] * 120 + [429]
    refused = fmp.get(HISTORY, params=asked)
    assert refused.json()["Error Message"].startswith("Limit Reach .")
    assert "retry-after" not in refused.headers
    clock.advance(60 - 121 * 0.25)
    assert [fmp.get(HISTORY, params=asked).status_code for _ in range(2)] == [200, 429]


def test_every_request_is_in_the_journal_and_no_key(
    fmp: httpx.Client, root: Path, clock: Clock
) -> None:
    """Arrival, parameters, the key's last four characters, status and length."""
    answer = fmp.get(HISTORY, params={"symbol": "AAPL", "from": "2026-08-04"})
    (entry,) = fmp.get("/_sandbox/requests").json()
    assert entry["at"] == clock.moment.isoformat(timespec="microseconds")
    assert entry["query"] == {"symbol": "AAPL", "from": "2026-08-04"}
    assert (entry["key"], entry["status"], entry["bytes"]) == ("xxxx", 200, len(answer.content))
    assert KEYS[Plan.ULTIMATE] not in (root / "requests.jsonl").read_text()


def test_a_rename_shows_in_list_and_history(fmp: httpx.Client) -> None:
    """The new symbol has the old one's prices and CIK; the old one is unknown."""
    before = fmp.get(HISTORY, params={"symbol": "MMM"}).json()
    fields = {"symbol": "MMMX", "former_symbol": "MMM"}
    assert fmp.post("/_sandbox/constituents", json=fields).status_code == 200
    after = fmp.get(HISTORY, params={"symbol": "MMMX"}).json()
    assert [row["close"] for row in after] == [row["close"] for row in before]
    assert fmp.get(HISTORY, params={"symbol": "MMM"}).json() == []
    ciks = {row["symbol"]: row["cik"] for row in fmp.get("/stable/sp500-constituent").json()}
    assert ciks["MMMX"] == "0000066740"
    assert date.fromisoformat(before[0]["date"]) == date(2026, 8, 4)
