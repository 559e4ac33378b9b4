"""Which objects of the bucket a table's metadata names.

Here: walking from the metadata to every file. Not here: handling of files that nothing names
(../maintain/upkeep.py), or that are named and missing (../maintain/rebuild.py).
"""

from collections.abc import Iterator

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table


def referenced_by(table: Table) -> set[str]:
    """Return the locations (``s3://…``) of all files that the table's kept snapshots need.

    Includes the metadata files in the history of the newest one.
    """
    metadata = table.metadata
    named = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    named |= {statistics.statistics_path for statistics in metadata.statistics}
    named |= {statistics.statistics_path for statistics in metadata.partition_statistics}
    named |= {snapshot.manifest_list for snapshot in metadata.snapshots}
    return named | {location for location, _ in _files(table)}


def data_files(table: Table) -> dict[str, DataFile]:
    """Return the data files of all kept snapshots, by location."""
    return {location: file for location, file in _files(table) if file is not None}


def _files(table: Table) -> Iterator[tuple[str, DataFile | None]]:
    """Yield manifests and their live data files, each manifest once."""
    seen: set[str] = set()
    for snapshot in table.metadata.snapshots:
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            yield manifest.manifest_path, None
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                yield entry.data_file.file_path, entry.data_file
