"""The metadata files of a table on the bucket, independent of the catalogue.

Here: which of them is the newest, and whether the catalogue is behind them. Not here:
registering one (../maintain/rebuild.py), or the table that the catalogue names (table.py).

Each commit writes the next number and then updates the catalogue. A writer that died in between, or
lost a race, leaves a file at most one number ahead of the catalogue. Files further ahead are
commits that the catalogue has lost, as after restoring an older backup of the database. Committing
or removing then would lose what those commits archived.
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
    """Return the highest number of a dataset's metadata files, and the keys with it.

    Each commit writes the next number: 0 is a table without rows, -1 no table. Several keys have
    one number if two writers raced and one lost.
    """
    by_number: dict[int, list[str]] = {-1: []}
    for key in _list_metadata(store, dataset):
        if (number := number_of(key)) >= 0:
            by_number.setdefault(number, []).append(key)
    newest = max(by_number)
    return newest, by_number[newest]


def ahead_of(table: Table, store: ObjectStore, keys: Iterable[str]) -> list[str]:
    """Return those of ``keys`` that are metadata of this table with a higher number.

    Args:
        table: As the catalogue names it, read after ``keys`` were listed.
        store: The bucket of the keys.
        keys: Keys of any objects.

    Returns:
        The keys in the order of their numbers.
    """
    current = number_of(table.metadata_location)
    uuid = str(table.metadata.table_uuid)
    later = sorted((key for key in keys if number_of(key) > current), key=number_of)
    return [key for key in later if json.loads(store.get(key).content)["table-uuid"] == uuid]


def require_not_behind(table: Table, dataset: str, ahead: Sequence[str]) -> None:
    """Refuse if the bucket holds commits later than ``table``.

    Args:
        table: As the catalogue names it.
        dataset: Name of the dataset, for the message.
        ahead: The result of ``ahead_of``.

    Raises:
        ArchiveMismatchError: The catalogue went back in time.
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
    """Refuse if the bucket holds commits that the catalogue has lost.

    Raises:
        ArchiveMismatchError: The catalogue went back in time.
        StorageUnavailableError: Catalogue or bucket cannot be reached.
    """
    name = archive_table.dataset.name
    # Listed before the catalogue is read: the writer of number N had registered N - 1 by then.
    keys = _list_metadata(store, name)
    if table := archive_table.load():
        require_not_behind(table, name, ahead_of(table, store, keys))


def _list_metadata(store: ObjectStore, dataset: str) -> list[str]:
    return [stored.key for stored in store.list(f"iceberg/archive/{dataset}/metadata/")]
