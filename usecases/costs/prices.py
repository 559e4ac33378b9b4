"""Prices of clouds, each with its source and day.

Here: reading prices.csv, the age of a price, and its sum in US dollars. Not here: how much of
each item is needed (platforms.py). Prices are those before tax. They change without notice: the
command prints the age of each, and nothing is fetched.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path

PRICES_FILE = Path(__file__).with_name("prices.csv")
ANY = "any"
"""Platform of what holds for all of them: rates of exchange."""
DOLLAR, EURO = "USD", "EUR"
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of one unit of an item.

    Attributes:
        price: Exact, in ``currency``, before tax.
        source: Where it was read, or why it is only assumed.
        as_of: Day of the source; the day on which it was read if it has none.
        assumed: Whether no page confirms it as it stands.
    """

    platform: str
    item: str
    unit: str
    price: Decimal
    currency: str
    source: str
    as_of: date
    assumed: bool

    def age_days(self, today: date) -> int:
        """Return the days since the price was read."""
        return (today - self.as_of).days


@cache
def prices() -> Mapping[tuple[str, str], Price]:
    """Return all prices by platform and item."""
    with PRICES_FILE.open(encoding="utf-8", newline="") as file:
        return {
            (row["platform"], row["item"]): Price(
                platform=row["platform"],
                item=row["item"],
                unit=row["unit"],
                price=Decimal(row["price"]),
                currency=row["currency"],
                source=row["source"],
                as_of=date.fromisoformat(row["as_of"]),
                assumed={"yes": True, "no": False}[row["assumed"]],
            )
            for row in csv.DictReader(file)
        }


def dollars_per_euro() -> Price:
    """Return the rate at which euros are shown in dollars."""
    return prices()[ANY, "euro"]


def in_dollars(amount: Decimal, currency: str) -> Decimal:
    """Return an amount in US dollars, exactly, at the rate of ``dollars_per_euro``.

    Raises:
        KeyError: There is no rate for this currency.
    """
    return amount * {DOLLAR: Decimal(1), EURO: dollars_per_euro().price}[currency]


def in_cents(amount: Decimal) -> Decimal:
    """Round an amount of money to cents."""
    return amount.quantize(_CENT, ROUND_HALF_UP)
