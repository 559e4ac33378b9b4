"""The journal: every row of the audit log is in a locked bucket before it is in the database."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from marketdata.audit import Action
from marketdata.calendars import utc_now
from marketdata.recovery import errors
from resources.storage.audit import AuditLog, record, reinstatement
from resources.storage.audit.anchors import Anchors
from resources.storage.audit.journal import PREFIX, BucketJournal
from resources.storage.audit.locked_bucket import LockedBucket
from resources.storage.object_store import S3Settings
from resources.storage.roles import Role
from resources.storage.timescale import Timescale
from sandbox.locking_object_store import LockingServer
from tests.fixtures.locked_bucket import DAY_LOCK
from tests.fixtures.roles import AsRole
from tests.fixtures.superuser import Tamper
from tests.fixtures.world import BucketSettings
from tests.storage.audit.deeds import CUT, NOBODY, REHASH, ROWS, deed
from usecases.auditing import anchor_log, describe, verify_log


@pytest.fixture
def journaled(migrated_url: str, journal: BucketJournal) -> Iterator[AuditLog]:
    """A log with ten rows that are in the journal, after those of the migrations, which are not."""
    with Timescale(migrated_url, pool_size=2, journal=journal) as timescale:
        log = AuditLog(timescale)
        for number in range(ROWS):
            log.append(deed(number))
        yield log


def do(timescale: Timescale, deed: str, *, then: str = "select 1") -> None:
    """Do something and record it, in one transaction."""
    with timescale.connection() as connection:
        connection.execute(deed.encode())
        record(
            connection,
            Action.PERIOD_DROPPED,
            who="ada@desk",
            subject="a period",
            journal=timescale.journal,
        )
        connection.execute(then.encode())


def count(url: str) -> int:
    """Return the number of rows in the log."""
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from audit_log").fetchone()
    assert row
    return row[0]


def test_a_row_is_in_the_bucket_before_its_deed_commits(
    migrated_url: str, journal: BucketJournal
) -> None:
    """While the transaction is open, nobody sees the row in the database."""
    before = count(migrated_url)
    with Timescale(migrated_url, pool_size=1, journal=journal) as timescale:
        with timescale.connection() as connection:
            record(connection, Action.PERIOD_DROPPED, who="ada", subject="January", journal=journal)
            [entry] = journal.entries()
            assert count(migrated_url) == before
        assert AuditLog(timescale).hash_of(entry.audit_id) == entry.hash


def test_an_object_is_the_rows_text_and_its_key_has_the_texts_hash(
    journaled: AuditLog, journal: BucketJournal, locked: S3Settings, locking_server: LockingServer
) -> None:
    """So that sha256sum verifies it, and a listing alone tells the chain."""
    client = locking_server.client()
    stored = client.list_objects_v2(Bucket=locked.bucket, Prefix=PREFIX).get("Contents", [])
    texts = [
        client.get_object(Bucket=locked.bucket, Key=item.get("Key", ""))["Body"].read()
        for item in stored
    ]
    client.close()
    rows = sorted(journaled.find(limit=ROWS), key=lambda row: row.id)

    assert [text.decode() for text in texts] == [row.canonical for row in rows]
    assert [entry.hash for entry in journal.entries()] == [
        hashlib.sha256(text).digest() for text in texts
    ]
    assert [journal.row(entry) for entry in journal.entries()] == rows


def test_without_its_journal_a_deed_is_not_done(migrated_url: str, locked: S3Settings) -> None:
    """One line names bucket, cure and page; the deed and its row are undone."""
    nowhere = replace(locked, endpoint="http://127.0.0.1:9", attempts=1)
    away = BucketJournal(LockedBucket(nowhere, DAY_LOCK))
    before = count(migrated_url)
    with Timescale(migrated_url, pool_size=1, journal=away) as timescale:
        with pytest.raises(errors.StorageUnavailableError) as caught:
            AuditLog(timescale).append(deed(1))
        with pytest.raises(errors.StorageUnavailableError):
            do(timescale, "create table a_deed (id integer)")

    assert "docs/runbooks/audit.md" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert locked.secret_key not in str(caught.value)
    assert count(migrated_url) == before
    with psycopg.connect(migrated_url) as connection:
        assert connection.execute("select to_regclass('a_deed')").fetchone() == (None,)


def test_a_store_that_keeps_no_versions_journals_nothing(
    migrated_url: str, bucket: BucketSettings
) -> None:
    """It answers 200 to a put with a lock, and is not believed."""
    liar = S3Settings(
        bucket=bucket.bucket,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
        endpoint=bucket.endpoint,
        region=bucket.region,
    )
    with (
        Timescale(
            migrated_url, pool_size=1, journal=BucketJournal(LockedBucket(liar, DAY_LOCK))
        ) as timescale,
        pytest.raises(errors.ConfigurationError, match="locks no objects"),
    ):
        AuditLog(timescale).append(deed(1))


def test_a_deed_that_fails_after_its_row_was_kept_is_no_finding(
    journaled: AuditLog, journal: BucketJournal, migrated_url: str
) -> None:
    """Its entry has no row, and the next deed has its id."""
    with (
        Timescale(migrated_url, pool_size=1, journal=journal) as timescale,
        pytest.raises(errors.StorageConflictError),
    ):
        do(timescale, "select 1", then="select 1 / 0")
    assert verify_log(journaled, None).valid
    journaled.append(deed(11))
    journaled.append(deed(12))

    last = journaled.head().last_id
    assert [entry.audit_id for entry in journal.entries()][-3:] == [last - 1, last - 1, last]
    assert verify_log(journaled, None).valid
    assert reinstatement.lost_rows(migrated_url, journal) == []


def test_a_rewrite_of_everything_shows_against_the_journal(
    journaled: AuditLog, timescale: Timescale, locked_bucket: LockedBucket, tamper: Tamper
) -> None:
    """Without any anchor: each row is compared, and the first that differs is named."""
    anchor_log(journaled, Anchors(timescale, locked_bucket), utc_now())
    tamper(NOBODY)
    tamper(REHASH)

    findings = verify_log(journaled, None).findings

    assert findings[0].startswith("row 5 is not the one that was journaled (audit/rows/")
    assert verify_log(AuditLog(timescale), None).valid


def test_a_tail_that_was_cut_with_its_head_shows_against_the_journal(
    journaled: AuditLog, timescale: Timescale, tamper: Tamper
) -> None:
    """Every row but the very last, of which the journal cannot tell whether it was committed."""
    last = journaled.head().last_id
    tamper(CUT)

    findings = verify_log(journaled, None).findings

    assert len(findings) == ROWS - 1
    assert findings[-1].startswith(f"row {last - 1} is missing, which was journaled")
    assert verify_log(AuditLog(timescale), None).valid


def test_rows_that_a_restore_has_lost_come_back_as_they_were(
    journaled: AuditLog,
    timescale: Timescale,
    journal: BucketJournal,
    locked_bucket: LockedBucket,
    tamper: Tamper,
) -> None:
    """With ids, times and hashes; the chain goes on, and it is done once."""
    before = journaled.find()
    # The journal begins with the first deed: what came before is put into it.
    anchor_log(journaled, Anchors(timescale, locked_bucket), utc_now())
    tamper(CUT)

    restored = reinstatement.reinstate(timescale.url, journal)
    again = reinstatement.reinstate(timescale.url, journal)

    assert (restored, again) == (len(before) - 5, 0)
    assert journaled.find() == before
    journaled.append(deed(11))
    assert verify_log(journaled, None).valid


def test_rows_of_before_the_journal_are_put_into_it_by_an_anchor(
    journaled: AuditLog, timescale: Timescale, locked_bucket: LockedBucket
) -> None:
    """Until then a verification counts them."""
    before = verify_log(journaled, None)
    migrated = journaled.head().last_id - ROWS
    anchor_log(journaled, Anchors(timescale, locked_bucket), utc_now())
    after = verify_log(journaled, None)

    assert (before.valid, before.unjournaled) == (True, migrated)
    assert f"{migrated} rows are not in the journal yet" in describe(before)
    assert (after.valid, after.unjournaled) == (True, 0)


def test_only_the_owner_of_the_tables_puts_rows_back(
    guarded_url: str, as_role: AsRole, journal: BucketJournal
) -> None:
    """A loader adds rows, and no row with a time or a hash of its choice."""
    with Timescale(guarded_url, pool_size=1, journal=journal) as timescale:
        with timescale.connection() as connection:
            record(connection, Action.PERIOD_DROPPED, who="ada", subject="a", journal=journal)
            connection.rollback()
        lost = reinstatement.lost_rows(as_role(Role.LOADER), journal)
        with pytest.raises(errors.StorageConflictError, match="only the owner"):
            reinstatement.reinstate(as_role(Role.LOADER), journal)

        assert [row.subject for row in lost] == ["a"]
        assert reinstatement.reinstate(guarded_url, journal) == 1
        assert verify_log(AuditLog(timescale), None).valid
