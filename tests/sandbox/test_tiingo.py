"""The simulator's answers are those of Tiingo's documents, measurements and recordings."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest

from machine.processes import NO_AUTHORITIES
from marketdata.calendars import calendar
from marketdata.minute_bars import WIRE_MINUTE_BARS
from sandbox.simulators import serving
from sandbox.simulators.front import Front, Request
from sandbox.simulators.journal import Journal
from sandbox.simulators.tiingo import Plan, PlanLimits, TiingoSimulator, iex_minute_truth
from sandbox.simulators.tiingo.iex import iex_minutes, regular, resampled
from sandbox.simulators.worlds.shares import intraday
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import World
from tests.sandbox.clock import Clock

KEYS = {plan: f"{plan:x<40}" for plan in Plan}
RECORDINGS = Path(__file__).parents[1] / "recordings"
LIMITS = {
    Plan.FREE: PlanLimits(per_hour=50, per_day=60, symbols_per_month=3),
    Plan.POWER: PlanLimits(per_hour=5_000, per_day=50_000),
}
DAILY, IEX = "/tiingo/daily", "/iex"
NULLED = {
    "lastSaleTimestamp", "quoteTimestamp", "mid", "last", "lastSize", "bidSize", "bidPrice",
    "askPrice", "askSize",
}  # fmt: skip


def _headers(plan: Plan) -> dict[str, str]:
    return {"authorization": f"Token {KEYS[plan]}"}


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock: Wednesday before the opening."""
    return Clock()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The simulator's world."""
    return World(tmp_path / "tiingo")


@pytest.fixture
def tiingo(clock: Clock, world: World, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client with a key of the power plan."""
    simulator = TiingoSimulator(
        world, keys={key: plan for plan, key in KEYS.items()}, now=clock, limits=LIMITS
    )
    front = Front([simulator], world=world, journal=Journal(tmp_path / "journal"), now=clock)
    with (
        serving.serve(front) as origin,
        httpx.Client(
            timeout=120,
            base_url=f"{origin}/tiingo",
            headers=_headers(Plan.POWER),
            trust_env=False,
            verify=NO_AUTHORITIES,
        ) as client,
    ):
        yield client


def _recorded(name: str) -> str:
    return (RECORDINGS / name).read_text()


@pytest.mark.parametrize(
    ("path", "parameters", "status", "text"),
    [
        (f"{DAILY}/NOSUCH", {}, 404, '{"detail":"Not found."}'),
        (f"{DAILY}/NOSUCH/prices", {}, 404, '{"detail":"Error: Ticker \'NOSUCH\' not found"}'),
        (f"{DAILY}/NOSUCH/prices", {"format": "csv"}, 200, "Error: Ticker 'NOSUCH' not found"),
        (f"{DAILY}/BRK.B/prices", {}, 404, '{"detail":"Error: Ticker \'BRK.B\' not found"}'),
        (f"{DAILY}/AAPL/prices", {"startDate": "soon"}, 400, '{"detail":"Error: startDate'),
        (f"{DAILY}/AAPL/prices", {"resampleFreq": "weekly"}, 400, '{"detail":"Error: this'),
        (f"{DAILY}/AAPL/prices", {"startDate": "2026-02-01", "endDate": "2026-01-01"}, 200, "[]"),
        (f"{IEX}/NOSUCH", {}, 200, "[]"),
        (f"{IEX}/", {"tickers": "nosuch,nobody"}, 200, "[]"),
        (f"{IEX}/NOSUCH/prices", {}, 404, '{"detail":"Not found."}'),
        (f"{IEX}/aapl,msft/prices", {}, 404, '{"detail":"Not found."}'),
        (f"{IEX}/AAPL/prices", {"resampleFreq": "daily"}, 400, '{"detail":"Error: resampleFreq'),
        (f"{IEX}/AAPL/prices", {"endDate": "x"}, 400, '{"detail":"Error: endDate'),
        ("/iex/AAPL/prices/more", {}, 404, '{"detail":"Not found."}'),
        ("/no/such/thing", {}, 404, '{"detail":"Not found."}'),
    ],
)
def test_refusals_and_empty_answers(
    tiingo: httpx.Client, path: str, parameters: dict[str, str], status: int, text: str
) -> None:
    """An unknown ticker is nothing to quotes, 404 to prices, and bare text in CSV."""
    answer = tiingo.get(path, params=parameters)
    assert answer.status_code == status
    assert answer.text.startswith(text)


def test_keys_come_in_the_header_or_the_query(tiingo: httpx.Client) -> None:
    """A wrong one is refused with ``detail``, and so is none."""
    path = f"{DAILY}/AAPL"
    bare = {"authorization": ""}
    assert tiingo.get(path).status_code == 200
    assert tiingo.get(path, headers=bare, params={"token": KEYS[Plan.FREE]}).status_code == 200
    wrong = tiingo.get(path, headers={"authorization": "Token x"})
    assert (wrong.status_code, wrong.json()) == (401, {"detail": "Invalid token."})
    none = tiingo.get(path, headers=bare)
    assert (none.status_code, list(none.json())) == (403, ["detail"])
    assert tiingo.get(path, headers={"authorization": f"Bearer {KEYS[Plan.FREE]}"}).is_error


def test_quotes_without_the_slash_are_redirected(tiingo: httpx.Client) -> None:
    """301 without a body, to the same question with the slash and without the key."""
    answer = tiingo.get(IEX, params={"tickers": "aapl", "token": KEYS[Plan.POWER]})
    assert (answer.status_code, answer.content) == (301, b"")
    assert answer.headers["location"] == "/tiingo/iex/?tickers=aapl"


def test_metadata_has_the_recorded_fields(tiingo: httpx.Client) -> None:
    """In their order, for a ticker in either case."""
    content = tiingo.get(f"{DAILY}/brk-b").json()
    assert list(content) == list(json.loads(_recorded("tiingo_ticker_metadata_googl.json")))
    assert (content["ticker"], content["endDate"]) == ("BRK-B", "2026-08-04")


def test_a_span_of_days_has_the_recorded_form(tiingo: httpx.Client, world: World) -> None:
    """Fields, their order, the form of dates, and prices as they were paid."""
    asked = {"startDate": "2026-07-01", "endDate": "2026-08-04"}
    rows = tiingo.get(f"{DAILY}/AAPL/prices", params=asked).json()
    recorded = json.loads(_recorded("tiingo_daily_prices_aapl_2023_01.json"))
    assert list(rows[0]) == list(recorded[0])
    assert [type(value) for value in rows[0].values()] == [
        type(value) for value in recorded[0].values()
    ]
    paid = Actions(world).as_traded("AAPL", date(2026, 7, 1), date(2026, 8, 4), Clock().moment)
    assert [row["date"] for row in rows] == [f"{day}T00:00:00.000Z" for day in paid.dates]
    assert [row["close"] for row in rows] == paid.closes.tolist()
    assert [row["volume"] for row in rows] == paid.volumes.tolist()


def test_splits_and_dividends_stand_on_their_ex_dates(tiingo: httpx.Client, world: World) -> None:
    """And the adjusted prices before differ by them, the latest by nothing."""
    rows = tiingo.get(f"{DAILY}/AAPL/prices", params={"startDate": "2006-1-1"}).json()
    now = Clock().moment
    actions = Actions(world)
    past = [
        dividend
        for dividend in actions.dividends("AAPL", now)
        if dividend.ex_date <= date(2026, 8, 4)
    ]
    cash = {row["date"][:10]: row["divCash"] for row in rows if row["divCash"]}
    assert past
    assert cash == {str(dividend.ex_date): float(dividend.amount) for dividend in past}
    ratios = {row["date"][:10]: row["splitFactor"] for row in rows if row["splitFactor"] != 1.0}
    assert ratios
    assert ratios == {
        str(split.ex_date): split.new_shares / split.old_shares
        for split in actions.splits("AAPL", now)
    }
    assert rows[-1]["adjClose"] == rows[-1]["close"]
    adjusted = actions.total_return("AAPL", date(2006, 1, 1), date(2026, 8, 4), now)
    assert [row["adjClose"] for row in rows] == adjusted.closes.tolist()


def test_without_dates_the_latest_day_comes_in_another_form(tiingo: httpx.Client) -> None:
    """Dates in ``+00:00``, fields by the alphabet: as recorded."""
    (row,) = tiingo.get(f"{DAILY}/AAPL/prices").json()
    (recorded,) = json.loads(_recorded("tiingo_daily_prices_latest_googl.json"))
    assert list(row) == list(recorded)
    assert row["date"] == "2026-08-04T00:00:00+00:00"


def test_csv_has_the_recorded_header_and_bare_days(tiingo: httpx.Client) -> None:
    """No time, no zone."""
    asked = {"startDate": "2026-08-03", "endDate": "2026-08-04", "format": "csv"}
    answer = tiingo.get(f"{DAILY}/AAPL/prices", params=asked)
    assert answer.headers["content-type"] == "text/csv"
    header, *rows = answer.text.splitlines()
    assert header == _recorded("tiingo_daily_prices_range_googl.csv").splitlines()[0]
    assert [row.split(",")[0] for row in rows] == ["2026-08-03", "2026-08-04"]


def test_rows_may_be_sorted_backwards(tiingo: httpx.Client) -> None:
    """By the parameter that Tiingo documents."""
    asked = {"startDate": "2026-08-03", "sort": "-date"}
    days = [row["date"][:10] for row in tiingo.get(f"{DAILY}/AAPL/prices", params=asked).json()]
    assert days == ["2026-08-04", "2026-08-03"]


@pytest.mark.parametrize(
    ("now", "latest"),
    [
        (datetime(2026, 8, 5, 21, 29, 59, tzinfo=UTC), "2026-08-04"),
        (datetime(2026, 8, 5, 21, 30, tzinfo=UTC), "2026-08-05"),
        # The day after Thanksgiving closes at one o'clock.
        (datetime(2025, 11, 28, 22, 29, tzinfo=UTC), "2025-11-26"),
        (datetime(2025, 11, 28, 22, 30, tzinfo=UTC), "2025-11-28"),
    ],
)
def test_a_session_appears_at_half_past_five(
    tiingo: httpx.Client, clock: Clock, now: datetime, latest: str
) -> None:
    """In the history, in the latest price, in the metadata and in the market."""
    clock.moment = now
    assert tiingo.get(f"{DAILY}/AAPL").json()["endDate"] == latest
    assert tiingo.get(f"{DAILY}/AAPL/prices").json()[0]["date"][:10] == latest
    asked = {"startDate": "2025-11-01"}
    assert tiingo.get(f"{DAILY}/AAPL/prices", params=asked).json()[-1]["date"][:10] == latest
    rows = {row["ticker"]: row for row in tiingo.get(f"{DAILY}/prices").json()}
    assert rows["aapl"]["date"][:10] == latest


def test_the_market_holds_every_ticker_with_its_own_last_day(tiingo: httpx.Client) -> None:
    """Small letters, hyphens, shares long gone, and rows a day late."""
    rows = tiingo.get(f"{DAILY}/prices").json()
    tickers = {row["ticker"] for row in rows}
    assert {"aapl", "brk-b", "bf-b"} < tickers
    assert len(tickers) == len(rows) > 503
    days = {row["date"] for row in rows}
    assert days == {f"{day}T00:00:00.000Z" for day in ("2026-08-04", "2026-08-03", "2015-03-02")}
    (alone,) = tiingo.get(f"{DAILY}/AAPL/prices").json()
    (among,) = [row for row in rows if row["ticker"] == "aapl"]
    assert among == {**alone, "ticker": "aapl", "date": "2026-08-04T00:00:00.000Z"}


def test_quotes_out_of_hours_have_nine_nulls_and_the_whole_days_volume(
    tiingo: httpx.Client, world: World
) -> None:
    """Seventeen fields as measured, in another order than asked, unknown tickers left out."""
    rows = tiingo.get(f"{IEX}/", params={"tickers": "aapl,nosuch,msft"}).json()
    assert [row["ticker"] for row in rows] == ["MSFT", "AAPL"]
    row = rows[1]
    assert len(row) == 17
    assert {name for name, value in row.items() if value is None} == NULLED
    bar = world.bars("AAPL", date(2026, 8, 4), date(2026, 8, 4), Clock().moment)
    assert (row["timestamp"], row["tngoLast"], row["volume"]) == (
        "2026-08-04T20:00:00+00:00",
        bar.closes[0],
        bar.volumes[0],
    )
    assert tiingo.get(f"{IEX}/aapl").json() == [row]


def test_quotes_in_hours_are_whole_for_who_has_an_agreement(
    tiingo: httpx.Client, clock: Clock
) -> None:
    """With IEX's own volume so far; the free plan's keys get the nulls."""
    clock.moment = datetime(2026, 8, 5, 15, tzinfo=UTC)
    (row,) = tiingo.get(f"{IEX}/AAPL").json()
    assert None not in row.values()
    assert row["low"] <= row["last"] <= row["high"]
    assert row["timestamp"].startswith("2026-08-05T1")
    (poor,) = tiingo.get(f"{IEX}/AAPL", headers=_headers(Plan.FREE)).json()
    assert {name for name, value in poor.items() if value is None} == NULLED
    assert poor["volume"] == row["volume"] < 30_000


def test_all_quotes_come_in_one_answer(tiingo: httpx.Client, world: World) -> None:
    """Without tickers: everything that trades."""
    rows = tiingo.get(f"{IEX}/").json()
    assert len({row["ticker"] for row in rows}) == len(rows) == len(world.listings())


def test_intraday_prices_have_the_recorded_form(tiingo: httpx.Client) -> None:
    """Half hours of the regular session, volume only where it is named."""
    asked = {"startDate": "2026-08-04", "endDate": "2026-08-04", "resampleFreq": "30Min"}
    rows = tiingo.get(f"{IEX}/AAPL/prices", params=asked).json()
    recorded = json.loads(_recorded("tiingo_iex_prices_30min_googl.json"))
    assert [list(row) for row in rows] == [list(row) for row in recorded]
    # The recorded day was in winter: an hour later by UTC.
    times = [(datetime.fromisoformat(row["date"]) + timedelta(hours=1)).time() for row in rows]
    assert times == [datetime.fromisoformat(row["date"]).time() for row in recorded]
    asked["columns"] = "open,high,low,close,volume"
    (first, *_) = tiingo.get(f"{IEX}/AAPL/prices", params=asked).json()
    assert list(first) == ["date", "open", "high", "low", "close", "volume"]
    assert isinstance(first["volume"], float)


def test_intraday_prices_without_dates_are_of_the_latest_session(
    tiingo: httpx.Client, clock: Clock
) -> None:
    """In fives of minutes."""
    rows = tiingo.get(f"{IEX}/AAPL/prices").json()
    assert {row["date"][:10] for row in rows} == {"2026-08-04"}
    assert all(int(row["date"][14:16]) % 5 == 0 for row in rows)
    clock.moment = datetime(2026, 8, 5, 14, tzinfo=UTC)
    rows = tiingo.get(f"{IEX}/AAPL/prices").json()
    assert (rows[0]["date"], rows[-1]["date"]) == (
        "2026-08-05T13:30:00.000Z",
        "2026-08-05T13:55:00.000Z",
    )


def test_hours_around_the_session_come_only_if_asked_for(tiingo: httpx.Client) -> None:
    """From eight to five, New York."""
    asked = {"startDate": "2026-07-20", "endDate": "2026-08-04", "resampleFreq": "1min"}
    plain = [row["date"][11:16] for row in tiingo.get(f"{IEX}/AAPL/prices", params=asked).json()]
    assert ("13:30" <= min(plain), max(plain) < "20:00") == (True, True)
    asked["afterHours"] = "true"
    around = [row["date"][11:16] for row in tiingo.get(f"{IEX}/AAPL/prices", params=asked).json()]
    assert min(around) < "13:30"
    assert "20:00" <= max(around) < "21:00"
    assert min(around) >= "12:00"


def test_beyond_two_thousand_rows_the_oldest_are_dropped(tiingo: httpx.Client) -> None:
    """Without a word."""
    asked = {"startDate": "2026-01-02", "endDate": "2026-08-04", "resampleFreq": "1min"}
    rows = tiingo.get(f"{IEX}/AAPL/prices", params=asked).json()
    assert len(rows) == 2000
    assert rows[-1]["date"][:10] == "2026-08-04"
    assert rows == sorted(rows, key=lambda row: row["date"])


def test_intraday_csv_has_the_same_rows(tiingo: httpx.Client) -> None:
    """Volume at the end, if it was named."""
    asked = {"columns": "date,open,high,low,close,volume"}
    rows = tiingo.get(f"{IEX}/AAPL/prices", params=asked).json()
    text = tiingo.get(f"{IEX}/AAPL/prices", params={**asked, "format": "csv"}).text
    assert [{name: str(value) for name, value in row.items()} for row in rows] == list(
        csv.DictReader(io.StringIO(text))
    )


def test_iex_trades_a_small_part_of_all(world: World) -> None:
    """Two to three per cent of the volume, in fewer minutes, at the same prices."""
    now, day = Clock().moment, date(2026, 8, 4)
    paid = Actions(world).as_traded("MSFT", day, day, now)
    minutes = intraday.unfolded(world, "MSFT", paid, now)
    here = iex_minutes(world, "MSFT", day, now)
    assert 0.6 < len(here) / len(regular(minutes, day)) < 0.95
    shared = minutes.where(np.isin(minutes.opened_at, here.opened_at))
    assert (shared.closes == here.closes).all()
    assert 0.019 < here.volumes.sum() / shared.volumes.sum() < 0.031
    assert (here.volumes >= 1.0).all()


def test_minutes_before_a_split_are_as_they_were_paid(world: World) -> None:
    """They lie within the day's prices as traded, not within those adjusted for the split."""
    now = Clock().moment
    split = Actions(world).splits("AAPL", now)[-1]
    day = calendar().sessions(split.ex_date - timedelta(days=10), split.ex_date)[-2]
    minutes = regular(iex_minutes(world, "AAPL", day, now), day)
    paid = Actions(world).as_traded("AAPL", day, day, now)
    adjusted = world.bars("AAPL", day, day, now)
    assert paid.lows[0] <= minutes.lows.min() <= minutes.highs.max() <= paid.highs[0]
    assert adjusted.highs[0] < paid.lows[0]


def test_minutes_served_once_are_served_again(world: World) -> None:
    """Minutes that were over at noon are unchanged at night."""
    day = date(2026, 8, 4)
    noon, night = datetime(2026, 8, 4, 16, tzinfo=UTC), datetime(2026, 8, 5, tzinfo=UTC)
    early = iex_minute_truth(world, ["AAPL"], day, day, noon)
    late = iex_minute_truth(world, ["AAPL"], day, day, night)
    assert early.schema == WIRE_MINUTE_BARS
    assert 0 < early.num_rows < late.num_rows
    assert late.slice(0, early.num_rows).equals(early)
    assert max(early["opened_at"].to_pylist()) <= noon - timedelta(minutes=1)
    assert late["trades"].null_count == late["vwap"].null_count == late.num_rows


def test_longer_bars_are_made_of_the_minutes(world: World) -> None:
    """First open, highest high, lowest low, last close, all the volume."""
    day = date(2026, 8, 4)
    minutes = regular(iex_minutes(world, "AAPL", day, Clock().moment), day)
    hours = resampled(minutes, timedelta(hours=1))
    assert [hour.opened_at.hour for hour in hours] == list(range(13, 20))
    assert sum(hour.volume for hour in hours) == minutes.volumes.sum()
    assert max(hour.high for hour in hours) == minutes.highs.max()
    assert min(hour.low for hour in hours) == minutes.lows.min()
    assert (hours[0].open, hours[-1].close) == (minutes.opens[0], minutes.closes[-1])
    assert calendar().is_session(day)


def test_the_51st_request_of_an_hour_is_refused_until_the_next(
    tiingo: httpx.Client, clock: Clock
) -> None:
    """429 with the recorded words, and the hour begins anew on the hour; then the day is spent."""
    clock.moment = datetime(2026, 8, 5, 12, 59, 30, tzinfo=UTC)
    headers = _headers(Plan.FREE)
    path = f"{DAILY}/AAPL"
    assert [tiingo.get(path, headers=headers).status_code for _ in range(51)] == [200] * 50 + [429]
    refused = tiingo.get(path, headers=headers)
    assert refused.json() == json.loads(_recorded("tiingo_error_rate_limit_429.json"))
    assert "retry-after" not in refused.headers
    in_csv = tiingo.get(f"{path}/prices", headers=headers, params={"format": "csv"})
    assert (in_csv.status_code, in_csv.text) == (200, refused.json()["detail"])
    clock.advance(30)
    assert [tiingo.get(path, headers=headers).status_code for _ in range(11)] == [200] * 10 + [429]
    assert "daily request allocation" in tiingo.get(path, headers=headers).json()["detail"]
    clock.moment = datetime(2026, 8, 6, 3, 59, tzinfo=UTC)
    assert tiingo.get(path, headers=headers).status_code == 429
    clock.moment = datetime(2026, 8, 6, 4, tzinfo=UTC)
    assert tiingo.get(path, headers=headers).status_code == 200
    assert tiingo.get(path).status_code == 200, "another key has its own allocation"


def test_the_months_fourth_symbol_is_refused_inside_a_200(
    tiingo: httpx.Client, clock: Clock
) -> None:
    """As plain text; known symbols are served on, unknown ones and the whole market not counted."""
    headers = _headers(Plan.FREE)

    def ask(path: str, **parameters: str) -> httpx.Response:
        return tiingo.get(path, headers=headers, params=parameters)

    ask(f"{DAILY}/AAPL")
    ask(f"{IEX}/", tickers="aapl,MSFT,nosuch")
    ask(f"{IEX}/XOM/prices")
    ask(f"{DAILY}/NOSUCH")
    assert ask(f"{DAILY}/prices").json()[0]["ticker"]
    refused = ask(f"{DAILY}/IBM/prices")
    assert refused.status_code == 200
    assert refused.text.startswith("You have run over your 3 symbol look up for this month.")
    assert ask(f"{DAILY}/msft").status_code == 200
    clock.moment = datetime(2026, 9, 1, 3, 59, tzinfo=UTC)
    assert ask(f"{DAILY}/IBM").text == refused.text
    clock.moment = datetime(2026, 9, 1, 4, tzinfo=UTC)
    assert ask(f"{DAILY}/IBM").json()["ticker"] == "IBM"


def test_faults_find_their_ticker_in_either_case(tiingo: httpx.Client) -> None:
    """In every path that names one; a market's row is spoilt where it stands."""
    controls = str(tiingo.base_url).replace("/tiingo/", "/_sandbox/faults")
    httpx.post(
        controls, json={"kind": "unknown", "symbol": "BRK-B"}, verify=NO_AUTHORITIES
    ).raise_for_status()
    for path in (f"{DAILY}/brk-b", f"{DAILY}/BRK-B/prices", f"{IEX}/Brk-b", f"{IEX}/brk-b/prices"):
        assert tiingo.get(path).status_code == 404
    assert tiingo.get(f"{DAILY}/AAPL").status_code == 200
    httpx.delete(controls).raise_for_status()
    httpx.post(
        controls, json={"kind": "malformed_rows", "symbol": "AAPL"}, verify=NO_AUTHORITIES
    ).raise_for_status()
    rows = {row["ticker"]: row for row in tiingo.get(f"{DAILY}/prices").json()}
    assert [name for name, row in rows.items() if "close" not in row] == ["aapl"]
    assert tiingo.get(f"{DAILY}/AAPL").json()["ticker"] == "AAPL", "metadata has no rows"


def test_a_quirk_that_tiingo_lacks_is_named(world: World) -> None:
    """The text names the known ones."""
    simulator = TiingoSimulator(world, keys={}, now=Clock())
    request = Request(path="/", query={}, headers={}, key="", at=Clock().moment)
    with pytest.raises(ValueError, match="no quirk 'x'; it has symbol_cap"):
        simulator.quirk("x", request)


@pytest.mark.parametrize(
    ("ticker", "day"), [("CMCSA", "2024-01-02"), ("ZBRA", "2022-07-05"), ("ALL", "2016-07-05")]
)
def test_where_prices_drop_the_split_factor_says_so(
    tiingo: httpx.Client, world: World, ticker: str, day: str
) -> None:
    """Their splits were announced for holidays."""
    span = {"startDate": f"{day[:8]}01", "endDate": f"{day[:8]}20"}
    rows = tiingo.get(f"{DAILY}/{ticker}/prices", params=span).json()
    factors = {row["date"][:10]: row["splitFactor"] for row in rows}
    assert [on for on, factor in factors.items() if factor != 1.0] == [day]
    [split] = [known for known in world.splits(ticker) if known.ex_date.isoformat() == day]
    assert factors[day] == split.ratio


def test_a_split_of_a_weekend_stands_on_the_next_session(
    tiingo: httpx.Client, world: World
) -> None:
    """For any split: the row of the first new price shows it."""
    world.split("MMM", date(2026, 7, 25), 4, 1)
    span = {"startDate": "2026-07-20", "endDate": "2026-07-31"}
    rows = tiingo.get(f"{DAILY}/MMM/prices", params=span).json()
    factors = {row["date"][:10]: row["splitFactor"] for row in rows if row["splitFactor"] != 1.0}
    assert factors == {"2026-07-27": 4.0}
    closes = {row["date"][:10]: row["close"] for row in rows}
    assert closes["2026-07-27"] / closes["2026-07-24"] == pytest.approx(0.25, rel=0.1)
