"""Ends of an invented company's fiscal periods, and dates of its filings.

Here: dates, a pure function of seed and name. Not here: figures (ledger.py), or what is published
by a moment (statements.py).
"""

import calendar
import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from marketdata.calendars import NEW_YORK_ZONE

FISCAL_QUARTERS = ("Q1", "Q2", "Q3", "Q4")
RESTATED_SHARE = 40
"""One in this many quarters is restated by a later filing."""

_SATURDAY = 5
_MONTHS = (12,) * 14 + (9, 9, 6, 6, 1, 3)
_KNOWN = {"AAPL": (9, True), "MSFT": (6, False), "NVDA": (1, False), "WMT": (1, False)}
"""Month in which the fiscal year ends, and whether it does so on its last Saturday."""
_EVENING_FILERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """A filing with the SEC; one accepted in the evening has the next weekday's date.

    Attributes:
        accepted_at: Aware UTC, whole seconds.
    """

    filing_date: date
    accepted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Restatement:
    """A later filing that restates a quarter (see ``ledger.reclassified``)."""

    factor: float
    filing: Filing


@functools.lru_cache(maxsize=65_536)
def fiscal_end(seed: str, name: str, year: int, quarter: int) -> date:
    """Return the last day of a quarter (1 to 4) of the fiscal year that ends in ``year``."""
    digest = _digest(f"{seed}/{name}/fiscal")
    month, on_saturday = _KNOWN.get(name, (_MONTHS[digest[0] % len(_MONTHS)], digest[1] % 6 == 0))
    months = year * 12 + month - 1 - 3 * (len(FISCAL_QUARTERS) - quarter)
    last = date(
        months // 12, months % 12 + 1, calendar.monthrange(months // 12, months % 12 + 1)[1]
    )
    return last - timedelta(days=(last.weekday() - _SATURDAY) % 7) if on_saturday else last


@functools.lru_cache(maxsize=65_536)
def filing(seed: str, name: str, year: int, quarter: int) -> Filing:
    """Return the first filing of a quarter: 26 to 60 days after its end."""
    digest = _digest(f"{seed}/{name}/filing/{year}/{quarter}")
    # The fourth quarter waits for the audited annual report.
    least, most = (36, 58) if quarter == len(FISCAL_QUARTERS) else (26, 44)
    after = timedelta(days=least + digest[0] % (most - least + 1))
    return _filed(fiscal_end(seed, name, year, quarter) + after, digest)


@functools.lru_cache(maxsize=65_536)
def restatement(seed: str, name: str, year: int, quarter: int) -> Restatement | None:
    """Return the restatement of a quarter, two to ten months after its first report."""
    digest = _digest(f"{seed}/{name}/restatement/{year}/{quarter}")
    if int.from_bytes(digest[0:2], "big") % RESTATED_SHARE:
        return None
    first = filing(seed, name, year, quarter).filing_date
    return Restatement(
        factor=1.0 + (1.0 if digest[2] % 2 else -1.0) * (0.01 + digest[3] / 5000.0),
        filing=_filed(first + timedelta(days=60 + digest[4]), digest[5:]),
    )


def filed_at(moment: datetime) -> Filing:
    """Return the filing that is accepted at ``moment`` (aware)."""
    accepted = moment.astimezone(UTC).replace(microsecond=0)
    return Filing(filing_date=accepted.astimezone(NEW_YORK_ZONE).date(), accepted_at=accepted)


def _filed(day: date, digest: bytes) -> Filing:
    """Return a filing of ``day``, or of the Monday after where it falls on a weekend."""
    day += timedelta(days=max(0, 7 - day.weekday()) if day.weekday() >= _SATURDAY else 0)
    seconds = int.from_bytes(digest[8:12], "big")
    if digest[7] % _EVENING_FILERS:
        accepted_on, clock = day, 6 * 3600 + seconds % (11 * 3600)
    else:
        back = 3 if day.weekday() == 0 else 1
        accepted_on, clock = day - timedelta(days=back), 17 * 3600 + 1860 + seconds % (4 * 3600)
    local = datetime.combine(accepted_on, time(), NEW_YORK_ZONE) + timedelta(seconds=clock)
    return Filing(filing_date=day, accepted_at=local.astimezone(UTC))


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
