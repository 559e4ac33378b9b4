"""The vendor's own client library reads the simulator and finds the world in it.

Its releases under the old name end with 1.15; it talks to whatever base address it is given, and
follows ``next_url`` by path and query alone, so that the vendor's host in it does not matter.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import polygon
import pytest
from urllib3 import HTTPResponse

from marketdata.calendars import NEW_YORK_ZONE, calendar
from sandbox.simulators import serving
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.polygon import Plan, PolygonSimulator
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.intraday import minute_truth
from sandbox.simulators.worlds.shares.world import World
from tests.reference_clients.answers import came
from tests.sandbox.clock import Clock

KEY, FREE_KEY = "a" * 32, "b" * 32
DAY = date(2026, 8, 4)
_Row = TypeVar("_Row")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world behind the simulator."""
    return World(tmp_path_factory.mktemp("polygon"))


@pytest.fixture(scope="module")
def origin(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the simulator answers."""
    clock = Clock()
    keys = {KEY: Plan.ADVANCED, FREE_KEY: Plan.FREE}
    journal = Journal(tmp_path_factory.mktemp("journal") / "requests.jsonl")
    simulator = PolygonSimulator(world, keys, now=clock)
    with serving.serve(Front([simulator], world=world, journal=journal, now=clock)) as at:
        yield at


@pytest.fixture
def library(origin: str) -> polygon.RESTClient:
    """The vendor's client, pointed at the simulator."""
    return polygon.RESTClient(api_key=KEY, base=f"{origin}/polygon", retries=0)


def _read(answer: Iterable[_Row] | HTTPResponse) -> list[_Row]:
    """Return the rows; the library gives the bare answer only to who asks for it."""
    assert not isinstance(answer, HTTPResponse)
    return list(answer)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=NEW_YORK_ZONE)


def test_it_reads_daily_bars_page_by_page(library: polygon.RESTClient, world: World) -> None:
    """Pages of 100 bars, each day at midnight in New York, winter and summer."""
    start = date(2025, 1, 2)
    bars = _read(
        library.list_aggs("AAPL", 1, "day", start, DAY, adjusted=True, sort="asc", limit=100)
    )
    truth = world.truth(["AAPL"], start, DAY, Clock().moment).to_pylist()
    assert len(bars) > 300
    assert [
        (bar.timestamp, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars
    ] == [
        (
            round(_midnight(row["date"]).timestamp() * 1000),
            *(row[name] for name in ("open", "high", "low", "close", "volume")),
        )
        for row in truth
    ]


def test_it_reads_minutes_as_traded(library: polygon.RESTClient, world: World) -> None:
    """Around a split, over several pages."""
    start, end = date(2020, 8, 28), date(2020, 8, 31)
    bars = _read(
        library.list_aggs("AAPL", 1, "minute", start, end, adjusted=False, sort="asc", limit=300)
    )
    truth = minute_truth(world, ["AAPL"], start, end, Clock().moment).to_pylist()
    assert [
        (
            datetime.fromtimestamp(came(bar.timestamp) / 1000, UTC),
            *(bar.close, bar.vwap, bar.transactions),
        )
        for bar in bars
    ] == [(row["opened_at"], row["close"], row["vwap"], row["trades"]) for row in truth]


def test_it_reads_longer_bars_whose_limit_counts_minutes(library: polygon.RESTClient) -> None:
    """Five-minute bars of 300 minutes a page are the same as those of one page."""
    asked = ("MSFT", 5, "minute", DAY, DAY)
    paged = _read(library.list_aggs(*asked, limit=300))
    whole = _read(library.get_aggs(*asked, limit=50_000))
    assert paged == whole
    assert len(whole) < 110
    first = _read(library.get_aggs(*asked, limit=300))
    assert 40 < len(first) <= 80
    newest = _read(library.list_aggs(*asked, sort="desc", limit=300))
    assert newest == whole[::-1]


def test_it_reads_the_whole_market(library: polygon.RESTClient, world: World) -> None:
    """Every listing is in it, at the end of the session."""
    bars = _read(library.get_grouped_daily_aggs(DAY, adjusted=False))
    by_ticker = {came(bar.ticker): bar for bar in bars}
    assert {listing.ticker for listing in world.listings()} < set(by_ticker)
    traded = Actions(world).as_traded("BRK.B", DAY, DAY, Clock().moment)
    assert by_ticker["BRK.B"].close == traded.closes[0]
    close = round(calendar().close_at(DAY).timestamp() * 1000)
    assert {bar.timestamp for bar in bars} == {close}
    assert any(ticker != ticker.upper() for ticker in by_ticker), "case matters in symbols"
    assert library.get_grouped_daily_aggs(date(2026, 8, 2)) == []


def test_it_reads_tickers_page_by_page(library: polygon.RESTClient, world: World) -> None:
    """All of them, in order."""
    tickers = _read(library.list_tickers(market="stocks", active=True, limit=100))
    assert [ticker.ticker for ticker in tickers] == sorted(
        share.ticker for share in world.listings()
    )
    detail = library.get_ticker_details("BRK.B")
    assert not isinstance(detail, HTTPResponse)
    listing = world.listing("BRK.B")
    assert listing is not None
    assert (detail.ticker, detail.name, detail.cik) == ("BRK.B", listing.name, listing.cik)
    assert detail.list_date == world.listed_on("BRK.B").isoformat()


def test_it_reads_splits_and_dividends(library: polygon.RESTClient, world: World) -> None:
    """By the deprecated endpoints, which are those it knows."""
    now = Clock().moment
    actions = Actions(world)
    splits = _read(library.list_splits(ticker="AAPL", order="asc", sort="execution_date", limit=1))
    assert [(split.execution_date, split.split_from, split.split_to) for split in splits] == [
        (split.ex_date.isoformat(), split.old_shares, split.new_shares)
        for split in actions.splits("AAPL", now)
    ]
    listed = _read(library.list_splits(execution_date_gte="2010-01-01", limit=1000))
    expected = sum(
        split.ex_date >= date(2010, 1, 1)
        for listing in world.listings()
        for split in actions.splits(listing.ticker, now)
    )
    assert len(listed) == expected > 50
    month = _read(
        library.list_dividends(
            ex_dividend_date_gte=DAY - timedelta(days=30), ex_dividend_date_lte=DAY, limit=20
        )
    )
    paid = {
        (dividend.ticker, dividend.ex_dividend_date): dividend.cash_amount for dividend in month
    }
    truth = {
        (listing.ticker, dividend.ex_date.isoformat()): float(dividend.amount)
        for listing in world.listings()
        for dividend in actions.dividends(listing.ticker, now)
        if DAY - timedelta(days=30) <= dividend.ex_date <= DAY
    }
    assert paid == truth
    assert len(month) == len(truth) > 20


def test_it_understands_errors(origin: str, library: polygon.RESTClient) -> None:
    """A wrong key, an unknown ticker, and a plan that does not reach so far."""
    stranger = polygon.RESTClient(api_key="c" * 32, base=f"{origin}/polygon", retries=0)
    with pytest.raises(polygon.BadResponse, match="Unknown API Key"):
        stranger.get_aggs("AAPL", 1, "day", DAY, DAY)
    with pytest.raises(polygon.BadResponse, match="NOT_FOUND"):
        library.get_ticker_details("NOBODY")
    assert library.get_aggs("NOBODY", 1, "day", DAY, DAY) == []
    assert library.get_aggs("kimpL", 1, "day", DAY, DAY) == []
    poor = polygon.RESTClient(api_key=FREE_KEY, base=f"{origin}/polygon", retries=0)
    with pytest.raises(polygon.BadResponse, match="NOT_AUTHORIZED"):
        poor.get_aggs("AAPL", 1, "day", date(2016, 1, 4), DAY)
