"""An S3 bucket: AWS, DigitalOcean Spaces, or any server that speaks the protocol.

Here: reading, writing and listing objects, and the translation of errors. Not here: what the
objects mean (archive/, raw_zone.py).
"""

import functools
import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import boto3.session
import botocore.session
from boto3.exceptions import Boto3Error
from botocore import exceptions as botocore_errors
from botocore.config import Config
from botocore.loaders import create_loader

from marketdata.recovery import errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import BucketLocationConstraintType

DESCRIPTION_OF_S3 = create_loader()
"""Reads botocore's description of S3, and keeps it: a client that reads it anew takes 60 ms."""
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
DEFAULT_REGION = "us-east-1"

_CHECK_KEYS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the region and the bucket's policy"
REFUSED_KEYS = {
    "ExpiredToken": "they have expired: set new AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it (NTP)",
    "AccessDenied": _CHECK_KEYS,
    "InvalidAccessKeyId": _CHECK_KEYS,
    "SignatureDoesNotMatch": _CHECK_KEYS,
    "403": _CHECK_KEYS,
}
"""S3's codes for a refused signature, with the cure; the least specific one last."""
_BUCKET = "the bucket"
_MISSING_OBJECT = {"NoSuchKey", "404"}
_FULL = {"XMinioStorageFull", "InsufficientStorage", "QuotaExceeded"}
_BUSY = {"SlowDown", "429", "RequestTimeout", "InternalError"}


class ObjectMissingError(errors.StorageConflictError):
    """There is no such object."""


class ObjectFailsError(errors.StorageUnavailableError):
    """The server fails at one object: it is broken, or has lost an object that it still lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """Where the bucket is, and the keys, which are never shown.

    Attributes:
        endpoint: Base URL of a server that is not AWS; empty for AWS itself.
        variable: Variable that names the bucket, for messages.
        read_timeout_s: Seconds without a byte of an answer after which an attempt fails.
        attempts: How often a request is made at most.
    """

    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    endpoint: str = ""
    region: str = DEFAULT_REGION
    variable: str = "WRDATA_ARCHIVE_BUCKET"
    read_timeout_s: int = READ_TIMEOUT_S
    attempts: int = 4

    @property
    def is_aws(self) -> bool:
        """Whether this is AWS itself, and not another server with its protocol."""
        return not self.endpoint or ".amazonaws.com" in self.endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object; ``modified_at`` is aware UTC."""

    key: str
    bytes: int
    etag: str
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectContent:
    """An object as it was read: metadata by lower-case name, ``modified_at`` aware UTC."""

    content: bytes
    metadata: Mapping[str, str]
    modified_at: datetime


class ObjectStore:
    """Reads and writes one bucket; constructing it connects to nothing."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings

    @functools.cached_property
    def _client(self) -> "S3Client":
        return connected(self.settings)

    def ensure_bucket(self) -> bool:
        """Create the bucket unless it is there; return whether it was created."""
        bucket = self.settings.bucket
        with self._translated(_BUCKET):
            try:
                self._client.head_bucket(Bucket=bucket)
            except botocore_errors.ClientError as error:
                if _code(error) not in {*_MISSING_OBJECT, "NoSuchBucket"}:
                    raise
            else:
                return False
            if self.settings.region == DEFAULT_REGION or not self.settings.is_aws:
                self._client.create_bucket(Bucket=bucket)
            else:
                region: BucketLocationConstraintType = self.settings.region  # pyright: ignore[reportAssignmentType] the stubs list regions; the setting is a text
                self._client.create_bucket(
                    Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region}
                )
        return True

    def require_bucket(self) -> None:
        """Check that the bucket exists and that our keys have access.

        Raises:
            StorageConflictError: There is no such bucket, or the keys are refused.
            StorageUnavailableError: The server cannot be reached now.
        """
        with self._translated(_BUCKET):
            # Not head_bucket: the refusal of a HEAD has no body and gives no reason.
            self._client.list_objects_v2(Bucket=self.settings.bucket, MaxKeys=1)

    def upload_file(self, path: Path, key: str) -> None:
        """Store a file's bytes under ``key``, in parts when it is large."""
        with self._translated(key):
            self._client.upload_file(str(path), self.settings.bucket, key)

    def download_file(self, key: str, path: Path) -> None:
        """Write an object's bytes into a file."""
        with self._translated(key):
            self._client.download_file(self.settings.bucket, key, str(path))

    def put_bytes(
        self,
        key: str,
        content: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Store ``content`` under ``key``, with ``metadata`` (ASCII) beside it."""
        with self._translated(key):
            self._client.put_object(
                Bucket=self.settings.bucket,
                Key=key,
                Body=content,
                ContentType=content_type,
                Metadata=metadata or {},
            )

    def get(self, key: str) -> ObjectContent:
        """Return an object's bytes and its metadata."""
        with self._translated(key):
            answer = self._client.get_object(Bucket=self.settings.bucket, Key=key)
            content = answer["Body"].read()
        return ObjectContent(
            content=content,
            # AWS sends the names in lower case, rclone capitalized.
            metadata={name.lower(): value for name, value in answer["Metadata"].items()},
            modified_at=answer["LastModified"],
        )

    def read_range(self, key: str, start: int, size: int) -> bytes:
        """Return ``size`` bytes of an object, from byte ``start`` on.

        Raises:
            ObjectMissingError: There is no such object.
            ObjectFailsError: The server does not return it.
            StorageConflictError: It is shorter than ``start``, or the bucket refuses.
        """
        with self._translated(key):
            answer = self._client.get_object(
                Bucket=self.settings.bucket, Key=key, Range=f"bytes={start}-{start + size - 1}"
            )
            return answer["Body"].read()

    def stat(self, key: str) -> StoredObject:
        """Describe an object.

        Raises:
            ObjectMissingError: There is no such object.
        """
        with self._translated(key):
            answer = self._client.head_object(Bucket=self.settings.bucket, Key=key)
        return StoredObject(
            key=key,
            bytes=answer["ContentLength"],
            etag=answer["ETag"].strip('"'),
            modified_at=answer["LastModified"],
        )

    def exists(self, key: str) -> bool:
        """Return whether there is an object under ``key``."""
        with self._translated(key):
            try:
                self._client.head_object(Bucket=self.settings.bucket, Key=key)
            except botocore_errors.ClientError as error:
                if _code(error) in _MISSING_OBJECT:
                    return False
                raise
        return True

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with ``prefix``, in the order of their keys."""
        with self._translated(prefix or _BUCKET):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.settings.bucket, Prefix=prefix
            )
            for page in pages:
                for entry in page.get("Contents", []):
                    # The stubs declare these four optional; every server sends them.
                    yield StoredObject(
                        key=entry.get("Key", ""),
                        bytes=entry.get("Size", 0),
                        etag=entry.get("ETag", "").strip('"'),
                        modified_at=entry.get("LastModified", datetime.min.replace(tzinfo=UTC)),
                    )

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""
        with self._translated(key):
            self._client.delete_object(Bucket=self.settings.bucket, Key=key)

    def _translated(self, name: str) -> AbstractContextManager[None]:
        return translated(self.settings, name)


def connected(settings: S3Settings) -> "S3Client":
    """Return boto3's client of the bucket's server; it connects when it is used."""
    # botocore's DEBUG lines hold the headers of requests, among them the access key.
    logging.getLogger("botocore").setLevel(logging.INFO)
    # Servers other than AWS refuse or miscount the trailing checksums that boto3 sends by
    # default since 1.36. The archive and the raw zone compare SHA-256 digests anyway.
    checksums = "when_supported" if settings.is_aws else "when_required"
    session = botocore.session.Session()
    session.register_component("data_loader", DESCRIPTION_OF_S3)
    return boto3.session.Session(botocore_session=session).client(  # pyright: ignore[reportUnknownMemberType] stubs of S3 alone are installed
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=settings.read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": settings.attempts},
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            s3={"addressing_style": "auto" if settings.is_aws else "path"},
        ),
    )


@contextmanager
def translated(settings: S3Settings, name: str) -> Generator[None]:
    """Turn errors of boto3 about the object ``name`` into ours."""
    try:
        yield
    except (
        Boto3Error,
        botocore_errors.BotoCoreError,
        botocore_errors.ClientError,
    ) as error:
        raise _translation(error, name, settings) from error


def _code(error: botocore_errors.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _translation(error: Exception, name: str, settings: S3Settings) -> errors.StorageError:
    """Return the error as one of ours, most specific first, without the keys."""
    where = f"bucket {settings.bucket} at {settings.endpoint or 'AWS ' + settings.region}"
    # Multipart transfers wrap the server's error in one of their own.
    cause = error.__context__ if isinstance(error, Boto3Error) else error
    if not isinstance(cause, botocore_errors.ClientError):
        return errors.StorageUnavailableError(
            f"{where} cannot be reached for {name}: {type(error).__name__}; "
            "is the server up and the endpoint right?"
        )
    return _refusal(cause, name, where, settings.variable)


def _refusal(
    cause: botocore_errors.ClientError, name: str, where: str, variable: str
) -> errors.StorageError:
    """Return our error for the server's code and status."""
    code = _code(cause)
    if code == "NoSuchBucket" or (name == _BUCKET and code in _MISSING_OBJECT):
        return errors.StorageConflictError(
            f"{where} does not exist; create it or correct {variable}"
        )
    if code in _MISSING_OBJECT:
        return ObjectMissingError(f"{where} has no object {name}")
    if code in REFUSED_KEYS:
        return errors.StorageConflictError(
            f"{where} refuses the credentials for {name} ({code}); {REFUSED_KEYS[code]}"
        )
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status == HTTPStatus.INSUFFICIENT_STORAGE or code in _FULL:
        return errors.StorageUnavailableError(f"{where} has no space left for {name}: make some")
    if code in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # Servers keep answering so for an object that was deleted behind their cache.
        is_object = status == HTTPStatus.INTERNAL_SERVER_ERROR and name != _BUCKET
        kind = ObjectFailsError if is_object else errors.StorageUnavailableError
        lost = ", or has lost what it still lists" if is_object else ""
        return kind(f"{where} is busy ({code}) for {name}{lost}; try again")
    return errors.StorageConflictError(f"{where} refuses {name}: {code}")
