"""What `wrdata plan` says before anything runs, on a real database and with Dagster's real runs."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from marketdata import forecast
from marketdata.calendars import NEW_YORK_ZONE, utc_now
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.forecast import Forecast, Load, QuotaUse, RunSlots, ScheduledLoad
from marketdata.instruments import Constituent, UniverseChange
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import LETTER_RETRY, DeadLetter, Work
from marketdata.recovery.leases import Holder, Lease, LeaseRequest
from marketdata.recovery.limits import Lane, Quota, QuotaPeriod, fmp_limits
from marketdata.recovery.policy import BREAKER
from pipelines.cli import plan, runs
from pipelines.cli.main import app
from resources import opening
from resources.database_url import in_schema
from resources.opening import Stores
from resources.settings import read_settings
from resources.storage import migrations
from resources.storage.ledger import coverage
from sandbox.control import SimulatorControl
from tests.fixtures.world import BucketSettings, RunningSimulator
from usecases.instruments import UNIVERSE

KEY_LIMIT = "120"
# A Monday before the close: the evening's schedule starts 8.5 hours later.
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
SESSIONS = 2738
NAMES = ("AAA", "BBB", "CCC")


class Planner:
    """Runs the command in this process, on a database of its own and at a fixed time."""

    def __init__(
        self, stores: Stores, instance: dg.DagsterInstance, arrived: SimulatorControl
    ) -> None:
        self.stores = stores
        self.instance = instance
        self.arrived = arrived

    def __call__(self, *words: str) -> Any:
        """Return the plan's JSON, or the error that it raised."""
        said = CliRunner().invoke(app, ["plan", "daily_bars", *words, "--json"])
        if said.exception and not isinstance(said.exception, SystemExit):
            raise said.exception
        assert said.exit_code == 0, said.output
        return json.loads(said.stdout)

    def prose(self, *words: str) -> str:
        """Return what a person reads."""
        said = CliRunner().invoke(app, ["plan", "daily_bars", *words])
        assert said.exit_code == 0, said.output
        return " ".join(said.output.split())

    def join(self, *tickers: str) -> None:
        """Make ``tickers`` the universe."""
        joined = tuple(
            Constituent(ticker=ticker, name=ticker, cik=f"{number:010}", sector=None)
            for number, ticker in enumerate(tickers)
        )
        change = UniverseChange(joined=joined, left=(), renamed=(), kept=())
        self.stores.instruments.apply(change, date(2020, 1, 2), UNIVERSE)

    def mark(self, ticker: str, state: CoverageState, start: date, end: date) -> None:
        """Say in the ledger that ``ticker``'s days up to and without ``end`` are in ``state``."""
        members = {
            instrument.ticker: instrument.instrument_id
            for instrument in self.stores.instruments.members(UNIVERSE)
        }
        mark = CoverageMark(instrument_id=members[ticker], state=state, spans=((start, end),))
        with self.stores.timescale.connection() as connection:
            coverage.apply_marks(connection, "daily_bars", "fmp", [mark], asked_at=utc_now())

    def list_company(self, ticker: str, on: date) -> None:
        """Say when the share of ``ticker`` was listed."""
        with self.stores.timescale.connection() as connection:
            connection.execute(
                """insert into company
                (instrument_id, name, listed_on, answer, provider, ingest_id, known_from)
                select instrument_id, 'A company', %s, '{}', 'fmp', 1, now()
                from instrument_ticker where ticker = %s""",
                (on, ticker),
            )


@pytest.fixture
def planner(
    database_url: str,
    bucket: BucketSettings,
    fmp_simulator: RunningSimulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Planner]:
    """Everything configured; the universe is still empty."""
    migrations.migrate(database_url)
    for name, value in {
        "WRDATA_STATE_DIR": str(tmp_path),
        "WRDATA_DATABASE_URL": database_url,
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "AWS_REGION": bucket.region,
        "FMP_API_KEY": fmp_simulator.api_key,
        "FMP_BASE_URL": fmp_simulator.base_url,
        "FMP_REQUESTS_PER_MINUTE": KEY_LIMIT,
        "FMP_BULK_INTERVAL_S": "30",
        "WRDATA_DAILY_BARS_ROUTE": "per_ticker",
        # `enter` sets these two; named here, they are taken back at the end.
        "WRDATA_DAGSTER_DATABASE_URL": in_schema(database_url, "dagster"),
        "DAGSTER_HOME": str(tmp_path / "dagster"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pipelines.cli.plan.utc_now", lambda: NOW)
    for module in ("pipelines.cli.load_options", "usecases.load_plan", "usecases.instruments"):
        monkeypatch.setattr(f"{module}.utc_now", lambda: NOW)
    queue = {
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {"max_concurrent_runs": 2},
        }
    }
    with (
        dg.instance_for_test(overrides=queue, set_dagster_home=False) as instance,
        opening.stores(read_settings()) as stores,
    ):

        @contextmanager
        def opened() -> Generator[dg.DagsterInstance]:
            yield instance

        monkeypatch.setattr(runs, "open_instance", opened)
        yield Planner(stores, instance, fmp_simulator.control)


def test_an_empty_universe_is_a_clear_error(planner: Planner) -> None:
    """Nothing to load is not the same as nothing missing."""
    for words in (["--all"], ["--failed"], ["--from", "2026-11-16"], ["--tickers", "AAPL"]):
        with pytest.raises(errors.ConfigurationError, match=r"universe is empty.*wrdata universe"):
            planner(*words)


def test_an_unknown_ticker_is_named_with_near_matches(planner: Planner) -> None:
    """As wrdata backfill does."""
    planner.join("AAPL", "MSFT")

    with pytest.raises(errors.ConfigurationError, match=r"AAPLL \(did you mean AAPL\?\)"):
        planner("--tickers", "AAPLL,MSFT")


def test_a_fresh_ledger_wants_everything(planner: Planner) -> None:
    """Three histories at 120 a minute; each session since 2016 may be a row."""
    planner.join(*NAMES)

    planned = planner("--all")

    assert (planned["tickers"], planned["requests"]) == (3, 3)
    assert planned["requests_per_minute"] == pytest.approx(60 / (60.6 / 120))
    assert planned["minutes"] == pytest.approx(3 * 60.6 / 120 / 60)
    assert planned["ends_at"] == (NOW + timedelta(minutes=planned["minutes"])).isoformat()
    assert planned["rows_at_most"] == 3 * SESSIONS
    assert planned["database_bytes_estimate"] == 3 * SESSIONS * forecast.DATABASE_BYTES_PER_BAR
    assert planned["raw_bytes_estimate"] == pytest.approx(3 * 120_500, rel=0.01)
    assert planned["quotas"] == []
    assert planned["endangered"] is False


def test_what_the_ledger_knows_is_not_expected_again(planner: Planner) -> None:
    """A settled ticker drops out; of another one only the hole is asked; --refetch asks for all."""
    planner.join(*NAMES)
    beginning, after = date(2016, 1, 4), date(2026, 11, 23)
    planner.mark("AAA", CoverageState.COMPLETE, beginning, after)
    planner.mark("BBB", CoverageState.PROVIDER_EMPTY, beginning, date(2026, 11, 2))
    planner.list_company("BBB", date(2026, 11, 2))
    planner.mark("BBB", CoverageState.COMPLETE, date(2026, 11, 2), date(2026, 11, 16))

    holes = planner("--all")
    again = planner("--all", "--refetch")

    assert (holes["requests"], holes["rows_at_most"]) == (2, SESSIONS + 5)
    assert again["requests"] == 3
    assert again["rows_at_most"] == SESSIONS + 5
    assert again["raw_bytes_estimate"] == pytest.approx(
        3 * forecast.RAW_BYTES_PER_ANSWER + (2 * SESSIONS + 15) * forecast.RAW_BYTES_PER_BAR
    )


def test_what_another_provider_has_answered_covers_nothing(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of the configured provider all of it is asked for, and after one back none."""
    planner.join("AAA")
    planner.mark("AAA", CoverageState.COMPLETE, date(2016, 1, 4), NOW.date())
    assert planner("--all")["requests"] == 0

    monkeypatch.setenv("WRDATA_DAILY_BARS_PROVIDER", "tiingo")
    monkeypatch.setenv("TIINGO_API_KEY", "a key")
    planned = planner("--all")
    assert (planned["requests"], planned["rows_at_most"]) == (1, SESSIONS)

    monkeypatch.setenv("WRDATA_DAILY_BARS_PROVIDER", "fmp")
    assert planner("--all")["requests"] == 0


def test_of_tickers_that_are_named_the_last_five_sessions_are_asked_again(
    planner: Planner,
) -> None:
    """They may have been corrected since they settled; of all members the morning's run does it."""
    planner.join(*NAMES)
    for name in NAMES:
        planner.mark(name, CoverageState.COMPLETE, date(2016, 1, 4), NOW.date())

    named = planner("--tickers", "AAA,BBB")

    assert (named["tickers"], named["requests"], named["rows_at_most"]) == (2, 2, 0)
    assert planner("--all")["requests"] == 0


def test_failed_tickers_alone_can_be_planned(planner: Planner) -> None:
    """Those with failed sessions in the ledger."""
    planner.join(*NAMES)
    planner.mark("CCC", CoverageState.FAILED, date(2026, 11, 20), date(2026, 11, 23))

    assert planner("--failed")["tickers"] == 1


def test_a_ticker_whose_letter_waits_has_failed_although_nothing_of_it_is_missing(
    planner: Planner,
) -> None:
    """Its latest sessions were asked for again, for corrections, and that came to nothing."""
    planner.join(*NAMES)
    planner.mark("AAA", CoverageState.COMPLETE, date(2016, 1, 4), date(2026, 11, 23))
    (aaa,), _ = planner.stores.instruments.resolve("fmp", ["AAA"], NOW.date())
    failed = DeadLetter(
        dataset="daily_bars",
        provider="fmp",
        work=Work.INSTRUMENT,
        subject="AAA",
        instrument_id=aaa.instrument_id,
        error_class="ProviderUnavailableError",
        message="HTTP 500",
        request="historical-price-eod/full AAA",
        run_id="run",
        raw_answers=(),
        details={"start": "2026-11-16", "end": "2026-11-20"},
        seen_at=NOW,
        parked=False,
    )
    planner.stores.dead_letters.post([failed], LETTER_RETRY, "a test")

    planned = planner("--failed")

    assert (planned["tickers"], planned["requests"]) == (1, 1)


def test_nothing_to_load_is_said_so(planner: Planner) -> None:
    """No minutes, no bytes, and no schedule is met."""
    planner.join("AAA")
    planner.mark("AAA", CoverageState.COMPLETE, date(2016, 1, 4), date(2026, 11, 23))

    planned = planner("--all")

    assert (planned["requests"], planned["minutes"], planned["rows_at_most"]) == (0, 0.0, 0)
    assert "nothing to load" in planner.prose("--all")


@pytest.mark.parametrize(
    ("route", "requests", "per_minute"), [("per_ticker", 15, 118.8), ("bulk", 5, 60 / 30.6)]
)
def test_trading_days_are_planned_by_the_route_they_will_take(
    planner: Planner, monkeypatch: pytest.MonkeyPatch, route: str, requests: int, per_minute: float
) -> None:
    """One request for each ticker and day, or one a day at the bulk limit's pace."""
    monkeypatch.setenv("WRDATA_DAILY_BARS_ROUTE", route)
    planner.join(*NAMES)
    planner.mark("AAA", CoverageState.COMPLETE, date(2026, 11, 16), date(2026, 11, 18))

    planned = planner("--from", "2026-11-16", "--to", "2026-11-20")

    assert (planned["trading_days"], planned["requests"]) == (5, requests)
    assert planned["requests_per_minute"] == pytest.approx(per_minute, rel=0.001)
    assert planned["rows_at_most"] == 13
    nightly = planned["schedules"][0]
    assert nightly["requests"] == (1 if route == "bulk" else 3)


def test_the_next_runs_are_those_of_the_schedules_in_new_york_time(planner: Planner) -> None:
    """All that ask the same provider: this evening at 18:30, the next morning, Saturday."""
    planner.join(*NAMES)

    schedules = planner("--all")["schedules"]

    assert [(schedule["schedule"], schedule["starts_at"]) for schedule in schedules] == [
        ("daily_bars_after_close", "2026-11-23T18:30:00-05:00"),
        ("corporate_actions_refresh", "2026-11-24T06:00:00-05:00"),
        ("daily_bars_again_by_ticker", "2026-11-24T08:45:00-05:00"),
        ("reference_refresh", "2026-11-28T08:30:00-05:00"),
        ("daily_bars_gaps_weekly", "2026-11-28T09:00:00-05:00"),
        ("fundamentals_refresh", "2026-11-28T10:00:00-05:00"),
        ("corporate_actions_refresh_by_name", "2026-11-28T11:00:00-05:00"),
    ]


@pytest.mark.parametrize(
    ("now", "evening"),
    [
        ("2026-11-25T20:00", "2026-11-27T18:30:00-05:00"),
        ("2026-11-26T09:00", "2026-11-27T18:30:00-05:00"),
        ("2026-11-27T18:29", "2026-11-27T18:30:00-05:00"),
        ("2026-11-27T18:31", "2026-11-30T18:30:00-05:00"),
        ("2026-03-06T19:00", "2026-03-09T18:30:00-04:00"),
    ],
)
def test_the_daily_schedule_skips_days_without_a_session(
    planner: Planner, monkeypatch: pytest.MonkeyPatch, now: str, evening: str
) -> None:
    """Thanksgiving and weekends; clocks that change do not move it."""
    moment = datetime.fromisoformat(now).replace(tzinfo=NEW_YORK_ZONE).astimezone(UTC)
    monkeypatch.setattr("pipelines.cli.plan.utc_now", lambda: moment)
    planner.join(*NAMES)

    starts = {
        schedule["schedule"]: schedule["starts_at"] for schedule in planner("--all")["schedules"]
    }

    assert starts["daily_bars_after_close"] == evening


def _before_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = datetime(2026, 11, 23, 23, 29, 59, tzinfo=UTC)
    monkeypatch.setattr("pipelines.cli.plan.utc_now", lambda: soon)


def test_a_schedule_that_starts_meanwhile_only_slows_the_load(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes first in its lane of the budget."""
    _before_the_schedule(monkeypatch)
    planner.join(*NAMES)

    planned = planner("--all")

    assert planned["endangered"] is False
    assert planned["schedules"][0]["during"] is True
    assert planned["minutes"] == pytest.approx(6 * 60.6 / 120 / 60)
    assert "goes first" in planned["verdict"]
    assert "goes first" in planner.prose("--all")


def test_a_schedule_without_a_run_slot_is_endangered(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run is under way and this load is the second of two."""
    _before_the_schedule(monkeypatch)
    planner.join(*NAMES)
    planner.instance.add_run(dg.DagsterRun(job_name="archive", status=dg.DagsterRunStatus.STARTED))

    planned = planner("--all")

    assert planned["endangered"] is True
    assert planned["schedules"][0]["without_run_slot"] is True
    assert planned["verdict"].startswith("ENDANGERED: daily_bars_after_close (2026-11-23 18:30")


def test_days_of_named_tickers_are_asked_for_alone(planner: Planner) -> None:
    """One request each over those days, and of them what is missing; the others stay away."""
    planner.join(*NAMES)
    planner.mark("AAA", CoverageState.COMPLETE, date(2026, 11, 16), date(2026, 11, 18))

    planned = planner("--tickers", "AAA,BBB", "--from", "2026-11-16", "--to", "2026-11-20")

    assert (planned["tickers"], planned["requests"], planned["rows_at_most"]) == (2, 2, 3 + 5)


def test_what_others_reserved_and_sent_counts(planner: Planner) -> None:
    """The budget is the key's: three permits of another process come first."""
    planner.join(*NAMES)
    settings = read_settings()
    assert settings.fmp_api_key is not None
    of_key = fmp_limits(settings.fmp_api_key.get_secret_value(), 120)
    lease = planner.stores.leases.take(
        LeaseRequest(
            provider="fmp",
            charges=(of_key,),
            weights=(1, 1, 1),
            lane=Lane.BACKFILL,
            holder=Holder.this_process(),
            horizon_s=5.0,
            tolerance_s=0.3,
            breaker=BREAKER,
        )
    )
    assert isinstance(lease, Lease)

    planned = planner("--all")

    assert 3 * 60.6 / 120 < planned["minutes"] * 60 <= 6 * 60.6 / 120
    assert planned["requests_of_others_last_minute"] >= 1


def test_a_plan_starts_no_run_and_sends_no_request(planner: Planner) -> None:
    """Not one, whatever it is asked; nor does it take a permit."""
    planner.join(*NAMES)

    for words in (["--all"], ["--all", "--refetch"], ["--from", "2026-11-16"], ["--failed"]):
        planner(*words)

    assert planner.arrived.requests() == []
    assert planner.instance.get_runs_count() == 0
    assert planner.stores.leases.status() == []


def test_a_page_says_what_is_an_estimate(planner: Planner) -> None:
    """A person reads the requests first, and of what the bytes are guessed."""
    planner.join(*NAMES)

    page = planner.prose("--tickers", "AAA,BBB")

    for phrase in ("2 tickers", "requests", "the key has none", "estimate", "no schedule is"):
        assert phrase in page
    assert "daily_bars: 1 ticker " in planner.prose("--tickers", "AAA")


def test_a_key_with_a_quota_shows_the_share_and_the_danger() -> None:
    """FMP's free plan allows 250 a day; the evening needs 200 of them."""
    quota = Quota(limit=250, period=QuotaPeriod.DAY, zone="America/New_York")
    load_forecast = _forecast(
        requests=100, use=QuotaUse(quota=quota, used=10, resets_at=NOW + timedelta(hours=14))
    )

    assert "could lack requests: this load leaves 140 of 250 a day" in plan.verdict(load_forecast)
    assert load_forecast.quotas[0].share == 0.4


def _forecast(*, requests: int, use: QuotaUse) -> Forecast:
    evening = ScheduledLoad(
        name="daily", starts_at=NOW + timedelta(hours=8), requests=200, interval_s=0.5
    )
    return forecast.forecast(
        Load(requests=requests, interval_s=0.5, bars=requests, rows=requests),
        now=NOW,
        reserved_s=0.0,
        quotas=[use],
        schedules=[evening],
        slots=RunSlots(allowed=2, taken=0),
    )
