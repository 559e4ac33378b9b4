"""The restore drill: the newest backup to a moment, compared with production as of that moment.

Here: the drill's course, its figures, and what differs. Not here: restoring (restoring.py), how two
databases are compared (resources/storage/recovery/digests.py), or when it runs (assets/).

Production is read once, at one moment between two commits. A row of the drill is the first commit
after it; the time until that is archived is what a loss just then would have cost. The copy is
restored to the moment while production goes on, compared table by table, and completed from the
archive where rows were dropped, whose files are compared with their proofs.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from marketdata.archiving import ARCHIVED
from marketdata.calendars import utc_now
from marketdata.recovery import errors
from resources import database_url, opening
from resources.backups.pgbackrest import PgBackRest
from resources.backups.scratch_server import ScratchServer
from resources.settings import Settings
from resources.storage.audit import AuditLog
from resources.storage.recovery import digests
from resources.storage.recovery.backup_log import BackupLog, DrillFigures
from resources.storage.recovery.digests import Digest, Moment
from resources.storage.timescale import Timescale
from usecases import restoring

ARCHIVED_WITHIN_S = 900.0
"""Three times the allowed loss of five minutes: then something is broken."""
ATTEMPTS = 5
PAUSE_S = 20.0
"""Between attempts to find a moment at which no writer holds a lock for long."""
LOOKS_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What production held at the moment.

    Attributes:
        drill_id: The drill's row, committed after the moment.
        plan: The restore to it.
        tables: Digests by table, for each database.
        rpo_s: Seconds until the drill's row was archived.
    """

    drill_id: int
    plan: restoring.RestorePlan
    tables: Sequence[Mapping[str, Digest]]
    rpo_s: float

    @property
    def rows(self) -> int:
        """Return the number of rows in all tables."""
        return sum(digest.rows for tables in self.tables for digest in tables.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillReport:
    """What a drill found.

    Attributes:
        figures: As they are recorded.
        seconds: How long each part took, by its name.
        databases: The compared databases, as ``host:port/name``.
        differences: One sentence for each table that differs; empty if all is well.
    """

    figures: DrillFigures
    seconds: Mapping[str, float]
    databases: Sequence[str]
    differences: Sequence[str]


def drill(
    settings: Settings,
    report: Callable[[str], None],
    *,
    folder: Path | None = None,
) -> DrillReport:
    """Restore the newest backup on trial, and record what came of it.

    Args:
        settings: Of production. Dagster's database is compared if it is on the same server.
        report: Called with a sentence for each step.
        folder: Where the copy may lie; the system's folder for temporary files without it.

    Raises:
        ConfigurationError: Backups are not configured, or the copy cannot run on this machine.
        StorageError: No backup, no way to restore it, or WAL is not archived. It is recorded.
    """
    pgbackrest = opening.pgbackrest(settings)
    urls = _databases(settings.database_url.get_secret_value(), settings.dagster_url)
    scratch = Path(tempfile.mkdtemp(prefix="wrdata-drill-", dir=folder))
    try:
        scratch.chmod(0o755)  # The server's user has to reach its folder below.
        with opening.stores(settings) as stores:
            return _recorded(settings, pgbackrest, stores.timescale, urls, scratch / "data", report)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def differences(
    expected: Sequence[Mapping[str, Digest]], found: Sequence[Mapping[str, Digest]]
) -> list[str]:
    """Return a sentence for each table that production and copy do not hold alike."""
    told: list[str] = []
    for production, copy in zip(expected, found, strict=True):
        for table in sorted({*production, *copy}):
            here, there = production.get(table), copy.get(table)
            if here is None or there is None:
                told.append(f"{table} is only in the {'copy' if here is None else 'original'}")
            elif here.rows != there.rows:
                told.append(f"{table} has {there.rows} rows in the copy, and had {here.rows}")
            elif here != there:
                told.append(f"{table} has the same {here.rows} rows, but other values in the copy")
    return told


def _databases(market: str, dagster: str) -> list[str]:
    """Return the databases to compare: Dagster's is one if it is another on the same server."""
    if not database_url.are_of_one_server([market, dagster]):
        return [market]
    is_other = database_url.place(market) != database_url.place(dagster)
    return [market, dagster] if is_other else [market]


def _recorded(
    settings: Settings,
    pgbackrest: PgBackRest,
    timescale: Timescale,
    urls: Sequence[str],
    data: Path,
    report: Callable[[str], None],
) -> DrillReport:
    """Carry the drill out; whatever ends it is in its row."""
    log = BackupLog(timescale)
    expected = _expected(pgbackrest, log, urls, data, report)
    label = expected.plan.backup.label
    try:
        done = _compared(settings, pgbackrest, AuditLog(timescale), urls, expected, report)
    except errors.MarketDataError as error:
        figures = DrillFigures(backup_label=label, rpo_s=expected.rpo_s, error=str(error))
        log.end_drill(expected.drill_id, figures)
        raise
    log.end_drill(expected.drill_id, done.figures)
    return done


def _expected(
    pgbackrest: PgBackRest,
    log: BackupLog,
    urls: Sequence[str],
    data: Path,
    report: Callable[[str], None],
) -> Expected:
    """Read production at one moment, and wait until that moment is in the repository."""
    started_at = utc_now()
    with _moment(urls) as moment:
        plan = restoring.plan_restore(pgbackrest, moment.at, data)
        drill_id = log.begin_drill(moment.at, started_at)
        committed = time.monotonic()
        segment = log.current_segment()
        try:
            report(f"Waiting until WAL segment {segment} is archived")
            rpo_s = _await_archived(log, segment, committed)
            report(f"Reading every table as of {moment.at:%Y-%m-%d %H:%M:%S} UTC")
            tables = list(moment.digests())
        except errors.MarketDataError as error:
            log.end_drill(drill_id, DrillFigures(error=str(error)))
            raise
    return Expected(drill_id=drill_id, plan=plan, tables=tables, rpo_s=rpo_s)


@contextmanager
def _moment(urls: Sequence[str]) -> Generator[Moment]:
    """Open the read of production, at a moment that no long load stands in the way of."""
    with ExitStack() as opened:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                moment = opened.enter_context(digests.moment(urls))
            except errors.StorageUnavailableError:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(PAUSE_S)
            else:
                yield moment
                return


def _await_archived(log: BackupLog, segment: str, committed: float) -> float:
    """Wait until a WAL segment is in the repository; return the seconds since ``committed``.

    Nothing hastens it: the server archives in its own time, as it would without a drill.

    Raises:
        StorageUnavailableError: It takes too long; the text says whether archiving fails.
    """
    while True:
        archived = log.archived_wal()
        waited_s = time.monotonic() - committed
        if archived.segment >= segment:
            return waited_s
        if waited_s > ARCHIVED_WITHIN_S:
            why = f"archiving {archived.failed} fails" if archived.failed else "nothing is archived"
            message = (
                f"WAL segment {segment} is not in the repository after {waited_s:.0f} s: {why}; "
                "see the server's log, and is archive_mode on? (docs/how-to/back_up.md)"
            )
            raise errors.StorageUnavailableError(message)
        time.sleep(LOOKS_EVERY_S)


def _compared(
    settings: Settings,
    pgbackrest: PgBackRest,
    audit: AuditLog,
    urls: Sequence[str],
    expected: Expected,
    report: Callable[[str], None],
) -> DrillReport:
    with restoring.restored_copy(expected.plan, pgbackrest, report) as copy:
        copies = [copy.server.url(url) for url in urls]
        report("Comparing the copy table by table")
        began = time.monotonic()
        found = [digests.digests(url) for url in copies]
        compared = time.monotonic()
        told = differences(expected.tables, found)
        report("Putting back the audit log's rows of after the moment, from its journal")
        audit_rows_lost = _audit_rows_lost(audit, copy.server, urls[0])
        audited = time.monotonic()
        report("Completing the copy from the archive, where rows were dropped")
        completed = 0 if told else _complete(settings, copies[0])
        ended = time.monotonic()
    seconds = {
        "restore": copy.restored_s,
        "replay": copy.replayed_s,
        "audit_log": audited - compared,
        "completion": ended - audited,
        "comparison": compared - began,
    }
    return DrillReport(
        figures=DrillFigures(
            backup_label=expected.plan.backup.label,
            rpo_s=expected.rpo_s,
            rto_s=sum(seconds.values()) - seconds["comparison"],
            tables_compared=sum(len(tables) for tables in expected.tables),
            rows_compared=expected.rows,
            rows_completed=completed,
            audit_rows_lost=audit_rows_lost,
            error="; ".join(told) or None,
        ),
        seconds=seconds,
        databases=[database_url.place(url) for url in urls],
        differences=told,
    )


def _audit_rows_lost(audit: AuditLog, copy: ScratchServer, url: str) -> int:
    """Return how many rows the audit log would lack, had production been lost at this moment."""
    head = audit.head()
    if audit.journal is not None:
        restoring.reinstate(copy, url, audit.journal)
    with Timescale(copy.url(url), pool_size=1) as timescale:
        reached = AuditLog(timescale).head()
        # One hash says it of all rows before.
        is_whole = AuditLog(timescale).hash_of(head.last_id) == head.last_hash
    return 0 if is_whole else max(head.last_id - reached.last_id, 1)


def _complete(settings: Settings, copy: str) -> int:
    """Restore what the archive alone holds into the copy; return the number of rows.

    Each file is compared with its proof on the way. The bucket is only read.

    Raises:
        ArchiveMismatchError: A file, or what came of it, is not what was archived.
    """
    # Without the journal: what is done to the copy is no deed in production.
    of_copy = settings.model_copy(update={"database_url": SecretStr(copy), "audit_bucket": ""})
    rows = 0
    with opening.restore(of_copy) as restore:
        for dataset in ARCHIVED.values():
            for dropped in restore.dropped(dataset):
                last = dropped.end - timedelta(days=1)
                periods = restore.into_hot(dataset, dropped.start, last, by="restore drill")
                rows += sum(period.inserted for period in periods)
    return rows
