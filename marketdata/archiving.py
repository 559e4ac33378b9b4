"""Which rows of each dataset are archived, and in which portions.

Here: the archived schema, order and periods of every dataset; which periods are closed. Not here:
reading, writing and proving files (resources/storage/archive), or when the archive runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

import pyarrow as pa

from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START
from marketdata.datasets import DATASETS, Dataset, Domain, InstrumentKind
from marketdata.recovery import errors
from marketdata.rows import INSTANT

_ORIGIN = (
    pa.field("provider", pa.string(), nullable=False),
    pa.field("ingest_id", pa.int64(), nullable=False),
    pa.field("known_from", INSTANT, nullable=False),
)
"""Columns of a row's provenance, after its values."""

WHOLE = "all"
"""Label of the one period of a dataset that is archived whole."""


class Portion(StrEnum):
    """How much of a dataset is proven and replaced together, so that files have a sensible size."""

    MONTH = "month"
    YEAR = "year"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Period:
    """Days of a dataset that are archived together.

    Attributes:
        start: First day (UTC for instants).
        end: The day after the last; of a year that is not over, the first of this month.
        label: ``2024-03``, ``2024`` or ``all``.
    """

    start: date
    end: date
    label: str

    def overlaps(self, other: "Period") -> bool:
        """Return whether the periods share a day."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedDataset:
    """One dataset as the archive holds it: the Iceberg table ``archive.<name>``.

    Attributes:
        table: Its table in the database, which may hold another dataset's rows too.
        kind: Kind of instruments whose rows in the table belong to the dataset.
        schema: Columns of the archive: ``instrument_id``, ``ticker`` as of the row's day, or the
            latest one where all is one portion (null where it is unknown; missing where the
            dataset has a column of that name), the table's own columns, and the provenance.
        order: Columns that name a row and sort the files.
        dated_by: Column whose day (UTC) decides the period; empty where all is one period.
        withdraws: Whether rows leave the table when the provider withdraws them.
    """

    name: str
    domain: Domain
    table: str
    kind: InstrumentKind
    schema: pa.Schema
    order: tuple[str, ...]
    dated_by: str
    portion: Portion
    withdraws: bool = False

    @property
    def labelled(self) -> bool:
        """Whether ``ticker`` is the archive's own label, and no column of the table."""
        return "ticker" in self.schema.names and "ticker" not in self.order

    @property
    def is_droppable(self) -> bool:
        """Whether closed periods may leave the database once they are proven."""
        return self.portion is not Portion.WHOLE

    def period_of(self, day: date, today: date) -> Period:
        """Return the period that holds ``day``, as far as it is closed on ``today`` (UTC)."""
        this_month = today.replace(day=1)
        if self.portion is Portion.WHOLE:
            return Period(start=date.min, end=date.max, label=WHOLE)
        if self.portion is Portion.MONTH:
            first = day.replace(day=1)
            return Period(start=first, end=next_month(first), label=f"{first:%Y-%m}")
        first = date(day.year, 1, 1)
        end = min(date(day.year + 1, 1, 1), this_month)
        return Period(start=first, end=end, label=f"{first:%Y}")

    def closed_periods(self, first: date, today: date) -> list[Period]:
        """Return the periods from the one that holds ``first`` to the last closed month.

        A year's months are archived as they close: its period ends with the last closed month
        until the year is over. Empty where no month has closed since ``first``.
        """
        if self.portion is Portion.WHOLE:
            return [self.period_of(today, today)]
        this_month = today.replace(day=1)
        periods: list[Period] = []
        day = self.period_of(first, today).start
        while day < this_month:
            period = self.period_of(day, today)
            periods.append(period)
            day = period.end
        return periods

    def named(self, label: str, today: date) -> Period:
        """Return the period of a label.

        Raises:
            ArgumentError: No closed period of this dataset has this label.
        """
        by_label = {period.label: period for period in self.closed_periods(HISTORY_START, today)}
        if label not in by_label:
            first = next(iter(by_label), "nothing yet")
            last = next(reversed(by_label), "nothing yet")
            message = (
                f"{label!r} is no closed period of {self.name}: they are called {first} to {last}"
            )
            raise errors.ArgumentError(message)
        return by_label[label]


def is_within(label: str, other: str) -> bool:
    """Return whether period ``label`` lies within period ``other`` of the same dataset."""
    return other == WHOLE or f"{label}-".startswith(f"{other}-")


def next_month(first: date) -> date:
    """Return the first day of the month after the one that begins on ``first``."""
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def as_archived(dataset: Dataset) -> ArchivedDataset:
    """Return a dataset as it is archived: by the month if it is by day, otherwise whole."""
    # Answers may lack a part of the key; the table never does.
    own = [
        field.with_nullable(False) if field.name in dataset.key else field
        for field in dataset.table_schema
    ]
    label = [] if "ticker" in dataset.table_schema.names else [pa.field("ticker", pa.string())]
    # A table of rows by day holds several providers' rows: the provider is part of the key.
    key = ("provider", *dataset.key) if dataset.by_day else dataset.key
    return ArchivedDataset(
        name=dataset.name,
        domain=dataset.domain,
        table=dataset.table,
        kind=dataset.instrument_kind,
        schema=pa.schema([own[0], *label, *own[1:], *_ORIGIN]),
        order=("instrument_id", *key),
        dated_by=dataset.dated_by if dataset.by_day else "",
        portion=Portion.MONTH if dataset.by_day else Portion.WHOLE,
        withdraws=dataset.full_snapshot,
    )


def _bars_as_archived(dataset: Dataset) -> ArchivedDataset:
    """Return daily bars as they are archived: by the year, with the adjustment of each.

    The table holds one provider's bars of a day, so the provider is no part of the key.
    """
    bars = as_archived(dataset)
    adjustment = pa.field("adjustment", pa.string(), nullable=False)
    return replace(
        bars,
        schema=bars.schema.insert(bars.schema.get_field_index("provider"), adjustment),
        order=("instrument_id", *dataset.key),
        portion=Portion.YEAR,
    )


ARCHIVED: Mapping[str, ArchivedDataset] = {
    **{dataset.name: as_archived(dataset) for dataset in DATASETS.values()},
    DAILY_BARS_DATASET: _bars_as_archived(DATASETS[DAILY_BARS_DATASET]),
}
"""Every dataset as it is archived, by name."""


def archived_dataset(name: str) -> ArchivedDataset:
    """Return a dataset by its name.

    Raises:
        ArgumentError: There is no such dataset.
    """
    if name not in ARCHIVED:
        message = f"{name!r} is no dataset; there are {', '.join(ARCHIVED)}"
        raise errors.ArgumentError(message)
    return ARCHIVED[name]
