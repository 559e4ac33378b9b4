"""What a month costs on a platform: each item, in its own currency and in dollars.

Here: needs times prices. Not here: either of them (platforms.py, prices.py), or printing
(pipelines/cli/cost.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from usecases.costs.platforms import Need, Platform, needs
from usecases.costs.prices import Price, in_cents, in_dollars, prices
from usecases.costs.workload import ScheduledRuns, Wish, Workload, workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One item of the month.

    Attributes:
        cost: In the price's currency, in whole cents.
        dollars: The same in US dollars, in whole cents.
    """

    need: Need
    price: Price
    cost: Decimal
    dollars: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A month's cost.

    Attributes:
        lines: Dearest first.
        today: The day to which the ages of prices refer.
    """

    platform: Platform
    work: Workload
    lines: Sequence[Line]
    today: date

    @property
    def dollars(self) -> Decimal:
        """The sum of all lines, in US dollars."""
        return sum((line.dollars for line in self.lines), Decimal())

    @property
    def by_currency(self) -> dict[str, Decimal]:
        """The sum of all lines in each currency."""
        sums: dict[str, Decimal] = {}
        for line in self.lines:
            sums[line.price.currency] = sums.get(line.price.currency, Decimal()) + line.cost
        return sums

    @property
    def assumed_dollars(self) -> Decimal:
        """The part of the sum whose prices are only assumed."""
        return sum((line.dollars for line in self.lines if line.price.assumed), Decimal("0.00"))


def estimate(
    platform: Platform, wish: Wish, runs: Sequence[ScheduledRuns], *, today: date
) -> Estimate:
    """Return what a month costs when ``wish.years`` of history are stored."""
    work = workload(wish, runs)
    lines = [_line(need) for need in needs(platform, work)]
    lines.sort(key=lambda line: line.dollars, reverse=True)
    return Estimate(platform=platform, work=work, lines=lines, today=today)


def _line(need: Need) -> Line:
    price = prices()[need.platform, need.item]
    exact = need.quantity * price.price
    return Line(
        need=need,
        price=price,
        cost=in_cents(exact),
        dollars=in_cents(in_dollars(exact, price.currency)),
    )
