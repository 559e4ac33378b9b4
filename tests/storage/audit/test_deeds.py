"""Each deed that changes data leaves exactly one row: who, what, from where."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr

from marketdata.audit import Action, AuditRow
from marketdata.recovery.dead_letters import LETTER_RETRY, DeadLetter, Work
from resources.settings import Settings, read_settings
from resources.storage.adjusted_bars import AdjustedBars
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.archive.maintain.rebuild import ArchiveRebuild
from resources.storage.archive.maintain.upkeep import ArchiveUpkeep
from resources.storage.archive.write import files
from resources.storage.audit import AuditLog
from resources.storage.letters import DeadLetters, LetterFilter
from resources.storage.object_store import ObjectStore
from resources.storage.recovery import hold
from resources.storage.timescale import Timescale
from resources.storage.upkeep import DatabaseUpkeep
from sandbox.local_world import LocalWorld
from tests.fixtures.superuser import superuser_url
from tests.storage.archive.archived_years import BARS, YEARS, archive_years, restate, store_bars
from tests.storage.archive.moves import JANUARY, Moves, load, minutes
from tests.storage.test_adjusted_bars import PAID_ON, flat, load_actions, paid, splits_of
from usecases.auditing import audit_operation, record_changes, verify_log
from usecases.operations import Operation

BY = "ada@desk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a deed is done: an empty database with three shares, and an empty bucket."""

    timescale: Timescale
    store: ObjectStore
    instrument_ids: list[int]
    monkeypatch: pytest.MonkeyPatch

    @property
    def log(self) -> AuditLog:
        """The audit log."""
        return AuditLog(self.timescale)

    @property
    def moves(self) -> Moves:
        """What moves rows."""
        return Moves(timescale=self.timescale, store=self.store, aggregates=RollUps(self.timescale))

    @property
    def upkeep(self) -> ArchiveUpkeep:
        """The archive's upkeep."""
        return ArchiveUpkeep(self.timescale, self.store, by=BY)


@pytest.fixture
def place(
    timescale: Timescale,
    object_store: ObjectStore,
    instrument_ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """A fresh place."""
    return Place(
        timescale=timescale,
        store=object_store,
        instrument_ids=instrument_ids,
        monkeypatch=monkeypatch,
    )


def posted(place: Place) -> list[int]:
    """Post three letters; return their ids."""
    letters = DeadLetters(place.timescale)
    about = [
        DeadLetter(
            dataset="daily_bars",
            provider="fmp",
            work=Work.SESSION,
            subject=f"2024-01-0{day}",
            instrument_id=None,
            error_class="ProviderUnavailableError",
            message="no answer",
            request="historical-price-eod/full",
            run_id="run-1",
            raw_answers=(),
            details={"start": "2024-01-02", "end": "2024-01-31"},
            seen_at=datetime.now(UTC),
            parked=False,
        )
        for day in (2, 3, 4)
    ]
    letters.post(about, LETTER_RETRY, "a run")
    return sorted(letter.letter_id for letter in letters.find(LetterFilter()))


def discard(place: Place) -> None:
    """Discard two letters."""
    DeadLetters(place.timescale).discard(posted(place)[:2], by=BY, reason="delisted")


def retry(place: Place) -> None:
    """Claim a letter, as `wrdata dlq retry` does."""
    DeadLetters(place.timescale).claim(posted(place)[:1], batch=10, by=BY, hold_s=60)


def drop(place: Place) -> None:
    """Drop a proven month."""
    load(place.timescale, "minute_bars", minutes(place.instrument_ids, JANUARY, 5))
    archived = place.moves.prove("minute_bars", "2024-01")
    assert place.moves.retention.drop(archived, "2024-01", by=BY).rows == 15


def restore(place: Place) -> None:
    """Restore the month that was dropped."""
    drop(place)
    archived = place.moves.prove("minute_bars", "2024-01")
    place.moves.restore.into_hot(archived, JANUARY.date(), JANUARY.date(), by=BY)


def restore_beside(place: Place) -> None:
    """Restore two years into a schema of their own."""
    store_bars(place.timescale, place.instrument_ids)
    archive_years(place.timescale, place.store)
    first, last = date(2022, 1, 1), date(2023, 12, 31)
    place.moves.restore.into_schema(BARS, first, last, schema="looked_at", by=BY)


def expire(place: Place) -> None:
    """Forget a snapshot whose year was restated."""
    rows = store_bars(place.timescale, place.instrument_ids)
    archive = archive_years(place.timescale, place.store)
    restate(place.timescale, rows[-1], 51.0)
    archive.archive(BARS, YEARS)
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert place.upkeep.expire(BARS, later, dry_run=True).snapshot_ids
    assert place.upkeep.expire(BARS, later).snapshot_ids


def remove_orphans(place: Place) -> None:
    """Remove what only the forgotten snapshot named."""
    expire(place)
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert place.upkeep.remove_orphans(BARS, later, dry_run=True).objects
    assert place.upkeep.remove_orphans(BARS, later).objects


def compact(place: Place) -> None:
    """Join small files of two years."""
    store_bars(place.timescale, place.instrument_ids)
    with place.monkeypatch.context() as small:
        small.setattr(files, "ROW_GROUP_ROWS", 4)
        small.setattr(files, "PART_ROWS", 8)
        archive_years(place.timescale, place.store)
    assert place.upkeep.compact(BARS, dry_run=True)
    assert place.upkeep.compact(BARS)


def rebuild(place: Place) -> None:
    """Register a table that the catalogue has lost."""
    store_bars(place.timescale, place.instrument_ids)
    archive_years(place.timescale, place.store)
    with place.timescale.connection() as connection:
        connection.execute("delete from iceberg_catalog.iceberg_tables")
    rebuild = ArchiveRebuild(place.timescale, place.store, by=BY)
    assert rebuild.rebuild(BARS, dry_run=True).registered
    assert rebuild.rebuild(BARS).registered
    assert not rebuild.rebuild(BARS).registered


def doubtful(place: Place) -> AdjustedBars:
    """Store a split that prices do not bear out, and a dividend in a currency without a rate."""
    share, bars = place.instrument_ids[0], AdjustedBars(place.timescale)
    flat(place.timescale, share, 50.0, 50.0, 49.0)
    load_actions(place.timescale, "splits", share, splits_of((PAID_ON, 1, 3)))
    load_actions(place.timescale, "dividends", share, paid({"currency": "CLP"}))
    bars.derive(share)
    return bars


def confirm_split(place: Place) -> None:
    """Confirm it."""
    doubtful(place).confirm(place.instrument_ids[0], PAID_ON, by=BY, reason="a letter")


def record_spin_off(place: Place) -> None:
    """Say what was spun off."""
    share = place.instrument_ids[0]
    doubtful(place).record_spin_off(share, PAID_ON, "NEWA", Decimal(30), by=BY, reason="a form")


def confirm_dividend(place: Place) -> None:
    """Say what it is worth."""
    bars = doubtful(place)
    [noted] = bars.dividends()
    share, dividend = noted.instrument_id, noted.finding.dividend
    bars.confirm_dividend(share, dividend, Decimal(1), by=BY, reason="its agent")


def prune(place: Place) -> None:
    """Prune as the weekly upkeep does."""
    also = {"dagster_events": 3, "dagster_runs": 1}
    DatabaseUpkeep(place.timescale).prune(datetime.now(UTC), by=BY, also=also)


def end_a_run_in_the_ui(place: Place) -> None:
    """What the web server notes of a user; a launch is the run's own row."""
    for what, outcome in (
        ("terminateRun", "TerminateRunSuccess"),
        ("launchRun", "LaunchRunSuccess"),
    ):
        done = Operation(
            at=datetime.now(UTC),
            who=BY,
            address="10.0.0.7",
            what=what,
            subject="run 1234",
            outcome=outcome,
        )
        audit_operation(place.log, done)


def restore_the_database(place: Place) -> None:
    """Put the copy on hold, twice: it was restored once."""
    for _ in range(2):
        hold.hold(
            place.timescale.url, reason="a test", target=datetime(2026, 11, 29, tzinfo=UTC), by=BY
        )


def release(place: Place) -> None:
    """Release it, although something does not agree."""
    restore_the_database(place)
    hold.release(place.timescale.url, by=BY, accepted="the bucket is older", journal=None)


DEEDS: dict[Action, list[tuple[Callable[[Place], None], str]]] = {
    Action.LETTERS_DISCARDED: [(discard, "2 dead letters")],
    Action.LETTERS_RETRIED: [(retry, "dead letter 1")],
    Action.PERIOD_DROPPED: [(drop, "minute_bars 2024-01")],
    Action.PERIOD_RESTORED: [
        (restore, "minute_bars 2024-01"),
        (restore_beside, "daily_bars 2022 to 2023"),
    ],
    Action.SNAPSHOTS_EXPIRED: [(expire, "archive.daily_bars")],
    Action.ORPHANS_REMOVED: [(remove_orphans, "archive.daily_bars")],
    Action.PERIODS_COMPACTED: [(compact, "archive.daily_bars")],
    Action.TABLE_REBUILT: [(rebuild, "archive.daily_bars")],
    Action.SPLIT_CONFIRMED: [(confirm_split, "instrument 1, 2024-06-20")],
    Action.SPIN_OFF_RECORDED: [(record_spin_off, "instrument 1, 2024-06-20")],
    Action.DIVIDEND_CONFIRMED: [(confirm_dividend, "instrument 1, 2024-06-20")],
    Action.HISTORY_PRUNED: [(prune, "what has expired")],
    Action.UI_OPERATION: [(end_a_run_in_the_ui, "run 1234")],
    Action.DATABASE_RESTORED: [(restore_the_database, "to 2026-11-29T00:00:00+00:00")],
    Action.RECOVERY_RELEASED: [(release, "recovery hold")],
}


@pytest.mark.parametrize(
    ("action", "do", "subject"),
    [
        pytest.param(action, do, subject, id=do.__name__)
        for action, deeds in DEEDS.items()
        for do, subject in deeds
    ],
)
def test_a_deed_leaves_exactly_one_row(
    place: Place, action: Action, do: Callable[[Place], None], subject: str
) -> None:
    """With who did it, and to what; a dry run leaves none."""
    do(place)

    [row] = place.log.find(actions=[action])
    assert (row.who, row.subject) == (BY, subject)
    assert row.origin
    assert verify_log(place.log, None).valid


def test_every_action_is_tried_here_or_with_the_pipelines() -> None:
    """A new action without a test of its deed is seen."""
    elsewhere = {
        # tests/pipelines/test_audit.py
        Action.RUN_LAUNCHED,
        Action.RUN_CANCELLED,
        Action.BACKFILL_LAUNCHED,
        Action.LETTERS_REPLAYED,
        # test_log.py
        Action.MIGRATION_APPLIED,
        # below
        Action.CONFIGURATION_CHANGED,
        Action.PRIVILEGES_CHANGED,
    }
    assert set(Action) == elsewhere | DEEDS.keys()


def test_letters_that_the_sensor_takes_are_no_persons_deed(place: Place) -> None:
    """Machines retry all the time; their steps are in the letters' own history."""
    posted(place)
    DeadLetters(place.timescale).claim_due(limit=10, batch=10, by="a sensor", hold_s=60)

    assert place.log.find(actions=[Action.LETTERS_RETRIED]) == []


def test_what_was_not_done_leaves_no_row(place: Place) -> None:
    """Letters that are settled already are not discarded again."""
    letters, ids = DeadLetters(place.timescale), posted(place)
    letters.discard(ids, by=BY, reason="delisted")
    assert letters.discard(ids, by=BY, reason="again") == []

    assert len(place.log.find(actions=[Action.LETTERS_DISCARDED])) == 1


# Configuration and privileges

KEY = "a-key-that-nobody-may-see-0123456789"


@pytest.fixture
def settings(place: Place) -> Settings:
    """The settings of a process that runs the pipelines."""
    s3 = place.store.settings
    for name, value in {
        "WRDATA_DATABASE_URL": place.timescale.url,
        "WRDATA_S3_ENDPOINT": s3.endpoint,
        "WRDATA_ARCHIVE_BUCKET": s3.bucket,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_REGION": s3.region,
        "FMP_API_KEY": KEY,
    }.items():
        place.monkeypatch.setenv(name, value)
    return read_settings()


def configurations(place: Place) -> list[AuditRow]:
    """Return the rows about the configuration, the latest first."""
    return place.log.find(actions=[Action.CONFIGURATION_CHANGED])


def test_a_configuration_is_recorded_when_it_is_not_the_last_one(
    place: Place, settings: Settings
) -> None:
    """Names of what changed, and digests: once, however many processes start."""
    for _ in range(3):
        record_changes(place.log, settings, who=BY)
    assert len(configurations(place)) == 1

    changed = settings.model_copy(
        update={"fmp_api_key": SecretStr("another-key"), "database_pool_size": 7}
    )
    for _ in range(2):
        record_changes(place.log, changed, who=BY)

    row = configurations(place)[0]
    assert len(configurations(place)) == 2
    assert row.who == BY
    assert row.details["changed"] == ["FMP_API_KEY", "WRDATA_DATABASE_POOL_SIZE"]
    assert (row.details["added"], row.details["removed"]) == ([], [])
    assert verify_log(place.log, None).valid


def test_a_key_that_is_new_or_gone_is_named(place: Place, settings: Settings) -> None:
    """By its variable."""
    record_changes(place.log, settings, who=BY)
    record_changes(place.log, settings.model_copy(update={"fmp_api_key": None}), who=BY)
    assert configurations(place)[0].details["removed"] == ["FMP_API_KEY"]
    record_changes(place.log, settings, who=BY)
    assert configurations(place)[0].details["added"] == ["FMP_API_KEY"]


def test_two_hosts_with_their_own_configurations_do_not_take_turns(place: Place) -> None:
    """Each is compared with its own last row; a new host with a known one adds nothing."""
    log, action = place.log, Action.CONFIGURATION_CHANGED

    def start(host: str, digest: str) -> bool:
        return log.record_if_changed(action, {"POOL": digest}, host=host, who=BY)

    assert start("one", "a")
    assert start("two", "b")
    assert [start("one", "a"), start("two", "b"), start("one", "a")] == [False, False, False]
    assert not start("three", "b")
    assert start("three", "c")


def test_no_value_of_a_secret_is_in_the_log(place: Place, settings: Settings) -> None:
    """Neither as it is nor as a plain digest, from which a weak one could be guessed."""
    record_changes(place.log, settings, who=BY)
    with place.timescale.connection() as connection:
        rows = connection.execute("select audit_log::text from audit_log").fetchall()
    text = " ".join(row[0] for row in rows)

    assert "FMP_API_KEY" in text
    for secret in (
        KEY,
        place.store.settings.secret_key,
        settings.database_url.get_secret_value(),
    ):
        assert secret not in text


def test_a_grant_is_recorded_though_nobody_announced_it(
    place: Place, settings: Settings, world: LocalWorld
) -> None:
    """Given and taken with psql: the next process that starts sees it."""
    record_changes(place.log, settings, who=BY)
    role = f"granted_{secrets.token_hex(4)}"
    with Timescale(superuser_url(world, place.timescale.url)) as superuser:
        run(superuser, f"create role {role}")
        try:
            run(superuser, f"grant select (close), insert on daily_bar to {role}")
            record_changes(place.log, settings, who=BY)
            record_changes(place.log, settings, who=BY)
            given = place.log.find(actions=[Action.PRIVILEGES_CHANGED])[0]
            run(superuser, f"revoke insert on daily_bar from {role}")
            record_changes(place.log, settings, who=BY)
            taken = place.log.find(actions=[Action.PRIVILEGES_CHANGED])[0]
        finally:
            run(superuser, f"drop owned by {role}", f"drop role {role}")

    assert given.details["added"] == [
        f"INSERT on table public.daily_bar to {role}",
        f"SELECT on column public.daily_bar.close to {role}",
    ]
    assert taken.details["removed"] == [f"INSERT on table public.daily_bar to {role}"]
    assert len(place.log.find(actions=[Action.PRIVILEGES_CHANGED])) == 3


def run(timescale: Timescale, *statements: str) -> None:
    """Run statements in one transaction."""
    with timescale.connection() as connection:
        for statement in statements:
            connection.execute(statement.encode())
