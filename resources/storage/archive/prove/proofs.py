"""Proofs that a period's files hold the database's rows, and their log.

Here: the record, its form as an Iceberg snapshot property, and the table archive_log. Not
here: making a proof (../write/files.py), or the Iceberg table (../iceberg).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
from psycopg.types.json import Jsonb
from psycopg.types.range import DateRange

from marketdata.archiving import Period
from marketdata.content_hash import ContentHash, hash_of_nulls
from resources.storage import sql
from resources.storage.timescale import Timescale

_PROPERTY = "wrdata.period."
CORRELATION_PROPERTY = "wrdata.correlation_id"
"""Property of a snapshot: the id of the work that committed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProof:
    """One Parquet file of a period.

    Attributes:
        file_sha256: Hex digest of the file as read back from the bucket.
        footer_bytes: Size of its end: Parquet's footer, the footer's length, and the magic number.
            0 for files written without page checksums.
        footer_sha256: Hex digest of that end. Since pages have checksums, a reader that has
            compared the footer can read any part of the file safely.
    """

    object_key: str
    rows: int
    bytes: int
    file_sha256: str
    footer_bytes: int = 0
    footer_sha256: str = ""

    @property
    def is_checked_in_parts(self) -> bool:
        """Whether a part of the file can be verified without reading all of it."""
        return self.footer_bytes > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodProof:
    """One archived period: its files in the order of their rows, and fingerprints of the rows.

    Attributes:
        dataset: Name of the dataset.
        bounds: Least and greatest value by column, as text; columns of long texts are left out.
        content_digest: Digest of the rows (marketdata.content_hash), with one for each column.
        schema_fingerprint: Hex digest of the columns and types that the files were written with.
        code_version: Version of this project that wrote them.
    """

    dataset: str
    period: Period
    files: tuple[FileProof, ...]
    bounds: Mapping[str, tuple[str, str]]
    content_digest: str
    column_sha256: Mapping[str, str]
    schema_fingerprint: str
    code_version: str

    @property
    def rows(self) -> int:
        """Return the number of rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Return the total size of the files."""
        return sum(file.bytes for file in self.files)

    @property
    def object_keys(self) -> tuple[str, ...]:
        """Return the keys of the files, in the order of their rows."""
        return tuple(file.object_key for file in self.files)

    def columns_of(self, schema: pa.Schema) -> dict[str, str]:
        """Return the digest of each column of ``schema``; a column added later has nulls."""
        return {
            field.name: self.column_sha256.get(field.name) or hash_of_nulls(field.type, self.rows)
            for field in schema
        }

    def holds(self, content: ContentHash, schema: pa.Schema) -> bool:
        """Return whether rows of ``schema`` with this fingerprint are those of the files."""
        return content.rows == self.rows and content.columns == self.columns_of(schema)

    def as_property(self) -> tuple[str, str]:
        """Return name and value of the snapshot property that carries this proof."""
        return f"{_PROPERTY}{self.period.label}", json.dumps(asdict(self), default=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedProof:
    """A proof with the Iceberg snapshot that committed it.

    Attributes:
        correlation_id: Of the work that committed it, if that is known.
    """

    proof: PeriodProof
    snapshot_id: int
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedPeriod(CommittedProof):
    """A committed proof in the log.

    Attributes:
        archive_id: Its row in archive_log.
    """

    archive_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """Days whose rows were dropped from the database and have not been restored.

    Attributes:
        start: First day.
        end: The day after the last.
        dropped_at: When (aware UTC).
    """

    start: date
    end: date
    dropped_at: datetime
    dropped_by: str

    def touches(self, period: Period) -> bool:
        """Return whether a day of ``period`` was dropped."""
        return self.start < period.end and period.start < self.end


def proofs_in(properties: Mapping[str, str]) -> list[PeriodProof]:
    """Return the proofs that a snapshot's properties carry."""
    return [
        _proof(json.loads(value))
        for name, value in properties.items()
        if name.startswith(_PROPERTY)
    ]


def _proof(fields: dict[str, Any]) -> PeriodProof:
    period = fields["period"]
    fields["period"] = Period(
        start=date.fromisoformat(period["start"]),
        end=date.fromisoformat(period["end"]),
        label=period["label"],
    )
    return PeriodProof(**{**fields, **_parsed(fields["files"], fields["bounds"])})


def _parsed(
    files: Sequence[Mapping[str, Any]], bounds: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Convert JSON's lists and objects to the types of a proof."""
    return {
        "files": tuple(FileProof(**file) for file in files),
        "bounds": {name: (least, greatest) for name, (least, greatest) in bounds.items()},
    }


class ArchiveLog:
    """Reads and writes archive_log.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def valid(self, dataset: str) -> dict[str, LoggedPeriod]:
        """Return the valid rows of a dataset by the period's label, oldest first."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("archive", "valid_rows"), {"dataset": dataset}
            ).fetchall()
        return {row[2]: _logged(dataset, row) for row in rows}

    def record(self, committed: Sequence[CommittedProof]) -> dict[str, LoggedPeriod]:
        """Make these the valid rows of their days; replaced rows are kept as superseded.

        Returns:
            The new rows by the period's label.
        """
        logged: dict[str, LoggedPeriod] = {}
        with self._timescale.connection() as connection:
            connection.execute(sql.query("archive", "lock_log"))
            for entry in committed:
                row = _row(entry)
                connection.execute(sql.query("archive", "supersede"), row)
                inserted = connection.execute(sql.query("archive", "insert_row"), row).fetchone()
                logged[entry.proof.period.label] = LoggedPeriod(
                    archive_id=inserted[0] if inserted else 0,
                    proof=entry.proof,
                    snapshot_id=entry.snapshot_id,
                    correlation_id=entry.correlation_id,
                )
        return logged

    def tombstones(self, dataset: str) -> list[Tombstone]:
        """Return the days of a dataset that are in the archive only, oldest first."""
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("archive", "live_tombstones"), {"dataset": dataset}
            ).fetchall()
        return [
            Tombstone(start=start, end=end, dropped_at=dropped_at, dropped_by=dropped_by)
            for start, end, dropped_at, dropped_by in rows
        ]


def _row(committed: CommittedProof) -> dict[str, object]:
    proof = committed.proof
    return {
        "dataset": proof.dataset,
        "period": proof.period.label,
        "span": DateRange(proof.period.start, proof.period.end),
        "files": Jsonb([asdict(file) for file in proof.files]),
        "rows": proof.rows,
        "bytes": proof.bytes,
        "bounds": Jsonb(proof.bounds),
        "content_digest": proof.content_digest,
        "column_sha256": Jsonb(proof.column_sha256),
        "schema_fingerprint": proof.schema_fingerprint,
        "snapshot_id": committed.snapshot_id,
        "code_version": proof.code_version,
        "correlation_id": committed.correlation_id,
    }


def _logged(dataset: str, row: Sequence[Any]) -> LoggedPeriod:
    archive_id, snapshot_id, label, start, end, files, bounds, digest, columns, *rest = row
    schema, code, correlation_id = rest
    return LoggedPeriod(
        archive_id=archive_id,
        snapshot_id=snapshot_id,
        correlation_id=correlation_id,
        proof=PeriodProof(
            dataset=dataset,
            period=Period(start=start, end=end, label=label),
            content_digest=digest,
            column_sha256=columns,
            schema_fingerprint=schema,
            code_version=code,
            **_parsed(files, bounds),
        ),
    )
