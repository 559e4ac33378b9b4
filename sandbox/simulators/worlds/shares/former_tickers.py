"""Tickers that securities of the simulated world carried for a time, before today's.

Here: which security traded under a ticker on which days. Not here: today's tickers (world.py), or
providers that move all history to today's ticker.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

_A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerTicker:
    """The security with the prices ``series`` traded as ``ticker``, first and last included."""

    series: str
    ticker: str
    first: date
    last: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Days on which the security that is ``listed`` today traded under a ticker."""

    listed: str
    ticker: str
    first: date
    last: date


def timeline(
    listed: str, series: str, former: Iterable[FormerTicker], first: date, last: date
) -> Sequence[Carried]:
    """Return the tickers of a security from ``first`` to ``last``, oldest first.

    Args:
        listed: Its ticker of today, which it carried on all days that ``former`` leaves out.
        series: Its prices.
        former: Of any securities.
        first: The first day.
        last: The last day, included.
    """
    spans: list[tuple[str, date, date]] = []
    begins = first
    own = sorted(
        (earlier for earlier in former if earlier.series == series),
        key=lambda earlier: earlier.first,
    )
    for earlier in own:
        if earlier.last < begins or earlier.first > last:
            continue
        if earlier.first > begins:
            spans.append((listed, begins, earlier.first - _A_DAY))
        spans.append((earlier.ticker, max(earlier.first, begins), min(earlier.last, last)))
        begins = earlier.last + _A_DAY
    if begins <= last:
        spans.append((listed, begins, last))
    return [
        Carried(listed=listed, ticker=ticker, first=start, last=end) for ticker, start, end in spans
    ]
