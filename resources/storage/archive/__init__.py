"""The archive on S3: what other rooms use of it."""

from resources.storage.archive.write.archive import Archive
from resources.storage.archive.write.outcomes import ArchivedPeriod, ArchiveStatus, VerifiedPeriod

__all__ = ["Archive", "ArchiveStatus", "ArchivedPeriod", "VerifiedPeriod"]
