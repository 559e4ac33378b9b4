"""The raw zone: every answer of a provider as it came, on S3, stored before it is parsed.

Here: the key of an answer, its compression, and the check that an answer read back is the one that
was kept. Not here: the bucket (object_store.py), which answers are worth keeping (the clients in
resources/providers), or replays (resources/providers/kept_answers.py).

An answer is one object, ``raw/<provider>/<first two hex>/<sha256>.json.gz``, named for the
SHA-256 of its bytes, so that the same answer is kept once. A repeated answer is simply put again.
Measured against the local S3 server with 120 kB, a put takes 2.8 ms. A HEAD before it would add
1.1 ms to each new answer, which nearly all are, and save 1.0 ms on the others. So the object has
the last time at which the provider gave this answer, not the first.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from marketdata.recovery import errors
from resources.storage.object_store import ObjectStore
from resources.telemetry import context

PREFIX = "raw"
_LEVEL = 1
"""For FMP's histories of 490 kB: 3.5 ms and 120 kB; level 6 takes 10.6 ms for 89 kB."""
_SUFFIXES = {"application/json": "json", "text/csv": "csv"}
_KEY = re.compile(
    rf"{PREFIX}/[a-z0-9_-]+/(?P<head>[0-9a-f]{{2}})/(?P<sha256>(?P=head)[0-9a-f]{{62}})"
    r"\.(json|csv|bin)\.gz"
)
_OPERATION, _FETCHED_AT, _MEDIA_TYPE = "operation", "fetched-at", "media-type"
_CORRELATION_ID = "correlation-id"
"""Of the latest work that got this answer, for people."""
_OPERATION_SHOWN = 150
"""Characters kept of an operation: S3 takes 2 kB of metadata, one character may take 12 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An answer read from the raw zone, equal to the one that was kept.

    Attributes:
        operation: The latest request with this answer, without the key; empty if the server lost
            it. An answer to many requests, such as ``[]``, names one.
        media_type: As the provider named it; empty if the server lost it.
        fetched_at: When it was last kept (aware UTC).
    """

    body: bytes
    operation: str
    media_type: str
    fetched_at: datetime


class RawZone:
    """Keeps answers and reads them back; constructing it connects to nothing.

    May be used by several threads at once.

    Args:
        objects: The bucket.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def keep(self, provider: str, operation: str, body: bytes, sha256: str, media_type: str) -> str:
        """Keep an answer and return the pointer to it; the same answer gives the same pointer.

        Args:
            provider: Short name of the provider, such as ``fmp``.
            operation: What was asked, without the key.
            body: The answer's bytes.
            sha256: Hex digest of ``body``.
            media_type: The answer's Content-Type; its parameters are left out.

        Raises:
            StorageUnavailableError: The bucket cannot be written now (network, 5xx, full disk),
                after the client's own four attempts.
            StorageConflictError: The bucket is missing, or refuses.
        """
        bare_type = media_type.partition(";")[0].strip().lower()
        suffix = _SUFFIXES.get(bare_type, "bin")
        key = f"{PREFIX}/{provider}/{sha256[:2]}/{sha256}.{suffix}.gz"
        described = {
            _OPERATION: quote(operation[:_OPERATION_SHOWN], safe=" =/:,"),
            _FETCHED_AT: datetime.now(UTC).isoformat(),
            _MEDIA_TYPE: quote(bare_type, safe="/+"),
        }
        if followed_by := context.correlation_id():
            described[_CORRELATION_ID] = quote(followed_by, safe=" =/:,")
        packed = gzip.compress(body, _LEVEL, mtime=0)
        with _with_context(
            f"the raw zone of {provider} cannot be written", "nothing of this answer was"
        ):
            self._objects.put_bytes(
                key, packed, content_type="application/gzip", metadata=described
            )
        return key

    def get(self, key: str) -> bytes:
        """Return the bytes of a kept answer.

        Raises:
            StorageUnavailableError: The bucket cannot be read now.
            StorageConflictError: ``key`` is no pointer into the raw zone, the object is gone,
                or its content does not match its name.
        """
        return self.read(key).body

    def read(self, key: str) -> KeptAnswer:
        """Return a kept answer with its metadata; raises what ``get`` raises."""
        named = _KEY.fullmatch(key)
        if named is None:
            message = f"{key!r} is no answer of the raw zone: {PREFIX}/<provider>/<hex>/<sha256>…"
            raise errors.StorageConflictError(message)
        with _with_context("the raw zone cannot be read", "nothing was"):
            stored = self._objects.get(key)
        return KeptAnswer(
            body=_unpacked(key, stored.content, named["sha256"]),
            operation=unquote(stored.metadata.get(_OPERATION, "")),
            media_type=unquote(stored.metadata.get(_MEDIA_TYPE, "")),
            fetched_at=_fetched_at(stored.metadata, stored.modified_at),
        )


def _fetched_at(described: Mapping[str, str], modified_at: datetime) -> datetime:
    """Return when the answer was kept; `rclone serve s3` loses metadata when it restarts."""
    try:
        moment = datetime.fromisoformat(described.get(_FETCHED_AT, ""))
    except ValueError:
        return modified_at.astimezone(UTC)
    return moment.astimezone(UTC)


def _unpacked(key: str, packed: bytes, sha256: str) -> bytes:
    try:
        body = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        message = f"the raw zone's {key} cannot be unpacked ({error}); ask the provider again"
        raise errors.StorageConflictError(message) from error
    digest = hashlib.sha256(body).hexdigest()
    if digest != sha256:
        message = f"the raw zone's {key} holds {digest} instead of its name; ask the provider again"
        raise errors.StorageConflictError(message)
    return body


@contextmanager
def _with_context(context: str, loss: str) -> Generator[None]:
    """Prefix a bucket's error with what the raw zone was doing, and keep its class."""
    try:
        yield
    except errors.StorageError as error:
        message = f"{context}: {error}; {loss} loaded"
        raise type(error)(message) from error
