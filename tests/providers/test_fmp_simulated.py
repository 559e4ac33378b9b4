"""The FMP client against the simulator, written independently from the same wire facts."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from machine.processes import NO_AUTHORITIES
from marketdata.bars import validate
from marketdata.calendars import calendar
from marketdata.instruments import provider_spellings
from marketdata.recovery import errors
from resources.providers.fmp import FmpClient, connect
from sandbox.simulators import serving
from sandbox.simulators.fmp import FmpLimits, Plan, create_front
from sandbox.simulators.worlds.shares.world import World
from tests.providers.permits import AT_ONCE, CountedBudget

T = TypeVar("T")
KEY, POOR_KEY = "a" * 32, "b" * 32
NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
START, END = date(2006, 1, 1), date(2026, 8, 4)


@dataclass(frozen=True)
class Simulated:
    """A running simulator, and its world to compare with."""

    origin: str
    world: World

    def do(self, work: Callable[[FmpClient], Awaitable[T]], key: str = KEY) -> T:
        async def main() -> T:
            async with connect(
                api_key=key,
                budget=CountedBudget(),
                bulk_budget=CountedBudget(),
                retry=AT_ONCE,
                base_url=f"{self.origin}/stable",
            ) as client:
                return await work(client)

        return asyncio.run(main())

    def fault(self, **rule: object) -> None:
        httpx.post(
            f"{self.origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES
        ).raise_for_status()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """A simulator on a free port, its clock standing still."""
    root: Path = tmp_path_factory.mktemp("fmp")
    front = create_front(
        root,
        keys={KEY: Plan.ULTIMATE, POOR_KEY: Plan.FREE},
        limits=FmpLimits(per_minute=10_000, bulk_interval_s=0),
        now=lambda: NOW,
    )
    with serving.serve(front) as origin:
        yield Simulated(origin=origin, world=World(root))


@pytest.fixture
def simulated(served: Simulated) -> Simulated:
    """The simulator without the faults of earlier tests."""
    httpx.delete(f"{served.origin}/_sandbox/faults").raise_for_status()
    return served


def _prices(table: pa.Table) -> list[tuple[object, ...]]:
    names = ("open", "high", "low", "close")
    day = "date" if "date" in table.column_names else "session_date"
    return [
        (row[day], *(row[name] for name in names), float(row["volume"]))
        for row in table.sort_by(day).to_pylist()
    ]


@pytest.mark.parametrize("ticker", ["AAPL", "BRK.B"])
def test_a_whole_history_equals_the_worlds_truth(simulated: Simulated, ticker: str) -> None:
    """Twenty years are more than one answer holds; every bar comes once and unchanged."""
    symbol = provider_spellings("fmp").get(ticker, ticker)
    answer = simulated.do(lambda client: client.daily_history(symbol, START, END))
    truth = simulated.world.truth([ticker], START, END, NOW)
    assert _prices(answer.rows) == _prices(truth)
    assert answer.rows.num_rows > 5000
    assert answer.requests == 2
    assert validate(answer.rows).rejected == ()


def test_a_bulk_day_equals_the_worlds_truth(simulated: Simulated) -> None:
    """For every constituent under its FMP spelling, among crypto pairs and foreign shares."""
    answer = simulated.do(lambda client: client.daily_market(END))
    rows = {row["symbol"]: row for row in answer.rows.to_pylist()}
    spelt = provider_spellings("fmp")
    tickers = [constituent.ticker for constituent in simulated.world.constituents()]
    for row in simulated.world.truth(tickers, END, END, NOW).to_pylist():
        bar = rows.pop(spelt.get(row["symbol"], row["symbol"]))
        for name in ("open", "high", "low", "close", "volume"):
            assert bar[name] == row[name]
    assert rows, "others than the constituents are in it too"
    assert calendar().is_session(END)


def test_constituents_are_the_worlds(simulated: Simulated) -> None:
    """Tickers in our spelling, CIKs of ten digits."""
    listed = simulated.do(lambda client: client.sp500_constituents())
    expected = {
        (constituent.ticker, constituent.cik) for constituent in simulated.world.constituents()
    }
    assert {(constituent.ticker, constituent.cik) for constituent in listed} == expected
    assert "BRK.B" in {constituent.ticker for constituent in listed}


@pytest.mark.parametrize("symbol", ["BRK.B", "NOBODY"])
def test_a_symbol_nobody_knows_has_no_bars_and_no_profile(
    simulated: Simulated, symbol: str
) -> None:
    """Our own spelling of a share class is such a symbol to FMP."""
    answer = simulated.do(lambda client: client.daily_history(symbol, START, END))
    assert answer.rows.num_rows == 0
    with pytest.raises(errors.UnknownSymbolError):
        simulated.do(lambda client: client.profile(symbol))


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "status", "status": 500}, errors.ProviderUnavailableError),
        ({"kind": "status", "status": 429}, errors.RateLimitedError),
        ({"kind": "status", "status": 429, "seconds": 30}, errors.RateLimitedError),
        ({"kind": "half_body"}, errors.ProviderUnavailableError),
        ({"kind": "error_in_200"}, errors.RateLimitedError),
        ({"kind": "html"}, errors.ProviderUnavailableError),
        ({"kind": "timeout", "seconds": 0.05}, errors.ProviderUnavailableError),
    ],
)
def test_a_passing_fault_is_survived_and_a_lasting_one_is_named(
    simulated: Simulated, rule: dict[str, object], kind: type[errors.ProviderError]
) -> None:
    """Twice wrong, then right: the third attempt brings the bars."""
    simulated.fault(**rule, symbol="MSFT", count=2)
    answer = simulated.do(lambda client: client.daily_history("MSFT", END, END))
    assert (answer.rows.num_rows, answer.requests) == (1, 3)
    simulated.fault(**rule, symbol="MSFT")
    with pytest.raises(kind):
        simulated.do(lambda client: client.daily_history("MSFT", END, END))


@pytest.mark.parametrize("rule", [{"kind": "malformed"}, {"kind": "html", "status": 200}])
def test_an_answer_that_cannot_be_read_is_asked_for_once(
    simulated: Simulated, rule: dict[str, object]
) -> None:
    """Repeating it would bring the same."""
    simulated.fault(**rule, symbol="MSFT", count=1)
    with pytest.raises(errors.MalformedPayloadError):
        simulated.do(lambda client: client.daily_history("MSFT", START, END))


def test_spoilt_rows_are_left_to_validation(simulated: Simulated) -> None:
    """One without a close, one with low above high: two of five are refused there."""
    simulated.fault(kind="malformed_rows", symbol="MSFT", count=1)
    answer = simulated.do(lambda client: client.daily_history("MSFT", date(2026, 7, 29), END))
    validated = validate(answer.rows)
    assert (validated.accepted.num_rows, len(validated.rejected)) == (3, 2)


def test_keys_and_plans_are_told_apart(simulated: Simulated) -> None:
    """A wrong key stops everything; a plan's limits concern one request."""
    with pytest.raises(errors.KeyRefusedError):
        simulated.do(lambda client: client.daily_history("AAPL", END, END), key="c" * 32)
    with pytest.raises(errors.NotEntitledError, match=r"402.*the plan"):
        simulated.do(lambda client: client.daily_market(END), key=POOR_KEY)
    with pytest.raises(errors.NotEntitledError, match="symbol"):
        simulated.do(lambda client: client.daily_history("XOM", END, END), key=POOR_KEY)


def test_a_day_without_session_holds_only_what_trades_on_it(simulated: Simulated) -> None:
    """On a Sunday crypto pairs, none of the constituents."""
    answer = simulated.do(lambda client: client.daily_market(date(2026, 8, 2)))
    symbols = set(answer.rows["symbol"].to_pylist())
    assert symbols
    assert symbols.isdisjoint(constituent.ticker for constituent in simulated.world.constituents())
    assert pc.min(answer.rows["volume"]).as_py() > 0
