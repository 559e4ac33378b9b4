"""Bytes a row, events a run: what was measured, and where.

Here: reading measured.csv, a record a figure. Not here: measuring (bench/bytes_per_row.py, which
writes the file), or what is reckoned from it (workload.py).
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

MEASURED_FILE = Path(__file__).with_name("measured.csv")
FIGURES: Mapping[str, str] = {
    "hot_bytes": "bytes of a row in its table, indexes and hidden columns included",
    "aggregates_bytes": "bytes of the longer bars that a row of bars leads to, for each row",
    "raw_bytes": "bytes in the raw zone, for each row",
    "raw_bytes_per_answer": "bytes of an answer in the raw zone",
    "wal_bytes": "bytes of WAL that a load writes, for each new row, Dagster's share included",
    "parquet_bytes": "bytes of a row in the archive's files",
    "rows_per_symbol": "rows that the measured load had for each symbol",
    "bytes_per_day": "bytes of the ledger for a day of an instrument",
    "bytes_per_answer": "bytes of the log of loads for an answer",
    "bytes_per_deed": "bytes of a row of the audit log",
    "events_per_run": "Dagster's events of a run, without those of its symbols",
    "events_per_symbol": "Dagster's events of each symbol in a run",
    "bytes_per_event": "bytes of Dagster's tables for an event",
    "seconds_per_run": "seconds of a run beside its paced requests, its process's start included",
    "packed_share": "size in gzip, as a share of the answer's",
    "compressed_share": "size of a compressed chunk, as a share of its size before",
    "backup_share": "size of a full backup, as a share of the database",
}
"""What each figure of the file means."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        subject: A dataset, or what else the figure is about, such as ``dagster``.
        figure: One of ``FIGURES``.
        value: In the unit that its meaning names.
        sample: Rows, answers or events that it was measured with.
        measured_on: Day of the measurement.
        source: The command that measures it, or the page that says so.
    """

    subject: str
    figure: str
    value: float | Decimal
    sample: int
    measured_on: date
    source: str


@cache
def figures() -> Sequence[Figure]:
    """Return all figures of the file."""
    with MEASURED_FILE.open(encoding="utf-8", newline="") as file:
        return [
            Figure(
                subject=row["subject"],
                figure=row["figure"],
                value=Decimal(row["value"]),
                sample=int(row["sample"]),
                measured_on=date.fromisoformat(row["measured_on"]),
                source=row["source"],
            )
            for row in csv.DictReader(file)
        ]


def value(subject: str, figure: str) -> Decimal:
    """Return a figure's value, in the unit that ``FIGURES`` names.

    Raises:
        KeyError: It was not measured.
    """
    for measured in figures():
        if (measured.subject, measured.figure) == (subject, figure):
            return Decimal(measured.value)
    raise KeyError(f"{subject} {figure}")
