"""A bucket whose objects cannot be deleted or overwritten for a time: S3 Object Lock.

Here: locked objects, and the probe that proves that a store really locks. Not here: what is put
there (anchors.py), or buckets without locks (../object_store.py).

Some servers of the protocol accept the headers of a lock, answer 200, and lock nothing. So nothing
is believed: the probe puts a small locked object, tries to delete it and to shorten its lock, and
looks whether it is still there as it was. Retention modes:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from botocore import exceptions as botocore_errors

from marketdata.recovery import errors
from resources.storage.object_store import S3Settings, connected, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROBE_KEY = "audit/probe"
PROBE_STAYS = timedelta(minutes=10)
"""How long the probe's object is locked: more than clocks differ."""
_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT}
"""How servers refuse what a lock forbids: AWS and SeaweedFS 403, others 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """How objects are locked.

    Attributes:
        mode: GOVERNANCE can be lifted by whoever has a special permission, COMPLIANCE by nobody,
            the owner of the account included.
        stays: How long from the moment of the put.
    """

    mode: Literal["GOVERNANCE", "COMPLIANCE"]
    stays: timedelta


class LockedBucket:
    """Puts and lists locked objects; constructing it connects to nothing."""

    def __init__(self, settings: S3Settings, lock: Lock) -> None:
        self.settings = settings
        self._lock = lock

    @functools.cached_property
    def _client(self) -> "S3Client":
        return connected(self.settings)

    def require_locks(self, now: datetime) -> None:
        """Prove that the store locks, by a small object that it has to keep against our will.

        The object stays, 2 bytes for each probe: it is locked.

        Args:
            now: This moment (aware).

        Raises:
            ConfigurationError: It does not lock.
            StorageError: It cannot be reached, or refuses the keys.
        """
        until = (now + PROBE_STAYS).replace(microsecond=0)
        version = self._put(PROBE_KEY, b"{}", until)
        sooner = {"Mode": self._lock.mode, "RetainUntilDate": until - PROBE_STAYS / 2}
        bucket, client = self.settings.bucket, self._client
        with translated(self.settings, PROBE_KEY):
            if not _is_refused(
                lambda: client.put_object_retention(
                    Bucket=bucket,
                    Key=PROBE_KEY,
                    VersionId=version,
                    Retention=sooner,  # pyright: ignore[reportArgumentType] a TypedDict of the stubs
                )
            ):
                raise self._does_not_lock("it shortens the lock of an object")
            if not _is_refused(
                lambda: client.delete_object(Bucket=bucket, Key=PROBE_KEY, VersionId=version)
            ):
                raise self._does_not_lock("it deletes a locked object")
        self._require_kept(PROBE_KEY, version, until)

    def put(self, key: str, content: bytes, now: datetime, *, look: bool = True) -> None:
        """Store ``content``, locked from ``now`` (aware) on.

        Args:
            key: Of the object; earlier versions of it stay.
            content: Of the object.
            now: This moment (aware).
            look: Look whether the lock is as it was put: one more request.

        Raises:
            ConfigurationError: The store does not lock.
            StorageError: It cannot be reached, or refuses.
        """
        until = (now + self._lock.stays).replace(microsecond=0)
        version = self._put(key, content, until)
        if look:
            self._require_kept(key, version, until)

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys of all versions below ``prefix``: a deletion mark hides nothing.

        Raises:
            StorageError: The store cannot be reached, or refuses.
        """
        with translated(self.settings, "the bucket"):
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self.settings.bucket, Prefix=prefix
            )
            for page in pages:
                for version in page.get("Versions", []):
                    yield version.get("Key", "")

    def contents(self, key: str) -> Iterator[bytes]:
        """Yield the content of every version of an object, the oldest first.

        Raises:
            StorageError: The store cannot be reached, or refuses.
        """
        bucket = self.settings.bucket
        with translated(self.settings, key):
            listed = self._client.list_object_versions(Bucket=bucket, Prefix=key)
            for version in reversed(listed.get("Versions", [])):
                answer = self._client.get_object(
                    Bucket=bucket, Key=key, VersionId=version.get("VersionId", "")
                )
                yield answer["Body"].read()

    def _put(self, key: str, content: bytes, until: datetime) -> str:
        with translated(self.settings, key):
            try:
                answer = self._client.put_object(
                    Bucket=self.settings.bucket,
                    Key=key,
                    Body=content,
                    ContentType="application/json",
                    ObjectLockMode=self._lock.mode,
                    ObjectLockRetainUntilDate=until,
                    # AWS wants a checksum with a lock.
                    ChecksumAlgorithm="SHA256",
                )
            except botocore_errors.ClientError as error:
                if _status(error) == HTTPStatus.BAD_REQUEST:
                    code = error.response.get("Error", {}).get("Code", "")
                    raise self._does_not_lock(f"it takes no locked object ({code})") from error
                raise
        version = answer.get("VersionId", "")
        if not version or version == "null":
            raise self._does_not_lock("it keeps no versions of objects")
        return version

    def _require_kept(self, key: str, version: str, until: datetime) -> None:
        """Look that a version is there, and locked as it was put."""
        with translated(self.settings, key):
            try:
                stored = self._client.get_object_retention(
                    Bucket=self.settings.bucket, Key=key, VersionId=version
                ).get("Retention", {})
            except botocore_errors.ClientError as error:
                if _status(error) not in {HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST}:
                    raise
                raise self._does_not_lock("it has forgotten the lock of an object") from error
        kept_until = stored.get("RetainUntilDate")
        if stored.get("Mode") != self._lock.mode or kept_until is None or kept_until < until:
            raise self._does_not_lock("it has forgotten the lock of an object")

    def _does_not_lock(self, what: str) -> errors.ConfigurationError:
        where = f"bucket {self.settings.bucket} at {self.settings.endpoint or 'AWS'}"
        return errors.ConfigurationError(
            f"{where} locks no objects: {what}. Name a bucket made with Object Lock in "
            f"{self.settings.variable} (docs/how-to/audit.md), or unset it to anchor nothing"
        )


def _is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except botocore_errors.ClientError as error:
        if _status(error) not in _REFUSED:
            raise
        return True
    return False


def _status(error: botocore_errors.ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
