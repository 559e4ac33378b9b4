"""How long rows stay in the database: ages by dataset, and which periods are due.

Here: parsing the setting WRDATA_RETENTION, and finding due periods. Not here: the proofs without
which nothing is dropped (resources/storage/archive/retain), or what a period is (archiving.py).
"""

import re
from collections.abc import Mapping
from datetime import date, timedelta

from marketdata.archiving import ARCHIVED, ArchivedDataset, Period, Portion
from marketdata.batches import DAILY_BARS_DATASET

_AGE = re.compile(r"(?P<dataset>\w+)=(?P<days>[1-9]\d{0,4})d")


def parse_ages(text: str) -> Mapping[str, timedelta]:
    """Parse ages such as ``minute_bars=400d crypto_trades=90d``; with an empty text all rows stay.

    Raises:
        ValueError: A part cannot be read, or names a dataset whose rows always stay.
    """
    ages: dict[str, timedelta] = {}
    for part in text.split():
        age = _AGE.fullmatch(part)
        if age is None:
            message = f"{part!r} is no age of a dataset: write it like minute_bars=400d"
            raise ValueError(message)
        name = age["dataset"]
        if name == DAILY_BARS_DATASET:
            message = f"{name} always stay: adjusted prices and their factors are made of them"
            raise ValueError(message)
        droppable = [
            dataset.name for dataset in ARCHIVED.values() if dataset.portion is Portion.MONTH
        ]
        if name not in droppable:
            message = f"rows of {name!r} always stay; ages are for {', '.join(droppable)}"
            raise ValueError(message)
        if name in ages:
            message = f"{name} has two ages"
            raise ValueError(message)
        ages[name] = timedelta(days=int(age["days"]))
    return ages


def is_over(dataset: ArchivedDataset, period: Period) -> bool:
    """Return whether a period is complete: a year that still gains months is not over."""
    return period == dataset.period_of(period.start, date.max)


def due_periods(dataset: ArchivedDataset, age: timedelta, first: date, today: date) -> list[Period]:
    """Return the periods from the one that holds ``first`` that are wholly older than ``age``.

    Args:
        dataset: A dataset that is dropped by period.
        age: How long rows stay.
        first: The oldest day with rows.
        today: Today in UTC.
    """
    kept_from = today - age
    return [
        period
        for period in dataset.closed_periods(first, today)
        if period.end <= kept_from and is_over(dataset, period)
    ]
