"""The package ``fmp-data`` reads the simulator's fundamentals as it reads FMP's."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fmp_data import ClientConfig, FMPDataClient
from fmp_data.config import RateLimitConfig
from fmp_data.exceptions import FMPError
from fmp_data.schema import Period
from pydantic import SecretStr

from marketdata.statements import StatementKind
from sandbox.simulators import serving
from sandbox.simulators.fmp import FmpLimits, FmpSimulator, Plan
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.fundamentals.statements import ANNUAL, QUARTERLY
from sandbox.simulators.worlds.fundamentals.world import Fundamentals
from sandbox.simulators.worlds.shares.world import World

KEY = "a" * 32
NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
PERIODS: dict[str, Period] = {ANNUAL: "annual", QUARTERLY: "quarter"}


@pytest.fixture(scope="module")
def fundamentals(tmp_path_factory: pytest.TempPathFactory) -> Fundamentals:
    """The simulator's world."""
    return Fundamentals(World(tmp_path_factory.mktemp("fmp")))


@pytest.fixture(scope="module")
def fmp(
    fundamentals: Fundamentals, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FMPDataClient]:
    """The library's client; ``strict`` refuses a field that it does not know of FMP."""
    simulator = FmpSimulator(
        fundamentals.world,
        keys={KEY: Plan.ULTIMATE},
        limits=FmpLimits(per_minute=10_000),
        now=lambda: NOW,
        fundamentals=fundamentals,
    )
    journal = Journal(tmp_path_factory.mktemp("journal") / "requests.jsonl")
    front = Front([simulator], world=fundamentals.world, journal=journal, now=lambda: NOW)
    with serving.serve(front) as origin:
        config = ClientConfig(
            api_key=SecretStr(KEY),
            base_url=origin,
            max_retries=0,
            rate_limit=RateLimitConfig(
                daily_limit=10_000, requests_per_second=1000, requests_per_minute=10_000
            ),
            validation_mode="strict",
        )
        with FMPDataClient(config=config) as client:
            yield client


@pytest.mark.parametrize("period_type", [ANNUAL, QUARTERLY])
@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (StatementKind.INCOME, "get_income_statement"),
        (StatementKind.BALANCE_SHEET, "get_balance_sheet"),
        (StatementKind.CASH_FLOW, "get_cash_flow"),
    ],
)
def test_it_reads_statements(
    fmp: FMPDataClient,
    fundamentals: Fundamentals,
    kind: StatementKind,
    method: str,
    period_type: str,
) -> None:
    """All of them, and every line as in the world."""
    read = getattr(fmp.fundamental, method)("BRK-B", period=PERIODS[period_type], limit=1000)
    rows = fundamentals.statements.rows(kind, "BRK.B", period_type, NOW)
    assert [_by_fmp_names(record) for record in read] == [_plain(row) for row in reversed(rows)]


@pytest.mark.parametrize("period_type", [ANNUAL, QUARTERLY])
def test_it_reads_ratios(fmp: FMPDataClient, fundamentals: Fundamentals, period_type: str) -> None:
    """Also the two fields of July 2026."""
    read = fmp.fundamental.get_financial_ratios("AAPL", period=PERIODS[period_type], limit=1000)
    rows = fundamentals.statements.rows(StatementKind.RATIOS, "AAPL", period_type, NOW)
    assert [_by_fmp_names(record) for record in read] == [_plain(row) for row in reversed(rows)]


def test_it_reads_a_profile(fmp: FMPDataClient) -> None:
    """In FMP's spelling; ours is unknown."""
    read = fmp.company.get_profile("BRK-B")
    assert (read.symbol, read.company_name) == ("BRK-B", "Berkshire Hathaway")
    assert read.cik == "0001067983"
    with pytest.raises(FMPError, match="not found"):
        fmp.company.get_profile("BRK.B")


def test_it_reads_what_was_filed_lately(fmp: FMPDataClient) -> None:
    """A page of it."""
    read = fmp.fundamental.get_latest_financial_statements(page=1, limit=10)
    assert len(read) == 10
    assert all(change.date_added <= datetime(2026, 8, 5, 8) for change in read)  # noqa: DTZ001 - New York's clock


def test_it_reads_the_history_of_the_index(fmp: FMPDataClient) -> None:
    """Additions and removals."""
    read = fmp.index.get_historical_sp500()
    assert len(read) > 300
    assert any(change.symbol for change in read)
    assert any(change.removed_ticker for change in read)


def _by_fmp_names(row: Any) -> dict[str, Any]:
    """Return what the library read, by FMP's names; dates as text."""
    fields = row.model_dump(by_alias=True, exclude_unset=True)
    return {
        name: value.isoformat(sep=" ") if isinstance(value, datetime) else value
        for name, value in fields.items()
    }


def _plain(row: Any) -> dict[str, Any]:
    days = ("date", "filingDate")
    return {name: f"{value} 00:00:00" if name in days else value for name, value in row.items()}
