"""Splits and dividends of the simulated world, and FMP's answers about them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machine.processes import NO_AUTHORITIES
from marketdata.actions import validate_dividends, validate_splits
from sandbox.simulators import serving
from sandbox.simulators.fmp import FmpLimits, Plan, create_front
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import World
from tests.sandbox.clock import Clock

NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
FIRST, LAST = date(2006, 1, 1), date(2026, 8, 4)
SPLIT_ON = date(2026, 8, 10)
AFTER = datetime(2026, 8, 12, 22, tzinfo=UTC)
TICKERS = [constituent.ticker for constituent in World(Path("/nonexistent")).constituents()]
RECORDED = json.loads(
    (Path(__file__).parents[1] / "recordings" / "fmp_dividends_aapl.json").read_text()
)
KEY = "a" * 32


@pytest.mark.parametrize("ticker", ["AAPL", "GOOGL", *TICKERS[:40]])
def test_prices_as_paid_are_the_adjusted_ones_times_all_later_splits(ticker: str) -> None:
    """To half a cent, which is what a price as paid is rounded to; volumes to half a share."""
    world = World(Path("/nonexistent"))
    actions = Actions(world)
    paid = actions.as_traded(ticker, FIRST, LAST, NOW)
    adjusted = world.bars(ticker, FIRST, LAST, NOW)
    ratios = np.ones(len(paid.dates))
    for split in actions.splits(ticker, NOW):
        ratios[paid.dates < np.datetime64(split.ex_date)] *= split.ratio
    np.testing.assert_allclose(paid.closes, adjusted.closes * ratios, atol=0.0050001)
    np.testing.assert_allclose(paid.volumes, adjusted.volumes / ratios, atol=0.5)


def test_a_price_as_paid_jumps_at_the_split_and_nowhere_else() -> None:
    """AAPL trades at a quarter from the last day of August 2020 on."""
    paid = Actions(World(Path("/nonexistent"))).as_traded("AAPL", FIRST, LAST, NOW)
    moves = paid.opens[1:] / paid.closes[:-1]
    jumps = paid.dates[1:][np.abs(np.log(moves)) > 0.5].tolist()
    assert jumps == [date(2014, 6, 9), date(2020, 8, 31)]


@given(
    ticker=st.sampled_from(TICKERS),
    early=st.datetimes(datetime(2008, 1, 1), datetime(2026, 8, 1)),  # noqa: DTZ001 - UTC below
    later=st.timedeltas(timedelta(0), timedelta(days=900)),
)
@settings(max_examples=40, deadline=None)
def test_what_was_told_once_stays_as_it_was(ticker: str, early: datetime, later: timedelta) -> None:
    """Time adds splits and dividends and changes none."""
    actions = Actions(World(Path("/nonexistent")))
    first = early.replace(tzinfo=UTC)
    second = min(first + later, NOW)
    for actions_of in (actions.splits, actions.dividends):
        before, after = actions_of(ticker, first), actions_of(ticker, second)
        assert after[: len(before)] == before


def test_a_new_split_changes_the_adjusted_history_on_its_day_and_no_price_that_was_paid(
    tmp_path: Path,
) -> None:
    """So FMP's history is re-based, and the next process still knows it."""
    world = World(tmp_path)
    paid = Actions(world).as_traded("MMM", FIRST, LAST, NOW)
    adjusted = world.bars("MMM", FIRST, LAST, NOW)
    world.split("MMM", SPLIT_ON, 4, 1)
    again = World(tmp_path)
    still = again.bars("MMM", FIRST, LAST, NOW)
    np.testing.assert_array_equal(still.closes, adjusted.closes)
    after = again.bars("MMM", FIRST, LAST, AFTER)
    np.testing.assert_allclose(after.closes, adjusted.closes / 4, atol=0.0050001)
    np.testing.assert_array_equal(
        Actions(again).as_traded("MMM", FIRST, LAST, AFTER).closes, paid.closes
    )
    days = Actions(again).as_traded("MMM", date(2026, 8, 7), SPLIT_ON, AFTER)
    assert days.opens[1] / days.closes[0] == pytest.approx(0.25, rel=0.1)


def test_a_split_is_announced_thirty_days_before(tmp_path: Path) -> None:
    """Not sooner, whenever it was added."""
    world = World(tmp_path)
    world.split("MMM", date(2026, 9, 10), 2, 1)
    actions = Actions(world)
    known = {split.ex_date for split in actions.splits("MMM", NOW)}
    assert date(2026, 9, 10) not in known
    assert actions.splits("MMM", NOW + timedelta(days=6))[-1].ex_date == date(2026, 9, 10)


@pytest.mark.parametrize(("new", "old"), [(1, 1), (0, 1), (3, -1)])
def test_a_split_that_changes_nothing_is_refused(tmp_path: Path, new: int, old: int) -> None:
    """A typo in a test shows at once."""
    with pytest.raises(ValueError, match="is no split"):
        World(tmp_path).split("MMM", SPLIT_ON, new, old)


def test_dividends_are_worth_what_they_take_out_of_the_price() -> None:
    """About two thirds of the tickers pay, each time a small part of the price."""
    actions = Actions(World(Path("/nonexistent")))
    payers = [ticker for ticker in TICKERS if actions.dividends(ticker, NOW)]
    assert 0.6 < len(payers) / len(TICKERS) < 0.72
    for ticker in payers[:60]:
        paid = actions.as_traded(ticker, FIRST, LAST, NOW)
        for dividend in actions.dividends(ticker, NOW):
            at = int(np.searchsorted(paid.dates, np.datetime64(dividend.ex_date)))
            if at < len(paid.dates):
                assert paid.dates[at] == np.datetime64(dividend.ex_date), "an ex-date is a session"
                assert 0 < float(dividend.amount) < 0.2 * paid.closes[at - 1]


def test_returns_of_the_fully_adjusted_series_include_the_dividend() -> None:
    """Over an ex-date, (price + dividend) / price before, but for cents."""
    world = World(Path("/nonexistent"))
    actions = Actions(world)
    dividend = next(d for d in actions.dividends("AAPL", NOW) if d.ex_date.year == 2024)
    start, end = dividend.ex_date - timedelta(days=5), dividend.ex_date
    paid = actions.as_traded("AAPL", start, end, NOW)
    adjusted = actions.total_return("AAPL", start, end, NOW)
    whole = paid.closes[-2] - float(dividend.amount)
    assert adjusted.closes[-2] / adjusted.closes[-1] == pytest.approx(
        whole / paid.closes[-1], abs=0.01 / paid.closes[-1]
    )


def test_the_worlds_truth_breaks_no_rule() -> None:
    """Right answers have no rejected row, with missing dates and specials too."""
    actions = Actions(World(Path("/nonexistent")))
    splits, dividends = actions.split_truth(TICKERS, NOW), actions.dividend_truth(TICKERS, NOW)
    assert validate_splits(splits).rejected == ()
    assert validate_dividends(dividends).rejected == ()
    assert dividends["declaration_date"].null_count > 1000
    assert {"regular", "special"} == set(dividends["kind"].to_pylist())
    assert {"stock-split", "stock-dividend"} == set(splits["kind"].to_pylist())


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock."""
    return Clock()


@pytest.fixture
def fmp(tmp_path: Path, clock: Clock) -> Iterator[httpx.Client]:
    """A client of FMP's simulator."""
    front = create_front(
        tmp_path,
        keys={KEY: Plan.ULTIMATE},
        limits=FmpLimits(per_minute=10_000, bulk_interval_s=0),
        now=clock,
    )
    with (
        serving.serve(front) as origin,
        httpx.Client(
            timeout=120,
            base_url=origin,
            params={"apikey": KEY},
            trust_env=False,
            verify=NO_AUTHORITIES,
        ) as client,
    ):
        yield client


def test_dividends_have_the_recorded_fields_newest_first(fmp: httpx.Client) -> None:
    """A missing date is an empty text, and adjDividend is for the shares of today."""
    rows = fmp.get("/stable/dividends", params={"symbol": "AAPL"}).json()
    assert list(rows[0]) == list(RECORDED[0])
    assert [row["date"] for row in rows] == sorted((row["date"] for row in rows), reverse=True)
    assert "" in {row["declarationDate"] for row in rows}
    oldest = rows[-1]
    assert oldest["adjDividend"] == pytest.approx(oldest["dividend"] / 28, abs=1e-6)
    limited = fmp.get("/stable/dividends", params={"symbol": "AAPL", "limit": 5}).json()
    assert limited == rows[:5]


def test_splits_have_the_measured_fields(fmp: httpx.Client) -> None:
    """The numerator counts the new shares."""
    rows = fmp.get("/stable/splits", params={"symbol": "AAPL", "from": "2024-01-01"}).json()
    assert rows[0] == {
        "symbol": "AAPL",
        "date": "2020-08-31",
        "numerator": 4,
        "denominator": 1,
        "splitType": "stock-split",
    }
    assert len(rows) == 2


@pytest.mark.parametrize("path", ["splits", "dividends", "historical-price-eod/light"])
def test_a_symbol_is_needed_and_an_unknown_one_has_nothing(fmp: httpx.Client, path: str) -> None:
    """Plain text with 400, an empty list with 200."""
    refused = fmp.get(f"/stable/{path}")
    assert refused.status_code == 400
    assert refused.text == "Query Error: Invalid or missing query parameter - symbol"
    assert fmp.get(f"/stable/{path}", params={"symbol": "BRK.B"}).json() == []


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("light", ["symbol", "date", "price", "volume"]),
        (
            "dividend-adjusted",
            ["symbol", "date", "adjOpen", "adjHigh", "adjLow", "adjClose", "volume"],
        ),
        (
            "non-split-adjusted",
            ["symbol", "date", "adjOpen", "adjHigh", "adjLow", "adjClose", "volume"],
        ),
    ],
)
def test_price_endpoints_have_their_fields_and_cut_the_oldest(
    fmp: httpx.Client, path: str, fields: list[str]
) -> None:
    """5,000 rows at most, and five years without dates."""
    asked = {"symbol": "AAPL", "from": "2006-01-01", "to": "2026-08-04"}
    rows = fmp.get(f"/stable/historical-price-eod/{path}", params=asked).json()
    assert (len(rows), rows[0]["date"], list(rows[0])) == (5000, "2026-08-04", fields)
    usual = fmp.get(f"/stable/historical-price-eod/{path}", params={"symbol": "AAPL"}).json()
    assert 1245 <= len(usual) <= 1260


def test_raw_prices_are_as_traded_in_spite_of_their_names(fmp: httpx.Client) -> None:
    """Before the split of August 2020 they are four times those of light."""
    asked = {"symbol": "AAPL", "from": "2020-08-28", "to": "2020-08-28"}
    raw, light, full = (
        fmp.get(f"/stable/historical-price-eod/{path}", params=asked).json()[0]
        for path in ("non-split-adjusted", "light", "dividend-adjusted")
    )
    assert raw["adjClose"] == pytest.approx(4 * light["price"])
    assert raw["volume"] == pytest.approx(light["volume"] / 4, abs=1)
    assert full["adjClose"] < light["price"]


def test_pages_of_the_calendar_overlap_and_lose_rows(fmp: httpx.Client) -> None:
    """As measured: some rows come twice and as many are lost, unless a day is asked for alone."""
    asked = {"from": "2026-06-01", "to": "2026-06-30"}
    pages = [
        fmp.get("/stable/dividends-calendar", params={**asked, "page": page}).json()
        for page in range(4)
    ]
    assert [len(page) for page in pages[:2]] == [4000, 4000]
    assert pages[3] == []
    paged = [(row["symbol"], row["date"]) for page in pages for row in page]
    alone: set[tuple[str, str]] = set()
    for day in range(1, 31):
        date_text = f"2026-06-{day:02}"
        rows = fmp.get(
            "/stable/dividends-calendar", params={"from": date_text, "to": date_text}
        ).json()
        assert {row["date"] for row in rows} == {date_text}
        alone |= {(row["symbol"], row["date"]) for row in rows}
    assert set(paged) < alone
    assert len(paged) == len(alone)


def test_the_splits_calendar_goes_back_ninety_days(fmp: httpx.Client) -> None:
    """A wider range is answered as if it were complete."""
    world = World(Path("/nonexistent"))
    days = [s.ex_date for ticker in TICKERS for s in world.splits(ticker)]
    last = max(days)
    asked = {"from": "2006-01-01", "to": last.isoformat()}
    rows = fmp.get("/stable/splits-calendar", params=asked).json()
    expected = [day for day in days if last - timedelta(days=90) <= day <= last]
    assert sorted(row["date"] for row in rows) == sorted(day.isoformat() for day in expected)


@pytest.mark.parametrize(
    ("quirk", "dates", "ratio"),
    [
        ("split_twice", ["2020-08-31", "2020-08-31", "2014-06-09"], (4, 1)),
        ("split_two_days", ["2020-08-31", "2020-08-28", "2014-06-09"], (4, 1)),
        ("split_inverse", ["2020-08-31", "2014-06-09"], (1, 4)),
        ("split_unreal", ["2021-01-18", "2020-08-31", "2014-06-09"], (4, 1)),
    ],
)
def test_wrong_splits_can_be_asked_for(
    fmp: httpx.Client, quirk: str, dates: list[str], ratio: tuple[int, int]
) -> None:
    """Each of the ways in which FMP's splits are wrong."""
    rule = {"kind": "quirk", "quirk": quirk, "path": "/stable/splits", "symbol": "AAPL"}
    fmp.post("/_sandbox/faults", json=rule).raise_for_status()
    rows = fmp.get("/stable/splits", params={"symbol": "AAPL"}).json()
    assert [row["date"] for row in rows] == dates
    assert (rows[0]["numerator"], rows[0]["denominator"]) == ratio


def test_a_listing_that_is_renamed_keeps_its_actions(tmp_path: Path) -> None:
    """Splits that were added belong to the prices, not to the ticker."""
    world = World(tmp_path)
    world.split("MMM", date(2026, 7, 6), 2, 1)
    former = world.listing("MMM")
    assert former is not None
    before = Actions(world).split_truth(["MMM"], NOW)
    dividends = Actions(world).dividends("MMM", NOW)
    world.put(replace(former, ticker="MMMX"))
    renamed = Actions(World(tmp_path))
    assert renamed.split_truth(["MMMX"], NOW).drop(["symbol"]).equals(before.drop(["symbol"]))
    assert renamed.dividends("MMMX", NOW) == dividends
