"""The journal: every row of the audit log in the locked bucket, before its deed commits.

Here: an object for each row, and reading them back. Not here: the bucket and its locks
(locked_bucket.py), how a log is compared with its journal (marketdata/audit.py), or how lost rows
come back (reinstatement.py).

An object is the row's canonical text. Its key has the row's id, the hash of the row before, and its
own, which is the SHA-256 of the object. So a listing tells the whole chain, and anybody verifies an
object with `sha256sum`.

The row is kept first and committed then: a database that is lost, or put back to an earlier moment,
has committed no row that is not here. A deed that fails in between leaves an entry without a row.
"""

import re

from marketdata.audit import AuditRow, JournalEntry, row_of
from marketdata.calendars import utc_now
from marketdata.recovery import errors
from resources.storage.audit.locked_bucket import LockedBucket

PREFIX = "audit/rows/"
_KEY = re.compile(
    rf"{PREFIX}(?P<audit_id>\d{{12}})-(?P<previous>[0-9a-f]{{64}})-(?P<hash>[0-9a-f]{{64}})\.json"
)


class BucketJournal:
    """The journal of one audit log; fulfils marketdata.audit.Journal.

    Args:
        bucket: Where the rows are kept.
    """

    def __init__(self, bucket: LockedBucket) -> None:
        self._bucket = bucket

    def keep(self, row: AuditRow) -> None:
        """Put a row, locked; another row of its id that was not committed stays beside it.

        Raises:
            ConfigurationError: The bucket keeps no versions of objects, so it locks nothing.
            StorageError: The bucket cannot be reached, or refuses.
        """
        key = f"{PREFIX}{row.id:012d}-{row.previous_hash.hex()}-{row.hash.hex()}.json"
        try:
            self._bucket.put(key, row.canonical.encode(), utc_now(), look=False)
        except errors.StorageError as error:
            message = (
                f"{error}; nothing is done that the audit log's journal cannot keep: see "
                "docs/runbooks/audit.md"
            )
            raise type(error)(message) from error

    def entries(self) -> list[JournalEntry]:
        """Return what is kept, by ascending id.

        Raises:
            StorageError: The bucket cannot be reached, or refuses.
        """
        found = {key: match for key in self._bucket.keys(PREFIX) if (match := _KEY.fullmatch(key))}
        return [
            JournalEntry(
                audit_id=int(match["audit_id"]),
                previous_hash=bytes.fromhex(match["previous"]),
                hash=bytes.fromhex(match["hash"]),
                object_key=key,
            )
            for key, match in sorted(found.items())
        ]

    def row(self, entry: JournalEntry) -> AuditRow:
        """Read the row of an entry: the oldest version of its object that is what the key says.

        Raises:
            ArchiveMismatchError: No version is.
            StorageError: The bucket cannot be reached, or refuses.
        """
        for content in self._bucket.contents(entry.object_key):
            try:
                row = row_of(content.decode())
            except ValueError:
                continue
            if row.hash == entry.hash:
                return row
        message = f"{entry.object_key} does not hold the row that its key names"
        raise errors.ArchiveMismatchError(message)
