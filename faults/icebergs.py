"""Files that an Iceberg table of the archive names, and the objects in the bucket.

Here: the snapshots, their files and proofs, read by pyiceberg and pyarrow from the metadata that
the catalogue names, and what is wrong between them. Not here: the rows beside the truth
(archive_oracle.py).
"""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.table import StaticTable

from resources.storage.object_store import ObjectStore, S3Settings

SHOWN = 3
PROOF = "wrdata.period."
"""Part of the names of properties (snapshot's or table's) that carry a proof."""
MISSING = "are named by a snapshot and missing"
UNPROVEN = "have no proof with any snapshot"
OTHER = "are not the bytes of their proof"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A data file as one kept snapshot names it.

    Attributes:
        bytes: Size by the manifest.
        proven: SHA-256 of the proof that a snapshot or the table carries; None without one.
    """

    snapshot_id: int
    key: str
    bytes: int
    proven: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Iceberg:
    """A table of the archive, with the bytes of the objects it names.

    Attributes:
        current: Id of the current snapshot; None without snapshot or table.
        files: Data files of all kept snapshots.
        objects: Bytes by key; lacks a key that the bucket lacks.
        logged: Keys of the valid rows of archive_log.
    """

    dataset: str
    current: int | None
    files: Sequence[NamedFile]
    objects: Mapping[str, bytes]
    logged: Sequence[str]

    def findings(self, *, logged: bool) -> list[str]:
        """Report files that contradict their snapshot or proof.

        Args:
            logged: The log of proofs must name the files of the current snapshot; after a crash
                it may be behind until the next run.
        """
        named = Counter((file.snapshot_id, file.key) for file in self.files)
        wrong: list[tuple[str, Sequence[str]]] = [
            ("are named twice by a snapshot", [key for (_, key), n in named.items() if n > 1]),
            *(
                (
                    verdict,
                    sorted({file.key for file in self.files if self._verdict(file) == verdict}),
                )
                for verdict in (MISSING, UNPROVEN, OTHER)
            ),
        ]
        current = {file.key for file in self.files if file.snapshot_id == self.current}
        if logged:
            wrong += [
                ("are named and not logged", sorted(current - set(self.logged))),
                ("are logged and not named", sorted(set(self.logged) - current)),
            ]
        return [
            f"archive.{self.dataset}: {len(keys)} files {finding}, "
            f"such as {', '.join(keys[:SHOWN])}"
            for finding, keys in wrong
            if keys
        ]

    def rows(self, schema: pa.Schema, provider: str) -> pa.Table:
        """Return the rows of the current snapshot's files in a wire schema, with our symbols.

        A file that differs from its proof yields no rows; ``findings`` reports it.
        """
        ours = pa.schema([field.with_nullable(True) for field in schema])
        names = ["ticker" if name == "symbol" else name for name in schema.names]
        tables = [ours.empty_table()]
        for file in self.files:
            if file.snapshot_id == self.current and not self._verdict(file):
                table = pq.read_table(io.BytesIO(self.objects[file.key]))
                own = table.filter(pc.equal(table["provider"], provider)).select(names)
                tables.append(own.rename_columns(schema.names).cast(ours))
        return pa.concat_tables(tables)

    def _verdict(self, file: NamedFile) -> str:
        content = self.objects.get(file.key)
        if content is None:
            return MISSING
        if file.proven is None:
            return UNPROVEN
        is_proven = hashlib.sha256(content).hexdigest() == file.proven
        return "" if is_proven and len(content) == file.bytes else OTHER


def read_iceberg(connection: psycopg.Connection, bucket: S3Settings, dataset: str) -> Iceberg:
    """Read the table as the catalogue has it now, and every object that a kept snapshot names.

    Args:
        connection: To the catalogue's database.
        bucket: The S3 server itself.
        dataset: Name of the dataset.
    """
    place = connection.execute(
        """
        select metadata_location from iceberg_catalog.iceberg_tables
        where table_namespace = 'archive' and table_name = %s
        """,
        [dataset],
    ).fetchone()
    logged = connection.execute(
        """
        select file ->> 'object_key' from archive_log cross join jsonb_array_elements(files) as file
        where dataset = %s and superseded_at is null
        """,
        [dataset],
    ).fetchall()
    table = _table(place[0], bucket) if place else None
    files = _named(table, bucket.bucket) if table else []
    store = ObjectStore(bucket)
    keys = sorted({file.key for file in files})
    current = table.current_snapshot() if table else None
    return Iceberg(
        dataset=dataset,
        current=current.snapshot_id if current else None,
        files=files,
        objects={key: store.get(key).content for key in keys if store.exists(key)},
        logged=[key for (key,) in logged],
    )


def _table(location: str, bucket: S3Settings) -> StaticTable:
    # As in the archive itself: servers other than AWS refuse checksums after a body.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    return StaticTable.from_metadata(
        location,
        {
            "s3.endpoint": bucket.endpoint,
            "s3.region": bucket.region,
            "s3.access-key-id": bucket.access_key,
            "s3.secret-access-key": bucket.secret_key,
            "s3.force-virtual-addressing": "false",
        },
    )


def _named(table: StaticTable, bucket: str) -> list[NamedFile]:
    proven = _proven(table)
    return [
        NamedFile(
            snapshot_id=snapshot.snapshot_id,
            key=key,
            bytes=entry.data_file.file_size_in_bytes,
            proven=proven.get(key),
        )
        for snapshot in table.snapshots()
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        for key in [entry.data_file.file_path.removeprefix(f"s3://{bucket}/")]
    ]


def _proven(table: StaticTable) -> dict[str, str]:
    """Return the SHA-256 of each file that some proof of the table names."""
    carried = [
        dict(table.properties),
        *(
            dict(snapshot.summary.additional_properties)
            for snapshot in table.snapshots()
            if snapshot.summary
        ),
    ]
    proofs = [
        json.loads(text)
        for properties in carried
        for name, text in properties.items()
        if PROOF in name
    ]
    return {file["object_key"]: file["file_sha256"] for proof in proofs for file in proof["files"]}
