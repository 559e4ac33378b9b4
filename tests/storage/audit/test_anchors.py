"""Anchors in a bucket that locks objects, and stores that do not lock."""

import json
from datetime import timedelta
from typing import Literal

import pytest
from botocore.exceptions import ClientError

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from resources.storage.audit import AuditLog
from resources.storage.audit.anchors import PREFIX, Anchors
from resources.storage.audit.locked_bucket import Lock, LockedBucket
from resources.storage.object_store import S3Settings
from resources.storage.timescale import Timescale
from sandbox.locking_object_store import LockingServer
from tests.fixtures.locked_bucket import VARIABLE, settings_of
from tests.fixtures.superuser import Tamper
from tests.fixtures.world import BucketSettings
from tests.storage.audit.deeds import CUT, NOBODY, REHASH, deed
from usecases.auditing import anchor_log, describe, verify_log

DAY = timedelta(days=1)


@pytest.fixture
def anchors(timescale: Timescale, locked: S3Settings) -> Anchors:
    """Anchors that are locked for a day."""
    return Anchors(timescale, LockedBucket(locked, Lock(mode="GOVERNANCE", stays=DAY)))


def test_an_anchored_chain_is_compared_with_its_anchors(log: AuditLog, anchors: Anchors) -> None:
    """Each is a row's id and hash, read from the keys alone."""
    first = anchor_log(log, anchors, utc_now())
    log.append(deed(11))
    second = anchor_log(log, anchors, utc_now() + DAY)

    assert anchors.all() == [first, second]
    verification = verify_log(log, anchors)
    assert verification.valid
    assert describe(verification).endswith("2 anchors agree")


def test_an_anchors_object_says_the_same_as_its_key(
    log: AuditLog, anchors: Anchors, locked: S3Settings, locking_server: LockingServer
) -> None:
    """For people who look into the bucket."""
    anchor = anchor_log(log, anchors, utc_now())
    client = locking_server.client()
    stored = client.get_object(Bucket=locked.bucket, Key=anchor.object_key)["Body"].read()
    client.close()

    said = json.loads(stored)
    assert (said["audit_id"], said["hash"]) == (anchor.audit_id, anchor.hash.hex())


def test_a_rewrite_of_everything_shows_against_an_anchor(
    log: AuditLog, anchors: Anchors, tamper: Tamper
) -> None:
    """A superuser who makes all hashes and the head fit does not reach the bucket."""
    anchored = anchor_log(log, anchors, utc_now()).audit_id
    tamper(NOBODY)
    tamper(REHASH)
    tamper("delete from audit_anchor")

    verification = verify_log(log, anchors)

    assert f"row {anchored} is not the one that was anchored" in "; ".join(verification.findings)
    assert verify_log(log, None).valid


def test_a_tail_that_was_cut_with_its_head_shows_against_an_anchor(
    log: AuditLog, anchors: Anchors, tamper: Tamper
) -> None:
    """Without an anchor the shorter log looks whole."""
    anchored = anchor_log(log, anchors, utc_now()).audit_id
    tamper(CUT)

    assert verify_log(log, None).valid
    findings = "; ".join(verify_log(log, anchors).findings)
    assert f"row {anchored} is missing, which was anchored" in findings


def test_an_anchor_stays_though_it_is_deleted_or_overwritten(
    log: AuditLog, anchors: Anchors, locked: S3Settings, locking_server: LockingServer
) -> None:
    """A deletion mark hides an object from a plain listing only; its version cannot go."""
    anchor = anchor_log(log, anchors, utc_now())
    client = locking_server.client()
    listed = client.list_object_versions(Bucket=locked.bucket, Prefix=PREFIX)
    version = listed.get("Versions", [{}])[0].get("VersionId", "")
    client.delete_object(Bucket=locked.bucket, Key=anchor.object_key)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=locked.bucket, Key=anchor.object_key, VersionId=version)
    assert client.list_objects_v2(Bucket=locked.bucket, Prefix=PREFIX)["KeyCount"] == 0
    client.close()

    assert anchors.all() == [anchor]


def test_an_anchor_is_noted_for_the_metrics(
    log: AuditLog, anchors: Anchors, timescale: Timescale
) -> None:
    """Row, hash, time and key."""
    anchor = anchor_log(log, anchors, utc_now())
    with timescale.connection() as connection:
        row = connection.execute(
            "select anchored_at, audit_id, hash, object_key from audit_anchor"
        ).fetchone()

    assert row == (anchor.anchored_at, anchor.audit_id, anchor.hash, anchor.object_key)


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_bucket_that_locks_passes_the_probe(
    locked: S3Settings, mode: Literal["GOVERNANCE", "COMPLIANCE"]
) -> None:
    """In both modes, again and again."""
    bucket = LockedBucket(locked, Lock(mode=mode, stays=DAY))

    bucket.require_locks(utc_now())
    bucket.require_locks(utc_now())


def test_a_bucket_made_without_locks_is_refused(
    log: AuditLog, timescale: Timescale, locking_server: LockingServer
) -> None:
    """Of a server that could lock: one line that names variable and page, and no anchor."""
    client = locking_server.client()
    client.create_bucket(Bucket="plain")
    client.close()
    plain = settings_of(locking_server, "plain")
    anchors = Anchors(timescale, LockedBucket(plain, Lock(mode="GOVERNANCE", stays=DAY)))

    with pytest.raises(errors.ConfigurationError, match=rf"locks no objects.*{VARIABLE}"):
        anchor_log(log, anchors, utc_now())
    assert anchors.all() == []


def test_a_server_that_says_yes_and_locks_nothing_is_refused(
    log: AuditLog, timescale: Timescale, bucket: BucketSettings
) -> None:
    """Rclone takes every header and answers 200: it is not believed."""
    liar = S3Settings(
        bucket=bucket.bucket,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
        endpoint=bucket.endpoint,
        region=bucket.region,
        variable=VARIABLE,
    )
    anchors = Anchors(timescale, LockedBucket(liar, Lock(mode="GOVERNANCE", stays=DAY)))

    with pytest.raises(errors.ConfigurationError) as caught:
        anchor_log(log, anchors, utc_now())

    assert "locks no objects" in str(caught.value)
    assert VARIABLE in str(caught.value)
    assert "\n" not in str(caught.value)
    assert bucket.secret_key not in str(caught.value)


def test_a_missing_bucket_is_named_by_its_own_variable(
    log: AuditLog, timescale: Timescale, locking_server: LockingServer
) -> None:
    """Not by that of the archive."""
    missing = settings_of(locking_server, "no-such-bucket")
    anchors = Anchors(timescale, LockedBucket(missing, Lock(mode="GOVERNANCE", stays=DAY)))

    with pytest.raises(errors.StorageConflictError, match=f"does not exist.*{VARIABLE}"):
        verify_log(log, anchors)


def test_without_a_bucket_nothing_is_anchored(log: AuditLog) -> None:
    """The line names the variable."""
    with pytest.raises(errors.ConfigurationError, match=VARIABLE):
        anchor_log(log, None, utc_now())
