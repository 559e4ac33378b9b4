"""The audit log: what a row costs beside a plain insert, and how long a verification takes.

Here: rows a second of 1 and of 4 writers, each row a commit of its own: plain, chained, and chained
with a journal in a locked bucket. Then a verification of 10,000 rows. Not here: what is audited.

    python -m bench.audit [--seconds 5] [--json]

Beside it stands what one would pick instead: the same columns in a plain table.
"""

import argparse
import functools
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from psycopg.types.json import Jsonb

from bench.scratch import scratch_database
from marketdata.audit import Action
from resources.storage import migrations
from resources.storage.audit import AuditLog, record
from resources.storage.audit.journal import BucketJournal
from resources.storage.audit.locked_bucket import Lock, LockedBucket
from resources.storage.object_store import S3Settings
from resources.storage.timescale import Connection, Timescale
from sandbox import locking_object_store
from sandbox.locking_object_store import REGION, LockingServer
from usecases.auditing import verify_log

VERIFIED = 10_000
ROUNDS = 3
PLAIN_TABLE = """
create table plain_audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    who text not null,
    origin text not null,
    action text not null,
    subject text not null,
    details jsonb not null
)
"""
PLAIN_ROW = """
insert into plain_audit (who, origin, action, subject, details)
values ('ada@desk', 'desk process 1', 'run_launched', %(subject)s, %(details)s)
"""
FILL = """
insert into audit_log (who, origin, action, subject, details)
select 'ada@desk', 'desk process 1', 'letters_retried', 'letter ' || number, '{"job": "universe"}'
from generate_series(1, %(rows)s) as number
"""

Write = Callable[[Connection, int], object]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        locking_object_store.running(Path(folder)) as server,
        scratch_database() as url,
    ):
        migrations.migrate(url)
        server.create_bucket("journal")
        figures = measure(url, journal_on(server, "journal"), arguments.seconds)
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, figure in figures.items():
        print(f"{name:60}{figure:>12,.2f}")


def journal_on(server: LockingServer, bucket: str) -> BucketJournal:
    """Return a journal in a bucket of a server, locked for a day."""
    settings = S3Settings(
        bucket=bucket,
        access_key=server.access_key,
        secret_key=server.secret_key,
        endpoint=server.endpoint,
        region=REGION,
    )
    return BucketJournal(LockedBucket(settings, Lock(mode="GOVERNANCE", stays=timedelta(days=1))))


def measure(url: str, journal: BucketJournal, seconds: float) -> dict[str, float]:
    """Return the figures by name."""
    figures: dict[str, float] = {}
    writes: dict[str, Write] = {
        "plain": write_plain,
        "chained": write_chained,
        "journaled": functools.partial(write_chained, journal=journal),
    }
    with Timescale(url, pool_size=5) as timescale:
        with timescale.connection() as connection:
            connection.execute(PLAIN_TABLE)
        for writers in (1, 4):
            # One after the other in turns: what else the machine does then hits both.
            rates: dict[str, list[float]] = {name: [] for name in writes}
            for _ in range(ROUNDS):
                for name, write in writes.items():
                    rates[name].append(rows_a_second(timescale, writers, seconds, write))
            for name, measured in rates.items():
                figures[f"{name} rows a second, {writers} writers"] = statistics.median(measured)
        log = AuditLog(timescale)
        with timescale.connection() as connection:
            connection.execute(FILL, {"rows": max(VERIFIED - log.head().last_id, 0)})
        started, used = time.perf_counter(), time.process_time()
        verification = verify_log(log, None)
        took, used = time.perf_counter() - started, time.process_time() - used
        assert verification.valid, verification.findings
        figures["rows verified"] = verification.rows
        figures[f"verification of {VERIFIED:,} rows, s"] = took
        figures["processor time of this process for it, s"] = used
        figures["bytes a row, with indexes: chained"] = bytes_a_row(timescale, "audit_log")
        figures["bytes a row, with indexes: plain"] = bytes_a_row(timescale, "plain_audit")
    return figures


def rows_a_second(timescale: Timescale, writers: int, seconds: float, write: Write) -> float:
    """Return how many rows ``writers`` threads commit in a second, one by one."""
    begin = threading.Barrier(writers)

    def work(_: int) -> int:
        done = 0
        begin.wait()
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            with timescale.connection() as connection:
                write(connection, done)
            done += 1
        return done

    with ThreadPoolExecutor(writers) as pool:
        return sum(pool.map(work, range(writers))) / seconds


def write_plain(connection: Connection, number: int) -> None:
    """Write a row of the plain table."""
    connection.execute(
        PLAIN_ROW, {"subject": f"letter {number}", "details": Jsonb({"job": "universe"})}
    )


def write_chained(
    connection: Connection, number: int, journal: BucketJournal | None = None
) -> None:
    """Write a row of the audit log."""
    record(
        connection,
        Action.LETTERS_RETRIED,
        who="ada@desk",
        subject=f"letter {number}",
        details={"job": "universe"},
        journal=journal,
    )


def bytes_a_row(timescale: Timescale, table: str) -> float:
    """Return the size of a table, indexes included, for each of its rows."""
    with timescale.connection() as connection:
        row = connection.execute(
            f"select pg_total_relation_size('{table}')::float / count(*) from {table}".encode()
        ).fetchone()
    return row[0] if row else 0.0


if __name__ == "__main__":
    main()
