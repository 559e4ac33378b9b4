"""The package ``tiingo`` reads the simulator as it reads Tiingo."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pandas as pd
import pytest
from tiingo import TiingoClient
from tiingo.restclient import RestClientError

from sandbox.simulators import serving
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.tiingo import Plan, TiingoSimulator, iex_minute_truth
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import World
from tests.reference_clients.answers import came

KEY = "a" * 40
OLD_PANDAS = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")
"""The library makes frames in a way that pandas deprecates."""
NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
START, END = date(2026, 7, 1), date(2026, 8, 4)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The simulator's world."""
    return World(tmp_path_factory.mktemp("tiingo"))


@pytest.fixture(scope="module")
def origin(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a simulator is served."""
    simulator = TiingoSimulator(world, keys={KEY: Plan.POWER}, now=lambda: NOW)
    journal = Journal(tmp_path_factory.mktemp("journal") / "requests.jsonl")
    with serving.serve(
        Front([simulator], world=world, journal=journal, now=lambda: NOW)
    ) as address:
        yield f"{address}/tiingo"


class _Client(TiingoClient):
    """Asks the simulator: the library has no setting for the address, its children have."""

    def __init__(self, origin: str, key: str) -> None:
        super().__init__({"api_key": key})
        self._base_url = origin


def _client(origin: str, key: str = KEY) -> TiingoClient:
    return _Client(origin, key)


def test_it_reads_metadata(origin: str) -> None:
    """As a dictionary, and as an object of its own."""
    metadata = came(_client(origin).get_ticker_metadata("BRK-B"))
    assert (metadata["ticker"], metadata["endDate"]) == ("BRK-B", "2026-08-04")
    as_object = came(_client(origin).get_ticker_metadata("AAPL", fmt="object"))
    assert as_object.ticker == "AAPL"


def test_it_reads_daily_prices(origin: str, world: World) -> None:
    """As rows, as objects and as CSV."""
    client = _client(origin)
    span = {"startDate": str(START), "endDate": str(END)}
    paid = Actions(world).as_traded("AAPL", START, END, NOW)
    rows = client.get_ticker_price("AAPL", **span)
    assert isinstance(rows, list)
    assert [row["close"] for row in rows] == paid.closes.tolist()
    objects = client.get_ticker_price("AAPL", fmt="object", **span)
    assert isinstance(objects, list)
    assert [price.open for price in objects] == paid.opens.tolist()
    text = client.get_ticker_price("AAPL", fmt="csv", **span)
    assert isinstance(text, str)
    assert len(text.splitlines()) == len(rows) + 1
    newest = client.get_ticker_price("AAPL")
    assert isinstance(newest, list)
    (latest,) = newest
    assert latest["date"] == "2026-08-04T00:00:00+00:00"


@OLD_PANDAS
@pytest.mark.parametrize("fmt", ["json", "csv"])
def test_it_makes_the_same_frame_of_both_formats(origin: str, world: World, fmt: str) -> None:
    """CSV has no zone; the library knows that it is UTC."""
    frame = _client(origin).get_dataframe("AAPL", startDate=str(START), endDate=str(END), fmt=fmt)
    paid = Actions(world).as_traded("AAPL", START, END, NOW)
    assert frame["close"].tolist() == paid.closes.tolist()
    assert [at.date() for at in frame.index] == paid.dates.tolist()
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert str(frame.index.tz) == "UTC"


@OLD_PANDAS
def test_it_reads_several_tickers_side_by_side(origin: str) -> None:
    """One column each."""
    frame = _client(origin).get_dataframe(
        ["AAPL", "MSFT"], metric_name="adjClose", startDate=str(START), endDate=str(END)
    )
    assert list(frame.columns) == ["AAPL", "MSFT"]
    assert not frame.isna().to_numpy().any()


@OLD_PANDAS
def test_it_reads_prices_within_the_day(origin: str, world: World) -> None:
    """Without volume unless it names it."""
    client = _client(origin)
    span = {"startDate": str(END), "endDate": str(END), "frequency": "1Min"}
    truth = iex_minute_truth(world, ["AAPL"], END, END, NOW)
    opened = datetime(2026, 8, 4, 13, 30, tzinfo=UTC), datetime(2026, 8, 4, 20, tzinfo=UTC)
    regular = [row for row in truth.to_pylist() if opened[0] <= row["opened_at"] < opened[1]]
    plain = client.get_dataframe("AAPL", **span)
    assert list(plain.columns) == ["open", "high", "low", "close"]
    frame = client.get_dataframe("AAPL", columns="open,high,low,close,volume", **span)
    assert frame["close"].tolist() == [row["close"] for row in regular]
    assert frame["volume"].tolist() == [row["volume"] for row in regular]
    assert [at.to_pydatetime() for at in frame.index] == [row["opened_at"] for row in regular]


def test_it_raises_its_own_error_for_what_is_refused(origin: str) -> None:
    """An unknown ticker, and a wrong key."""
    with pytest.raises(RestClientError, match="404"):
        _client(origin).get_ticker_price("NOSUCH")
    with pytest.raises(RestClientError, match="401"):
        _client(origin, key="wrong").get_ticker_metadata("AAPL")
