"""The archive's oracle on a real database and bucket: each damage is found where it is done."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

import psycopg
import pyarrow as pa
import pytest

from faults.archive_oracle import Archived, ArchiveOracle
from faults.dataset_oracle import Slice, stored_rows
from marketdata.coverage import CoverageState
from resources.storage import migrations
from resources.storage.aggregates.rollup_engine import RollUps
from resources.storage.instruments import InstrumentStore
from resources.storage.object_store import ObjectStore, S3Settings
from resources.storage.timescale import Timescale
from sandbox.control import SimulatorControl
from tests.fixtures.world import BucketSettings
from tests.storage.archive.moves import FEBRUARY, JANUARY, Moves, load, minutes, refresh

SLICE = Slice(dataset="minute_bars", provider="polygon", symbols=("AAA", "BBB"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Truth:
    """The truth of the simulator: the rows as they were loaded."""

    rows: pa.Table

    def dataset_truth(self, *_: object, **__: object) -> pa.Table:
        return self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Two archived months of two shares, of which January is dropped, and their oracle."""

    connection: psycopg.Connection
    oracle: ArchiveOracle
    store: ObjectStore

    def findings(self, *, settled: bool = True) -> list[str]:
        """Return the oracle's findings."""
        return list(self.oracle.look([Archived(slice=SLICE)], settled=settled).wrong)


@pytest.fixture
def dropped(database_url: str, bucket: BucketSettings) -> Iterator[Dropped]:
    """A database in which January is in the archive only, and nothing is wrong."""
    settings = S3Settings(
        endpoint=bucket.endpoint,
        bucket=bucket.bucket,
        region=bucket.region,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
    )
    migrations.migrate(database_url)
    with Timescale(database_url) as timescale:
        known = InstrumentStore(timescale).register(
            "equity", {"AAA": "a", "BBB": "b"}, date(2020, 1, 2)
        )
        moves = Moves(
            timescale=timescale, store=ObjectStore(settings), aggregates=RollUps(timescale)
        )
        ids = list(known.values())
        days = [(CoverageState.COMPLETE, date(2024, 1, 1), date(2024, 2, 5))]
        for month in (JANUARY, FEBRUARY):
            load(timescale, "minute_bars", minutes(ids, month, 40), states=days)
        with psycopg.connect(database_url) as connection:
            truth = stored_rows(connection, SLICE)
        refresh(moves.aggregates)
        archived = moves.prove("minute_bars", "2024-01")
        moves.prove("minute_bars", "2024-02")
        assert moves.retention.drop(archived, "2024-01", by="test").rows == 80
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create table dagster.runs (run_id text, status text)")
        connection.execute(
            "create table dagster.concurrency_slots (concurrency_key text, run_id text)"
        )
    oracle = ArchiveOracle(
        database_url=database_url,
        control=cast("SimulatorControl", _Truth(rows=truth)),
        bucket=settings,
        secrets=(),
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield Dropped(connection=connection, oracle=oracle, store=ObjectStore(settings))


def _findings(dropped: Dropped, *, settled: bool = True) -> list[str]:
    """Return the findings except for the test's own session."""
    return [
        finding
        for finding in dropped.findings(settled=settled)
        if "sessions were left open" not in finding
    ]


def test_each_damage_of_the_database_is_found(dropped: Dropped) -> None:
    """Each damage is mended before the next, so each finding has one cause."""
    assert _findings(dropped) == []
    for damage, cure, sign, settled in DAMAGES:
        dropped.connection.execute(damage.encode())
        findings = _findings(dropped, settled=settled)
        assert any(sign in finding for finding in findings), (damage, findings)
        dropped.connection.execute(cure.encode())
        assert _findings(dropped, settled=settled) == [], cure


DAMAGES = (
    (
        """create temp table gone as select * from minute_bar limit 1;
           delete from minute_bar using gone where gone.opened_at = minute_bar.opened_at
           and gone.instrument_id = minute_bar.instrument_id;
           delete from minute_bar_invalidation""",
        "insert into minute_bar select * from gone; delete from minute_bar_invalidation",
        "1 rows left the table without a tombstone",
        False,
    ),
    (
        "update archive_tombstone set restored_at = now(), restored_by = 'x'",
        "update archive_tombstone set restored_at = null, restored_by = null",
        "80 rows left the table without a tombstone",
        False,
    ),
    (
        "update archive_tombstone set restored_at = now(), restored_by = 'x'",
        "update archive_tombstone set restored_at = null, restored_by = null",
        "2 ledgers call days archived that are in the table",
        False,
    ),
    (
        """update coverage set sessions = sessions + '{[2024-01-05,2024-01-06)}'
           where state = 'complete'""",
        """update coverage set sessions = sessions - '{[2024-01-05,2024-01-06)}'
           where state = 'complete'""",
        "2 ledgers call days complete that were dropped",
        True,
    ),
    (
        "update rollup_15m set volume = volume + 1 where bucket_start < '2024-02-01'",
        "update rollup_15m set volume = volume - 1 where bucket_start < '2024-02-01'",
        "bars are not what their minutes come to, such as AAA 2024-01-02",
        True,
    ),
    (
        """insert into minute_bar_invalidation (instrument_id, provider, span)
           values (1, 'polygon', '[2024-01-02,2024-01-03)')""",
        "delete from minute_bar_invalidation",
        "1 changes wait for the refresh of aggregates",
        True,
    ),
    (
        """insert into minute_bar_version
           select *, known_from + interval '1 day', 1 from minute_bar limit 1""",
        "delete from minute_bar_version",
        "1 rows are versions of what was never restated",
        False,
    ),
    (
        "update archive_log set superseded_at = now() where period = '2024-02'",
        "update archive_log set superseded_at = null",
        "1 files are named and not logged",
        True,
    ),
    (
        "select pg_advisory_lock(1)",
        "select pg_advisory_unlock(1)",
        "1 advisory locks are held",
        False,
    ),
    (
        "insert into dagster.runs values ('r1', 'STARTED')",
        "delete from dagster.runs",
        "1 runs are not ended: r1 STARTED",
        True,
    ),
)
"""A damaging statement, its repair, a part of the finding, and when it is one."""


@pytest.mark.parametrize(
    ("damage", "signs"),
    [
        (lambda _: None, ["are named by a snapshot and missing", "80 rows are lost"]),
        (lambda content: content[:-1], ["are not the bytes of their proof", "80 rows are lost"]),
    ],
)
def test_a_file_that_is_gone_or_changed_is_found(
    dropped: Dropped, damage: Callable[[bytes], bytes | None], signs: list[str]
) -> None:
    """Found in the bucket, whatever the log says; its rows had no other copy."""
    (key,) = [entry.key for entry in dropped.store.list() if "/data/2024-01/" in entry.key]
    changed: Any = damage(dropped.store.get(key).content)
    dropped.store.delete(key)
    if changed is not None:
        dropped.store.put_bytes(key, changed, content_type="application/octet-stream")
    findings = _findings(dropped, settled=False)
    assert len(findings) == len(signs), findings
    for sign in signs:
        assert any(sign in finding for finding in findings), findings


def test_a_session_that_is_left_open_is_found(dropped: Dropped) -> None:
    """The session of this test."""
    (finding,) = dropped.findings()
    assert "sessions were left open" in finding
