"""Statements in the database: rows public at a moment, and refused rows."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql as pg_sql
from psycopg.rows import dict_row

from marketdata import companies, statements
from marketdata.ports import LoadResult
from marketdata.recovery import errors
from marketdata.statements import StatementKind
from resources.storage import sql
from resources.storage.batches import BatchStore
from resources.storage.timescale import Timescale
from sandbox.simulators.worlds.fundamentals.world import Fundamentals
from sandbox.simulators.worlds.shares.world import World
from tests.storage.batches import batch

TABLES = {
    StatementKind.INCOME: "income_statement",
    StatementKind.BALANCE_SHEET: "balance_sheet",
    StatementKind.CASH_FLOW: "cash_flow_statement",
    StatementKind.RATIOS: "financial_ratio",
}
FILED = [kind for kind in TABLES if kind is not StatementKind.RATIOS]
QUARTER = date(2024, 6, 29)
ACCEPTED = datetime(2024, 8, 1, 10, tzinfo=UTC)
LOADED = datetime(2026, 11, 21, 9, tzinfo=UTC)
DAY = timedelta(days=1)
INSTRUMENT = 7


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a row: its value, its acceptance, its load."""

    accepted_at: datetime | None
    known_from: datetime
    year: int
    filing_date: date | None = None


def _store(
    timescale: Timescale,
    kind: StatementKind,
    versions: list[Version],
    *,
    fiscal_date: date = QUARTER,
    period: str = "Q3",
    instrument_id: int = INSTRUMENT,
) -> None:
    """Store versions of one row like the loader: the last in the table, the others as versions."""
    for place, version in enumerate(versions):
        row: dict[str, object] = {
            "instrument_id": instrument_id,
            "period_type": "annual" if period == "FY" else "quarterly",
            "fiscal_date": fiscal_date,
            "fiscal_period": period,
            "fiscal_year": version.year,
            "reported_currency": "USD",
            "answer": json.dumps({"version": version.year}),
            "provider": "fmp",
            "ingest_id": place + 1,
            "known_from": version.known_from,
        }
        table = TABLES[kind]
        if kind is not StatementKind.RATIOS:
            row["accepted_at"] = version.accepted_at
            row["filing_date"] = version.filing_date
        if place < len(versions) - 1:
            table += "_version"
            row["known_to"] = versions[place + 1].known_from
            row["replaced_by_ingest_id"] = place + 2
        _insert(timescale, table, row)


def _insert(timescale: Timescale, table: str, row: dict[str, object]) -> None:
    names = pg_sql.SQL(", ").join(pg_sql.Identifier(name) for name in row)
    places = pg_sql.SQL(", ").join(pg_sql.Placeholder(name) for name in row)
    statement = pg_sql.SQL("insert into {} ({}) values ({})").format(
        pg_sql.Identifier(table), names, places
    )
    with timescale.connection() as connection:
        connection.execute(statement, row)


def _read(
    timescale: Timescale, kind: StatementKind, at: datetime, *, period_type: str = "quarterly"
) -> list[dict[str, Any]]:
    query = sql.query("statements", f"{TABLES[kind]}s_as_of")
    asked = {"at": at, "instrument_id": INSTRUMENT, "period_type": period_type}
    with timescale.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, asked).fetchall()


def _known_years(timescale: Timescale, kind: StatementKind, at: datetime) -> list[int]:
    return [row["fiscal_year"] for row in _read(timescale, kind, at)]


@pytest.mark.parametrize("kind", FILED)
def test_history_that_was_loaded_later_counts_from_its_filing(
    timescale: Timescale, kind: StatementKind
) -> None:
    """Loaded in 2026, public in 2024: not a second before it was accepted."""
    _store(timescale, kind, [Version(accepted_at=ACCEPTED, known_from=LOADED, year=1)])

    assert _known_years(timescale, kind, ACCEPTED - timedelta(microseconds=1)) == []
    assert _known_years(timescale, kind, ACCEPTED) == [1]
    assert _known_years(timescale, kind, LOADED + DAY) == [1]


@pytest.mark.parametrize("kind", FILED)
def test_a_new_filing_counts_from_its_own_acceptance(
    timescale: Timescale, kind: StatementKind
) -> None:
    """It was loaded a week later, but was public from its filing."""
    amended = LOADED + 10 * DAY
    versions = [
        Version(accepted_at=ACCEPTED, known_from=LOADED, year=1),
        Version(accepted_at=amended, known_from=amended + 7 * DAY, year=2),
    ]
    _store(timescale, kind, versions)

    assert _known_years(timescale, kind, amended - DAY) == [1]
    assert _known_years(timescale, kind, amended) == [2]


def test_figures_that_change_under_the_same_filing_count_from_when_they_were_seen(
    timescale: Timescale,
) -> None:
    """The provider corrected its own mistake, which was not known before."""
    versions = [
        Version(accepted_at=ACCEPTED, known_from=LOADED, year=1),
        Version(accepted_at=ACCEPTED, known_from=LOADED + DAY, year=2),
        Version(accepted_at=ACCEPTED - DAY, known_from=LOADED + 2 * DAY, year=3),
    ]
    _store(timescale, StatementKind.INCOME, versions)

    moments = [ACCEPTED, LOADED, LOADED + DAY, LOADED + 2 * DAY]
    assert [_known_years(timescale, StatementKind.INCOME, at) for at in moments] == [
        [1],
        [1],
        [2],
        [3],
    ]


def test_a_row_without_acceptance_counts_from_when_it_was_loaded(timescale: Timescale) -> None:
    """Nothing is backdated on a guess, neither the row nor what replaces it."""
    versions = [
        Version(accepted_at=None, known_from=LOADED, year=1),
        Version(accepted_at=ACCEPTED, known_from=LOADED + DAY, year=2),
        Version(accepted_at=None, known_from=LOADED + 2 * DAY, year=3),
    ]
    _store(timescale, StatementKind.INCOME, versions)

    moments = [ACCEPTED + DAY, LOADED, LOADED + DAY, LOADED + 2 * DAY]
    assert [_known_years(timescale, StatementKind.INCOME, at) for at in moments] == [
        [],
        [1],
        [2],
        [3],
    ]


def test_of_versions_that_begin_together_the_last_one_counts(timescale: Timescale) -> None:
    """A filing from before the load of the version it replaces: the last load is right."""
    versions = [
        Version(accepted_at=ACCEPTED, known_from=LOADED, year=1),
        Version(accepted_at=ACCEPTED, known_from=LOADED + 5 * DAY, year=2),
        Version(accepted_at=LOADED + 5 * DAY, known_from=LOADED + 6 * DAY, year=3),
    ]
    _store(timescale, StatementKind.INCOME, versions)

    assert _known_years(timescale, StatementKind.INCOME, LOADED + 4 * DAY) == [1]
    assert _known_years(timescale, StatementKind.INCOME, LOADED + 5 * DAY) == [3]


def test_a_year_and_its_last_quarter_are_two_rows(timescale: Timescale) -> None:
    """They end on the same day and are accepted in the same second."""
    first = [Version(accepted_at=ACCEPTED, known_from=LOADED, year=2024)]
    for period in ("FY", "Q4"):
        _store(timescale, StatementKind.INCOME, first, period=period)

    for period_type, period in (("annual", "FY"), ("quarterly", "Q4")):
        rows = _read(timescale, StatementKind.INCOME, LOADED, period_type=period_type)
        assert [row["fiscal_period"] for row in rows] == [period]


def test_rows_come_with_all_their_columns_newest_first(timescale: Timescale) -> None:
    """What was replaced comes with its own origin, and other companies stay away."""
    later = QUARTER + timedelta(days=91)
    versions = [
        Version(accepted_at=ACCEPTED, known_from=LOADED, year=1),
        Version(accepted_at=LOADED + DAY, known_from=LOADED + DAY, year=2),
    ]
    newer = [Version(accepted_at=ACCEPTED + 91 * DAY, known_from=LOADED, year=3)]
    _store(timescale, StatementKind.INCOME, versions)
    _store(timescale, StatementKind.INCOME, newer, fiscal_date=later, period="Q4")
    _store(timescale, StatementKind.INCOME, newer, instrument_id=INSTRUMENT + 1)

    rows = _read(timescale, StatementKind.INCOME, LOADED)
    assert [row["fiscal_date"] for row in rows] == [later, QUARTER]
    assert (rows[1]["ingest_id"], rows[1]["answer"]) == (1, {"version": 1})
    assert "known_to" not in rows[1]


def test_ratios_count_from_the_acceptance_of_the_income_statement(timescale: Timescale) -> None:
    """They are not filed themselves; the first acceptance counts, not that of a restatement."""
    filed = [
        Version(accepted_at=ACCEPTED, known_from=LOADED, year=1),
        Version(accepted_at=LOADED + DAY, known_from=LOADED + DAY, year=2),
    ]
    _store(timescale, StatementKind.INCOME, filed)
    ratios = [
        Version(accepted_at=None, known_from=LOADED + 3 * DAY, year=1),
        Version(accepted_at=None, known_from=LOADED + 4 * DAY, year=2),
    ]
    _store(timescale, StatementKind.RATIOS, ratios)

    moments = [ACCEPTED - DAY, ACCEPTED, LOADED + 3 * DAY, LOADED + 4 * DAY]
    assert [_known_years(timescale, StatementKind.RATIOS, at) for at in moments] == [
        [],
        [1],
        [1],
        [2],
    ]


def test_ratios_of_nothing_filed_count_from_when_they_were_loaded(timescale: Timescale) -> None:
    """An income statement of the year says nothing about the quarter's ratios."""
    filed = [Version(accepted_at=ACCEPTED, known_from=LOADED, year=1)]
    _store(timescale, StatementKind.INCOME, filed, period="FY")
    ratios = [Version(accepted_at=None, known_from=LOADED, year=1)]
    _store(timescale, StatementKind.RATIOS, ratios)

    assert _known_years(timescale, StatementKind.RATIOS, LOADED - DAY) == []
    assert _known_years(timescale, StatementKind.RATIOS, LOADED) == [1]


HALF_YEAR = date(2025, 6, 30)
PERIOD_END = datetime(2025, 6, 30, 4, tzinfo=UTC)
"""Midnight in New York of the day on which the half-year ends."""


def _since(timescale: Timescale, kind: StatementKind, moments: list[datetime]) -> list[list[int]]:
    return [_known_years(timescale, kind, at) for at in moments]


@pytest.mark.parametrize("kind", list(TABLES))
def test_a_statement_is_never_known_on_the_day_on_which_its_period_ends(
    timescale: Timescale, kind: StatementKind
) -> None:
    """The provider puts the period's end into acceptedDate: the first answer's time counts."""
    answered = datetime(2025, 9, 2, 13, tzinfo=UTC)
    for filing_date in (None, HALF_YEAR):
        with timescale.connection() as connection:
            connection.execute("truncate income_statement, balance_sheet, cash_flow_statement")
            connection.execute("truncate financial_ratio")
        version = Version(
            accepted_at=PERIOD_END, known_from=answered, year=1, filing_date=filing_date
        )
        for read in {kind, StatementKind.INCOME}:
            _store(timescale, read, [version], fiscal_date=HALF_YEAR, period="Q2")

        moments = [datetime(2025, 7, 15, tzinfo=UTC), answered - DAY, answered]
        assert _since(timescale, kind, moments) == [[], [], [1]]


@pytest.mark.parametrize("kind", list(TABLES))
def test_where_only_the_filing_date_is_possible_the_statement_counts_from_the_end_of_that_day(
    timescale: Timescale, kind: StatementKind
) -> None:
    """The hour of its filing is unknown; midnight in New York is four in UTC."""
    for accepted_at in (PERIOD_END, None):
        with timescale.connection() as connection:
            connection.execute("truncate income_statement, balance_sheet, cash_flow_statement")
            connection.execute("truncate financial_ratio")
        version = Version(
            accepted_at=accepted_at, known_from=LOADED, year=1, filing_date=date(2025, 8, 5)
        )
        for read in {kind, StatementKind.INCOME}:
            _store(timescale, read, [version], fiscal_date=HALF_YEAR, period="Q2")

        over = datetime(2025, 8, 6, 4, tzinfo=UTC)
        moments = [PERIOD_END + 15 * DAY, over - timedelta(microseconds=1), over]
        assert _since(timescale, kind, moments) == [[], [], [1]]


def test_a_filing_that_an_answer_held_on_its_own_day_is_known_from_that_answer(
    timescale: Timescale,
) -> None:
    """It was public by then, although its hour is unknown."""
    answered = datetime(2025, 8, 5, 20, tzinfo=UTC)
    version = Version(
        accepted_at=PERIOD_END, known_from=answered, year=1, filing_date=date(2025, 8, 5)
    )
    _store(timescale, StatementKind.INCOME, [version], fiscal_date=HALF_YEAR, period="Q2")

    moments = [answered - timedelta(microseconds=1), answered]
    assert _since(timescale, StatementKind.INCOME, moments) == [[], [1]]


def test_a_statement_accepted_in_the_evening_is_known_in_the_morning_of_its_filing_date(
    timescale: Timescale,
) -> None:
    """EDGAR publishes filings from after 17:30 New York at six the next morning."""
    version = Version(
        accepted_at=datetime(2025, 7, 31, 22, 1, tzinfo=UTC),
        known_from=LOADED,
        year=1,
        filing_date=date(2025, 8, 1),
    )
    _store(timescale, StatementKind.INCOME, [version], fiscal_date=HALF_YEAR, period="Q2")

    six = datetime(2025, 8, 1, 10, tzinfo=UTC)
    moments = [six - timedelta(microseconds=1), six]
    assert _since(timescale, StatementKind.INCOME, moments) == [[], [1]]


def test_a_time_that_becomes_possible_later_backdates_no_figure(timescale: Timescale) -> None:
    """The first version counts from its answer, and so does the one that corrects its time."""
    versions = [
        Version(accepted_at=PERIOD_END, known_from=LOADED, year=1),
        Version(accepted_at=PERIOD_END + 40 * DAY, known_from=LOADED + DAY, year=2),
        Version(accepted_at=PERIOD_END, known_from=LOADED + 2 * DAY, year=3),
    ]
    _store(timescale, StatementKind.INCOME, versions, fiscal_date=HALF_YEAR, period="Q2")

    moments = [PERIOD_END + 50 * DAY, LOADED, LOADED + DAY, LOADED + 2 * DAY]
    assert _since(timescale, StatementKind.INCOME, moments) == [[], [1], [2], [3]]


_MOMENTS = st.integers(0, 8).map(lambda days: ACCEPTED + days * DAY)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    accepted=st.lists(st.none() | _MOMENTS, min_size=1, max_size=5),
    at=st.integers(0, 20).map(lambda days: ACCEPTED + days * DAY),
)
def test_the_rule_holds_for_any_course_of_versions(
    timescale: Timescale, accepted: list[datetime | None], at: datetime
) -> None:
    """Against the rule written down in Python: of what has begun, the version that came last."""
    with timescale.connection() as connection:
        connection.execute("truncate income_statement, income_statement_version")
    versions = [
        Version(accepted_at=moment, known_from=ACCEPTED + (9 + place) * DAY, year=place)
        for place, moment in enumerate(accepted)
    ]
    _store(timescale, StatementKind.INCOME, versions)

    expected: list[int] = []
    for place, version in enumerate(versions):
        before = versions[place - 1].accepted_at if place else None
        begins_at = version.known_from
        if version.accepted_at is not None:
            is_news = before is not None and version.accepted_at > before
            begins_at = version.accepted_at if is_news or not place else begins_at
        if begins_at <= at:
            expected = [version.year]
    assert _known_years(timescale, StatementKind.INCOME, at) == expected


@pytest.mark.parametrize("kind", list(TABLES))
def test_a_read_of_one_company_looks_at_no_other(timescale: Timescale, kind: StatementKind) -> None:
    """The condition on the company reaches every table below the function."""
    query = sql.query("statements", f"{TABLES[kind]}s_as_of")
    _store(timescale, kind, [Version(accepted_at=ACCEPTED, known_from=LOADED, year=1)])
    asked = {"at": LOADED, "instrument_id": INSTRUMENT, "period_type": "quarterly"}
    with timescale.connection() as connection:
        connection.execute("set local enable_seqscan = off")
        plan = connection.execute(b"explain " + query.encode(), asked).fetchall()
    lines = [line for (line,) in plan]
    scans = [
        place
        for place, line in enumerate(lines)
        if "Scan" in line and "Subquery" not in line and "WindowAgg" not in line
    ]
    assert scans, lines
    assert not any("Function Scan" in line for line in lines)
    assert all("instrument_id" in " ".join(lines[place : place + 4]) for place in scans), lines


@pytest.mark.parametrize("kind", list(TABLES))
def test_columns_are_those_of_the_wire_schema(timescale: Timescale, kind: StatementKind) -> None:
    """The loader takes them by name."""
    wanted = [name for name in statements.WIRE_STATEMENTS[kind].names if name != "symbol"]
    assert _columns(timescale, TABLES[kind])[1:-3] == wanted


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("company", companies.WIRE_COMPANIES.names),
        ("index_change", companies.WIRE_INDEX_CHANGES.names),
    ],
)
def test_columns_of_companies_are_those_of_the_wire_schema(
    timescale: Timescale, table: str, names: list[str]
) -> None:
    """The loader takes them by name."""
    assert _columns(timescale, table)[1:-3] == names[1:]


def _columns(timescale: Timescale, table: str) -> list[str]:
    with timescale.connection() as connection:
        rows = connection.execute(
            "select column_name from information_schema.columns where table_name = %s"
            " order by ordinal_position",
            [table],
        ).fetchall()
    return [name for (name,) in rows]


def test_half_years_are_kept_beside_quarters(timescale: Timescale) -> None:
    """In the tables of all kinds: companies outside of the United States report them."""
    for table in TABLES.values():
        with timescale.connection() as connection:
            connection.execute(
                pg_sql.SQL(
                    """insert into {} (instrument_id, period_type, fiscal_date, fiscal_period,
                           fiscal_year, reported_currency, answer, provider, ingest_id, known_from)
                       values (1, 'half_yearly', %s, 'H1', 2024, 'GBP', '{{}}', 'fmp', 1, now())"""
                ).format(pg_sql.Identifier(table)),
                [QUARTER],
            )


@pytest.mark.parametrize(
    "change",
    [
        {"fiscal_period": "Q5"},
        {"fiscal_period": "H1"},
        {"fiscal_period": "FY"},
        {"period_type": "monthly"},
        {"filing_date": QUARTER - DAY},
    ],
)
def test_a_statement_that_validation_should_have_refused_is_refused(
    timescale: Timescale, change: dict[str, object]
) -> None:
    """The last line of defence."""
    row: dict[str, object] = {
        "instrument_id": 1,
        "period_type": "quarterly",
        "fiscal_date": QUARTER,
        "fiscal_period": "Q3",
        "fiscal_year": 2024,
        "reported_currency": "USD",
        "filing_date": QUARTER,
        "answer": "{}",
        "provider": "fmp",
        "ingest_id": 1,
        "known_from": LOADED,
    }
    with pytest.raises(errors.StorageConflictError, match="violates check constraint"):
        _insert(timescale, "income_statement", row | change)
    _insert(timescale, "income_statement", row)


def _loadable(table: pa.Table, instrument_id: int) -> pa.Table:
    ids = pa.array([instrument_id] * table.num_rows, pa.int64())
    named = pa.field("instrument_id", pa.int64(), nullable=False)
    rows = table.drop_columns("symbol").add_column(0, named, ids)
    return rows.sort_by([(name, "ascending") for name in statements.KEY])


@pytest.mark.parametrize("kind", list(TABLES))
def test_what_the_loader_stored_is_read_as_of_any_moment(
    timescale: Timescale, instrument_ids: list[int], tmp_path: Path, kind: StatementKind
) -> None:
    """Twenty years are loaded at once, a restatement later; past moments read as before."""
    world = Fundamentals(World(tmp_path))
    first_at, later_at = datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 8, 8, tzinfo=UTC)
    asked = [kind, StatementKind.INCOME] if kind is StatementKind.RATIOS else [kind]
    store = BatchStore(timescale)

    def load(at: datetime) -> list[LoadResult]:
        return [
            store.load(
                replace(
                    batch([], adjustment=None, fetched_at=at),
                    dataset=part.value,
                    rows=_loadable(world.statement_truth(part, ["MSFT"], at), instrument_ids[0]),
                )
            )
            for part in asked
        ]

    first = load(first_at)[0]
    assert (first.inserted, first.restated) == (first.rows, 0)
    assert load(first_at)[0].unchanged == first.rows
    world.restate("MSFT", 2025, "Q2", 1.25, at=later_at)
    again = load(later_at)[0]
    assert (again.restated, again.unchanged) == (2, first.rows - 2)

    query = sql.query("statements", f"{TABLES[kind]}s_as_of")
    past = datetime(2020, 6, 30, tzinfo=UTC)
    wanted = {"instrument_id": instrument_ids[0], "period_type": "quarterly"}
    with timescale.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, wanted | {"at": past}).fetchall()
    public = {
        row["fiscal_date"]
        for row in world.statement_truth(kind, ["MSFT"], past).to_pylist()
        if row["period_type"] == "quarterly"
    }
    known = {row["fiscal_date"] for row in rows}
    # A quarter that was restated before the first load is known by its restatement alone.
    assert known <= public
    assert len(public - known) <= 2
    now = {
        row["fiscal_date"]: row
        for row in world.statement_truth(kind, ["MSFT"], first_at).to_pylist()
        if row["period_type"] == "quarterly"
    }
    for row in rows:
        truth = now[row["fiscal_date"]]
        lines = statements.LINES[kind]
        assert {name: row[name] for name in lines} == {name: truth[name] for name in lines}
        assert row["answer"] == json.loads(truth["answer"])
