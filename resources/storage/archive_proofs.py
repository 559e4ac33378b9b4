"""What proves that a month's file holds the database's rows, and the log of those proofs.

Here: the record, its form as an Iceberg snapshot property, and the table archive_log. Not
here: making a proof (archive_files.py), or the Iceberg table (archive_table.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from resources.storage import sql
from resources.storage.timescale import Timescale

DATASET = "daily_bars"
_PROPERTY = "wrdata.month."


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthProof:
    """One archived month: its file, and fingerprints of the file and of its rows.

    Attributes:
        month: First day of the month.
        file_sha256: Hex digest of the Parquet file as it was read back from the bucket.
        content_digest: Digest of the rows (marketdata.content_hash), with one for each column.
        schema_fingerprint: Hex digest of the archive's columns and types.
    """

    month: date
    object_key: str
    rows: int
    bytes: int
    first_session: date
    last_session: date
    file_sha256: str
    content_digest: str
    column_sha256: Mapping[str, str]
    schema_fingerprint: str
    code_version: str

    def as_property(self) -> tuple[str, str]:
        """Return name and value of the snapshot property that carries this proof."""
        return f"{_PROPERTY}{self.month:%Y-%m}", json.dumps(asdict(self), default=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedMonth:
    """A proof with the Iceberg snapshot that committed it."""

    proof: MonthProof
    snapshot_id: int


def proofs_in(properties: Mapping[str, str]) -> list[MonthProof]:
    """Return the proofs that a snapshot's properties carry."""
    return [
        _proof(json.loads(value))
        for name, value in properties.items()
        if name.startswith(_PROPERTY)
    ]


def _proof(fields: dict[str, Any]) -> MonthProof:
    for name in ("month", "first_session", "last_session"):
        fields[name] = date.fromisoformat(fields[name])
    return MonthProof(**fields)


class ArchiveLog:
    """Reads and writes archive_log.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def valid(self) -> dict[date, LoggedMonth]:
        """Return the valid row of each archived month."""
        names = (
            "month",
            "object_key",
            "rows",
            "bytes",
            "first_session",
            "last_session",
            "file_sha256",
            "content_digest",
            "column_sha256",
            "schema_fingerprint",
        )
        with self._timescale.connection() as connection:
            rows = connection.execute(
                sql.query("archive", "valid_rows"), {"dataset": DATASET}
            ).fetchall()
        return {
            row[0]: LoggedMonth(
                proof=MonthProof(**dict(zip(names, row[:-2], strict=True)), code_version=row[-1]),
                snapshot_id=row[-2],
            )
            for row in rows
        }

    def record(self, logged: Sequence[LoggedMonth]) -> None:
        """Make these the valid rows of their months; rows they replace are kept, superseded."""
        if not logged:
            return
        with self._timescale.connection() as connection:
            connection.execute(sql.query("archive", "lock_log"))
            connection.execute(
                sql.query("archive", "supersede"),
                {"dataset": DATASET, "months": [one.proof.month for one in logged]},
            )
            for one in logged:
                fields = asdict(one.proof)
                fields["column_sha256"] = json.dumps(fields["column_sha256"])
                connection.execute(
                    sql.query("archive", "insert_row"),
                    {**fields, "dataset": DATASET, "snapshot_id": one.snapshot_id},
                )
