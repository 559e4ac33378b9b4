"""The archive on S3: what others use of it."""

from resources.storage.archive.archive import Archive
from resources.storage.archive.outcomes import ArchivedPeriod, ArchiveStatus, VerifiedPeriod

__all__ = ["Archive", "ArchiveStatus", "ArchivedPeriod", "VerifiedPeriod"]
