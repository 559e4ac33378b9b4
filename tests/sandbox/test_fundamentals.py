"""The simulated world's fundamentals: consistent books, and FMP's answers about them."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from machine.processes import NO_AUTHORITIES
from marketdata.calendars import NEW_YORK_ZONE
from marketdata.statements import StatementKind
from sandbox.simulators import serving
from sandbox.simulators.fmp import FmpLimits, FmpSimulator, Plan
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.fundamentals import ledger as books
from sandbox.simulators.worlds.fundamentals import periods, reference
from sandbox.simulators.worlds.fundamentals.ratios import ratios
from sandbox.simulators.worlds.fundamentals.statements import ANNUAL, QUARTERLY
from sandbox.simulators.worlds.fundamentals.world import Fundamentals
from sandbox.simulators.worlds.shares.market import listed_on
from sandbox.simulators.worlds.shares.world import SEED, World
from tests.sandbox.clock import Clock

KEY = "a" * 32
NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
RECORDINGS = Path(__file__).parents[1] / "recordings"
COMPANIES = ["AAPL", "MSFT", "BRK.B", "JPM", "XOM", "GOOGL", "NVDA", "A", "ZTS", "CAT"]


@pytest.fixture
def fundamentals(tmp_path: Path) -> Fundamentals:
    """A fresh world's."""
    return Fundamentals(World(tmp_path), tmp_path)


def _rows(
    fundamentals: Fundamentals,
    kind: StatementKind,
    ticker: str = "MSFT",
    *,
    period_type: str = QUARTERLY,
    now: datetime = NOW,
) -> list[dict[str, Any]]:
    return [dict(row) for row in fundamentals.statements.rows(kind, ticker, period_type, now)]


@pytest.mark.parametrize("name", COMPANIES)
def test_the_balance_sheet_balances(name: str) -> None:
    """And its sums are those of its lines, for forty years."""
    sheet = books.ledger(SEED, name).balance
    parts = {
        "totalCurrentAssets": (
            "cashAndShortTermInvestments netReceivables inventory prepaids otherCurrentAssets"
        ),
        "totalNonCurrentAssets": (
            "propertyPlantEquipmentNet goodwillAndIntangibleAssets longTermInvestments taxAssets "
            "otherNonCurrentAssets"
        ),
        "totalAssets": "totalCurrentAssets totalNonCurrentAssets otherAssets",
        "totalCurrentLiabilities": (
            "totalPayables accruedExpenses shortTermDebt capitalLeaseObligationsCurrent "
            "deferredRevenue otherCurrentLiabilities"
        ),
        "totalNonCurrentLiabilities": (
            "longTermDebt capitalLeaseObligationsNonCurrent deferredRevenueNonCurrent "
            "deferredTaxLiabilitiesNonCurrent otherNonCurrentLiabilities"
        ),
        "totalLiabilities": "totalCurrentLiabilities totalNonCurrentLiabilities otherLiabilities",
        "totalStockholdersEquity": (
            "preferredStock commonStock retainedEarnings additionalPaidInCapital "
            "accumulatedOtherComprehensiveIncomeLoss otherTotalStockholdersEquity"
        ),
        "totalLiabilitiesAndTotalEquity": "totalLiabilities totalEquity minorityInterest",
        "totalDebt": "shortTermDebt longTermDebt capitalLeaseObligations",
    }
    for total, lines in parts.items():
        assert np.array_equal(sheet[total], sum(sheet[line] for line in lines.split())), total
    assert np.array_equal(sheet["totalAssets"], sheet["totalLiabilitiesAndTotalEquity"])
    assert (sheet["totalAssets"] > 0).all()


@pytest.mark.parametrize("name", COMPANIES)
def test_the_cash_flow_ends_in_the_balance_sheets_cash(name: str) -> None:
    """Cash at the end is the next beginning, and profit less pay-outs is what equity keeps."""
    ledger = books.ledger(SEED, name)
    flow, sheet = ledger.cash_flow, ledger.balance
    change = (
        flow["netCashProvidedByOperatingActivities"]
        + flow["netCashProvidedByInvestingActivities"]
        + flow["netCashProvidedByFinancingActivities"]
        + flow["effectOfForexChangesOnCash"]
    )
    assert np.array_equal(change, flow["netChangeInCash"])
    assert np.array_equal(
        flow["cashAtBeginningOfPeriod"] + flow["netChangeInCash"], flow["cashAtEndOfPeriod"]
    )
    assert np.array_equal(flow["cashAtEndOfPeriod"], sheet["cashAndCashEquivalents"])
    assert np.array_equal(flow["cashAtBeginningOfPeriod"][1:], flow["cashAtEndOfPeriod"][:-1])
    assert np.array_equal(flow["netIncome"], ledger.income["netIncome"])
    kept = flow["netIncome"] + flow["netDividendsPaid"] + flow["commonStockRepurchased"]
    assert np.array_equal(np.diff(sheet["retainedEarnings"]), kept[1:])


@pytest.mark.parametrize("name", COMPANIES)
def test_the_income_statement_adds_up(name: str) -> None:
    """From revenue to profit."""
    line = books.ledger(SEED, name).income
    assert np.array_equal(line["grossProfit"], line["revenue"] - line["costOfRevenue"])
    assert np.array_equal(line["operatingIncome"], line["grossProfit"] - line["operatingExpenses"])
    before_tax = line["operatingIncome"] + line["totalOtherIncomeExpensesNet"]
    assert np.array_equal(line["incomeBeforeTax"], before_tax)
    assert np.array_equal(line["netIncome"], before_tax - line["incomeTaxExpense"])


def test_companies_differ_as_companies_do() -> None:
    """Some do no research, some have no inventory, some pay nothing, some lose money."""
    world = [books.ledger(SEED, name) for name in _tickers()]
    for lines, name in (
        ([company.income for company in world], "researchAndDevelopmentExpenses"),
        ([company.income for company in world], "sellingAndMarketingExpenses"),
        ([company.balance for company in world], "inventory"),
        ([company.cash_flow for company in world], "netDividendsPaid"),
    ):
        without = sum(not line[name].any() for line in lines)
        assert 0.2 < without / len(world) < 0.8, name
    abroad = sum(company.currency != "USD" for company in world)
    assert 0.05 < abroad / len(world) < 0.4
    assert any((company.income["netIncome"] < 0).any() for company in world)


def _tickers() -> list[str]:
    return [f"T{place}" for place in range(200)]


def test_years_are_the_sums_of_their_quarters(fundamentals: Fundamentals) -> None:
    """Levels are the last quarter's, cash begins as the first quarter's did."""
    for kind, summed, last in (
        (StatementKind.INCOME, "netIncome", None),
        (StatementKind.CASH_FLOW, "freeCashFlow", "cashAtEndOfPeriod"),
        (StatementKind.BALANCE_SHEET, None, "totalAssets"),
    ):
        quarters = _rows(fundamentals, kind)
        for year in _rows(fundamentals, kind, period_type=ANNUAL):
            of_year = [row for row in quarters if row["fiscalYear"] == year["fiscalYear"]]
            assert [row["period"] for row in of_year] == ["Q1", "Q2", "Q3", "Q4"]
            assert year["date"] == of_year[-1]["date"]
            if summed:
                assert year[summed] == sum(row[summed] for row in of_year)
            if last:
                assert year[last] == of_year[-1][last]
            if kind is StatementKind.CASH_FLOW:
                assert year["cashAtBeginningOfPeriod"] == of_year[0]["cashAtBeginningOfPeriod"]


def test_earnings_per_share_are_profit_by_shares(fundamentals: Fundamentals) -> None:
    """In cents, as reported."""
    for row in _rows(fundamentals, StatementKind.INCOME, period_type=ANNUAL):
        assert row["eps"] == pytest.approx(
            row["netIncome"] / row["weightedAverageShsOut"], abs=0.005
        )
        assert row["weightedAverageShsOutDil"] > row["weightedAverageShsOut"]


def test_fiscal_years_end_in_several_months_and_filings_follow_in_time() -> None:
    """Within 26 to 60 days, on weekdays; an evening's acceptance has the next weekday's date."""
    months: set[int] = set()
    evenings = 0
    for name in _tickers():
        months.add(periods.fiscal_end(SEED, name, 2024, 4).month)
        before = date(2020, 1, 1)
        for quarter in range(1, 5):
            end = periods.fiscal_end(SEED, name, 2024, quarter)
            filed = periods.filing(SEED, name, 2024, quarter)
            assert 80 < (end - before).days < 105 or quarter == 1
            assert 25 <= (filed.filing_date - end).days <= 61
            assert filed.filing_date.weekday() < 5
            accepted = filed.accepted_at.astimezone(NEW_YORK_ZONE)
            assert 6 <= accepted.hour < 22
            evenings += accepted.date() < filed.filing_date
            assert (accepted.hour >= 17) == (accepted.date() < filed.filing_date)
            before = end
    assert {12, 9, 6, 1} <= months
    assert 50 < evenings < 300


def test_apples_year_ends_on_its_last_saturday_of_september() -> None:
    """As in the recording."""
    assert periods.fiscal_end(SEED, "AAPL", 2024, 4) == date(2024, 9, 28)


def test_a_late_listing_reports_from_its_first_whole_year(tmp_path: Path) -> None:
    """Earlier years are not served."""
    world = World(tmp_path)
    late = next(
        listing.ticker
        for listing in world.listings()
        if listed_on(SEED, listing.series).year == 2015
    )
    rows = _rows(Fundamentals(world), StatementKind.INCOME, late)
    assert rows[0]["period"] == "Q1"
    assert rows[0]["date"] >= world.listed_on(late).isoformat()
    assert len(rows) < 60


@pytest.mark.parametrize("kind", list(StatementKind))
def test_tomorrow_serves_yesterdays_rows_unchanged(
    fundamentals: Fundamentals, kind: StatementKind
) -> None:
    """Except for restatements in between, which have a later acceptance."""
    before = NOW - timedelta(days=900)
    restated = 0
    for ticker in COMPANIES:
        now = {row["date"]: row for row in _rows(fundamentals, kind, ticker)}
        then = _rows(fundamentals, kind, ticker, now=before)
        assert len(then) >= 20
        for row in then:
            if now[row["date"]] != row:
                restated += 1
                if kind is not StatementKind.RATIOS:
                    assert row["acceptedDate"] < now[row["date"]]["acceptedDate"]
    assert restated < 10


def test_a_row_appears_when_it_is_accepted(fundamentals: Fundamentals) -> None:
    """Not a second before; the year appears with its last quarter."""
    report = fundamentals.statements.reports("MSFT", ANNUAL, NOW)[-1]
    at = report.filing.accepted_at
    for period_type in (ANNUAL, QUARTERLY):
        before = _rows(
            fundamentals,
            StatementKind.INCOME,
            period_type=period_type,
            now=at - timedelta(seconds=1),
        )
        after = _rows(fundamentals, StatementKind.INCOME, period_type=period_type, now=at)
        assert len(after) == len(before) + 1
        assert after[-1]["date"] == report.fiscal_date.isoformat()


def test_some_quarters_were_restated_by_later_filings(fundamentals: Fundamentals) -> None:
    """One in forty; profit stays, and the year takes part in it."""
    restated = [
        (name, year, quarter)
        for name in COMPANIES
        for year in range(2010, 2024)
        for quarter in range(1, 5)
        if periods.restatement(SEED, name, year, quarter)
    ]
    assert 3 < len(restated) < 40
    name, year, quarter = restated[0]
    restatement = periods.restatement(SEED, name, year, quarter)
    assert restatement is not None
    at = restatement.filing.accepted_at
    key = (str(year), f"Q{quarter}")
    before, after = (
        {
            (row["fiscalYear"], row["period"]): row
            for row in _rows(fundamentals, StatementKind.INCOME, name, now=now)
        }[key]
        for now in (at - timedelta(seconds=1), at)
    )
    assert after["revenue"] == pytest.approx(before["revenue"] * restatement.factor, abs=1000)
    assert after["netIncome"] == before["netIncome"]
    assert after["acceptedDate"] > before["acceptedDate"]


@pytest.mark.parametrize("kind", list(StatementKind))
def test_a_restatement_changes_its_quarter_and_its_year_and_nothing_else(
    fundamentals: Fundamentals, tmp_path: Path, kind: StatementKind
) -> None:
    """From the moment of the filing; it is kept in the world's folder."""
    before = {
        period_type: _rows(fundamentals, kind, period_type=period_type)
        for period_type in (ANNUAL, QUARTERLY)
    }
    fundamentals.restate("MSFT", 2024, "Q4", 1.1, at=NOW)
    again = Fundamentals(World(tmp_path), tmp_path)
    for period_type, period in ((ANNUAL, "FY"), (QUARTERLY, "Q4")):
        early = _rows(again, kind, period_type=period_type, now=NOW - timedelta(seconds=1))
        assert early == before[period_type]
        after = _rows(again, kind, period_type=period_type)
        changed = [
            (old, new) for old, new in zip(before[period_type], after, strict=True) if old != new
        ]
        ((old, new),) = changed
        assert (new["fiscalYear"], new["period"]) == ("2024", period)
        if kind is not StatementKind.RATIOS:
            assert new["acceptedDate"] == "2026-08-05 08:00:00"
            assert new["filingDate"] == "2026-08-05"
        if kind is StatementKind.INCOME:
            assert new["revenue"] > old["revenue"]
            assert new["netIncome"] == old["netIncome"]
        if kind is StatementKind.BALANCE_SHEET:
            assert new["totalAssets"] == old["totalAssets"]


def test_the_latest_restatement_counts(fundamentals: Fundamentals) -> None:
    """FY restates all quarters; factors are of what was first reported; ties go to the last."""
    rows = [row for row in _rows(fundamentals, StatementKind.INCOME) if row["fiscalYear"] == "2023"]
    fundamentals.restate("MSFT", 2023, "FY", 1.5, at=NOW)
    fundamentals.restate("MSFT", 2023, "Q2", 1.3, at=NOW + timedelta(days=1))
    fundamentals.restate("MSFT", 2023, "Q2", 1.2, at=NOW + timedelta(days=1))
    later = _rows(fundamentals, StatementKind.INCOME, now=NOW + timedelta(days=2))
    factors = [
        new["revenue"] / old["revenue"]
        for old, new in zip(
            rows, [row for row in later if row["fiscalYear"] == "2023"], strict=True
        )
    ]
    assert factors == pytest.approx([1.5, 1.2, 1.5, 1.5], rel=1e-3)


@pytest.mark.parametrize(
    ("ticker", "year", "period", "factor"),
    [
        ("NOBODY", 2024, "Q1", 1.1),
        ("MSFT", 2024, "Q5", 1.1),
        ("MSFT", 2024, "Q1", 0.0),
        ("MSFT", 2024, "Q1", float("nan")),
        ("MSFT", 2027, "Q1", 1.1),
        ("MSFT", 1999, "FY", 1.1),
    ],
)
def test_what_was_never_reported_cannot_be_restated(
    fundamentals: Fundamentals, ticker: str, year: int, period: str, factor: float
) -> None:
    """The text says what is wrong."""
    with pytest.raises(ValueError, match=ticker):
        fundamentals.restate(ticker, year, period, factor, at=NOW)


def test_ratios_of_recorded_books_are_the_recorded_ratios() -> None:
    """All that follow from the recorded income statement, balance sheet and price."""
    income, sheet, content = (
        json.loads((RECORDINGS / f"fmp_{name}_annual.json").read_text())[0]
        for name in ("income_statement", "balance_sheet", "ratios")
    )
    flow = {
        "netDividendsPaid": -15234000000,
        "operatingCashFlow": 118254000000,
        "capitalExpenditure": -9447000000,
        "freeCashFlow": 108807000000,
    }
    shares = np.array([income["weightedAverageShsOut"]])

    def lines(row: dict[str, Any]) -> dict[str, Any]:
        return {
            name: np.array([value]) for name, value in row.items() if not isinstance(value, str)
        }

    figures = ratios(
        lines(income),
        lines(sheet),
        lines(flow),
        shares=shares,
        eps=np.array([income["eps"]]),
        price=np.array([227.79]),
    )
    # Growth and average working capital need the year before; the last one is FMP's secret.
    unknown = {
        "priceToEarningsGrowthRatio",
        "forwardPriceToEarningsGrowthRatio",
        "workingCapitalTurnoverRatio",
        "debtServiceCoverageRatio",
    }
    names = [name for name in content if name in figures and name not in unknown]
    assert len(names) == 55
    for name in names:
        assert float(figures[name][0]) == pytest.approx(content[name], rel=1e-9), name
    order = [name for name in figures if name in content]
    assert order == [name for name in content if name in figures]


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock."""
    return Clock(moment=NOW)


@pytest.fixture
def fmp(clock: Clock, tmp_path: Path, fundamentals: Fundamentals) -> Iterator[httpx.Client]:
    """A client of FMP's simulator over that world."""
    simulator = FmpSimulator(
        fundamentals.world,
        keys={KEY: Plan.ULTIMATE},
        limits=FmpLimits(per_minute=10_000),
        now=clock,
        fundamentals=fundamentals,
    )
    journal = Journal(tmp_path / "requests.jsonl")
    front = Front([simulator], world=fundamentals.world, journal=journal, now=clock)
    with (
        serving.serve(front) as origin,
        httpx.Client(
            timeout=120,
            base_url=f"{origin}/stable",
            params={"apikey": KEY},
            trust_env=False,
            verify=NO_AUTHORITIES,
        ) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("endpoint", "recording"),
    [
        ("income-statement", "fmp_income_statement_annual.json"),
        ("balance-sheet-statement", "fmp_balance_sheet_annual.json"),
        ("profile", "fmp_profile_aapl.json"),
    ],
)
def test_fields_are_the_recorded_ones_in_their_order_and_types(
    fmp: httpx.Client, endpoint: str, recording: str
) -> None:
    """Whole numbers where the recording has them, text where it has text."""
    (content,) = json.loads((RECORDINGS / recording).read_text())
    (row,) = fmp.get(endpoint, params={"symbol": "AAPL", "limit": 1}).json()
    assert list(row) == list(content)
    for name, value in content.items():
        if isinstance(value, str | bool):
            assert type(row[name]) is type(value), name


def test_ratios_have_the_recorded_fields_and_two_newer_ones(fmp: httpx.Client) -> None:
    """FMP added them in July 2026."""
    (content,) = json.loads((RECORDINGS / "fmp_ratios_annual.json").read_text())
    (row,) = fmp.get("ratios", params={"symbol": "AAPL", "limit": 1}).json()
    assert list(row)[: len(content)] == list(content)
    assert len(row) == len(content) + 2


def test_a_cash_flow_has_its_forty_seven_fields(fmp: httpx.Client) -> None:
    """Outflows are negative."""
    (row,) = fmp.get("cash-flow-statement", params={"symbol": "AAPL", "limit": 1}).json()
    assert len(row) == 47
    assert row["capitalExpenditure"] < 0


@pytest.mark.parametrize(
    ("parameters", "rows", "kinds"),
    [
        ({}, 5, {"FY"}),
        ({"limit": 1000}, 19, {"FY"}),
        ({"limit": "many"}, 5, {"FY"}),
        ({"period": "quarter", "limit": 1000}, 79, {"Q1", "Q2", "Q3", "Q4"}),
        ({"period": "Q2", "limit": 3}, 3, {"Q2"}),
        ({"period": "FY"}, 5, {"FY"}),
        ({"period": "fortnight"}, 5, {"FY"}),
    ],
)
def test_parameters_are_taken_as_fmp_takes_them(
    fmp: httpx.Client, parameters: dict[str, str | int], rows: int, kinds: set[str]
) -> None:
    """Five rows unless more are asked for, no cap, newest first; this year begins in October."""
    content = fmp.get("income-statement", params={"symbol": "JPM"} | parameters).json()
    assert len(content) == rows
    assert {row["period"] for row in content} == kinds
    dates = [row["date"] for row in content]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("endpoint", ["income-statement", "ratios", "profile"])
def test_refusals_and_empty_answers(fmp: httpx.Client, endpoint: str) -> None:
    """A missing symbol is a 400 in plain text, an unknown one an empty list."""
    missing = fmp.get(endpoint)
    assert (missing.status_code, missing.text[:12]) == (400, "Query Error:")
    for symbol in ("NOBODY", "BRK.B", "AAPL,MSFT"):
        assert fmp.get(endpoint, params={"symbol": symbol}).json() == []
    (row,) = fmp.get(endpoint, params={"symbol": "BRK-B", "limit": 1}).json()
    assert row["symbol"] == "BRK-B"


def test_what_was_filed_lately_comes_in_pages(
    fmp: httpx.Client, fundamentals: Fundamentals, clock: Clock
) -> None:
    """A restatement is among it; the page past the last one is refused as FMP misspells it."""
    fundamentals.restate("MSFT", 2025, "Q2", 1.1, at=NOW)
    clock.advance(60)
    first, second = (
        fmp.get("latest-financial-statements", params={"page": page}).json() for page in (0, 1)
    )
    assert (len(first), len(second)) == (250, 250)
    # The year's figures are restated with the quarter's.
    assert [(row["symbol"], row["calendarYear"], row["period"]) for row in first[:2]] == [
        ("MSFT", 2025, "Q2"),
        ("MSFT", 2025, "FY"),
    ]
    added = [row["dateAdded"] for row in first + second]
    assert added == sorted(added, reverse=True)
    refused = fmp.get("latest-financial-statements", params={"page": 101})
    assert (refused.status_code, refused.text[:23]) == (400, "Maxmium Query Parameter")


def test_index_rows_hold_additions_removals_or_both(fmp: httpx.Client) -> None:
    """The other side is an empty text or null; some rows have two dates."""
    rows = fmp.get("historical-sp500-constituent").json()
    sides = {(bool(row["symbol"]), bool(row["removedTicker"])) for row in rows}
    assert sides == {(True, False), (False, True), (True, True)}
    assert {"", None} <= {row["symbol"] for row in rows}
    differing = [
        row
        for row in rows
        if datetime.strptime(row["dateAdded"], "%B %d, %Y").date().isoformat() != row["date"]  # noqa: DTZ007
    ]
    assert 0.02 < len(differing) / len(rows) < 0.2
    assert [row["date"][:4] for row in rows[:1]] >= [row["date"][:4] for row in rows[-1:]]


def _is_isin(text: str) -> bool:
    """Whether the check digit is right: letters as numbers, every other digit doubled."""
    digits = "".join(str(int(letter, 36)) for letter in text)
    doubled = "".join(
        str(int(digit) * (1 + place % 2)) for place, digit in enumerate(reversed(digits))
    )
    return sum(map(int, doubled)) % 10 == 0


def test_profiles_have_isins_with_right_check_digits(tmp_path: Path) -> None:
    """Apple's real one checks the check."""
    assert [f"US037833100{digit}" for digit in range(10) if _is_isin(f"US037833100{digit}")] == [
        "US0378331005"
    ]
    world = World(tmp_path)
    for ticker in COMPANIES:
        row = reference.profile(world, ticker, NOW)
        isin = str(row["isin"])
        assert isin[:-1] == f"US{row['cusip']}"
        assert _is_isin(isin)
        assert str(row["ipoDate"]) == world.listed_on(ticker).isoformat()
