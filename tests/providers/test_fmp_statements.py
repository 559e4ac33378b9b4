"""FMP's statements, companies and index changes: recorded, bad, and asked of the simulator."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machine.processes import NO_AUTHORITIES
from marketdata import companies, statements
from marketdata.instruments import provider_spellings
from marketdata.recovery import errors
from marketdata.statements import LINES, WIRE_STATEMENTS, PeriodType, StatementKind
from resources.ask import main
from resources.providers.fmp import FmpRecords, records, records_wire, wire
from resources.providers.fmp import statements as fmp_statements
from resources.providers.fmp.statement_fields import FIELDS
from resources.providers.http import HttpAnswer, HttpGetter, QueryKey
from resources.providers.kept_answers import KeptGetter
from sandbox.simulators import serving
from sandbox.simulators.fmp import FmpLimits, Plan, create_front
from sandbox.simulators.worlds.fundamentals.world import Fundamentals
from sandbox.simulators.worlds.shares.world import World
from tests.providers.permits import AT_ONCE, CountedBudget
from tests.providers.recordings import recorded

T = TypeVar("T")
KEY, POOR_KEY = "a" * 32, "b" * 32
LONGEST = "-12345678901234567890.000000000000000001"
NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
RECORDINGS = {
    StatementKind.INCOME: "fmp_income_statement_annual.json",
    StatementKind.BALANCE_SHEET: "fmp_balance_sheet_annual.json",
    StatementKind.RATIOS: "fmp_ratios_annual.json",
}


def _page(body: bytes, kind: StatementKind = StatementKind.INCOME) -> fmp_statements.StatementPage:
    return fmp_statements.statement_page(
        body, kind, symbol="AAPL", period_type=PeriodType.ANNUAL, operation="op"
    )


def _recorded_row(kind: StatementKind = StatementKind.INCOME) -> dict[str, Any]:
    return dict(json.loads(recorded(RECORDINGS[kind]))[0])


def _changed(kind: StatementKind = StatementKind.INCOME, **change: object) -> bytes:
    return json.dumps([_recorded_row(kind) | change]).encode()


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (
            StatementKind.INCOME,
            {
                "revenue": "391035000000",
                "research_and_development": "31370000000",
                "operating_income": "123216000000",
                "interest_expense": "0",
                "net_income": "93736000000",
                "eps": "6.11",
                "eps_diluted": "6.08",
                "weighted_average_shares": "15343783000",
                "weighted_average_shares_diluted": "15408095000",
            },
        ),
        (
            StatementKind.BALANCE_SHEET,
            {
                "cash_and_cash_equivalents": "29943000000",
                "property_plant_and_equipment": "45680000000",
                "goodwill": "0",
                "total_assets": "364980000000",
                "accounts_payable": "68960000000",
                "retained_earnings": "-19154000000",
                "accumulated_other_comprehensive_income": "-7172000000",
                "total_stockholders_equity": "56950000000",
                "net_debt": "89116000000",
            },
        ),
        (
            StatementKind.RATIOS,
            {
                "gross_profit_margin": "0.4620634981523393",
                "interest_coverage": "0",
                "price_to_earnings": "37.287278415656736",
                # FMP sends 0.0043585983369965175: nineteen places, of which eighteen are kept.
                "dividend_yield": "0.004358598336996518",
                "dividend_per_share": "0.9928451151844366",
                "enterprise_value_multiple": "26.617033362072167",
            },
        ),
    ],
)
def test_recorded_statements_are_read_digit_by_digit(
    kind: StatementKind, lines: dict[str, str]
) -> None:
    """Apple's fiscal year 2024."""
    page = _page(recorded(RECORDINGS[kind]), kind)
    assert page.table.schema == WIRE_STATEMENTS[kind]
    assert page.left_out == ()
    (row,) = page.table.to_pylist()
    assert (row["symbol"], row["period_type"], row["fiscal_period"]) == ("AAPL", "annual", "FY")
    assert (row["fiscal_date"], row["fiscal_year"]) == (date(2024, 9, 28), 2024)
    assert row["reported_currency"] == "USD"
    assert {name: row[name] for name in lines} == {
        name: Decimal(value) for name, value in lines.items()
    }
    assert row["answer"] in recorded(RECORDINGS[kind]).decode()
    assert json.loads(row["answer"]) == _recorded_row(kind)
    assert statements.validate(kind, page.table).rejected == ()


@pytest.mark.parametrize("kind", [StatementKind.INCOME, StatementKind.BALANCE_SHEET])
def test_a_recorded_acceptance_is_new_yorks_wall_clock(kind: StatementKind) -> None:
    """2024-11-01 06:01:36 is still summer time."""
    (row,) = _page(recorded(RECORDINGS[kind]), kind).table.to_pylist()
    assert row["filing_date"] == date(2024, 11, 1)
    assert row["accepted_at"] == datetime(2024, 11, 1, 10, 1, 36, tzinfo=UTC)


@pytest.mark.parametrize(
    ("message", "accepted_at"),
    [
        ("2024-11-04 06:01:36", datetime(2024, 11, 4, 11, 1, 36, tzinfo=UTC)),
        ("2024-03-10 03:30:00", datetime(2024, 3, 10, 7, 30, tzinfo=UTC)),
        ("2024-11-03 01:30:00", datetime(2024, 11, 3, 5, 30, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_acceptance_follows_daylight_saving_time(
    message: str | None, accepted_at: datetime | None
) -> None:
    """Winter, the hour after the gap, and the first of the hour that comes twice."""
    (row,) = _page(_changed(acceptedDate=message)).table.to_pylist()
    assert row["accepted_at"] == accepted_at


@pytest.mark.parametrize("kind", list(StatementKind))
def test_every_line_with_a_column_has_a_name_of_its_own(kind: StatementKind) -> None:
    """In the order of the columns."""
    assert tuple(FIELDS[kind]) == LINES[kind]
    assert len(set(FIELDS[kind].values())) == len(FIELDS[kind])


@pytest.mark.parametrize("kind", list(RECORDINGS))
def test_every_line_with_a_column_is_in_the_recording(kind: StatementKind) -> None:
    """Under the name that it is looked for by."""
    assert set(FIELDS[kind].values()) <= _recorded_row(kind).keys()


@pytest.mark.parametrize(
    ("message", "amount"),
    [
        ("1", Decimal(1)),
        ("-0.5", Decimal("-0.5")),
        ('"391035000000"', Decimal(391035000000)),
        ('"1.8646e-8"', Decimal("0.000000018646")),
        ("1.12117471e+08", Decimal(112117471)),
        ("0.1234567890123456785", Decimal("0.123456789012345678")),
        (LONGEST, Decimal(LONGEST)),
        ("null", None),
        ("0", Decimal(0)),
    ],
)  # fmt: skip
def test_an_amount_is_what_the_digits_say(message: str, amount: Decimal | None) -> None:
    """Text, exponents and more places than a double has; null and 0 are two things."""
    body = _changed(revenue="HERE").replace(b'"HERE"', message.encode())
    (row,) = _page(body).table.to_pylist()
    assert row["revenue"] == amount
    assert f'"revenue": {message}' in row["answer"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"<html><h1>Bad gateway</h1>", "not JSON"),
        (b"Query Error: Invalid or missing query parameter", "not JSON"),
        (_changed()[:-30], "not JSON"),
        (b"\xff\xfe[]", "not JSON"),
        (b"{}", "a list was promised, a dict came"),
        (b"null", "a list was promised, a NoneType came"),
        (b"[1]", "something else than objects"),
        (b"[{}]", "not requested came, such as of symbol None"),
        (_changed(symbol="MSFT"), "such as of symbol 'MSFT'"),
        (_changed(period="Q4"), "such as of period Q4"),
        (_changed(date="28.09.2024"), "field date: no row has a readable one"),
        (_changed(date="2024-02-30"), "field date: no row has a readable one"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_not_as_promised_is_malformed(body: bytes, named: str) -> None:
    """The field is named, and nothing of the answer is stored."""
    with pytest.raises(errors.MalformedPayloadError, match=named) as caught:
        _page(body)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ('"acceptedDate": "2025-02-03"', "field acceptedDate cannot be read"),
        ('"acceptedDate": "9999-12-31 23:00:00"', "field acceptedDate cannot be read"),
        ('"revenue": "None"', "field revenue cannot be read"),
        ('"revenue": true', "field revenue cannot be read"),
        ('"revenue": [1]', "field revenue cannot be read"),
        ('"revenue": 100000000000000000000', "field revenue cannot be read"),
        ('"revenue": "1e40"', "field revenue cannot be read"),
        ('"revenue": NaN', "the row cannot be kept: it holds what is no text or no number"),
        ('"more": 1e999999', "the row cannot be kept: it holds what is no text or no number"),
        ('"more": 1e99999999999999999999', "the row cannot be kept: it holds what is no text"),
        ('"cik": "\\u0000"', "the row cannot be kept: it holds a zero character"),
        ('"more": {"cik": "\\ud800"}', "the row cannot be kept: it holds what is no text"),
        ('"fiscalYear": "2020/21"', "field fiscalYear cannot be read"),
        ('"fiscalYear": true', "field fiscalYear cannot be read"),
        ('"period": 4', "field period cannot be read"),
        ('"reportedCurrency": 1', "field reportedCurrency cannot be read"),
        ('"filingDate": "soon"', "field filingDate cannot be read"),
    ],
)
def test_one_cell_that_cannot_be_read_costs_its_row_and_no_other(cell: str, reason: str) -> None:
    """The company's other years are stored; of two such rows and nothing else the wire changed."""
    row = json.dumps(_recorded_row())
    odd = json.dumps(_recorded_row() | {"date": "2023-09-30"})[:-1] + f", {cell}}}"
    page = _page(f"[{row}, {odd}]".encode())
    assert page.table["fiscal_date"].to_pylist() == [date(2024, 9, 28)]
    (refused,) = page.left_out
    assert refused.reason.startswith(reason)
    assert (refused.symbol, refused.day) == ("AAPL", date(2023, 9, 30))
    assert refused.received == (odd,)
    assert len(_page(f"[{odd}]".encode()).left_out) == 1
    with pytest.raises(errors.MalformedPayloadError, match="no row can be read"):
        _page(f"[{odd}, {odd}]".encode())


def test_a_day_of_zeros_is_a_day_that_is_not_told() -> None:
    """A database writes it where it has none."""
    (row,) = _page(
        _changed(filingDate="0000-00-00", acceptedDate="0000-00-00 00:00:00")
    ).table.to_pylist()
    assert (row["filing_date"], row["accepted_at"]) == (None, None)


def test_half_years_are_periods_of_their_own() -> None:
    """They come among the quarters; H3 is refused by validation, with its row alone."""
    row = _recorded_row()
    rows = [row | {"period": period} for period in ("Q2", "H1", "H3")]
    page = fmp_statements.statement_page(
        json.dumps(rows).encode(),
        StatementKind.INCOME,
        symbol="AAPL",
        period_type=PeriodType.QUARTERLY,
        operation="op",
    )
    validated = statements.validate(StatementKind.INCOME, page.table)
    assert validated.accepted["period_type"].to_pylist() == ["quarterly", "half_yearly"]
    assert len(validated.rejected) == 1


def test_a_line_that_no_row_has_is_another_wire_format() -> None:
    """One row without it has a null there."""
    row = _recorded_row()
    short = {name: value for name, value in row.items() if name != "costOfRevenue"}
    with pytest.raises(errors.MalformedPayloadError, match="no row has the field costOfRevenue"):
        _page(json.dumps([short]).encode())
    page = _page(json.dumps([row, short | {"date": "2023-09-30"}]).encode())
    assert page.table["cost_of_revenue"].to_pylist() == [Decimal(210352000000), None]


def test_a_row_without_a_readable_date_is_left_out_and_returned() -> None:
    """The others are kept, in the order in which they came."""
    row = _recorded_row()
    rows = [row | {"date": ""}, row, row | {"date": "2023-09-30"}]
    page = _page(json.dumps(rows).encode())
    assert page.table["fiscal_date"].to_pylist() == [date(2024, 9, 28), date(2023, 9, 30)]
    assert [json.loads(str(rejection.received[0])) for rejection in page.left_out] == [rows[0]]


def test_rows_that_break_a_rule_are_left_to_validation() -> None:
    """An unknown currency or period costs one row."""
    row = _recorded_row()
    rows = [
        row | {"reportedCurrency": "", "date": "2021-09-25"},
        row | {"period": "T1", "date": "2022-09-24"},
        row | {"fiscalYear": None, "date": "2023-09-30"},
        row,
        row,
        row | {"date": "2020-09-26", "fiscalYear": 2020},
    ]
    validated = statements.validate(StatementKind.INCOME, _page(json.dumps(rows).encode()).table)
    assert len(validated.rejected) == 3
    assert validated.accepted["fiscal_year"].to_pylist() == [2024, 2020]


def test_an_empty_list_is_no_statement() -> None:
    """FMP says so of symbols it does not know."""
    assert _page(b" [ ] ").table == WIRE_STATEMENTS[StatementKind.INCOME].empty_table()


@given(st.binary(max_size=200))
def test_no_bytes_escape_as_another_error(body: bytes) -> None:
    """Whatever comes, it is read or is malformed."""
    for parse in (
        lambda: _page(body),
        lambda: records_wire.company_page(body, symbol="AAPL", operation="op"),
        lambda: records_wire.index_change_page(body, index="sp500", operation="op"),
    ):
        with contextlib.suppress(errors.MalformedPayloadError):
            parse()


_AMOUNTS = st.decimals(
    min_value=-(10**15), max_value=10**15, allow_nan=False, allow_infinity=False, places=6
)


@given(st.lists(_AMOUNTS, min_size=1, max_size=5))
def test_amounts_survive_the_way_and_answers_are_the_rows_as_they_came(
    amounts: list[Decimal],
) -> None:
    """Whatever the gaps between the rows look like."""
    row = _recorded_row()
    texts = [
        json.dumps(row | {"revenue": "HERE", "date": f"20{place:02d}-09-30"}).replace(
            '"HERE"', f"{amount:f}"
        )
        for place, amount in enumerate(amounts)
    ]
    table = _page(("\n[ " + "\t,\r\n".join(texts) + " ]\n").encode()).table
    assert table["revenue"].to_pylist() == amounts
    assert table["answer"].to_pylist() == texts


def test_a_recorded_profile_is_a_company() -> None:
    """Apple as of 2025, without what changes every day."""
    table = _company({}).table
    assert table.schema == companies.WIRE_COMPANIES
    assert companies.validate_companies(table).rejected == ()
    (row,) = table.to_pylist()
    answer = json.loads(row.pop("answer"))
    assert row.pop("description").startswith("Apple Inc. designs")
    assert row == {
        "symbol": "AAPL",
        "name": "Apple Inc.",
        "cik": "0000320193",
        "isin": "US0378331005",
        "cusip": "037833100",
        "exchange": "NASDAQ",
        "currency": "USD",
        "sector": "Technology",
        "industry": "Consumer Electronics",
        "country": "US",
        "listed_on": date(1980, 12, 12),
        "employees": 164000,
        "website": "https://www.apple.com",
        "is_etf": False,
        "is_trading": True,
    }
    assert len(answer) == 36 - 9
    assert answer["ceo"] == "Timothy D. Cook"
    assert answer.keys().isdisjoint({"price", "marketCap", "volume", "beta"})


def _company(change: dict[str, object]) -> records_wire.RecordPage:
    row = json.loads(recorded("fmp_profile_aapl.json"))[0] | change
    return records_wire.company_page(json.dumps([row]).encode(), symbol="AAPL", operation="op")


def test_a_profile_of_another_company_is_malformed() -> None:
    """FMP ignores unknown parameters."""
    with pytest.raises(errors.MalformedPayloadError, match="of symbol 'MSFT'"):
        _company({"symbol": "MSFT"})


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"companyName": 5}, "name"),
        ({"fullTimeEmployees": "many"}, "employees"),
        ({"fullTimeEmployees": True}, "employees"),
        ({"ipoDate": "1980"}, "listed_on"),
        ({"isEtf": "no"}, "is_etf"),
    ],
)
def test_a_cell_of_a_profile_that_cannot_be_read_is_null_and_noted(
    change: dict[str, object], column: str
) -> None:
    """What is known of the company besides is kept."""
    page = _company(change)
    ((field, cell),) = change.items()
    assert page.table[column].to_pylist() == [None]
    assert page.table["cik"].to_pylist() == ["0000320193"]
    assert page.notes == (
        f"field {field} cannot be read and is stored as null: it came as {cell!r}",
    )


@pytest.mark.parametrize(
    ("change", "column", "read"),
    [
        ({"fullTimeEmployees": "164000.0"}, "employees", 164000),
        ({"fullTimeEmployees": 164000}, "employees", 164000),
        ({"ipoDate": "0000-00-00"}, "listed_on", None),
    ],
)
def test_other_ways_of_writing_a_cell_are_read(
    change: dict[str, object], column: str, read: object
) -> None:
    """A whole number with a point, and a database's day of zeros."""
    page = _company(change)
    assert (page.table[column].to_pylist(), page.notes) == ([read], ())


@pytest.mark.parametrize("ceo", ["\ud800", "\0"])
def test_a_profile_that_cannot_be_kept_is_refused_as_a_row(ceo: str) -> None:
    """The letter has it as it came."""
    page = _company({"ceo": ceo})
    assert page.table.num_rows == 0
    (refused,) = page.left_out
    assert refused.reason.startswith("the row cannot be kept")


def test_what_a_profile_does_not_tell_is_null() -> None:
    """Empty texts, nulls and absent fields alike; a name is missed by validation."""
    row = {"symbol": "AAPL", "companyName": "", "cik": None, "fullTimeEmployees": ""}
    body = json.dumps([row]).encode()
    table = records_wire.company_page(body, symbol="AAPL", operation="op").table
    (read,) = table.to_pylist()
    assert {name for name, value in read.items() if value is not None} == {"symbol", "answer"}
    (rejected,) = companies.validate_companies(table).rejected
    assert rejected.reason == "name is missing"


_CHANGE = {
    "dateAdded": "June 22, 2026",
    "addedSecurity": "Example Corp",
    "removedTicker": "",
    "removedSecurity": "",
    "date": "2026-06-19",
    "symbol": "EXM",
    "reason": "Market capitalization change.",
}


def _changes(*rows: Mapping[str, object]) -> records_wire.RecordPage:
    body = json.dumps([{**_CHANGE, **row} for row in rows]).encode()
    return records_wire.index_change_page(body, index="sp500", operation="op")


def test_an_index_row_is_an_addition_a_removal_or_both() -> None:
    """The empty side is a text or null; tickers come in our spelling."""
    removed = {"removedTicker": "BF-B", "removedSecurity": "Brown-Forman"}
    page = _changes({}, removed, removed | {"symbol": None, "addedSecurity": None})
    assert page.table.schema == companies.WIRE_INDEX_CHANGES
    rows = page.table.to_pylist()
    changes = [(row["action"], row["ticker"], row["security"]) for row in rows]
    assert changes == [
        ("added", "EXM", "Example Corp"),
        ("added", "EXM", "Example Corp"),
        ("removed", "BF.B", "Brown-Forman"),
        ("removed", "BF.B", "Brown-Forman"),
    ]
    assert {row["effective_on"] for row in rows} == {date(2026, 6, 22)}
    assert {row["symbol"] for row in rows} == {"sp500"}
    assert {row["announced_on"] for row in rows} == {None}


def test_an_index_row_without_the_long_date_has_the_short_one() -> None:
    """And without either, or without any company, it is left out and returned."""
    unplaced = {"dateAdded": "", "date": "soon"}
    page = _changes({"dateAdded": None}, unplaced, {"symbol": ""})
    assert page.table["effective_on"].to_pylist() == [date(2026, 6, 19)]
    assert len(page.left_out) == 2
    with pytest.raises(errors.MalformedPayloadError, match="no row has both"):
        _changes(unplaced)


@dataclass(frozen=True)
class Simulated:
    """A running simulator, and its world to compare with."""

    origin: str
    truth: Fundamentals

    def do(self, work: Callable[[FmpRecords], Awaitable[T]], key: str = KEY) -> T:
        def classify(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
            return wire.classify_error(answer, operation, key=key)

        async def main() -> T:
            async with HttpGetter(
                provider="fmp",
                base_url=f"{self.origin}/stable",
                key=QueryKey(name="apikey", value=key),
                budget=CountedBudget(),
                retry=AT_ONCE,
                classify=classify,
                in_flight=2,
                keep=Kept(),
            ) as getter:
                return await work(FmpRecords(getter))

        return asyncio.run(main())

    def fault(self, **rule: object) -> None:
        httpx.post(
            f"{self.origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES
        ).raise_for_status()


class Kept:
    """Keeps nothing, but returns a pointer."""

    def keep(self, provider: str, operation: str, body: bytes, sha256: str, media_type: str) -> str:
        del operation, body, media_type
        return f"{provider}/{sha256}"


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
        yield Simulated(origin=origin, truth=Fundamentals(World(root)))


@pytest.fixture
def simulated(served: Simulated) -> Simulated:
    """The simulator without the faults of earlier tests."""
    httpx.delete(f"{served.origin}/_sandbox/faults").raise_for_status()
    return served


def _sorted(table: pa.Table) -> list[dict[str, Any]]:
    rows = table.drop_columns("symbol").to_pylist()
    return sorted(rows, key=lambda row: (row["period_type"], row["fiscal_date"]))


@pytest.mark.parametrize("kind", list(StatementKind))
@pytest.mark.parametrize("ticker", ["AAPL", "BRK.B"])
def test_all_statements_equal_the_worlds_truth(
    simulated: Simulated, kind: StatementKind, ticker: str
) -> None:
    """Twenty years, annual and quarterly, in two requests; every line to the last digit."""
    symbol = provider_spellings("fmp").get(ticker, ticker)
    answer = simulated.do(lambda client: client.statements(kind, symbol))
    truth = simulated.truth.statement_truth(kind, [ticker], NOW)
    assert _sorted(answer.rows) == _sorted(truth)
    assert set(answer.rows["symbol"].to_pylist()) == {symbol}
    assert answer.rows.num_rows > 90
    assert (answer.requests, len(answer.raw_answers)) == (2, 2)
    assert statements.validate(kind, answer.rows, on=NOW.date()).rejected == ()


def test_an_answer_tells_its_origin(simulated: Simulated) -> None:
    """What was asked, both bodies in their order, and no key."""
    answer = simulated.do(lambda client: client.statements(StatementKind.RATIOS, "AAPL"))
    assert answer.request == "ratios symbol=AAPL period=annual,quarter limit=1000"
    bodies = [
        httpx.get(
            f"{simulated.origin}/stable/ratios",
            params={"symbol": "AAPL", "period": period, "limit": "1000", "apikey": KEY},
            verify=NO_AUTHORITIES,
        ).content
        for period in ("annual", "quarter")
    ]
    assert answer.content_sha256 == sha256(b"".join(bodies)).hexdigest()
    assert list(answer.raw_answers) == [f"fmp/{sha256(body).hexdigest()}" for body in bodies]


@pytest.mark.parametrize("ticker", ["AAPL", "BRK.B"])
def test_a_company_equals_the_worlds_truth(simulated: Simulated, ticker: str) -> None:
    """One request, one row."""
    symbol = provider_spellings("fmp").get(ticker, ticker)
    answer = simulated.do(lambda client: client.company(symbol))
    truth = simulated.truth.company_truth([ticker], NOW)
    names = [name for name in truth.column_names if name != "symbol"]
    assert answer.rows.select(names) == truth.select(names)
    assert answer.request == f"profile symbol={symbol}"


def test_index_changes_equal_the_worlds_truth(simulated: Simulated) -> None:
    """Additions and removals, newest first as they come."""
    answer = simulated.do(lambda client: client.index_changes("sp500"))
    key = [(name, "ascending") for name in ("effective_on", "ticker", "action")]
    assert answer.rows.sort_by(key) == simulated.truth.index_change_truth(NOW).sort_by(key)
    assert answer.rows.num_rows > 500
    assert companies.validate_index_changes(answer.rows).rejected == ()


@pytest.mark.parametrize("symbol", ["BRK.B", "NOBODY"])
def test_a_symbol_nobody_knows_has_empty_answers(simulated: Simulated, symbol: str) -> None:
    """Our own spelling of a share class is such a symbol to FMP."""
    for kind in StatementKind:
        answer = simulated.do(lambda client, kind=kind: client.statements(kind, symbol))
        assert answer.rows == WIRE_STATEMENTS[kind].empty_table()
    assert simulated.do(lambda client: client.company(symbol)).rows.num_rows == 0


@pytest.mark.parametrize("symbol", ["", " ", "AAPL,MSFT"])
def test_what_is_no_symbol_is_never_sent(simulated: Simulated, symbol: str) -> None:
    """FMP would answer with an empty list."""
    for work in (
        lambda client: client.statements(StatementKind.INCOME, symbol),
        lambda client: client.company(symbol),
    ):
        with pytest.raises(errors.RequestRejectedError, match="nothing was sent"):
            simulated.do(work)
    with pytest.raises(errors.UnknownSymbolError, match="nothing was sent"):
        simulated.do(lambda client: client.index_changes("ftse100"))


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "status", "status": 500}, errors.ProviderUnavailableError),
        ({"kind": "status", "status": 429}, errors.RateLimitedError),
        ({"kind": "half_body"}, errors.ProviderUnavailableError),
        ({"kind": "error_in_200"}, errors.RateLimitedError),
        ({"kind": "html"}, errors.ProviderUnavailableError),
        ({"kind": "timeout", "seconds": 0.05}, errors.ProviderUnavailableError),
    ],
)
def test_a_passing_fault_is_survived_and_a_lasting_one_is_named(
    simulated: Simulated, rule: dict[str, object], kind: type[errors.ProviderError]
) -> None:
    """Twice wrong, then right: the third attempt brings the statements."""
    simulated.fault(**rule, symbol="MSFT", count=2)
    answer = simulated.do(lambda client: client.statements(StatementKind.CASH_FLOW, "MSFT"))
    assert answer.requests == 4
    simulated.fault(**rule, symbol="MSFT")
    with pytest.raises(kind):
        simulated.do(lambda client: client.company("MSFT"))


@pytest.mark.parametrize("rule", [{"kind": "malformed"}, {"kind": "html", "status": 200}])
def test_an_answer_that_cannot_be_read_points_to_where_it_is_kept(
    simulated: Simulated, rule: dict[str, object]
) -> None:
    """Repeating it would bring the same, so it is asked for once."""
    for work in (
        lambda client: client.statements(StatementKind.INCOME, "MSFT"),
        lambda client: client.company("MSFT"),
        lambda client: client.index_changes("sp500"),
    ):
        simulated.fault(**rule, count=1)
        with pytest.raises(errors.MalformedPayloadError) as caught:
            simulated.do(work)
        [pointer] = caught.value.raw_answers
        assert pointer.startswith("fmp/")


def test_spoilt_rows_are_left_to_validation(simulated: Simulated) -> None:
    """One without a currency, one of no fiscal period; a repeated row counts once."""
    simulated.fault(kind="malformed_rows", symbol="MSFT", count=1)
    answer = simulated.do(lambda client: client.statements(StatementKind.INCOME, "MSFT"))
    validated = statements.validate(StatementKind.INCOME, answer.rows)
    assert [rejection.reason for rejection in validated.rejected] == [
        "the reported currency is missing",
        "the fiscal period does not go with the period type",
    ]
    simulated.fault(kind="duplicate_rows", symbol="MSFT", count=1)
    twice = simulated.do(lambda client: client.statements(StatementKind.INCOME, "MSFT"))
    assert twice.rows.num_rows == answer.rows.num_rows + 1
    assert statements.validate(StatementKind.INCOME, twice.rows).rejected == ()


def test_years_of_quarters_without_a_year_are_no_answer(simulated: Simulated) -> None:
    """An empty list of one request would lose all annual rows silently."""
    simulated.fault(kind="unknown", symbol="MSFT", count=1)
    with pytest.raises(errors.ProviderUnavailableError, match="no annual rows beside"):
        simulated.do(lambda client: client.statements(StatementKind.INCOME, "MSFT"))


def test_a_plan_that_does_not_cover_the_request_is_named(simulated: Simulated) -> None:
    """The free plan has five rows of six symbols."""
    with pytest.raises(errors.NotEntitledError, match=r"402.*the plan"):
        simulated.do(lambda client: client.statements(StatementKind.INCOME, "AAPL"), key=POOR_KEY)
    with pytest.raises(errors.KeyRefusedError):
        simulated.do(lambda client: client.company("AAPL"), key="c" * 32)


@dataclass(frozen=True)
class Body:
    """What was kept."""

    body: bytes
    fetched_at: datetime = NOW


@dataclass
class Scripted:
    """A getter with bodies of its own."""

    bodies: list[bytes]

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        del path, parameters, operation, weight
        body = self.bodies.pop(0)
        return HttpAnswer(
            status=200,
            headers={},
            body=body,
            sha256=sha256(body).hexdigest(),
            fetched_at=NOW,
            requests=0,
            raw_answer="raw/1",
        )


def test_as_many_rows_as_were_asked_for_are_not_believed() -> None:
    """Older ones may be missing silently."""
    row = _recorded_row()
    body = json.dumps([row] * records.MOST_PERIODS).encode()
    client = FmpRecords(Scripted([body, b"[]"]))
    with pytest.raises(errors.MalformedPayloadError, match="more may be missing") as caught:
        asyncio.run(client.statements(StatementKind.INCOME, "AAPL"))
    assert caught.value.raw_answers == ("raw/1",)


def test_an_error_over_the_quarters_points_to_the_years_too() -> None:
    """Replayed by themselves the quarters would be read as the years."""
    kept = {"raw/1": json.dumps([_recorded_row()]).encode(), "raw/2": b"["}
    with pytest.raises(errors.MalformedPayloadError, match="not JSON") as caught:
        asyncio.run(
            FmpRecords(KeptGetter("fmp", lambda key: Body(kept[key]), list(kept))).statements(
                StatementKind.INCOME, "AAPL"
            )
        )
    assert caught.value.raw_answers == ("raw/1", "raw/2")
    for cut in (caught.value.raw_answers, caught.value.raw_answers[:1]):
        client = FmpRecords(KeptGetter("fmp", lambda key: Body(kept[key]), cut))
        with pytest.raises(errors.MalformedPayloadError):
            asyncio.run(client.statements(StatementKind.INCOME, "AAPL"))


def test_it_runs_by_hand(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table and a count, or one line that says what is missing."""
    monkeypatch.delenv("FMP_API_KEY", raising=False)
    assert main(["balance_sheets", "AAPL"]) == 1
    assert "FMP_API_KEY is not set" in capsys.readouterr().err
    monkeypatch.setenv("FMP_API_KEY", KEY)
    monkeypatch.setenv("FMP_BASE_URL", f"{simulated.origin}/stable")
    assert main(["balance_sheets", "AAPL"]) == 0
    shown = capsys.readouterr().out
    assert "cash_and_cash_equivalents" in shown
    assert "rows in 2 requests" in shown
