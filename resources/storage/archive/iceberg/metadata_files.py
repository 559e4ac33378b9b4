"""The metadata files of a table on the bucket, whatever the catalogue says.

Here: which of them is the newest, and whether the catalogue went back behind them. Not here:
registering one (../maintain/rebuild.py), or the table that the catalogue names (table.py).

Each commit writes the next number and then tells the catalogue. A writer that died in between, or
lost a race, leaves a file at most one number ahead of the catalogue. Files that are further ahead
are commits that the catalogue has forgotten, as after restoring an older backup of the database:
whoever commits or removes then would lose what they archived.
"""

import json
import re
from collections.abc import Iterable, Sequence

from pyiceberg.table import Table

from marketdata.recovery import errors
from resources.storage.archive.iceberg.table import ArchiveTable
from resources.storage.object_store import ObjectStore

_METADATA = re.compile(r"/metadata/(?P<number>\d+)-[0-9a-f-]+\.metadata\.json$")


def number_of(location: str) -> int:
    """Return the number of the metadata file at a key or location; -1 if it has none."""
    matched = _METADATA.search(location)
    return int(matched["number"]) if matched else -1


def newest_metadata(store: ObjectStore, dataset: str) -> tuple[int, list[str]]:
    """Return the highest number of a dataset's metadata files, and the keys that bear it.

    Each commit writes the next number: 0 is a table without rows, -1 none. Several keys bear one
    number where two writers raced, of which one lost.
    """
    by_number: dict[int, list[str]] = {-1: []}
    for key in _listed(store, dataset):
        if (number := number_of(key)) >= 0:
            by_number.setdefault(number, []).append(key)
    newest = max(by_number)
    return newest, by_number[newest]


def ahead_of(table: Table, store: ObjectStore, keys: Iterable[str]) -> list[str]:
    """Return those of ``keys`` that are metadata of this very table with a higher number.

    Args:
        table: As the catalogue names it, read after ``keys`` were listed.
        store: The bucket of the keys.
        keys: Of any objects.

    Returns:
        The keys in the order of their numbers.
    """
    current = number_of(table.metadata_location)
    uuid = str(table.metadata.table_uuid)
    later = sorted((key for key in keys if number_of(key) > current), key=number_of)
    return [key for key in later if json.loads(store.get(key).content)["table-uuid"] == uuid]


def require_not_behind(table: Table, dataset: str, ahead: Sequence[str]) -> None:
    """Refuse where the bucket holds commits that came after ``table``.

    Args:
        table: As the catalogue names it.
        dataset: Name of the dataset, for the message.
        ahead: What ``ahead_of`` tells of it.

    Raises:
        ArchiveMismatchError: The catalogue went back.
    """
    if ahead and number_of(ahead[-1]) > number_of(table.metadata_location) + 1:
        message = (
            f"archive.{dataset}: {table.metadata_location} is older than {ahead[-1]}, by more than "
            "a commit under way: the catalogue went back in time, as after restoring a backup of "
            "the database; nothing was changed. To move it forward: wrdata archive rebuild "
            f"--dataset {dataset} (or, to give up the later commits, move their metadata files "
            "away)"
        )
        raise errors.ArchiveMismatchError(message)


def require_current(store: ObjectStore, archive_table: ArchiveTable) -> None:
    """Refuse where the bucket holds commits that the catalogue has forgotten.

    Raises:
        ArchiveMismatchError: The catalogue went back.
        StorageUnavailableError: Catalogue or bucket cannot be reached.
    """
    name = archive_table.dataset.name
    # Listed before the catalogue is read: whoever wrote number N had registered N - 1 by then.
    keys = _listed(store, name)
    if table := archive_table.load():
        require_not_behind(table, name, ahead_of(table, store, keys))


def _listed(store: ObjectStore, dataset: str) -> list[str]:
    return [stored.key for stored in store.list(f"iceberg/archive/{dataset}/metadata/")]
