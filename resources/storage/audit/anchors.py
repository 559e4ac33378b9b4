"""Anchors: hashes of the audit chain in a locked bucket, where no superuser of the database comes.

Here: their objects, and the table that metrics read. Not here: the bucket and its locks
(locked_bucket.py), or how a chain is compared with its anchors (marketdata/audit.py).

Time, row and hash are in the key, so that a listing reads all anchors: seven years are three pages.
Verification reads the bucket, never the table: who can rewrite the log can rewrite that as well.
"""

import json
import re
from datetime import UTC, datetime

from marketdata.audit import Anchor, Head, utc_text
from resources.storage import sql
from resources.storage.audit.locked_bucket import LockedBucket
from resources.storage.timescale import Timescale

PREFIX = "audit/anchors/"
_TIME = "%Y%m%dT%H%M%SZ"
_KEY = re.compile(
    rf"{PREFIX}(?P<at>\d{{8}}T\d{{6}}Z)-(?P<audit_id>\d+)-(?P<hash>[0-9a-f]{{64}})\.json"
)


class Anchors:
    """The anchors of one audit log.

    Args:
        timescale: An open Timescale whose database is migrated.
        bucket: Where the anchors are.
    """

    def __init__(self, timescale: Timescale, bucket: LockedBucket) -> None:
        self._timescale = timescale
        self._bucket = bucket

    def put(self, head: Head, now: datetime) -> Anchor:
        """Anchor the end of the chain, once the bucket has proved that it locks.

        Args:
            head: The end of the chain.
            now: This moment (aware).

        Raises:
            ConfigurationError: The bucket locks nothing.
            StorageError: Bucket or database cannot be reached, or refuse.
        """
        anchored_at = now.astimezone(UTC).replace(microsecond=0)
        key = f"{PREFIX}{anchored_at.strftime(_TIME)}-{head.last_id}-{head.last_hash.hex()}.json"
        content = {
            "audit_id": head.last_id,
            "hash": head.last_hash.hex(),
            "anchored_at": utc_text(anchored_at),
        }
        self._bucket.require_locks(now)
        self._bucket.put(key, json.dumps(content).encode(), now)
        anchor = Anchor(
            audit_id=head.last_id, hash=head.last_hash, anchored_at=anchored_at, object_key=key
        )
        with self._timescale.connection() as connection:
            connection.execute(
                sql.query("audit", "record_anchor"),
                {
                    "anchored_at": anchor.anchored_at,
                    "audit_id": anchor.audit_id,
                    "hash": anchor.hash,
                    "object_key": anchor.object_key,
                },
            )
        return anchor

    def all(self) -> list[Anchor]:
        """Return every anchor of the bucket, the oldest first.

        Raises:
            StorageError: The bucket cannot be reached, or refuses.
        """
        found = {key: match for key in self._bucket.keys(PREFIX) if (match := _KEY.fullmatch(key))}
        return [
            Anchor(
                audit_id=int(match["audit_id"]),
                hash=bytes.fromhex(match["hash"]),
                anchored_at=datetime.strptime(match["at"], _TIME).replace(tzinfo=UTC),
                object_key=key,
            )
            for key, match in sorted(found.items())
        ]
