"""What is broken, which alert has to fire, and how a person repairs it.

Here: each break with its repair, by the commands that its runbook names. Not here: the order of a
rehearsal and its times (rehearsal.py), or the alerts (monitoring/alerts/).

Where only time is missing, rows are aged: an hour that a failed run counts, five minutes of silence
of a daemon that is really stopped. What the alert looks at is real in every case.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from machine.processes import wait_until
from marketdata.recovery import errors
from operate.place import Place
from resources.database_url import in_schema
from sandbox.timescaledb import SUPERUSER

SEEN_WITHIN_S = 180.0
WORKS_FOR_S = 30.0
"""How long a run at least works that is to be killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One thing that breaks.

    Attributes:
        title: In words.
        alert: Name of the alert that has to fire.
        breaks: Breaks it.
        repairs: Repairs it, as the runbook says, and looks that nothing is lost.
        from_the_start: It is broken when the rehearsal begins, and may have been told of by then.
    """

    title: str
    alert: str
    breaks: Callable[[Place], None]
    repairs: Callable[[Place], None]
    from_the_start: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A page of docs/runbooks/ that is walked through, from trouble to repair."""

    title: str
    walk: Callable[[Place], None]


def _no_backup(place: Place) -> None:
    """A new installation: nobody has taken a backup yet."""
    if place.rows("select 1 from backup_run where error is null"):
        message = "there is a backup already"
        raise errors.ConfigurationError(message)


def _take_backup(place: Place) -> None:
    place.do("backup", "run")


def _stop_provider(place: Place) -> None:
    place.simulators.add_fault("status", status=503, path="/stable")
    place.run("backfill", "daily_bars", "--tickers", ",".join(place.tickers), "--refetch")


def _start_provider(place: Place) -> None:
    place.simulators.clear_faults()
    retry_letters(place)
    _an_hour_later(place)


def retry_letters(place: Place) -> None:
    """Retry the open letters until none is left, as docs/runbooks/pipeline.md says.

    Raises:
        ConfigurationError: Some stay.
    """

    def settled() -> bool:
        # While a breaker is open nothing is sent: it lets one request through every 30 s.
        place.run("dlq", "retry", "--all")
        return not _unsettled(place)

    wait_until(settled, within_s=SEEN_WITHIN_S, every_s=5.0)
    _require_no_letters(place)


def _stop_database(place: Place) -> None:
    place.server.stop_database()


def _start_database(place: Place) -> None:
    place.server.start_database()
    place.supervise_daemon()


def _fill_disk(place: Place) -> None:
    place.disk.fill(0.85)


def _make_room(place: Place) -> None:
    place.disk.make_room()


def _kill_worker(place: Place) -> None:
    """Kill the worker of a run that waits for its provider; Dagster's daemon finds it gone."""
    place.simulators.add_fault("slow", path="/stable", seconds=WORKS_FOR_S)
    run_id = place.launch("universe")
    at_work: list[int] = []

    def works() -> bool:
        at_work[:] = [
            pid for (pid,) in place.rows("select pid from run_worker where run_id = %s", run_id)
        ]
        return bool(at_work)

    if not wait_until(works, within_s=SEEN_WITHIN_S, every_s=0.2):
        raise errors.ConfigurationError(f"run {run_id} got no worker")
    os.kill(at_work[0], signal.SIGKILL)
    place.simulators.clear_faults()


def _await_repetition(place: Place) -> None:
    """Dagster repeats the run by itself; then its failure is of an hour ago."""
    repeated = (
        "select 1 from runs join run_tags using (run_id)"
        " where status = 'SUCCESS' and key = 'dagster/parent_run_id'"
    )
    if not wait_until(
        lambda: bool(place.dagster_rows(repeated)), within_s=SEEN_WITHIN_S, every_s=1.0
    ):
        raise errors.ConfigurationError("the killed run was not repeated")
    _an_hour_later(place)


def _an_hour_later(place: Place) -> None:
    """Let an hour pass for runs that failed: so long each of them is told of."""
    place.change(
        "update runs set end_time = end_time - 3600,"
        " update_timestamp = update_timestamp - interval '1 hour' where status = 'FAILURE'",
        of_dagster=True,
    )


def _stop_daemon(place: Place) -> None:
    place.stop_daemon()
    place.change(
        "update daemon_heartbeats set timestamp = timestamp - interval '5 minutes'", of_dagster=True
    )


def _start_daemon(place: Place) -> None:
    place.start_daemon()


def _alter_audit(place: Place) -> None:
    """Another name in a row of the log; the daily verification finds it."""
    place.tamper("create table before_it as select * from audit_log where id = 2")
    place.tamper("update audit_log set who = 'nobody@nowhere' where id = 2")
    done = place.run("audit", "verify")
    if done.returncode == 0:
        raise errors.ConfigurationError("the altered row is not found")


def _put_audit_back(place: Place) -> None:
    """The row as the newest backup has it; here from a copy."""
    place.tamper(
        "update audit_log as row set who = old.who from before_it as old where row.id = old.id"
    )
    place.tamper("drop table before_it")
    place.do("audit", "verify")


def _spend_budget(place: Place) -> None:
    """A key with a small plan: the quota of the hour is spent after two requests."""
    few = {"TIINGO_REQUESTS_PER_HOUR": "2"}
    place.run("backfill", "daily_bars", "--all", "--provider", "tiingo", **few)


def _buy_budget(place: Place) -> None:
    """A larger plan, in place of waiting until the hour ends."""
    retry_letters(place)
    place.do("backfill", "daily_bars", "--all", "--provider", "tiingo")
    _an_hour_later(place)


def _use_a_revoked_key(place: Place) -> None:
    """The old key was revoked before the new one was set."""
    revoked = {"FMP_API_KEY": "0" * 32}
    place.run("backfill", "daily_bars", "--tickers", place.tickers[0], "--refetch", **revoked)


def _use_the_new_key(place: Place) -> None:
    place.do("dlq", "retry", "--error", "KeyRefusedError")
    _require_no_letters(place)
    place.do("doctor")
    _an_hour_later(place)


def _stop_bucket(place: Place) -> None:
    place.store.stop()
    place.run("backfill", "daily_bars", "--tickers", place.tickers[0], "--refetch")
    found = place.run("doctor")
    if found.returncode == 0 or place.environment["WRDATA_ARCHIVE_BUCKET"] not in found.stdout:
        raise errors.ConfigurationError("wrdata doctor does not name the bucket")


def _start_bucket(place: Place) -> None:
    place.store.start()
    retry_letters(place)
    place.do("archive", "verify")
    _an_hour_later(place)


def _require_no_letters(place: Place) -> None:
    if letters := _unsettled(place):
        raise errors.ConfigurationError(f"{letters} letters are not settled")


def _unsettled(place: Place) -> int:
    query = "select count(*) from dead_letter where state in ('open', 'retrying', 'parked')"
    return int(place.rows(query)[0][0])


def _walk_bad_data(place: Place) -> None:
    """A provider sends a price that cannot be, and corrects it; nothing is forgotten."""
    ticker = place.tickers[0]
    query = (
        "select bar.session_date, bar.close from daily_bar as bar"
        " join instrument_ticker using (instrument_id)"
        " where ticker = %s and upper_inf(valid) order by 1 desc limit 1"
    )
    [(day, right)] = place.rows(query, ticker)
    seen: list[object] = []
    for factor in (10.0, 1.0):
        place.simulators.correct(ticker, day, factor)
        place.do("backfill", "daily_bars", "--tickers", ticker, "--refetch")
        seen.append(place.rows(query, ticker)[0][1])
    if seen[0] == right or seen[1] != right:
        raise errors.ConfigurationError(f"{ticker} of {day} was {right}, then {seen}")
    place.do("aggregates", "verify")
    place.do("ledger", "verify")


def _walk_failed_migration(place: Place) -> None:
    """In a new database a table stands in the way: one line names the file, and it is repeated."""
    with psycopg.connect(place.server.url("postgres", SUPERUSER), autocommit=True) as server:
        server.execute("create database migrated_anew owner wrdata")
    url = place.server.url("migrated_anew")
    of_it = {"WRDATA_DATABASE_URL": url, "WRDATA_DAGSTER_DATABASE_URL": in_schema(url, "dagster")}
    with psycopg.connect(url) as connection:
        connection.execute("create table instrument ()")
    failed = place.run("migrate", **of_it)
    if failed.returncode == 0 or "failed and was undone" not in failed.stderr:
        raise errors.ConfigurationError(f"the failure is not told: {failed.stderr}")
    with psycopg.connect(url) as connection:
        connection.execute("drop table instrument")
    place.do("migrate", **of_it)
    with psycopg.connect(place.server.url("postgres", SUPERUSER), autocommit=True) as server:
        server.execute("drop database migrated_anew")


WALKS = (
    Walk(title="bad data loaded", walk=_walk_bad_data),
    Walk(title="migration failed", walk=_walk_failed_migration),
)
"""Pages of docs/runbooks/ for which no alert has to fire."""

BREAKS = (
    Break(
        title="backup missing",
        alert="BackupMissing",
        breaks=_no_backup,
        repairs=_take_backup,
        from_the_start=True,
    ),
    Break(
        title="provider down", alert="ProviderDown", breaks=_stop_provider, repairs=_start_provider
    ),
    Break(
        title="database stopped",
        alert="DatabaseDown",
        breaks=_stop_database,
        repairs=_start_database,
    ),
    Break(title="disk nearly full", alert="DiskNearlyFull", breaks=_fill_disk, repairs=_make_room),
    Break(
        title="worker killed", alert="RunsFailed", breaks=_kill_worker, repairs=_await_repetition
    ),
    Break(title="daemon stopped", alert="DaemonDead", breaks=_stop_daemon, repairs=_start_daemon),
    Break(
        title="audit row altered",
        alert="AuditChainBroken",
        breaks=_alter_audit,
        repairs=_put_audit_back,
    ),
    Break(title="budget spent", alert="BudgetSpent", breaks=_spend_budget, repairs=_buy_budget),
    Break(
        title="key leaked",
        alert="ProviderKeyRefused",
        breaks=_use_a_revoked_key,
        repairs=_use_the_new_key,
    ),
    Break(title="bucket away", alert="RunsFailed", breaks=_stop_bucket, repairs=_start_bucket),
)
"""In the order of the rehearsal: backups come first, since the drill at its end needs one."""
